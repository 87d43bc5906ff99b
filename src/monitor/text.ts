// Styled text: what views make and the screen draws. A line is a list of spans; every character of it is one column wide, which `clean` sees to
// for whatever comes from outside. Styles are names of meanings; theme.ts says what they look like.

export type Style =
  | 'plain'
  | 'dim'
  | 'faint'
  | 'strong'
  | 'good'
  | 'warn'
  | 'bad'
  | 'read'
  | 'write'
  | 'flush'
  | 'writeback'
  | 'dirty'
  | 'key'
  | 'log'
  | 'data-low'
  | 'data-half'
  | 'data-high'
  | 'key-tail'
  | 'dirty-tail'
  | 'key-head';

export interface Span {
  readonly text: string;
  readonly style: Style;
}

export type Line = readonly Span[];

export interface Size {
  readonly columns: number;
  readonly rows: number;
}

export function span(text: string, style: Style = 'plain'): Span {
  return { text, style };
}

export const EMPTY_LINE: Line = [];

export function lineWidth(line: Line): number {
  return line.reduce((width, { text }) => width + text.length, 0);
}

/** Exactly `width` columns: filled up with spaces, or without the words at its end that have no room, see `wholeWords`. */
export function fit(line: Line, width: number): Line {
  const result: Span[] = [];
  let room = lineWidth(line) > width ? wholeWords(line.map(({ text }) => text).join(''), width).length : Math.max(0, width);
  const filling = Math.max(0, width) - room;
  for (const { text, style } of line) {
    if (room === 0) break;
    const part = text.slice(0, room);
    if (part !== '') result.push({ text: part, style });
    room -= part.length;
  }
  if (room + filling > 0) result.push(span(' '.repeat(room + filling)));
  return result;
}

/**
 * The beginning of a text that is at most `width` columns long and ends where a reader expects an end: behind an item or a clause if that
 * leaves a third of the room in use, else behind a word. A figure keeps its unit or goes with it. Cut anywhere only if it is one word.
 */
export function wholeWords(text: string, width: number): string {
  if (text.trimEnd().length <= width) return text.slice(0, width);
  let [clauseEnd, wordEnd] = [0, 0];
  for (let end = 1; end <= width; end++) {
    if (text[end - 1] === ' ') continue;
    const rest = text.slice(end);
    if (/^(?: {2}|, |; |: )/.test(rest)) clauseEnd = end;
    if (rest.startsWith(' ') && !/(?:^| )[(<>]?\d[^ ]*$/.test(text.slice(0, end))) wordEnd = end;
  }
  const end = clauseEnd * 3 >= width || clauseEnd >= wordEnd ? clauseEnd : wordEnd;
  return text.slice(0, end === 0 ? Math.max(0, width) : end);
}

/** A line as several of at most `width` columns, broken between words where that can be. */
export function wrap(line: Line, width: number): Line[] {
  const lines: Span[][] = [[]];
  let room = width;
  for (const { text, style } of line) {
    for (const word of text.split(/(?<= )/)) {
      if (word.trimEnd().length > room && room < width) {
        lines.push([]);
        room = width;
      }
      lines.at(-1)!.push({ text: word, style });
      room -= word.length;
    }
  }
  return lines;
}

/** `left` and `right` at the ends of a line of `width` columns, with a space between them at least; what does not fit is left out on the left. */
export function spread(left: Line, right: Line, width: number): Line {
  const rightWidth = lineWidth(right);
  if (rightWidth >= width) return fit(left, width);
  return [...fit(left, width - rightWidth - 1), span(' '), ...right];
}

/** Text at the right end of a column. */
export function right(text: string, width: number, style: Style = 'plain'): Span {
  return span(text.padStart(width), style);
}

/** Text at the left end of a column. */
export function left(text: string, width: number, style: Style = 'plain'): Span {
  return span(text.padEnd(width), style);
}

/** Blocks of lines side by side, `gap` columns between them, as high as the highest. */
export function beside(blocks: readonly { readonly lines: readonly Line[]; readonly width: number }[], gap: number): Line[] {
  const rows = Math.max(0, ...blocks.map(({ lines }) => lines.length));
  return Array.from({ length: rows }, (_, row) =>
    blocks.flatMap(({ lines, width }, block) => [...(block === 0 ? [] : [span(' '.repeat(gap))]), ...fit(lines[row] ?? EMPTY_LINE, width)]),
  );
}

/** Exactly `rows` lines. */
export function block(lines: readonly Line[], rows: number): Line[] {
  return Array.from({ length: Math.max(0, rows) }, (_, row) => lines[row] ?? EMPTY_LINE);
}

/** Text shortened to `width` columns in its middle, where names of files are least telling. */
export function shorten(text: string, width: number): string {
  if (text.length <= width) return text;
  if (width < 5) return text.slice(0, Math.max(0, width));
  const head = Math.ceil((width - 2) / 2);
  return `${text.slice(0, head)}..${text.slice(text.length - (width - 2 - head))}`;
}

/** The text of lines without their styles and the spaces at their ends: for tests, and for terminals that can't be drawn on. */
export function plainText(lines: readonly Line[]): string {
  return lines
    .map((line) =>
      line
        .map(({ text }) => text)
        .join('')
        .trimEnd(),
    )
    .join('\n');
}

/**
 * Text from outside (names of files, messages of the system) as characters of one column each: control characters and whatever else a
 * terminal might take for an order, or draw in another width, become question marks; combining marks go.
 */
export function clean(text: string, unicode: boolean): string {
  const single = text.normalize('NFC').replaceAll(/\p{M}/gu, '');
  return unicode
    ? single.replaceAll(/[^\u0020-\u007e\u00a1-\u0377\u0384-\u052f\u2010-\u2027\u2030-\u205e]/gu, '?')
    : single.replaceAll(/[^\u0020-\u007e]/gu, '?');
}
