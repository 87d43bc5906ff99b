// The terminal, through blessed: lines onto the screen, keys and sizes from it. The only file that imports blessed, and all of it that is used is
// the screen's buffer of cells, which blessed compares with what is shown, and sends the difference; and its decoding of keys.
//
// Around blessed 0.1.81:
// - It can't read terminfo entries of today (it prints its own mistakes about tmux-256color, and knows no xterm-kitty), so it gets none of this
//   machine: a path that can't exist makes it take the entry of that name that it brings along.
// - It would replace lines and blocks by the alternate character set or '?' where terminfo does not speak of UTF-8; both are switched off, since
//   the views use Unicode only where the locale has it.
// - Its handlers of signals and of uncaught exceptions end the process; they leave that to others if there are any, so whoever opens a screen
//   must have handlers of SIGINT, SIGTERM, SIGQUIT and uncaughtException.
// - Its own way to suspend stops the process before its last words have left it; so a screen is closed instead, and a new one opened.

import blessed from 'blessed';
import type { Terminal } from './look.js';
import type { Line, Size, Style } from './text.js';
import { themeOf, type Appearance } from './theme.js';

/** What the types of blessed leave out. */
interface BlessedInternals {
  readonly lines: BlessedLine[];
  readonly tput: { brokenACS: boolean; unicode: boolean };
}
type BlessedLine = [attributes: number, character: string][] & { dirty: boolean };

export interface ScreenUser {
  /** `key` is a character, or blessed's name of a key: 'enter', 'escape', 'tab', 'backspace', 'C-c'. */
  readonly onKey: (key: string) => void;
  readonly onResize: () => void;
  /** The terminal is gone. */
  readonly onGone: () => void;
}

const DEFAULT_COLOUR = 0x1ff;
const BOLD = 1;
const INVERSE = 8;
/** While somebody drags the window's edge. */
const RESIZE_PAUSE_MS = 50;

export class Screen {
  readonly #screen: blessed.Widgets.Screen;
  readonly #internals: BlessedInternals;
  readonly #attributes: ReadonlyMap<Style, number>;
  readonly #onGone: () => void;
  #isClosed = false;

  /** Takes the terminal: alternate screen, raw mode, no cursor. `close` gives it back as it was. */
  constructor(terminal: Terminal, user: ScreenUser) {
    this.#screen = blessed.screen({
      terminal: `/dev/null/${terminal.family}`,
      forceUnicode: terminal.unicode,
      resizeTimeout: RESIZE_PAUSE_MS,
      autoPadding: false,
    });
    this.#internals = this.#screen as unknown as BlessedInternals;
    this.#internals.tput.brokenACS = true;
    const theme = themeOf(terminal);
    this.#attributes = new Map(Object.entries(theme).map(([style, look]) => [style as Style, attributesOf(look)]));
    this.#screen.on('keypress', (character: string | undefined, key: { full?: string; name?: string }) => {
      // Enter comes twice: as what it is, and as what most call it.
      if (key.name !== 'return') user.onKey(isPrintable(character) ? character : (key.full ?? ''));
    });
    this.#screen.on('resize', user.onResize);
    this.#onGone = user.onGone;
    for (const stream of [process.stdin, process.stdout]) stream.on('error', this.#onGone);
    if (process.stdin.isTTY) process.stdin.on('end', this.#onGone);
  }

  get size(): Size {
    return { columns: Number(this.#screen.width), rows: Number(this.#screen.height) };
  }

  /** Shows lines; what is not covered by them becomes empty. */
  draw(lines: readonly Line[]): void {
    if (this.#isClosed) return;
    for (const [row, cells] of this.#internals.lines.entries()) this.#drawLine(cells, lines[row] ?? []);
    this.#screen.draw(0, this.#internals.lines.length - 1);
  }

  /** Draws everything again the next time: something else has written to the terminal. */
  forget(): void {
    this.#screen.realloc();
  }

  /** Gives the terminal back as it was. May be called again. */
  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    process.stdin.off('end', this.#onGone);
    // Errors may come late, when the terminal is gone: they must find somebody. So these listeners stay, one pair for each screen.
    this.#screen.destroy();
  }

  #drawLine(cells: BlessedLine, line: Line): void {
    let column = 0;
    for (const { text, style } of line) {
      const attributes = this.#attributes.get(style)!;
      for (let at = 0; at < text.length && column < cells.length; at++, column++) setCell(cells, column, attributes, text[at]!);
    }
    const plain = this.#attributes.get('plain')!;
    for (; column < cells.length; column++) setCell(cells, column, plain, ' ');
  }
}

function setCell(cells: BlessedLine, column: number, attributes: number, character: string): void {
  const cell = cells[column]!;
  if (cell[0] === attributes && cell[1] === character) return;
  cell[0] = attributes;
  cell[1] = character;
  cells.dirty = true;
}

function attributesOf({ foreground, background, bold, inverse }: Appearance): number {
  const flags = (bold === true ? BOLD : 0) | (inverse === true ? INVERSE : 0);
  return (flags << 18) | ((foreground ?? DEFAULT_COLOUR) << 9) | (background ?? DEFAULT_COLOUR);
}

function isPrintable(character: string | undefined): character is string {
  return character !== undefined && /^[!-~]$/.test(character);
}
