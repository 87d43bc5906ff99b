// The map of all segments, as coloured characters: free, log, data by the share of its bytes that is still live, and where key tail, dirty tail
// and key head are. Without colours and without Unicode the characters alone tell all of it.

import type { SegmentMap } from '../gateway/control-protocol.js';
import type { Look } from './look.js';
import { span, type Line, type Span, type Style } from './text.js';

/** A cell is drawn this many columns wide at most, where there are few segments. */
const CELL_COLUMNS_MAX = 6;

const LIVE_BLOCKS = '▁▂▃▄▄▅▅▆▇█';

export const MARKERS = [
  { name: 'key tail', field: 'key_tail', letter: 'T', style: 'key-tail' },
  { name: 'dirty tail', field: 'dirty_tail', letter: 'D', style: 'dirty-tail' },
  { name: 'key head', field: 'key_head', letter: 'H', style: 'key-head' },
] as const satisfies readonly { name: string; field: keyof SegmentMap; letter: string; style: Style }[];

type Marker = (typeof MARKERS)[number];

export interface MapShape {
  readonly cellColumns: number;
  readonly cellsPerRow: number;
  /** Rows in use. */
  readonly rows: number;
}

/** How `cells` cells are laid out in an area: as wide as they can be. */
export function mapShape(cells: number, columns: number, rows: number): MapShape {
  for (let cellColumns = CELL_COLUMNS_MAX; cellColumns > 1; cellColumns--) {
    const cellsPerRow = Math.floor(columns / cellColumns);
    if (cellsPerRow * rows >= cells) return { cellColumns, cellsPerRow, rows: Math.max(1, Math.ceil(cells / Math.max(1, cellsPerRow))) };
  }
  return { cellColumns: 1, cellsPerRow: columns, rows: Math.min(rows, Math.max(1, Math.ceil(cells / Math.max(1, columns)))) };
}

/** The lines of the map in an area; what does not fit, because the map was made for a larger one, is left out. */
export function mapLines(map: SegmentMap, columns: number, rows: number, look: Look): Line[] {
  const shape = mapShape(map.cells.length, columns, rows);
  const markersIn = (cell: number): Marker[] => MARKERS.filter(({ field }) => Math.floor(map[field] / map.segments_per_cell) === cell);
  // From three columns on, a gap tells neighbours apart.
  const solid = shape.cellColumns >= 3 ? shape.cellColumns - 1 : shape.cellColumns;
  const gap = span(' '.repeat(shape.cellColumns - solid));
  return Array.from({ length: shape.rows }, (_, row) => {
    const start = row * shape.cellsPerRow;
    const cells = Array.from(map.cells.slice(start, start + shape.cellsPerRow));
    return cells.flatMap((cell, at) => [...drawCell(cell, markersIn(start + at), solid, look), gap]);
  });
}

/** `columns` columns: what the cell holds, and letters over it for the places that are in it. */
function drawCell(cell: string, markers: readonly Marker[], columns: number, look: Look): Line {
  // Where not all have room the head is seen: it is the one that moves.
  const shown = markers.slice(-columns);
  const { text, style } = cellOf(cell, look);
  return [...shown.map((marker) => span(marker.letter, marker.style)), span(text.repeat(columns - shown.length), style)];
}

function cellOf(cell: string, { unicode }: Look): Span {
  if (cell >= '0' && cell <= '9') {
    const tenths = Number(cell);
    const style = tenths < 3 ? 'data-low' : tenths < 7 ? 'data-half' : 'data-high';
    return span(unicode ? LIVE_BLOCKS[tenths]! : cell, style);
  }
  if (cell === 'L') return span(unicode ? '▒' : 'L', 'log');
  if (cell === 'x') return span('x', 'bad');
  return cell === '-' ? span('-', 'faint') : span(unicode ? '·' : '.', 'faint');
}

/** What the characters mean. */
export function mapLegend(look: Look): Line {
  const sample = (cell: string): Span => cellOf(cell, look);
  const text = (words: string): Span => span(words, 'dim');
  const live = look.unicode ? [sample('0'), sample('4'), sample('9'), text(' live data  ')] : [text('0-9 live data  ')];
  return [
    sample('.'),
    text(' free  '),
    sample('L'),
    text(' log  '),
    ...live,
    sample('x'),
    text(' damaged'),
    ...MARKERS.flatMap(({ name, letter, style }) => [text('  '), span(letter, style), text(` ${name}`)]),
  ];
}
