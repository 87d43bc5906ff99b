// A file on a FUSE mount of its own whose calls go wrong as told, for a gateway to use as its backing or cache device. The gateway's calls on it
// are system calls of another process, so nothing of the product is replaced. This process mounts and never touches the file; a child serves it.
//
// Whoever hangs on the file is let go by `set({ hangs: 0 })`, and by `stop` at the latest, which aborts the connection.

import { fork, type ChildProcess } from 'node:child_process';
import { closeSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ExecutionContext } from 'ava';
import { connectionNumber } from '../../src/fuse/connection.js';
import { mountFuse } from '../../src/fuse/mount.js';
import { negotiate, queueDescriptors } from '../../src/fuse/session.js';
import { takeMountAway } from '../../src/gateway/take-mount-away.js';
import { NO_FAULTS, type FaultCounts, type Faults } from './fault-file-system.js';
import type { FaultOrder, FaultServerMessage, FaultServerStart } from './fault-server.js';
import { RUN_PREFIX } from './mounted.js';
import { within } from './mounted-commands.js';

const QUEUES = 2;
/** More than a gateway has threads that use a device, so that what hangs is the device and not this server. */
const WORKERS = 12;

export interface FaultMountOptions {
  readonly sizeBytes: number;
  /** Through the kernel's page cache, so that the file can be mapped. Default: past it. */
  readonly isCached?: boolean;
}

export class FaultMount {
  /** The file. */
  readonly file: string;
  /** What is in it, without the mount. */
  readonly bytesFile: string;
  readonly #folder: string;
  readonly #fds: number[];
  readonly #server: ChildProcess;
  readonly #exited: Promise<void>;

  private constructor(options: FaultMountOptions) {
    this.#folder = mkdtempSync(join(tmpdir(), `${RUN_PREFIX}fault-`));
    this.file = join(this.#folder, 'device');
    this.bytesFile = join(this.#folder, 'bytes');
    writeFileSync(this.file, '');
    const fd = mountFuse({ mountpoint: this.file, kind: 'file', fsName: 'faults', maxReadBytes: 1 << 20 });
    const { maxWriteBytes } = negotiate(fd);
    this.#fds = queueDescriptors(fd, QUEUES);
    this.#server = fork(new URL('./fault-server.js', import.meta.url), { stdio: ['ignore', 'inherit', 'inherit', 'ipc', ...this.#fds] });
    this.#exited = new Promise((resolve) => this.#server.once('exit', () => resolve()));
    const start: FaultServerStart = {
      queues: this.#fds.length,
      workers: WORKERS,
      maxWriteBytes,
      bytesFile: this.bytesFile,
      sizeBytes: options.sizeBytes,
      isCached: options.isCached ?? false,
    };
    this.#server.send(start);
  }

  /** For the duration of a test. Call before a gateway is made that uses it, so that the gateway goes first. */
  static async start(t: ExecutionContext, options: FaultMountOptions): Promise<FaultMount> {
    const mount = new FaultMount(options);
    t.teardown(() => mount.stop());
    await mount.#message('ready');
    return mount;
  }

  /** Changes some faults. @returns what was counted until then */
  async set(faults: Partial<Faults>): Promise<FaultCounts> {
    const done = this.#message('done');
    this.#server.send({ faults } satisfies FaultOrder);
    return (await done).counts;
  }

  counts(): Promise<FaultCounts> {
    return this.set({});
  }

  /** Lets go what hangs, and no call goes wrong any more. */
  async heal(): Promise<void> {
    await this.set(NO_FAULTS);
  }

  /** Takes everything away, in whatever state it is. */
  async stop(): Promise<void> {
    const connection = connectionNumber(this.file);
    if (connection !== undefined) takeMountAway(this.file, connection);
    for (const fd of this.#fds.splice(0)) closeSync(fd);
    this.#server.kill('SIGKILL');
    await within(this.#exited, 'the fault server ends');
    rmSync(this.#folder, { recursive: true, force: true });
  }

  #message<K extends FaultServerMessage['kind']>(kind: K): Promise<Extract<FaultServerMessage, { kind: K }>> {
    const message = new Promise<Extract<FaultServerMessage, { kind: K }>>((resolve, reject) => {
      const onExit = (): void => reject(new Error('the fault server ended'));
      this.#server.once('exit', onExit);
      this.#server.once('message', (got: FaultServerMessage) => {
        this.#server.off('exit', onExit);
        resolve(got as Extract<FaultServerMessage, { kind: K }>);
      });
    });
    return within(message, `the fault server says ${kind}`);
  }
}
