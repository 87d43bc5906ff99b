// The whole screen, as lines: head, verdict, the view, what the monitor has to say, keys. Pure; exactly `size.rows` lines of `size.columns`.

import { bytesText, clockText, durationText } from './figures.js';
import { bar } from './graph.js';
import type { Look } from './look.js';
import { VIEWS, type FlushProgress, type Link, type Picture, type Scene, type ViewName } from './picture.js';
import {
  EMPTY_LINE,
  block,
  clean,
  fit,
  lineWidth,
  shorten,
  span,
  spread,
  wrap,
  type Line,
  type Size,
  type Span,
  type Style,
} from './text.js';
import { UNMOUNT_WANTED_TEXT, verdictOf } from './verdict.js';
import { help } from './view-help.js';
import { logCells, logView } from './view-log.js';
import { overview, overviewCells } from './view-overview.js';
import { requests } from './view-requests.js';

const MARGIN = 1;
/** Head, verdict, empty line; notice, keys. */
const FRAME_ROWS = 5;
/** In less than that no view tells more than the verdict does. */
const LEAST: Size = { columns: 48, rows: 12 };

const views = { overview, requests, log: logView } as const satisfies Record<ViewName, (scene: Scene, size: Size, look: Look) => Line[]>;

export function frame(picture: Picture, size: Size, look: Look): Line[] {
  if (isTooSmall(size)) return smallFrame(picture, size, look);
  const inner: Size = innerSize(size);
  const status = picture.history.latest;
  const body = picture.ui.isHelp ? help() : status === undefined ? [] : views[picture.ui.view]({ ...picture, status }, inner, look);
  const top = [head(picture, inner.columns, look), verdict(picture, look), EMPTY_LINE].slice(0, Math.max(1, size.rows - 1));
  const bottom = [notice(picture, inner.columns, look), keys(picture.ui.view, picture, inner.columns)].slice(
    size.rows < FRAME_ROWS ? 1 : 0,
  );
  const lines = [...top, ...block(body, size.rows - top.length - bottom.length), ...bottom];
  return block(lines, size.rows).map((line) => fit([span(' '.repeat(MARGIN)), ...fit(line, inner.columns)], size.columns));
}

function isTooSmall({ columns, rows }: Size): boolean {
  return columns < LEAST.columns || rows < LEAST.rows;
}

/** Is my data safe, and why there is no more to see. */
function smallFrame(picture: Picture, size: Size, look: Look): Line[] {
  const told = `${size.columns} x ${size.rows} is too small, ${LEAST.columns} x ${LEAST.rows} is needed`;
  const lines = [...wrap(verdict(picture, look), size.columns), EMPTY_LINE, ...wrap([span(told, 'warn')], size.columns), [span('q quits')]];
  return block(lines, size.rows).map((line) => fit(line, size.columns));
}

/** How many cells of the map are worth asking for; 0 if the view shows none. */
export function cellsWanted(view: ViewName, size: Size): number {
  if (isTooSmall(size)) return 0;
  const inner = innerSize(size);
  return view === 'overview' ? overviewCells(inner) : view === 'log' ? logCells(inner) : 0;
}

function innerSize(size: Size): Size {
  return { columns: Math.max(1, size.columns - 2 * MARGIN), rows: Math.max(0, size.rows - FRAME_ROWS) };
}

function head(picture: Picture, columns: number, look: Look): Line {
  const { history, link, mountpoint, nowMs } = picture;
  const status = history.latest;
  const dot = look.unicode ? ' · ' : ', ';
  const state = stateText(picture);
  const facts =
    status === undefined
      ? []
      : [
          ...(status.read_only ? ['read-only'] : []),
          ...(status.engine_restarts === 0 ? [] : [`${status.engine_restarts}x restarted`]),
          `up ${durationText((nowMs - status.started_ms) / 1000)}`,
        ];
  const told: Line = [
    span(state, stateStyle(link, status?.state)),
    span([...['', ...facts].slice(facts.length === 0 ? 1 : 0), ''].join(dot), 'dim'),
    span(clockText(nowMs), 'dim'),
  ];
  const room = columns - told.reduce((sum, { text }) => sum + text.length, 0) - 12;
  const name = shorten(clean(mountpoint, look.unicode), Math.max(8, room));
  return spread([span(name, 'strong'), span(status === undefined ? '' : `  ${bytesText(status.volume_bytes)}`, 'dim')], told, columns);
}

function stateText({ link, history, nowMs }: Picture): string {
  const since = durationText((nowMs - link.sinceMs) / 1000);
  switch (link.kind) {
    case 'connecting':
      return 'connecting';
    case 'serving':
      return history.latest?.state ?? 'serving';
    case 'silent':
      return `the engine has not answered for ${since}`;
    case 'restarting':
      return `the engine is restarting, for ${since}`;
    case 'orphaned':
      return 'the supervisor is dead';
  }
}

function stateStyle(link: Link, state: string | undefined): Style {
  if (link.kind === 'orphaned') return 'bad';
  if (link.kind === 'restarting' || link.kind === 'silent') return 'warn';
  if (state === 'backing-error' || state === 'cache-error') return 'bad';
  return state === 'serving' ? 'good' : 'warn';
}

function verdict({ history, link }: Picture, look: Look): Line {
  const status = history.latest;
  if (status === undefined) return EMPTY_LINE;
  const mark = look.unicode ? '●' : '*';
  if (link.kind === 'restarting') {
    return [span(`${mark} `, 'warn'), span('Requests wait for the new engine; no acknowledged write is lost', 'warn')];
  }
  const { text, style } = verdictOf(status);
  return [span(`${mark} `, style), span(text, style)];
}

function notice({ ui, history, nowMs }: Picture, columns: number, look: Look): Line {
  if (ui.prompt !== undefined) {
    const now = history.latest?.gc_percent;
    return [
      span('gc_percent', 'strong'),
      span(`, 0 to 90${now === undefined ? '' : `, now ${now}`}: `),
      span(ui.prompt, 'strong'),
      span('_', 'key'),
      span('   Enter sets it, Esc leaves it', 'dim'),
    ];
  }
  if (ui.flush !== undefined) return flushLine(ui.flush, nowMs, columns, look);
  if (ui.notice !== undefined) return [span(clean(ui.notice.text, look.unicode), ui.notice.style)];
  return history.latest?.unmount_wanted === true ? [span(`It ${UNMOUNT_WANTED_TEXT}`, 'warn')] : EMPTY_LINE;
}

function flushLine({ bytesTotal, bytesLeft, startedMs }: FlushProgress, nowMs: number, columns: number, look: Look): Line {
  if (bytesTotal === undefined) return [span('flushing', 'writeback')];
  const done = bytesTotal === 0 ? 1 : 1 - bytesLeft / bytesTotal;
  const seconds = (nowMs - startedMs) / 1000;
  const rate = seconds < 1 ? 0 : (bytesTotal - bytesLeft) / seconds;
  const left = rate === 0 ? '' : `, ${durationText(bytesLeft / rate)} left`;
  const words = `${bytesText(bytesLeft)} of ${bytesText(bytesTotal)} to write${left}`;
  const { filled, rest } = bar(done, Math.max(4, Math.min(40, columns - words.length - 12)), look.unicode);
  return [span('flushing ', 'writeback'), span(filled, 'writeback'), span(rest, 'faint'), span(` ${words}`)];
}

function keys(view: ViewName, { ui, history }: Picture, columns: number): Line {
  const paused = history.latest?.writeback_paused === true;
  const key = (letter: string, word: string, style: Style = 'dim'): Span[] => [span(letter, 'key'), span(` ${word}  `, style)];
  const tabs = VIEWS.flatMap((name, at) => key(String(at + 1), name, name === view && !ui.isHelp ? 'strong' : 'dim'));
  const actions = [
    ...key('f', 'flush'),
    ...key('p', paused ? 'resume' : 'pause'),
    ...key('g', 'gc'),
    ...key('?', 'help'),
    ...key('q', 'quit'),
  ];
  const right = actions.slice(0, -1).concat(span(' quit', 'dim'));
  if (lineWidth(tabs) + lineWidth(right) <= columns) return spread(tabs, right, columns);
  // Their numbers alone; what they are called is in the help.
  const numbers = VIEWS.map((name, at) => span(`${at + 1} `, name === view && !ui.isHelp ? 'strong' : 'key'));
  return spread(numbers, right, columns);
}
