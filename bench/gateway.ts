// This gateway as the benchmark runs it: through the built command line, with files in a workspace. Its control socket is asked about what it does
// behind its users' backs; the mount itself is touched by children only.

import { existsSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { ControlClient } from '../src/gateway/control-client.js';
import { mountOptionRows } from '../src/gateway/mount-options.js';
import { mountPointName } from '../src/gateway/mount-point-name.js';
import { runtimePaths } from '../src/gateway/runtime-files.js';
import type { StatusSnapshot } from '../src/gateway/status.js';
import { pause, run, within } from './command.js';
import { lacksFuseOverIoUring, turnOnFuseOverIoUring } from './io-uring-parameter.js';
import type { Workspace } from './workspace.js';

/** As users run it: as a bundle, if this build has them. */
export const PCACHE = ['../bundle/pcache.js', '../bin/pcache.js']
  .map((path) => fileURLToPath(new URL(path, import.meta.url)))
  .find((path, index, { length }) => index === length - 1 || existsSync(path))!;
const COMMAND_MS = 60_000;
const FLUSH_MS = 120_000;
const SETTLE_MS = 60_000;
/** Collecting goes on for a moment after the last byte was written back; it is over when nothing has changed for so long. */
const QUIET_MS = 100;
const POLL_MS = 25;

export type Transport = 'dev-fuse' | 'io-uring';

export interface GatewayOptions {
  readonly name: string;
  readonly cacheBytes: number;
  readonly volumeBytes: number;
  readonly cacheOn: 'memory' | 'disk';
  readonly dataCrc: boolean;
  readonly transport: Transport;
  /** Default: a sparse file of its own on disk. */
  readonly backing?: string;
}

/** Why a transport can't be used, by this build or on this machine; undefined if it can. */
export function lacksTransport(transport: Transport): string | undefined {
  const known = mountOptionRows.find(({ name }) => name === 'transport')?.value?.split('|') ?? [];
  if (!known.includes(transport)) return `this build has no transport ${transport}`;
  return transport === 'io-uring' ? lacksFuseOverIoUring() : undefined;
}

export class Gateway {
  readonly options: GatewayOptions;
  readonly cache: string;
  readonly backing: string;
  readonly volume: string;
  readonly #workspace: Workspace;
  readonly #mountpoint: string;
  #control: ControlClient | undefined;

  private constructor(workspace: Workspace, options: GatewayOptions) {
    this.options = options;
    this.#workspace = workspace;
    const folder = workspace.folder(options.name);
    this.cache = join(options.cacheOn === 'memory' ? workspace.memory : folder, `${options.name}.pmem`);
    this.backing = options.backing ?? join(folder, 'backing.img');
    this.#mountpoint = workspace.folder(`${options.name}.mnt`);
    this.volume = join(this.#mountpoint, 'volume.img');
    if (options.backing === undefined) {
      writeFileSync(this.backing, '');
      truncateSync(this.backing, options.volumeBytes);
    }
  }

  /** Makes the files and formats the cache. */
  static async create(workspace: Workspace, options: GatewayOptions): Promise<Gateway> {
    if (options.transport === 'io-uring') turnOnFuseOverIoUring(workspace);
    const gateway = new Gateway(workspace, options);
    await gateway.#pcache('format', gateway.cache, '--size', String(options.cacheBytes), ...(options.dataCrc ? ['--data-crc'] : []));
    return gateway;
  }

  /** Runs `pcache mount`, which returns when the volume is ready. */
  async mountOnly(): Promise<void> {
    await this.#pcache('mount', this.cache, this.backing, this.#mountpoint, '-o', `transport=${this.options.transport}`);
  }

  /** Mounts and connects. Rejects if the gateway fell back to another transport than the one that is to be measured. */
  async mount(): Promise<void> {
    await this.mountOnly();
    const { socket } = runtimePaths(mountPointName(this.#mountpoint), this.#workspace.runtimeDirectory);
    this.#control = await ControlClient.connect(socket);
    this.#workspace.atEnd(() => this.#control?.close());
    const transport: string = (await this.status()).transport;
    if (transport !== this.options.transport) throw new Error(`it fell back to the transport ${transport}`);
  }

  async status(): Promise<StatusSnapshot> {
    return (await this.#control!.request({ op: 'status' })) as StatusSnapshot;
  }

  /** Writes back what is dirty now. Rejects if that takes longer than two minutes, or with the gateway's own error. */
  async flush(): Promise<void> {
    const flushed = this.#control!.request({ op: 'flush' }, { timeoutMs: FLUSH_MS });
    await within(flushed, `${this.options.name} writes back`, FLUSH_MS, this.#workspace.signal);
  }

  /** While it is paused, nothing is written back but for a flush, or for a writer that waits for room. */
  async setWritebackPaused(isPaused: boolean): Promise<void> {
    await this.#control!.request({ op: 'message', writeback: isPaused ? 'pause' : 'resume' });
  }

  /** Waits until everything is written back and collected. Rejects if that takes longer than a minute. */
  async settle(): Promise<void> {
    await this.flush();
    const deadlineMs = performance.now() + SETTLE_MS;
    let lastUsed = -1;
    let quietSinceMs = performance.now();
    for (;;) {
      const { dirty_bytes: dirty, segs_used: used, key_tail: tail } = await this.status();
      const nowMs = performance.now();
      // A position is a place in the log; together with the segments in use it changes with all that the collector does.
      const state = used * 2 ** 32 + tail.seg * 2 ** 24 + tail.off;
      if (dirty > 0 || state !== lastUsed) quietSinceMs = nowMs;
      lastUsed = state;
      if (nowMs - quietSinceMs >= QUIET_MS) return;
      if (nowMs > deadlineMs) throw new Error(`${this.options.name}: still ${dirty} bytes dirty after ${SETTLE_MS / 1000} s of rest`);
      await pause(POLL_MS, this.#workspace.signal);
    }
  }

  async umount(): Promise<void> {
    this.#control?.close();
    await this.#pcache('umount', this.#mountpoint);
  }

  /** Removes its files; it must not be mounted. */
  remove(): void {
    for (const path of [this.cache, this.backing]) rmSync(path);
  }

  get pids(): number[] {
    return this.#workspace.processesOf(this.options.name);
  }

  async #pcache(...args: readonly string[]): Promise<string> {
    const { signal } = this.#workspace;
    return run(process.execPath, [PCACHE, ...args], { env: this.#workspace.env(this.options.name), timeoutMs: COMMAND_MS, signal });
  }
}
