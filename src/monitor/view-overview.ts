// The first view: is my data safe, is the cache working, what does the log do; each in a few lines.

import type { LastError, StatusSnapshot } from '../gateway/status.js';
import { bytesPerSecondText, bytesText, countText, durationText, latencyText, percentText, rateText } from './figures.js';
import { graphSeconds } from './graph.js';
import { OPS, WINDOWS_MS, type Op } from './history.js';
import type { Look } from './look.js';
import { columnWidths, graphPanel, rule, type GraphSpec } from './panel.js';
import type { Scene } from './picture.js';
import { mapLegend, mapLines, mapShape } from './segment-map.js';
import { EMPTY_LINE, beside, block, clean, left, right, shorten, span, type Line, type Size } from './text.js';
import { cleanText, oldestText } from './verdict.js';

const GAP = 2;
const LABEL_COLUMNS = 11;
const SAFETY_ROWS = 4;
/** IOPS, throughput, p50, p99. */
const FIGURE_COLUMNS = [7, 12, 9, 10] as const;
const HIT_COLUMNS = [12, 9, 9] as const;
const GRAPH_ROWS_MIN = 3;
const GRAPH_ROWS_MAX = 30;
/** Title, table of four lines, two empty lines, title and legend of the map, title of the first section. */
const FIXED_ROWS = 10;

export const OP_NAMES = { read: 'reads', write: 'writes', flush: 'flushes' } as const satisfies Record<Op, string>;

/** At most `size.rows` lines of at most `size.columns`. */
export function overview(scene: Scene, size: Size, look: Look): Line[] {
  const room = Math.max(0, size.rows - FIXED_ROWS - SAFETY_ROWS - GRAPH_ROWS_MIN);
  const mapRows = Math.min(Math.max(2, room), mapRowsWanted(scene, size.columns), Math.max(2, Math.ceil(room * 0.5)));
  const spare = Math.max(0, room - mapRows);
  const safetyRows = SAFETY_ROWS + Math.min(12, Math.floor(spare / 3));
  const graphRows = Math.min(GRAPH_ROWS_MAX, GRAPH_ROWS_MIN + spare - (safetyRows - SAFETY_ROWS));
  return [
    ...safety(scene, size.columns, safetyRows, look),
    EMPTY_LINE,
    ...cacheTable(scene, size.columns, look),
    ...requestGraphs(scene, size.columns, graphRows, look),
    EMPTY_LINE,
    ...log(scene, size.columns, mapRows, look),
  ];
}

/** How many cells the map of this view has room for; see the operation `segments`. */
export function overviewCells(size: Size): number {
  return size.columns * Math.max(2, Math.ceil(Math.max(0, size.rows - FIXED_ROWS - SAFETY_ROWS - GRAPH_ROWS_MIN) * 0.5));
}

function mapRowsWanted({ segments }: Scene, columns: number): number {
  return segments === undefined ? 1 : mapShape(segments.cells.length, columns, 64).rows;
}

function safety(scene: Scene, columns: number, rows: number, look: Look): Line[] {
  const { status, history, nowMs } = scene;
  const [wordsColumns, graphColumns] = columns < 60 ? [columns, 0] : [columns - Math.floor(columns * 0.4) - GAP, Math.floor(columns * 0.4)];
  const label = (text: string): ReturnType<typeof left> => left(text, LABEL_COLUMNS, 'dim');
  const words: Line[] = [
    [
      label('dirty'),
      span(bytesText(status.dirty_bytes), status.dirty_bytes === 0 ? 'good' : 'dirty'),
      span(status.dirty_bytes === 0 ? '' : toWriteText(status), 'dim'),
    ],
    [label('oldest'), span(oldestText(status, nowMs))],
    [
      label('clean'),
      span(status.dirty_bytes === 0 ? 'now' : cleanText(status), status.writeback_paused && status.dirty_bytes > 0 ? 'warn' : 'plain'),
      ...(status.writeback_paused
        ? [span(status.dirty_bytes > 0 ? ', p resumes writeback' : ', writeback is paused', 'warn')]
        : [span(writebackRateText(status), 'dim')]),
    ],
    ...(status.last_error === null ? [backing(scene, wordsColumns, look)] : []),
  ];
  const spec: GraphSpec = {
    label: [span(`dirty, last ${graphSeconds(graphColumns, look.unicode)} s`, 'dim')],
    series: history.series('dirtyBytes'),
    style: 'dirty',
    scale: bytesText,
    isBytes: true,
    least: 1 << 20,
  };
  // An error needs the whole line.
  const errors = status.last_error === null ? [] : [errorLine(status.last_error, nowMs, columns, look)];
  const upperRows = rows - errors.length;
  const parts = [
    { lines: words, width: wordsColumns },
    { lines: graphColumns === 0 ? [] : graphPanel(spec, graphColumns, upperRows, look), width: graphColumns },
  ];
  const heard = scene.link.kind === 'dead' ? 'as last heard' : '';
  return [rule('SAFETY', heard, columns, look), ...block(beside(parts, GAP), upperRows), ...errors];
}

/** What was written over is dirty once, and written back as often as it was written. */
function toWriteText({ dirty_bytes: dirtyBytes, writeback_pending_bytes: pendingBytes }: StatusSnapshot): string {
  return pendingBytes > dirtyBytes ? `, ${bytesText(pendingBytes)} of writes to go` : ' to write back';
}

/** The rate is of the last seconds: when all is written back, it is about what was. */
function writebackRateText({ dirty_bytes: dirtyBytes, writeback_bytes_per_s: bytesPerSecond }: StatusSnapshot): string {
  return dirtyBytes === 0 || bytesPerSecond === 0 ? '' : `, writeback at ${bytesPerSecondText(bytesPerSecond)}`;
}

function errorLine({ device, message, since_ms: sinceMs }: LastError, nowMs: number, columns: number, look: Look): Line {
  const since = `, for ${durationText((nowMs - sinceMs) / 1000)}`;
  const told = shorten(clean(message, look.unicode), columns - LABEL_COLUMNS - since.length);
  return [left(device, LABEL_COLUMNS, 'bad'), span(`${told}${since}`, 'bad')];
}

function backing({ status, history }: Scene, columns: number, look: Look): Line {
  const errors = history.interval(WINDOWS_MS['10 min'])?.counts.writeback_errors ?? 0;
  const told = errors === 0 ? 'no errors' : `${countText(errors, 'error')} in 10 min, works again`;
  const name = shorten(clean(status.backing, look.unicode), columns - LABEL_COLUMNS - told.length - 2);
  return [left('backing', LABEL_COLUMNS, 'dim'), span(name), span(', '), span(told, errors === 0 ? 'good' : 'warn')];
}

function cacheTable({ history }: Scene, columns: number, look: Look): Line[] {
  const micro = look.unicode ? 'µ' : 'u';
  const windows = Object.entries(WINDOWS_MS);
  const head: Line = [
    left('', 9),
    ...['IOPS', 'throughput', 'p50', 'p99'].map((name, at) => right(name, FIGURE_COLUMNS[at]!, 'dim')),
    ...windows.map(([name], at) => right(at === 0 ? `hits ${name}` : name, HIT_COLUMNS[at]!, 'dim')),
  ];
  const rows = OPS.map((op): Line => {
    const name = OP_NAMES[op];
    const hits = (windowMs: number): number | undefined => (op === 'read' ? history.readHits(windowMs) : history.writeHits(windowMs));
    return [
      left(name, 9, op),
      right(rateText(history.rate(name)), FIGURE_COLUMNS[0]),
      right(op === 'flush' ? '' : bytesPerSecondText(history.rate(`${op}_bytes`)), FIGURE_COLUMNS[1]),
      right(percentileText(history.latency(op, 0.5), micro), FIGURE_COLUMNS[2]),
      right(percentileText(history.latency(op, 0.99), micro), FIGURE_COLUMNS[3]),
      ...(op === 'flush' ? [] : windows.map(([, windowMs], at) => right(percentText(hits(windowMs)), HIT_COLUMNS[at]!))),
    ];
  });
  return [rule('CACHE', cacheInfo(history.rate('cache_full_waits')), columns, look), head, ...rows];
}

function cacheInfo(waits: number | undefined): string {
  return waits === undefined || waits === 0 ? '' : `${rateText(waits)} writes/s wait for room`;
}

/** `>8.00 s` beyond the last bound of the histogram. */
export function percentileText(value: { us: number; isBeyond: boolean } | undefined, micro: string): string {
  return value?.isBeyond === true ? `>${latencyText(value.us, micro)}` : latencyText(value?.us, micro);
}

function requestGraphs({ history }: Scene, columns: number, rows: number, look: Look): Line[] {
  const widths = columnWidths(columns, OPS.length, GAP);
  return beside(
    OPS.map((op, at) => ({
      width: widths[at]!,
      lines: graphPanel(
        {
          label: [span(`${OP_NAMES[op]}/s, last ${graphSeconds(widths[at]!, look.unicode)} s`, 'dim')],
          series: history.series(OP_NAMES[op]),
          style: op,
          scale: rateText,
          least: op === 'flush' ? 10 : 100,
        },
        widths[at]!,
        rows,
        look,
      ),
    })),
    GAP,
  );
}

function log({ status, segments }: Scene, columns: number, rows: number, look: Look): Line[] {
  const share = status.cache_segs === 0 ? undefined : status.segs_used / status.cache_segs;
  const info = `${status.segs_used} of ${status.cache_segs} segments used, ${percentText(share)}, gc above ${status.gc_percent} %`;
  const map: Line[] = segments === undefined ? [[span('no map of the segments yet', 'dim')]] : mapLines(segments, columns, rows, look);
  return [rule('LOG', info, columns, look), ...map, mapLegend(look)];
}
