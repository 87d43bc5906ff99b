// The third view: the map of all segments, where the log's three places are, and what writeback and gc do.

import { bytesPerSecondText, bytesText, percentText, rateText } from './figures.js';
import type { Look } from './look.js';
import { columnWidths, graphPanel, rule, type GraphSpec } from './panel.js';
import type { Scene } from './picture.js';
import { mapLegend, mapLines, mapShape } from './segment-map.js';
import { EMPTY_LINE, beside, left, span, type Line, type Size } from './text.js';

const GAP = 2;
const LABEL_COLUMNS = 11;
/** Title, three lines of words, an empty line, title and legend of the map, an empty line, title of the graphs. */
const FIXED_ROWS = 9;
const GRAPH_ROWS_MIN = 4;
const GRAPH_ROWS_MAX = 20;

/** At most `size.rows` lines of at most `size.columns`. */
export function logView(scene: Scene, size: Size, look: Look): Line[] {
  const { segments } = scene;
  const mapRows = mapRoom(size);
  const map: Line[] =
    segments === undefined ? [[span('no map of the segments yet', 'dim')]] : mapLines(segments, size.columns, mapRows, look);
  const graphRows = Math.min(GRAPH_ROWS_MAX, Math.max(GRAPH_ROWS_MIN, size.rows - FIXED_ROWS - map.length));
  return [
    ...words(scene, size.columns, look),
    EMPTY_LINE,
    rule('SEGMENTS', mapInfo(scene, size.columns, mapRows), size.columns, look),
    ...map,
    mapLegend(look),
    EMPTY_LINE,
    rule('BACKGROUND', '', size.columns, look),
    ...graphs(scene, size.columns, graphRows, look),
  ];
}

/** How many cells the map of this view has room for; see the operation `segments`. */
export function logCells(size: Size): number {
  return size.columns * mapRoom(size);
}

function mapRoom(size: Size): number {
  return Math.max(2, size.rows - FIXED_ROWS - GRAPH_ROWS_MIN);
}

function words({ status, history }: Scene, columns: number, look: Look): Line[] {
  const label = (text: string): ReturnType<typeof left> => left(text, LABEL_COLUMNS, 'dim');
  const at = ({ seg, off }: { seg: number; off: number }): string => `${seg}:${off}`;
  const share = status.cache_segs === 0 ? undefined : status.segs_used / status.cache_segs;
  return [
    rule('LOG', '', columns, look),
    [
      label('segments'),
      span(`${status.segs_used} of ${status.cache_segs} used`),
      span(` (${percentText(share)}), gc above ${status.gc_percent} %, ${bytesText(status.cached_bytes)} cached`, 'dim'),
    ],
    [
      label('places'),
      span('key tail ', 'dim'),
      span(at(status.key_tail)),
      span('  dirty tail ', 'dim'),
      span(at(status.dirty_tail)),
      span('  key head ', 'dim'),
      span(at(status.key_head)),
    ],
    [
      label('work'),
      span('writeback ', 'dim'),
      span(`${rateText(history.rate('writeback_keys'))} keys/s`),
      span(status.writeback_paused ? ', paused' : '', 'warn'),
      span('  gc ', 'dim'),
      span(`${rateText(history.rate('gc_ksets'))} ksets/s`),
    ],
  ];
}

function mapInfo({ segments }: Scene, columns: number, rows: number): string {
  if (segments === undefined) return '';
  const { segments_per_cell: perCell, cells } = segments;
  const { cellColumns } = mapShape(cells.length, columns, rows);
  return perCell === 1 ? `one every ${cellColumns === 1 ? 'character' : `${cellColumns} characters`}` : `${perCell} a character`;
}

function graphs({ status, history }: Scene, columns: number, rows: number, look: Look): Line[] {
  const specs: GraphSpec[] = [
    {
      label: [span('writeback ', 'dim'), span(bytesPerSecondText(history.rate('writeback_bytes')))],
      series: history.series('writebackBytes'),
      style: 'writeback',
      scale: bytesText,
      isBytes: true,
      least: 1 << 20,
    },
    {
      label: [span('gc ', 'dim'), span(rateText(history.rate('gc_segments'))), span(' segments/s', 'dim')],
      series: history.series('gcSegments'),
      style: 'log',
      scale: rateText,
      least: 1,
    },
    {
      label: [span('dirty ', 'dim'), span(bytesText(status.dirty_bytes))],
      series: history.series('dirtyBytes'),
      style: 'dirty',
      scale: bytesText,
      isBytes: true,
      least: 1 << 20,
    },
  ];
  const widths = columnWidths(columns, specs.length, GAP);
  return beside(
    specs.map((spec, at) => ({ width: widths[at]!, lines: graphPanel(spec, widths[at]!, rows, look) })),
    GAP,
  );
}
