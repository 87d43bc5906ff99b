// What a terminal can show, found from the environment alone: no terminal is asked, and none is trusted to have a terminfo entry on this machine.

export interface Look {
  /** Braille, blocks and lines; otherwise ASCII only. */
  readonly unicode: boolean;
}

export interface Terminal extends Look {
  /** False: nothing can be drawn, only lines be printed. */
  readonly canDraw: boolean;
  readonly colours: 0 | 16 | 256;
  /** Of the two kinds of terminal that blessed knows by itself: everything of today understands xterm's orders; the console does its own. */
  readonly family: 'xterm-256color' | 'linux';
}

/** Their terminfo names lack the number, or are not known far from home. */
const MANY_COLOURS = /256color|kitty|alacritty|ghostty|foot|wezterm|contour|konsole|vte|iterm|direct/;
/** Monochrome by name or by birth. */
const NO_COLOURS = /^(?:vt\d|ansi-m|wyse|xterm-mono|hp|wy)|-m$|-mono$/;

/** `env` as a process has it: TERM, COLORTERM, NO_COLOR (no-color.org), and the locale. */
export function terminalOf(env: Readonly<Record<string, string | undefined>>): Terminal {
  const term = (env.TERM ?? '').toLowerCase();
  const family = term.startsWith('linux') ? 'linux' : 'xterm-256color';
  const locale = [env.LC_ALL, env.LC_CTYPE, env.LANG].find((value) => value !== undefined && value !== '') ?? '';
  return {
    canDraw: term !== '' && term !== 'dumb' && term !== 'unknown',
    family,
    colours: coloursOf(term, env),
    // The console's font has no braille.
    unicode: /utf-?8/i.test(locale) && family !== 'linux',
  };
}

function coloursOf(term: string, env: Readonly<Record<string, string | undefined>>): 0 | 16 | 256 {
  if ((env.NO_COLOR ?? '') !== '' || NO_COLOURS.test(term)) return 0;
  return MANY_COLOURS.test(term) || /truecolor|24bit/i.test(env.COLORTERM ?? '') ? 256 : 16;
}
