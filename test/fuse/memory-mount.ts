// Mounts a MemoryFileSystem for a test, the way the gateway does it: this process mounts, negotiates and keeps the descriptors; a child serves
// them. Whoever calls must not touch the mount with blocking calls while no child serves it.

import { fork, type ChildProcess } from 'node:child_process';
import { closeSync, mkdtempSync, rmSync, writeFileSync, existsSync, mkdirSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { abortConnection, connectionNumber } from '../../src/fuse/connection.js';
import type { NegotiatedSession } from '../../src/fuse/init.js';
import { mountFuse, unmountFuse, type MountRequest } from '../../src/fuse/mount.js';
import { negotiate, queueDescriptors, workerDescriptors } from '../../src/fuse/session.js';
import { PcacheError } from '../../src/errors.js';
import type { MemoryServerMessage, MemoryServerStart } from './memory-server.js';

const ANSWER_MS = 20_000;

export interface MemoryMountOptions {
  readonly sizeBytes: number;
  readonly kind?: 'directory' | 'file';
  readonly queues?: number;
  readonly workersPerQueue?: number;
  readonly slotCount?: number;
  readonly swallow?: boolean;
  /** Whether there are descriptors that do not block, for answers that are sent together; default: yes, but not beside rings. */
  readonly isEager?: boolean;
  /** As QueueOptions. */
  readonly pollUs?: number;
  /** Serve through io_uring; the queues then get what stays on the descriptors. */
  readonly ioUring?: boolean;
  readonly mount?: Partial<MountRequest>;
  /** Close this process's copies of the clones once the server has them, as a wrong supervisor would. */
  readonly letGoOfClones?: boolean;
}

/** Why this machine can't mount FUSE; undefined if it can. */
export function whyNoFuse(): string | undefined {
  if (!existsSync('/dev/fuse')) return 'no /dev/fuse';
  const directory = mkdtempSync(join(tmpdir(), 'pcache-fuse-'));
  try {
    closeSync(mountFuse({ mountpoint: directory, kind: 'directory', fsName: 'probe' }));
    // Closing the last descriptor ended the session; only the mount point is left.
    unmountFuse(directory, { lazy: true });
    return undefined;
  } catch (error) {
    if (error instanceof PcacheError) return error.message;
    throw error;
  } finally {
    rmSync(directory, { recursive: true });
  }
}

export class MemoryMount {
  readonly directory: string;
  readonly mountpoint: string;
  readonly volumePath: string;
  readonly session: NegotiatedSession;
  readonly fds: number[];
  readonly eagerFds: number[];
  readonly errors: string[] = [];
  readonly #options: MemoryMountOptions;
  #server: ChildProcess | undefined;
  #ended: string[] = [];

  private constructor(options: MemoryMountOptions) {
    this.#options = options;
    const kind = options.kind ?? 'directory';
    this.directory = mkdtempSync(join(tmpdir(), 'pcache-fuse-'));
    this.mountpoint = join(this.directory, 'mnt');
    if (kind === 'file') writeFileSync(this.mountpoint, '');
    else mkdirSync(this.mountpoint);
    this.volumePath = kind === 'file' ? this.mountpoint : join(this.mountpoint, 'volume.img');
    try {
      const fd = mountFuse({ mountpoint: this.mountpoint, kind, fsName: 'memory', maxReadBytes: 1 << 20, ...options.mount });
      this.session = negotiate(fd, options.ioUring);
      const queues = options.queues ?? (this.session.overIoUring ? 1 : 2);
      const isEager = options.isEager ?? !this.session.overIoUring;
      const { fds, eagerFds } = isEager ? workerDescriptors(fd, queues) : { fds: queueDescriptors(fd, queues) };
      this.fds = [...fds];
      this.eagerFds = [...(eagerFds ?? [])];
    } catch (error) {
      rmSync(this.directory, { recursive: true, force: true });
      throw error;
    }
  }

  static async start(options: MemoryMountOptions): Promise<MemoryMount> {
    const mount = new MemoryMount(options);
    try {
      await mount.serve({});
    } catch (error) {
      await mount.stop();
      throw error;
    }
    if (options.letGoOfClones === true) for (const fd of [...mount.fds.splice(1), ...mount.eagerFds.splice(0)]) closeSync(fd);
    return mount;
  }

  /** Starts a server on the descriptors. */
  async serve({ resend = false, swallow = this.#options.swallow ?? false }: { resend?: boolean; swallow?: boolean }): Promise<void> {
    const server = fork(new URL('./memory-server.js', import.meta.url), {
      stdio: ['ignore', 'inherit', 'inherit', 'ipc', ...this.fds, ...this.eagerFds],
    });
    this.#server = server;
    server.on('message', (message: MemoryServerMessage) => {
      if (message.kind === 'error') this.errors.push(message.text);
      if (message.kind === 'ended') this.#ended = message.ends;
    });
    const ready = this.message('ready');
    const start: MemoryServerStart = {
      queues: this.fds.length,
      isEager: this.eagerFds.length > 0,
      workersPerQueue: this.#options.workersPerQueue ?? 1,
      mountpoint: this.mountpoint,
      volumeFile: join(this.directory, 'bytes'),
      sizeBytes: this.#options.sizeBytes,
      kind: this.#options.kind ?? 'directory',
      session: this.session,
      slotCount: this.#options.slotCount ?? 64,
      resend,
      swallow,
      pollUs: this.#options.pollUs ?? 0,
    };
    server.send(start);
    await ready;
  }

  /** The next message of a kind. */
  message<K extends MemoryServerMessage['kind']>(kind: K): Promise<Extract<MemoryServerMessage, { kind: K }>> {
    const server = this.#server!;
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => finish(() => reject(new Error(`memory server: no '${kind}' in ${ANSWER_MS} ms`))), ANSWER_MS);
      const onExit = (): void => finish(() => reject(new Error(`memory server: ended instead of '${kind}'`)));
      const onMessage = (message: MemoryServerMessage): void => {
        if (message.kind === kind) finish(() => resolve(message as Extract<MemoryServerMessage, { kind: K }>));
      };
      const finish = (settle: () => void): void => {
        clearTimeout(timer);
        server.off('message', onMessage).off('exit', onExit);
        settle();
      };
      server.on('message', onMessage).on('exit', onExit);
    });
  }

  order(order: 'counts' | 'stop'): void {
    this.#server!.send(order);
  }

  get serverPid(): number {
    return this.#server!.pid!;
  }

  /** Kills the server with -9 and waits until it is gone. */
  async kill(): Promise<void> {
    this.#server!.kill('SIGKILL');
    await this.serverExit();
  }

  /** Waits until the server is gone. */
  async serverExit(): Promise<void> {
    const server = this.#server;
    if (server === undefined || server.exitCode !== null || server.signalCode !== null) return;
    await new Promise<void>((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error('memory server: does not end')), ANSWER_MS);
      server.once('exit', () => {
        clearTimeout(timer);
        resolve();
      });
    });
  }

  /** Unmounts and takes everything away. @returns why each worker ended */
  async stop(): Promise<string[]> {
    const number = connectionNumber(this.mountpoint);
    try {
      if (number !== undefined && unmountFuse(this.mountpoint) === 'busy') {
        abortConnection(number);
        unmountFuse(this.mountpoint, { lazy: true });
      }
      for (const fd of [...this.fds.splice(0), ...this.eagerFds.splice(0)]) closeSync(fd);
      await this.serverExit();
    } finally {
      this.#server?.kill('SIGKILL');
      rmSync(this.directory, { recursive: true, force: true });
    }
    return this.#ended;
  }
}
