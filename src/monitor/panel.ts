// The parts that views are made of: the rule with a title, and a graph with its label.

import { graph, graphMax, graphMaxBytes, type Series } from './graph.js';
import type { Look } from './look.js';
import { fit, lineWidth, span, wholeWords, type Line, type Style } from './text.js';

/** `TITLE ------------ info`. */
export function rule(title: string, info: string, columns: number, look: Look): Line {
  const told = wholeWords(info, Math.max(0, columns - title.length - 4));
  const dashes = Math.max(1, columns - title.length - 1 - (told === '' ? 0 : told.length + 1));
  return fit(
    [
      span(title, 'strong'),
      span(` ${(look.unicode ? '─' : '-').repeat(dashes)}`, 'faint'),
      ...(told === '' ? [] : [span(` ${told}`, 'dim')]),
    ],
    columns,
  );
}

export interface GraphSpec {
  /** What it shows, and its value now. */
  readonly label: Line;
  readonly series: Series;
  readonly style: Style;
  /** How the value of full height is written. */
  readonly scale: (max: number) => string;
  /** Bytes get scales that are powers of two. */
  readonly isBytes?: boolean;
  /** The least value of full height. */
  readonly least: number;
}

/** A line with the label and the scale, and a graph of `rows - 1` lines below it. */
export function graphPanel(spec: GraphSpec, columns: number, rows: number, look: Look): Line[] {
  const max = (spec.isBytes === true ? graphMaxBytes : graphMax)(spec.series, columns, look.unicode, spec.least);
  const scale = scaleText(spec.scale(max), columns - lineWidth(spec.label));
  const top: Line = [...fit(spec.label, columns - scale.length), span(scale, 'dim')];
  return [top, ...graph(spec.series, columns, Math.max(0, rows - 1), max, look.unicode).map((text): Line => [span(text, spec.style)])];
}

/** The value of full height, as long as there is room for; scales are round, so they need no zeros. */
function scaleText(scale: string, room: number): string {
  const round = scale.replace(/\.0+(?=\D|$)/, '');
  return [` max ${round}`, ` ${round}`].find((text) => text.length < room) ?? '';
}

/** Widths of `count` blocks in `columns`, with `gap` between them; the first get what does not divide. */
export function columnWidths(columns: number, count: number, gap: number): number[] {
  const room = Math.max(0, columns - gap * (count - 1));
  return Array.from({ length: count }, (_, at) => Math.floor(room / count) + (at < room % count ? 1 : 0));
}
