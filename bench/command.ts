// Programs that the benchmark runs. Each is in a session of its own, so that Ctrl-C reaches the benchmark alone, which then ends them; each has a
// bound; and nothing waits for a process that does not die (it may hang in the kernel until its mount is taken away).

import { spawn, type ChildProcess } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';

/** Distributions keep what only administrators call out of every user's PATH. */
const SEARCH = [...(process.env.PATH ?? '').split(':'), '/usr/sbin', '/sbin'].filter((folder) => folder !== '');
const SAID_BYTES_MAX = 8 << 20;
const POLL_MS = 20;
/** Of what a program says when it fails: its end. */
const WORDS_MAX = 400;

export interface CommandOptions {
  readonly env?: NodeJS.ProcessEnv;
  readonly signal: AbortSignal;
}

/** Why something that needs these programs can't run; undefined if all are there. */
export function lacking(...programs: readonly string[]): string | undefined {
  const missing = programs.filter((program) => !SEARCH.some((folder) => existsSync(join(folder, program))));
  return missing.length === 0 ? undefined : `no ${missing.join(', ')} on this machine`;
}

/** A program that goes on until it is killed or ends. */
export class Daemon {
  readonly name: string;
  readonly #child: ChildProcess;
  readonly #ended: Promise<number | null>;
  #stdout = '';
  #stderr = '';
  #status: number | null | undefined;

  constructor(program: string, args: readonly string[], env: NodeJS.ProcessEnv = {}) {
    this.name = program.split('/').at(-1)!;
    this.#child = spawn(program, args, {
      stdio: ['ignore', 'pipe', 'pipe'],
      detached: true,
      env: { ...process.env, PATH: SEARCH.join(':'), LC_ALL: 'C', ...env },
    });
    this.#child.stdout!.on('data', (chunk: Buffer) => {
      if (this.#stdout.length < SAID_BYTES_MAX) this.#stdout += chunk.toString();
    });
    this.#child.stderr!.on('data', (chunk: Buffer) => {
      if (this.#stderr.length < SAID_BYTES_MAX) this.#stderr += chunk.toString();
    });
    this.#ended = new Promise((resolve, reject) => {
      this.#child.once('error', reject);
      this.#child.once('close', (status) => {
        this.#status = status;
        resolve(status);
      });
    });
    // Whoever awaits it hears of it.
    this.#ended.catch(() => undefined);
  }

  get stdout(): string {
    return this.#stdout;
  }

  /** What it says about itself, in one line. */
  get lastWords(): string {
    const words = (this.#stderr.trim() || this.#stdout.trim()).replaceAll(/\s*\n\s*/g, '; ').slice(-WORDS_MAX);
    return words === '' ? 'without a word' : words;
  }

  get hasEnded(): boolean {
    return this.#status !== undefined;
  }

  /** Its exit status, null if a signal ended it. Rejects, after killing it, if it takes longer than `timeoutMs` or the run is interrupted. */
  async ended(timeoutMs: number, signal: AbortSignal): Promise<number | null> {
    try {
      return await within(this.#ended, `${this.name} ends`, timeoutMs, signal);
    } catch (error) {
      this.kill();
      throw error;
    }
  }

  /** kill -9, to it and the children that are still in its session's group. Does not wait. */
  kill(): void {
    const { pid } = this.#child;
    if (pid === undefined || this.hasEnded) return;
    try {
      process.kill(-pid, 'SIGKILL');
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
    }
  }
}

/** Runs a program to its end. Rejects with what it said if its status is not 0, or if it takes longer than `timeoutMs`. @returns what it printed */
export async function run(
  program: string,
  args: readonly string[],
  { timeoutMs, signal, env }: CommandOptions & { readonly timeoutMs: number },
): Promise<string> {
  signal.throwIfAborted();
  const daemon = new Daemon(program, args, env);
  const status = await daemon.ended(timeoutMs, signal);
  if (status !== 0) throw new Error(`${daemon.name}: status ${status ?? 'killed'}: ${daemon.lastWords}`);
  return daemon.stdout;
}

/** Rejects if a promise takes too long, or when the run is interrupted. */
export async function within<T>(promise: Promise<T>, what: string, timeoutMs: number, signal: AbortSignal): Promise<T> {
  const done = new AbortController();
  const late = delay(timeoutMs, undefined, { signal: AbortSignal.any([done.signal, signal]) }).then(
    () => Promise.reject(new Error(`waited ${timeoutMs / 1000} s in vain: ${what}`)),
    () => (signal.aborted ? Promise.reject(new Error('interrupted')) : new Promise<never>(() => undefined)),
  );
  try {
    return await Promise.race([promise, late]);
  } finally {
    done.abort();
  }
}

export async function waitUntil(condition: () => boolean, what: string, timeoutMs: number, signal: AbortSignal): Promise<void> {
  const deadlineMs = performance.now() + timeoutMs;
  while (!condition()) {
    if (performance.now() > deadlineMs) throw new Error(`waited ${timeoutMs / 1000} s in vain: ${what}`);
    await pause(POLL_MS, signal);
  }
}

/** Rejects when the run is interrupted. */
export async function pause(ms: number, signal: AbortSignal): Promise<void> {
  try {
    await delay(ms, undefined, { signal });
  } catch (error) {
    throw signal.aborted ? new Error('interrupted', { cause: error }) : error;
  }
}
