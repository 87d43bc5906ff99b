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
import { UNMOUNT_WANTED_TEXT, deadText, verdictOf } from './verdict.js';
import { help } from './view-help.js';
import { logCells, logView } from './view-log.js';
import { overview, overviewCells } from './view-overview.js';
import { requests } from './view-requests.js';

const MARGIN = 1;
/** A longer name is shortened so far, before facts are left out. */
const NAME_COLUMNS = 12;
/** Head, verdict, empty line; notice, keys. */
const FRAME_ROWS = 5;
/** In less than that no view tells more than the verdict does. */
const LEAST: Size = { columns: 48, rows: 12 };

const views = { overview, requests, log: logView } as const satisfies Record<ViewName, (scene: Scene, size: Size, look: Look) => Line[]>;

export function frame(picture: Picture, size: Size, look: Look): Line[] {
  if (isTooSmall(size)) return smallFrame(picture, size, look);
  const inner: Size = innerSize(size);
  const status = picture.history.latest;
  const body = picture.ui.isHelp
    ? help(inner.columns)
    : status === undefined
      ? []
      : views[picture.ui.view]({ ...picture, status }, inner, look);
  const top = [head(picture, inner.columns, look), verdict(picture, inner.columns, look), EMPTY_LINE].slice(0, Math.max(1, size.rows - 1));
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
  const lines = [
    ...wrap(verdict(picture, size.columns, look), size.columns),
    EMPTY_LINE,
    ...wrap([span(told, 'warn')], size.columns),
    [span('q quits')],
  ];
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
  const size = status === undefined ? '' : `  ${bytesText(status.volume_bytes)}`;
  const [clock, up] = [clockText(nowMs), `up ${durationText((nowMs - (status?.started_ms ?? nowMs)) / 1000)}`];
  const marks =
    status === undefined
      ? []
      : [...(status.read_only ? ['read-only'] : []), ...(status.engine_restarts === 0 ? [] : [`${status.engine_restarts}x restarted`])];
  const told = (facts: readonly string[], words = state): Line => [
    span(words, stateStyle(link, status?.state)),
    span(facts.map((fact) => `${dot}${fact}`).join(''), 'dim'),
  ];
  // What is said in fewer and fewer columns: the size goes first, the state never.
  const all = [...marks, ...(status === undefined || link.kind === 'dead' ? [] : [up]), clock];
  const choices: readonly (readonly [string, Line])[] = [
    [size, told(all)],
    ['', told(all)],
    ['', told([...marks, clock])],
    ['', told(marks)],
    ['', told([])],
    ['', told([], shortStateText(picture))],
  ];
  const name = clean(mountpoint, look.unicode);
  const fits = ([right, line]: readonly [string, Line]): boolean =>
    Math.min(name.length, NAME_COLUMNS) + right.length + lineWidth(line) + 2 <= columns;
  const [shownSize, shown] = choices.find(fits) ?? choices.at(-1)!;
  const room = columns - lineWidth(shown) - shownSize.length - 2;
  return spread([span(shorten(name, Math.max(0, room)), 'strong'), span(shownSize, 'dim')], shown, columns);
}

function shortStateText(picture: Picture): string {
  const since = durationText((picture.nowMs - picture.link.sinceMs) / 1000);
  if (picture.link.kind === 'silent') return `no answer for ${since}`;
  return picture.link.kind === 'restarting' ? `restarting for ${since}` : stateText(picture);
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
    case 'dead':
      return 'dead';
  }
}

function stateStyle(link: Link, state: string | undefined): Style {
  if (link.kind === 'orphaned' || link.kind === 'dead') return 'bad';
  if (link.kind === 'restarting' || link.kind === 'silent') return 'warn';
  if (state === 'backing-error' || state === 'cache-error') return 'bad';
  return state === 'serving' ? 'good' : 'warn';
}

function verdict({ history, link, mountpoint }: Picture, columns: number, look: Look): Line {
  const status = history.latest;
  if (status === undefined) return EMPTY_LINE;
  const mark = look.unicode ? '●' : '*';
  if (link.kind === 'restarting') {
    return [span(`${mark} `, 'warn'), span('Requests wait for the new engine; no acknowledged write is lost', 'warn')];
  }
  if (link.kind === 'dead') {
    // The name is in the line above; a command that is cut off is worse than one without it.
    const named = deadText(clean(mountpoint, look.unicode));
    return [span(`${mark} `, 'bad'), span(named.length + 2 <= columns ? named : deadText('MOUNTPOINT'), 'bad')];
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
