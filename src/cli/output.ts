// Where a command's words go. Results go to stdout; errors, warnings and progress go to stderr. `--quiet` leaves only errors.
//
// Invariant: with `--json` every line of both is one JSON document: on stdout what a command found out, on stderr `{"error": {"code", "message", "hint"}}`,
// `{"warning": TEXT}` and `{"progress": WHAT, ...}`. Help and version are the exception: they are for people. A mount's log on stderr is JSON too. A reader who went away (`pcache status | head -1`) is no error.

import { errorBody } from '../gateway/control-protocol.js';
import { harmlessJson, oneLine } from '../gateway/one-line.js';

export interface OutputOptions {
  json: boolean;
  quiet: boolean;
}

export interface OutputStreams {
  readonly stdout: { write(text: string): unknown };
  readonly stderr: { write(text: string): unknown; readonly isTTY?: boolean };
}

export class Output {
  readonly #options: OutputOptions;
  readonly #streams: OutputStreams;

  /** `options` may change until the first word is said: they come from the command line that is still being parsed. */
  constructor(options: OutputOptions, streams: OutputStreams = process) {
    this.#options = options;
    this.#streams = streams;
  }

  get json(): boolean {
    return this.#options.json;
  }

  get quiet(): boolean {
    return this.#options.quiet;
  }

  /** Whether a progress bar has somebody to watch it. */
  get showsProgress(): boolean {
    return !this.quiet && this.#streams.stderr.isTTY === true;
  }

  /** A line for people, or several; a text is one line, whatever is in it. Not printed with `--quiet` or `--json`. */
  line(text: string | readonly string[]): void {
    if (this.quiet || this.json) return;
    const lines = typeof text === 'string' ? [text] : text;
    this.#streams.stdout.write(`${lines.map(oneLine).join('\n')}\n`);
  }

  /** One JSON document in one line; printed with `--json` only, `--quiet` or not: who asks for it wants it. */
  record(value: unknown): void {
    if (this.json) this.#streams.stdout.write(jsonLine(value));
  }

  /** How far something is, for programs: a line `pcache: progress: KEY=VALUE ...` on stderr, or JSON with `--json`; not printed with `--quiet`. */
  progress(fields: Readonly<Record<string, string | number | null>>): void {
    if (this.quiet) return;
    const text = Object.entries(fields)
      .map(([key, value]) => `${key}=${typeof value === 'string' ? JSON.stringify(value) : String(value)}`)
      .join(' ');
    this.#streams.stderr.write(this.json ? jsonLine(fields) : `pcache: progress: ${oneLine(text)}\n`);
  }

  /** What a command found out: `value` with `--json`, else the text, as for `line`. */
  result(value: unknown, text: () => string | readonly string[]): void {
    if (this.json) this.record(value);
    else this.line(text());
  }

  /** `pcache: WHAT: WHY`, and the hint if there is one; with `--json` both in one document, with the code that a program can decide by. */
  error(error: unknown): void {
    const { code, message, hint } = errorBody(error);
    if (this.json) {
      this.#streams.stderr.write(jsonLine({ error: { code, message, ...(hint === undefined ? {} : { hint }) } }));
      return;
    }
    this.#streams.stderr.write(`pcache: ${oneLine(message)}\n`);
    if (hint !== undefined) this.#streams.stderr.write(`hint: ${oneLine(hint)}\n`);
  }

  /** Something a user should know that fails nothing; not printed with `--quiet`. */
  warn(text: string): void {
    if (!this.quiet) this.#streams.stderr.write(this.json ? jsonLine({ warning: text }) : `pcache: warning: ${oneLine(text)}\n`);
  }
}

function jsonLine(value: unknown): string {
  return `${harmlessJson(JSON.stringify(value))}\n`;
}

/** Rows of cells as lines of aligned columns, two spaces apart; numbers of spaces at the ends of lines: none. A row is one line, whatever is in its cells. */
export function alignColumns(rows: readonly (readonly string[])[]): string[] {
  const widths: number[] = [];
  const shown = rows.map((row) => row.map(oneLine));
  for (const row of shown) row.forEach((cell, column) => (widths[column] = Math.max(widths[column] ?? 0, cell.length)));
  return shown.map((row) =>
    row
      .map((cell, column) => cell.padEnd(widths[column] ?? 0))
      .join('  ')
      .trimEnd(),
  );
}
