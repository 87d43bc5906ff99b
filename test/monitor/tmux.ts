// A terminal for tests: a tmux of its own, with a shell in it. Its server, socket and shell are gone when the test is over.

import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import type { ExecutionContext } from 'ava';
import { temporaryFolder } from '../support/tmp.js';

const WAIT_MS = 20_000;
const COMMAND_MS = 10_000;
const SOCKET = 'pcache-test';

export interface TmuxOptions {
  readonly columns: number;
  readonly rows: number;
}

/** What a program may leave changed. */
export interface TerminalState {
  readonly stty: string;
  /** Cursor shown, alternate screen, any kind of mouse reporting, keypad mode. */
  readonly flags: string;
}

export class Tmux {
  readonly folder: string;
  readonly #env: NodeJS.ProcessEnv;
  #isClosed = false;

  constructor(t: ExecutionContext, { columns, rows }: TmuxOptions) {
    this.folder = temporaryFolder(t);
    this.#env = { ...process.env, TMUX_TMPDIR: this.folder, TMUX: '', LC_ALL: 'C.UTF-8', ENV: '', PS1: '$ ' };
    t.teardown(() => this.close());
    this.#tmux('-f', '/dev/null', 'new-session', '-d', '-x', String(columns), '-y', String(rows), 'exec sh -i');
    this.#tmux('set', '-g', 'status', 'off');
  }

  /** Ends the terminal and what runs in it. May be called again. */
  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#tmux('kill-server');
  }

  /** Types keys, by tmux's names of them. */
  keys(...keys: string[]): void {
    this.#tmux('send-keys', ...keys);
  }

  /** What is on the screen; with the sequences for colours if asked for. */
  screen(withColours = false): string {
    return this.#tmux('capture-pane', '-p', ...(withColours ? ['-e'] : []));
  }

  resize(columns: number, rows: number): void {
    this.#tmux('resize-window', '-x', String(columns), '-y', String(rows));
  }

  /** Waits until the screen shows it. @returns the screen */
  async shows(pattern: RegExp): Promise<string> {
    const deadlineMs = performance.now() + WAIT_MS;
    for (;;) {
      const screen = this.screen();
      if (pattern.test(screen)) return screen;
      if (performance.now() > deadlineMs) throw new Error(`waited in vain for ${pattern} on the screen:\n${screen}`);
      await delay(50);
    }
  }

  /** Runs a command line in the shell; `ended` tells when it has ended. */
  run(commandLine: string): void {
    this.keys('-l', `${commandLine}; echo $? >'${this.folder}/status'; echo "ended: $(cat '${this.folder}/status')"`);
    this.keys('Enter');
  }

  /** The exit status of the command line. */
  async ended(): Promise<number> {
    await this.shows(/ended: \d+$/m);
    return Number(readFileSync(join(this.folder, 'status'), 'utf8'));
  }

  /** The shell must have the terminal. */
  async state(name: string): Promise<TerminalState> {
    const file = join(this.folder, name);
    this.keys('-l', `stty -a >'${file}.part'; mv '${file}.part' '${file}'; clear`);
    this.keys('Enter');
    const deadlineMs = performance.now() + WAIT_MS;
    while (!existsSync(file)) {
      if (performance.now() > deadlineMs) throw new Error('waited in vain for stty');
      await delay(20);
    }
    const flags = this.#tmux(
      'display-message',
      '-p',
      '#{cursor_flag} #{alternate_on} #{mouse_any_flag} #{keypad_flag} #{keypad_cursor_flag}',
    );
    // The size is the terminal's own.
    return { stty: readFileSync(file, 'utf8').replace(/rows \d+; columns \d+;/, ''), flags };
  }

  #tmux(...args: string[]): string {
    return execFileSync('tmux', ['-L', SOCKET, ...args], {
      env: this.#env,
      timeout: COMMAND_MS,
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'pipe'],
    });
  }
}
