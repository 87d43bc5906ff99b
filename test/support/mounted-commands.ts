// Programs that tests of a mount run. A call on a mount may hang, and must not take the test process with it: so whatever touches one is
// a child, and every child has a bound.

import { spawn, type ChildProcess } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';

const COMMAND_MS = 30_000;
/** Where distributions keep what only administrators call; not in every user's PATH. */
const SEARCH = [...(process.env.PATH ?? '').split(':'), '/usr/sbin', '/sbin'].filter((folder) => folder !== '');

export interface CommandResult {
  /** Null if a signal ended it. */
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface CommandOptions {
  readonly env?: NodeJS.ProcessEnv;
  readonly timeoutMs?: number;
}

/** Why tests that need these programs can't run; undefined if all are there. */
export function lacking(...programs: readonly string[]): string | undefined {
  const missing = programs.filter((program) => !SEARCH.some((folder) => existsSync(join(folder, program))));
  return missing.length === 0 ? undefined : `no ${missing.join(', ')} on this machine`;
}

/** A program that goes on while the test does something else. Killed by `end`, which every user of this class must see to. */
export class Job {
  readonly child: ChildProcess;
  readonly result: Promise<CommandResult>;
  #stdout = '';
  #stderr = '';
  #ended = false;

  constructor(program: string, args: readonly string[], { env = {} }: Pick<CommandOptions, 'env'> = {}) {
    this.child = spawn(program, args, {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, PATH: SEARCH.join(':'), LC_ALL: 'C', ...env },
    });
    this.child.stdout?.on('data', (chunk: Buffer) => (this.#stdout += chunk.toString()));
    this.child.stderr?.on('data', (chunk: Buffer) => (this.#stderr += chunk.toString()));
    this.result = new Promise((resolve, reject) => {
      this.child.once('error', reject);
      this.child.once('close', (status) => {
        this.#ended = true;
        resolve({ status, stdout: this.#stdout, stderr: this.#stderr });
      });
    });
    // Whoever awaits it hears of it.
    this.result.catch(() => undefined);
  }

  get ended(): boolean {
    return this.#ended;
  }

  get stdout(): string {
    return this.#stdout;
  }

  /** Its result; rejects, and kills it, if it takes too long. */
  async finished(timeoutMs = COMMAND_MS): Promise<CommandResult> {
    try {
      return await within(this.result, `${this.child.spawnfile} ends`, timeoutMs);
    } catch (error) {
      this.child.kill('SIGKILL');
      throw error;
    }
  }

  /** Kills it if it still runs, and waits until it is gone. */
  async end(): Promise<void> {
    if (this.#ended) return;
    this.child.kill('SIGKILL');
    await within(this.result, `${this.child.spawnfile} dies`);
  }
}

/** Runs a program to its end; rejects if that takes longer than `timeoutMs` (default 30 s). */
export function run(program: string, args: readonly string[], options: CommandOptions = {}): Promise<CommandResult> {
  return new Job(program, args, options).finished(options.timeoutMs);
}

/** As `run`; rejects with what the program said if its status is not 0. @returns its output, trimmed */
export async function runOk(program: string, args: readonly string[], options: CommandOptions = {}): Promise<string> {
  const { status, stdout, stderr } = await run(program, args, options);
  if (status !== 0) throw new Error(`${program} ${args.join(' ')}: status ${status ?? 'killed'}: ${stderr.trim() || stdout.trim()}`);
  return stdout.trim();
}

/** BLAKE2b-512 of a file's content (b2sum is more than twice as fast as sha256sum), read by a child, with O_DIRECT if `direct`: past the page cache. */
export async function digestOf(path: string, { direct = false }: { direct?: boolean } = {}): Promise<string> {
  const script = `dd if="$0" bs=1M status=none ${direct ? 'iflag=direct' : ''} | b2sum`;
  return (await runOk('sh', ['-c', script, path], { timeoutMs: 60_000 })).split(' ')[0]!;
}

export async function waitUntil(condition: () => boolean | Promise<boolean>, what: string, timeoutMs = COMMAND_MS): Promise<void> {
  const deadlineMs = performance.now() + timeoutMs;
  while (!(await condition())) {
    if (performance.now() > deadlineMs) throw new Error(`waited in vain: ${what}`);
    await delay(20);
  }
}

/** Rejects if a promise takes too long. */
export async function within<T>(promise: Promise<T>, what: string, timeoutMs = COMMAND_MS): Promise<T> {
  const aborter = new AbortController();
  const late = delay(timeoutMs, undefined, { signal: aborter.signal }).then(
    () => {
      throw new Error(`waited in vain: ${what}`);
    },
    () => new Promise<never>(() => undefined),
  );
  try {
    return await Promise.race([promise, late]);
  } finally {
    aborter.abort();
  }
}
