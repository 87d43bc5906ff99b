// Moving graphs: the newest value at the right end, one column (in braille half a column) a second. A value above 0 always shows; no value leaves
// a gap.

/** One value a second, oldest first; null where none was taken. */
export type Series = readonly (number | null)[];

const BRAILLE_BASE = 0x2800;
/** Dots of a braille character, left and right column, from the bottom up. */
const BRAILLE_DOTS = [
  [0x40, 0x04, 0x02, 0x01],
  [0x80, 0x20, 0x10, 0x08],
] as const;
const BRAILLE_LEVELS = 4;
const ASCII_LEVELS = ' .:|#';

/** The text of `rows` lines of `columns` characters, the top one first. `max`, above 0, is the value of full height. */
export function graph(series: Series, columns: number, rows: number, max: number, unicode: boolean): string[] {
  const perColumn = unicode ? 2 : 1;
  const shown = series.slice(-columns * perColumn);
  const lead = columns * perColumn - shown.length;
  const levels = BRAILLE_LEVELS * rows;
  const heights = Array.from({ length: columns * perColumn }, (_, at) => {
    const value = shown[at - lead] ?? 0;
    return value <= 0 ? 0 : Math.min(levels, Math.max(1, Math.round((value / max) * levels)));
  });
  return Array.from({ length: rows }, (_, row) => {
    const floor = (rows - 1 - row) * BRAILLE_LEVELS;
    const within = (at: number): number => Math.min(BRAILLE_LEVELS, Math.max(0, (heights[at] ?? 0) - floor));
    let text = '';
    for (let column = 0; column < columns; column++) {
      text += unicode ? brailleCell(within(2 * column), within(2 * column + 1)) : ASCII_LEVELS[within(column)]!;
    }
    return text;
  });
}

function brailleCell(leftLevel: number, rightLevel: number): string {
  let dots = 0;
  for (let level = 0; level < leftLevel; level++) dots |= BRAILLE_DOTS[0][level]!;
  for (let level = 0; level < rightLevel; level++) dots |= BRAILLE_DOTS[1][level]!;
  return dots === 0 ? ' ' : String.fromCharCode(BRAILLE_BASE + dots);
}

/** Seconds that `columns` columns show. */
export function graphSeconds(columns: number, unicode: boolean): number {
  return columns * (unicode ? 2 : 1);
}

/** The next of 1, 2, 5, 10, 20, 50, ... from the largest of the values that are shown, so that a scale seldom changes; `least` at least. */
export function graphMax(series: Series, columns: number, unicode: boolean, least: number): number {
  const shown = series.slice(-graphSeconds(columns, unicode));
  const peak = shown.reduce<number>((most, value) => Math.max(most, value ?? 0), least);
  const power = 10 ** Math.floor(Math.log10(peak));
  return [1, 2, 5, 10].map((step) => step * power).find((value) => value >= peak * 0.9999) ?? peak;
}

/** As graphMax, for bytes: powers of two. */
export function graphMaxBytes(series: Series, columns: number, unicode: boolean, least: number): number {
  const shown = series.slice(-graphSeconds(columns, unicode));
  const peak = shown.reduce<number>((most, value) => Math.max(most, value ?? 0), least);
  return 2 ** Math.ceil(Math.log2(peak));
}

/** A bar of `columns` characters, filled by `share` (0 to 1). */
export function bar(share: number, columns: number, unicode: boolean): { readonly filled: string; readonly rest: string } {
  const full = Math.round(Math.min(1, Math.max(0, share)) * columns);
  return unicode
    ? { filled: '━'.repeat(full), rest: '─'.repeat(columns - full) }
    : { filled: '#'.repeat(full), rest: '-'.repeat(columns - full) };
}
