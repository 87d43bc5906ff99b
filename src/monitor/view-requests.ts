// The second view: reads, writes and flushes, each with its rate, throughput and latency as moving graphs.

import { bytesPerSecondText, bytesText, latencyText, percentText, rateText } from './figures.js';
import { OPS, WINDOWS_MS, type Op, type Point } from './history.js';
import type { Look } from './look.js';
import { columnWidths, graphPanel, rule, type GraphSpec } from './panel.js';
import type { Scene } from './picture.js';
import { beside, block, span, type Line, type Size } from './text.js';
import { OP_NAMES, percentileText } from './view-overview.js';

const GAP = 2;
const PANEL_ROWS_MIN = 4;

/** At most `size.rows` lines of at most `size.columns`. */
export function requests(scene: Scene, size: Size, look: Look): Line[] {
  const rows = Math.max(PANEL_ROWS_MIN, Math.floor((size.rows + 1) / OPS.length));
  // The last line of a panel is empty where there is room for that.
  const used = rows > PANEL_ROWS_MIN + 1 ? rows - 1 : rows;
  return OPS.flatMap((op) => block(panel(scene, op, size.columns, used, look), rows));
}

function panel(scene: Scene, op: Op, columns: number, rows: number, look: Look): Line[] {
  const graphs = graphsOf(scene, op, look);
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

function graphsOf(scene: Scene, op: Op, look: Look): GraphSpec[] {
  const { history } = scene;
  const micro = look.unicode ? 'µ' : 'u';
  const name = OP_NAMES[op];
  const p50 = percentileText(history.latency(op, 0.5), micro);
  const p99 = percentileText(history.latency(op, 0.99), micro);
  const rate: GraphSpec = {
    label: [span(rateText(history.rate(name))), span('/s', 'dim')],
    series: history.series(name),
    style: op,
    scale: rateText,
    least: op === 'flush' ? 10 : 100,
  };
  const latency: GraphSpec = {
    label: [span('p50 ', 'dim'), span(p50), span('  p99 ', 'dim'), span(p99)],
    series: history.series(`${op}P99` satisfies keyof Point),
    style: op,
    scale: (max) => latencyText(max, micro),
    least: 100,
  };
  return [rate, op === 'flush' ? dirty(scene) : throughput(history, op), latency];
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
