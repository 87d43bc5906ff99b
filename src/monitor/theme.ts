// What the styles look like, on terminals of 256 colours, of 16, and of none. Without colours nothing is lost: what is red says so in words too.
// The terminal's own foreground and background are kept, so it is as readable as the rest of the terminal, dark or light.

import type { Terminal } from './look.js';
import type { Style } from './text.js';

export interface Appearance {
  /** Number of a colour; undefined: the terminal's own. */
  readonly foreground?: number;
  readonly background?: number;
  readonly bold?: boolean;
  readonly inverse?: boolean;
}

type Theme = Readonly<Record<Style, Appearance>>;

const NONE: Appearance = {};
const BOLD: Appearance = { bold: true };
const INVERSE: Appearance = { inverse: true };

const manyColours: Theme = {
  plain: NONE,
  dim: { foreground: 245 },
  faint: { foreground: 240 },
  strong: BOLD,
  good: { foreground: 71 },
  warn: { foreground: 179 },
  bad: { foreground: 203, bold: true },
  read: { foreground: 74 },
  write: { foreground: 173 },
  flush: { foreground: 140 },
  writeback: { foreground: 73 },
  dirty: { foreground: 179 },
  key: { foreground: 74, bold: true },
  log: { foreground: 140 },
  'data-low': { foreground: 66 },
  'data-half': { foreground: 72 },
  'data-high': { foreground: 71 },
  'key-tail': { foreground: 16, background: 109, bold: true },
  'dirty-tail': { foreground: 16, background: 179, bold: true },
  'key-head': { foreground: 16, background: 74, bold: true },
};

/** The colours that are readable on white and on black; grey is not everywhere, so dim text is plain. */
const fewColours: Theme = {
  plain: NONE,
  dim: NONE,
  faint: NONE,
  strong: BOLD,
  good: { foreground: 2 },
  warn: { foreground: 3 },
  bad: { foreground: 1, bold: true },
  read: { foreground: 6 },
  write: { foreground: 3 },
  flush: { foreground: 5 },
  writeback: { foreground: 6 },
  dirty: { foreground: 3 },
  key: { foreground: 6, bold: true },
  log: { foreground: 5 },
  'data-low': { foreground: 2 },
  'data-half': { foreground: 2 },
  'data-high': { foreground: 2, bold: true },
  'key-tail': { foreground: 0, background: 7 },
  'dirty-tail': { foreground: 0, background: 3 },
  'key-head': { foreground: 0, background: 6 },
};

const noColours: Theme = {
  plain: NONE,
  dim: NONE,
  faint: NONE,
  strong: BOLD,
  good: NONE,
  warn: BOLD,
  bad: INVERSE,
  read: NONE,
  write: NONE,
  flush: NONE,
  writeback: NONE,
  dirty: NONE,
  key: BOLD,
  log: NONE,
  'data-low': NONE,
  'data-half': NONE,
  'data-high': NONE,
  'key-tail': INVERSE,
  'dirty-tail': INVERSE,
  'key-head': INVERSE,
};

export function themeOf({ colours }: Pick<Terminal, 'colours'>): Theme {
  return colours === 256 ? manyColours : colours === 16 ? fewColours : noColours;
}
