// The second view: reads, writes and flushes, each with its rate, throughput and latency (two percentiles where there is room) as moving graphs.

import { bytesPerSecondText, bytesText, latencyText, percentText, rateText } from './figures.js';
import { OPS, WINDOWS_MS, type Op, type Point } from './history.js';
import type { Look } from './look.js';
import { columnWidths, graphPanel, rule, type GraphSpec } from './panel.js';
import type { Scene } from './picture.js';
import { beside, block, span, type Line, type Size } from './text.js';
import { OP_NAMES, percentileText } from './view-overview.js';

const GAP = 2;
const PANEL_ROWS_MIN = 4;
/** In less than that, four graphs side by side have no room for their labels. */
const FOUR_GRAPHS_COLUMNS = 72;

/** At most `size.rows` lines of at most `size.columns`. */
export function requests(scene: Scene, size: Size, look: Look): Line[] {
  const rows = Math.max(PANEL_ROWS_MIN, Math.floor((size.rows + 1) / OPS.length));
  // The last line of a panel is empty where there is room for that.
  const used = rows > PANEL_ROWS_MIN + 1 ? rows - 1 : rows;
  return OPS.flatMap((op) => block(panel(scene, op, size.columns, used, look), rows));
}

function panel(scene: Scene, op: Op, columns: number, rows: number, look: Look): Line[] {
  const graphs = graphsOf(scene, op, columns, look);
  const widths = columnWidths(columns, graphs.length, GAP);
  return [
    rule(OP_NAMES[op].toUpperCase(), infoOf(scene, op), columns, look),
    ...beside(
      graphs.map((spec, at) => ({ width: widths[at]!, lines: graphPanel(spec, widths[at]!, rows - 1, look) })),
      GAP,
    ),
  ];
}

function infoOf({ history }: Scene, op: Op): string {
  const errors = history.interval(WINDOWS_MS['10 min'])?.counts[`${op}_errors`] ?? 0;
  const told = errors === 0 ? [] : [`${errors} failed in 10 min`];
  const ratios = Object.entries(WINDOWS_MS).map(([name, ms]) => {
    return `${percentText(op === 'read' ? history.readHits(ms) : history.writeHits(ms))} (${name})`;
  });
  if (op !== 'flush') told.push(`${op === 'read' ? 'from the cache' : 'over cached data'} ${ratios.join(', ')}`);
  return told.join(', ');
}

function graphsOf(scene: Scene, op: Op, columns: number, look: Look): GraphSpec[] {
  const { history } = scene;
  const name = OP_NAMES[op];
  const rate: GraphSpec = {
    label: [span(rateText(history.rate(name))), span('/s', 'dim')],
    series: history.series(name),
    style: op,
    scale: rateText,
    least: op === 'flush' ? 10 : 100,
  };
  return [rate, op === 'flush' ? dirty(scene) : throughput(history, op), ...latencies(history, op, columns, look)];
}

/** Half of the requests, and 99 of 100; in few columns a graph of the latter alone. */
function latencies(history: Scene['history'], op: Op, columns: number, look: Look): GraphSpec[] {
  const micro = look.unicode ? 'µ' : 'u';
  const value = (name: string, share: number): Line => [span(`${name} `, 'dim'), span(percentileText(history.latency(op, share), micro))];
  const graphOf = (label: Line, series: keyof Point): GraphSpec => ({
    label,
    series: history.series(series),
    style: op,
    scale: (max) => latencyText(max, micro),
    least: 100,
  });
  const [p50, p99] = [value('p50', 0.5), value('p99', 0.99)];
  return columns < FOUR_GRAPHS_COLUMNS
    ? [graphOf([...p99, span('  '), ...p50], `${op}P99`)]
    : [graphOf(p50, `${op}P50`), graphOf(p99, `${op}P99`)];
}

function throughput(history: Scene['history'], op: 'read' | 'write'): GraphSpec {
  return {
    label: [span(bytesPerSecondText(history.rate(`${op}_bytes`)))],
    series: history.series(`${op}Bytes`),
    style: op,
    scale: bytesText,
    isBytes: true,
    least: 1 << 20,
  };
}

function dirty({ status, history }: Scene): GraphSpec {
  return {
    label: [span('dirty ', 'dim'), span(bytesText(status.dirty_bytes))],
    series: history.series('dirtyBytes'),
    style: 'dirty',
    scale: bytesText,
    isBytes: true,
    least: 1 << 20,
  };
}
