// The volume of a demo: mounted through the command line like a user's, or, where there is no FUSE, opened by a child process through the
// public API. Both can be killed.

import { execFile, fork } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { open } from 'node:fs/promises';
import type { FileHandle } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';
import { promisify } from 'node:util';
import { PcacheError } from '../errors.js';
import type { DirectAnswer, DirectRequest } from './demo-direct-process.js';

/** Nothing a demo does takes this long. */
const COMMAND_TIMEOUT_MS = 60_000;
const GONE_TIMEOUT_MS = 10_000;

export interface DemoPaths {
  readonly cache: string;
  readonly backing: string;
  readonly mountpoint: string;
}

export interface DemoVolume {
  /** How it is served, for people. */
  readonly description: string;
  start(): Promise<void>;
  write(offsetBytes: number, bytes: Uint8Array): Promise<void>;
  read(offsetBytes: number, lengthBytes: number): Promise<Uint8Array>;
  flush(): Promise<void>;
  /** kill -9 of the process that has the cache in its hands, while its users go on; false if they would notice. */
  killEngine(): Promise<boolean>;
  /** kill -9 of everything. What was in flight fails. */
  killAll(): Promise<void>;
  /** Everything dirty is written back. `onProgress` hears now and then how many bytes are left. */
  writeBack(onProgress: (bytesLeft: number) => void): Promise<void>;
  /** Everything dirty is written back and the volume ended in order. */
  stop(): Promise<void>;
  /** Ends whatever is left, however it can. */
  abandon(): Promise<void>;
}

interface MountFacts {
  readonly volume: string;
  readonly supervisor_pid: number;
  readonly engine_pid: number;
}

export class MountedDemoVolume implements DemoVolume {
  readonly description = 'mounted through FUSE';
  readonly #pcache: string;
  readonly #paths: DemoPaths;
  #facts: MountFacts | undefined;
  #file: FileHandle | undefined;

  /** `pcache` is the script of the command line. */
  constructor(pcache: string, paths: DemoPaths) {
    this.#pcache = pcache;
    this.#paths = paths;
  }

  async start(): Promise<void> {
    const { cache, backing, mountpoint } = this.#paths;
    this.#facts = JSON.parse(await this.#run('mount', cache, backing, mountpoint, '--json')) as MountFacts;
    this.#file = await open(this.#facts.volume, 'r+');
  }

  async write(offsetBytes: number, bytes: Uint8Array): Promise<void> {
    const { bytesWritten } = await this.#file!.write(bytes, 0, bytes.length, offsetBytes);
    if (bytesWritten !== bytes.length) throw new PcacheError('io', `demo: a write of ${bytes.length} bytes wrote ${bytesWritten}`);
  }

  async read(offsetBytes: number, lengthBytes: number): Promise<Uint8Array> {
    const { buffer, bytesRead } = await this.#file!.read(Buffer.alloc(lengthBytes), 0, lengthBytes, offsetBytes);
    if (bytesRead !== lengthBytes) throw new PcacheError('io', `demo: a read of ${lengthBytes} bytes read ${bytesRead}`);
    return buffer;
  }

  async flush(): Promise<void> {
    await this.#file!.sync();
  }

  async killEngine(): Promise<boolean> {
    const status = JSON.parse(await this.#run('status', this.#paths.mountpoint, '--json')) as MountFacts;
    process.kill(status.engine_pid, 'SIGKILL');
    return true;
  }

  async killAll(): Promise<void> {
    const status = JSON.parse(await this.#run('status', this.#paths.mountpoint, '--json')) as MountFacts;
    // The supervisor first: it would start another engine.
    process.kill(status.supervisor_pid, 'SIGKILL');
    process.kill(status.engine_pid, 'SIGKILL');
    await gone(status.supervisor_pid);
    await gone(status.engine_pid);
    await this.#close();
    await this.#run('umount', this.#paths.mountpoint);
    this.#facts = undefined;
  }

  async writeBack(onProgress: (bytesLeft: number) => void): Promise<void> {
    let isDone = false;
    const flushed = this.#run('flush', this.#paths.mountpoint).finally(() => (isDone = true));
    const watched = (async () => {
      while (!isDone) {
        const status = JSON.parse(await this.#run('status', this.#paths.mountpoint, '--json')) as { dirty_bytes: number };
        onProgress(status.dirty_bytes);
      }
    })();
    await Promise.all([flushed, watched]);
    onProgress(0);
  }

  async stop(): Promise<void> {
    await this.#close();
    await this.#run('umount', this.#paths.mountpoint, '--flush');
    this.#facts = undefined;
  }

  async abandon(): Promise<void> {
    if (this.#facts === undefined) return;
    await this.#close();
    await this.#run('umount', this.#paths.mountpoint);
  }

  async #close(): Promise<void> {
    const file = this.#file;
    this.#file = undefined;
    await file?.close();
  }

  async #run(...args: string[]): Promise<string> {
    const { stdout } = await promisify(execFile)(process.execPath, [this.#pcache, ...args], { timeout: COMMAND_TIMEOUT_MS });
    return stdout;
  }
}

async function gone(pid: number): Promise<void> {
  const deadlineMs = performance.now() + GONE_TIMEOUT_MS;
  while (isAlive(pid)) {
    if (performance.now() > deadlineMs) throw new PcacheError('internal', `demo: process ${pid} is still there after kill -9`);
    await delay(10);
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ESRCH') return false;
    throw error;
  }
}

export class DirectDemoVolume implements DemoVolume {
  readonly description = 'opened by a process of its own, without FUSE';
  readonly #paths: DemoPaths;
  #child: ChildProcess | undefined;
  #nextId = 1;
  readonly #waiting = new Map<number, { resolve: (answer: DirectAnswer) => void; reject: (error: Error) => void }>();

  constructor(paths: DemoPaths) {
    this.#paths = paths;
  }

  async start(): Promise<void> {
    const child = fork(new URL('./demo-direct-process.js', import.meta.url), [], {
      serialization: 'advanced',
      stdio: ['ignore', 2, 2, 'ipc'],
    });
    this.#child = child;
    child.on('message', (answer: DirectAnswer) => {
      this.#waiting.get(answer.id)?.resolve(answer);
      this.#waiting.delete(answer.id);
    });
    child.once('exit', () => {
      for (const { reject } of this.#waiting.values()) reject(new PcacheError('closed', 'demo: the process is gone'));
      this.#waiting.clear();
    });
    await this.#ask({ op: 'open', cachePath: this.#paths.cache, backingPath: this.#paths.backing });
  }

  async write(offsetBytes: number, bytes: Uint8Array): Promise<void> {
    await this.#ask({ op: 'write', offsetBytes, bytes });
  }

  async read(offsetBytes: number, lengthBytes: number): Promise<Uint8Array> {
    return (await this.#ask({ op: 'read', offsetBytes, lengthBytes })).bytes!;
  }

  async flush(): Promise<void> {
    await this.#ask({ op: 'flush' });
  }

  killEngine(): Promise<boolean> {
    return Promise.resolve(false);
  }

  async killAll(): Promise<void> {
    const child = this.#child!;
    const exited = new Promise((resolve) => child.once('exit', resolve));
    child.kill('SIGKILL');
    await exited;
    this.#child = undefined;
  }

  async writeBack(onProgress: (bytesLeft: number) => void): Promise<void> {
    await this.#ask({ op: 'write-back' });
    onProgress(0);
  }

  async stop(): Promise<void> {
    await this.#ask({ op: 'write-back' });
    const exited = new Promise((resolve) => this.#child!.once('exit', resolve));
    await this.#ask({ op: 'close' });
    await exited;
    this.#child = undefined;
  }

  async abandon(): Promise<void> {
    if (this.#child !== undefined) await this.killAll();
  }

  async #ask(request: DistributiveOmit<DirectRequest, 'id'>): Promise<DirectAnswer> {
    const id = this.#nextId++;
    const answer = await new Promise<DirectAnswer>((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject });
      this.#child!.send({ ...request, id });
    });
    if (answer.error !== undefined) throw new PcacheError('io', `demo: ${answer.error}`);
    return answer;
  }
}

type DistributiveOmit<T, K extends keyof T> = T extends unknown ? Omit<T, K> : never;
