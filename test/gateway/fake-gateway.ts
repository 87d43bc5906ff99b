// A mount for tests: a real supervisor process over a fake engine, and the real command line to deal with it. Everything is in one temporary
// folder and is gone when the test is over.

import { fork, spawn, type ChildProcess } from 'node:child_process';
import { closeSync, existsSync, mkdirSync, openSync, readFileSync, readdirSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import type { ExecutionContext } from 'ava';
import { createCacheFile } from '../../src/device/mapped-cache-device.js';
import { connectionNumber } from '../../src/fuse/connection.js';
import { defaultMountOptions } from '../../src/gateway/mount-options.js';
import { startTicksOf } from '../../src/gateway/process-identity.js';
import type { MountMessage, MountOutcome, MountPlan } from '../../src/gateway/process-messages.js';
import { readEntry, runtimePaths, type RuntimeEntry, type RuntimePaths } from '../../src/gateway/runtime-files.js';
import { takeMountAway } from '../../src/gateway/take-mount-away.js';
import { CACHE_BYTES_MIN } from '../../src/media/layout.js';
import { temporaryFolder } from '../support/tmp.js';

export type FakeEngineMode = 'normal' | 'refuse' | 'die' | 'slow' | 'slow-flush' | 'stop-fails';
/** gc_percents that make a fake engine misbehave. */
export const DIES_UNCAUGHT_PERCENT = 13;
export const THREAD_FAILS_PERCENT = 14;
export const DIRTY_BYTES = 12_288;
export const VOLUME_BYTES = 4 * 1024 * 1024;

const WAIT_MS = 20_000;
export const pcacheMain = fileURLToPath(new URL('../../bin/pcache.js', import.meta.url));

export interface CommandResult {
  status: number | null;
  stdout: string;
  stderr: string;
}

export interface FakeGatewayOptions {
  mode?: FakeEngineMode;
  mountKind?: 'directory' | 'file';
  /** Asks for transport io-uring on a machine that can't have it for this reason. */
  whyNoRings?: string;
  /** A backing file that is there already. */
  backing?: string;
}

export class FakeGateway {
  readonly folder: string;
  readonly mountpoint: string;
  readonly volume: string;
  readonly backing: string;
  readonly paths: RuntimePaths;
  readonly plan: MountPlan;
  readonly supervisor: ChildProcess;
  readonly outcome: Promise<MountOutcome | undefined>;

  /** Starts; `outcome` says how it went, undefined if the supervisor ended without a word. */
  constructor(t: ExecutionContext, { mode = 'normal', mountKind = 'directory', whyNoRings, backing }: FakeGatewayOptions = {}) {
    this.folder = temporaryFolder(t);
    t.teardown(() => this.#takeAway());
    const runtimeDirectory = join(this.folder, 'run');
    this.mountpoint = join(this.folder, 'mnt');
    this.volume = mountKind === 'directory' ? join(this.mountpoint, 'volume.img') : this.mountpoint;
    this.backing = backing ?? join(this.folder, 'backing.img');
    const cachePath = join(this.folder, 'cache.pmem');
    createCacheFile(cachePath, CACHE_BYTES_MIN);
    if (backing === undefined) {
      writeFileSync(this.backing, '');
      truncateSync(this.backing, VOLUME_BYTES);
    }
    mkdirSync(runtimeDirectory, { mode: 0o700 });
    if (mountKind === 'directory') mkdirSync(this.mountpoint);
    else writeFileSync(this.mountpoint, '');
    this.paths = runtimePaths(this.mountpoint, runtimeDirectory);
    this.plan = {
      cachePath,
      backingPath: this.backing,
      mountpoint: this.mountpoint,
      mountKind,
      options: { ...defaultMountOptions(), workers: 2, transport: whyNoRings === undefined ? 'dev-fuse' : 'io-uring' },
      runtimeDirectory,
      logLevel: 'debug',
      logFormat: 'json',
    };
    const logFd = openSync(this.paths.log, 'a');
    this.supervisor = fork(new URL('./fake-supervisor-main.js', import.meta.url), [], {
      detached: true,
      serialization: 'advanced',
      stdio: ['ignore', logFd, logFd, 'ipc'],
      env: { ...process.env, PCACHE_FAKE_ENGINE: mode, PCACHE_FAKE_NO_RINGS: whyNoRings ?? '', PCACHE_RUNTIME_DIR: runtimeDirectory },
    });
    closeSync(logFd);
    this.outcome = new Promise((resolve) => {
      this.supervisor.once('message', (message) => resolve(message as MountOutcome));
      this.supervisor.once('exit', () => resolve(undefined));
    });
    this.supervisor.send({ type: 'mount', plan: this.plan } satisfies MountMessage);
  }

  /** Starts and waits until the volume can be read. */
  static async serving(t: ExecutionContext, options: FakeGatewayOptions = {}): Promise<FakeGateway> {
    const gateway = new FakeGateway(t, options);
    const outcome = await within(gateway.outcome, 'the mount is ready');
    if (outcome?.type !== 'ready') throw new Error(`not ready: ${JSON.stringify(outcome)}\n${gateway.log()}`);
    return gateway;
  }

  get entry(): RuntimeEntry | undefined {
    return readEntry(this.paths.entry);
  }

  get isMounted(): boolean {
    return connectionNumber(this.mountpoint) !== undefined;
  }

  /** Supervisor, engines and spare, whoever their parent is. */
  get processes(): number[] {
    const mark = `PCACHE_RUNTIME_DIR=${this.plan.runtimeDirectory}\0`;
    const pids = readdirSync('/proc').map(Number).filter(Number.isInteger);
    return pids.filter((pid) => startTicksOf(pid) !== undefined && environmentOf(pid).includes(mark));
  }

  /** What is left of the mount: runtime files (the log only if it was kept), mount and processes. Empty when all is gone. */
  leftovers(processes: readonly number[]): string[] {
    const alive = processes.filter((pid) => startTicksOf(pid) !== undefined).map((pid) => `process ${pid}`);
    return [...readdirSync(this.plan.runtimeDirectory), ...(this.isMounted ? ['mount'] : []), ...alive];
  }

  log(): string {
    return existsSync(this.paths.log) ? readFileSync(this.paths.log, 'utf8') : '';
  }

  /** Exit status of the supervisor, or the signal that killed it. */
  async exit(): Promise<number | string | null> {
    const { supervisor } = this;
    await waitFor(() => supervisor.exitCode !== null || supervisor.signalCode !== null, 'the supervisor ends');
    return supervisor.exitCode ?? supervisor.signalCode;
  }

  /** Waits until an engine other than `pid` serves. */
  async engineAfter(pid: number): Promise<number> {
    let now = pid;
    await waitFor(() => {
      now = this.entry?.engine_pid ?? pid;
      return now !== pid && now !== 0 && existsSync(this.paths.socket);
    }, 'another engine serves');
    return now;
  }

  /** Runs `pcache ARGUMENTS`. */
  pcache(...args: string[]): Promise<CommandResult> {
    return runPcache(args, { PCACHE_RUNTIME_DIR: this.plan.runtimeDirectory });
  }

  async #takeAway(): Promise<void> {
    const pids = [this.supervisor.pid ?? 0, this.entry?.engine_pid ?? 0].filter((pid) => pid > 0 && startTicksOf(pid) !== undefined);
    const connection = connectionNumber(this.mountpoint);
    if (connection !== undefined) takeMountAway(this.mountpoint, connection);
    for (const pid of pids) killIfAlive(pid);
    await waitFor(() => pids.every((pid) => startTicksOf(pid) === undefined), 'processes end');
  }
}

/** Runs the command line of this build; it is killed if it takes too long. */
export function runPcache(args: readonly string[], env: NodeJS.ProcessEnv = {}): Promise<CommandResult> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [pcacheMain, ...args], {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, ...env },
      timeout: WAIT_MS,
      killSignal: 'SIGKILL',
    });
    const result: CommandResult = { status: null, stdout: '', stderr: '' };
    child.stdout.on('data', (chunk: Buffer) => (result.stdout += chunk.toString()));
    child.stderr.on('data', (chunk: Buffer) => (result.stderr += chunk.toString()));
    child.on('error', reject);
    child.on('close', (status) => resolve({ ...result, status }));
  });
}

export async function waitFor(condition: () => boolean, what: string): Promise<void> {
  const deadlineMs = performance.now() + WAIT_MS;
  while (!condition()) {
    if (performance.now() > deadlineMs) throw new Error(`waited in vain: ${what}`);
    await delay(10);
  }
}

/** Rejects if the promise takes too long: nothing on a mount may hang a test. */
export async function within<T>(promise: Promise<T>, what: string): Promise<T> {
  const aborter = new AbortController();
  const late = delay(WAIT_MS, undefined, { signal: aborter.signal }).then(() => {
    throw new Error(`waited in vain: ${what}`);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    aborter.abort();
    late.catch(() => undefined);
  }
}

function environmentOf(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/environ`, 'latin1');
  } catch {
    // Ended meanwhile, or another user's.
    return '';
  }
}

function killIfAlive(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}
