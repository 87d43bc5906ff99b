// Where a part of a run keeps its files, and the end of everything that it started. Every process of it carries a mark in its environment; every mount and
// every loop device is on a path below its folders. So whatever state a run is in, `dispose` finds all that there is of it.

import { accessSync, constants, mkdirSync, mkdtempSync, realpathSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { detachLoop, listLoops } from '../src/device/loop-device.js';
import { messageOf } from '../src/errors.js';
import { abortConnection } from '../src/fuse/connection.js';
import { readMounts } from '../src/fuse/mountinfo.js';
import { takeMountAway } from '../src/gateway/take-mount-away.js';
import { isAlive, killNow, processesWith } from './processes.js';

const MEMORY = '/dev/shm';
const PREFIX = 'pcache-bench-';
const MARK = 'PCACHE_BENCH';
const DEATH_MS = 15_000;

/** Why nothing can be kept in memory; undefined if it can. */
export function noMemoryFolder(): string | undefined {
  try {
    accessSync(MEMORY, constants.W_OK);
    return undefined;
  } catch {
    return `no writable ${MEMORY}`;
  }
}

export class Workspace {
  /** In the system's folder for temporary files (TMPDIR). */
  readonly disk: string;
  /** On tmpfs. */
  readonly memory: string;
  readonly runtimeDirectory: string;
  readonly signal: AbortSignal;
  readonly #mark: string;
  readonly #undo: (() => void)[] = [];

  /** Needs a writable /dev/shm. */
  constructor(signal: AbortSignal) {
    this.signal = signal;
    this.disk = realpathSync(mkdtempSync(join(tmpdir(), PREFIX)));
    this.memory = mkdtempSync(join(MEMORY, PREFIX));
    this.runtimeDirectory = join(this.disk, 'run');
    mkdirSync(this.runtimeDirectory, { mode: 0o700 });
    this.#mark = `${MARK}=${this.disk}:`;
  }

  /** The environment of a process of `who`. */
  env(who: string): NodeJS.ProcessEnv {
    return { [MARK]: `${this.disk}:${who};`, PCACHE_RUNTIME_DIR: this.runtimeDirectory };
  }

  /** Living processes of `who`. */
  processesOf(who: string): number[] {
    return processesWith(`${this.#mark}${who};`);
  }

  /** An empty folder on disk. */
  folder(name: string): string {
    const path = join(this.disk, name);
    mkdirSync(path);
    return path;
  }

  /** Registers what `dispose` does at the end, last registered first. */
  atEnd(undo: () => void): void {
    this.#undo.push(undo);
  }

  /** Takes everything away. @returns what could not be, a line each */
  async dispose(): Promise<string[]> {
    const problems: string[] = [];
    const attempt = (what: string, step: () => void): void => {
      try {
        step();
      } catch (error) {
        problems.push(`${what}: ${messageOf(error)}`);
      }
    };
    // A dying process loses its environment, and with it the mark, before it closes its files: so who is there is noted now.
    const pids = new Set(processesWith(this.#mark));
    // Once a mount is taken away the kernel no longer tells which loop device is over it. One whose gateway gives no answer is ended first.
    const loops = listLoops().filter(({ backingFile }) => backingFile.startsWith(this.disk) || backingFile.startsWith(this.memory));
    for (const mount of loops.length === 0 ? [] : readMounts()) {
      const isOurs = mount.mountpoint.startsWith(this.disk) && mount.type.startsWith('fuse');
      if (isOurs) attempt(mount.mountpoint, () => abortConnection(mount.deviceMinor));
    }
    for (const loop of loops) attempt(loop.device, () => void detachLoop(loop));
    for (const mount of readMounts().reverse()) {
      if (mount.mountpoint.startsWith(this.disk)) attempt(mount.mountpoint, () => takeMountAway(mount.mountpoint, mount.deviceMinor));
    }
    for (const pid of processesWith(this.#mark)) pids.add(pid);
    for (const pid of pids) attempt(`process ${pid}`, () => killNow(pid));
    const deadlineMs = performance.now() + DEATH_MS;
    while ([...pids].some(isAlive) && performance.now() < deadlineMs) await delay(20);
    for (const pid of pids) if (isAlive(pid)) problems.push(`process ${pid}: does not die`);
    for (const undo of this.#undo.reverse()) attempt('undo', undo);
    for (const folder of [this.memory, this.disk]) attempt(folder, () => rmSync(folder, { recursive: true, force: true }));
    return problems;
  }
}
