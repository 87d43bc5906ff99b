// Mounts and serves a MemoryFileSystem through libfuse; started by libfuse-conformance.test.ts with an IPC channel. libfuse mounts by itself, so the
// test process has no part in it but to unmount.

import { Worker } from 'node:worker_threads';
import { messageOf } from '../../src/errors.js';
import { LIBFUSE_MAX_WRITE_BYTES } from '../../src/fuse/libfuse-bridge.js';
import { mountLibfuse } from '../../src/fuse/libfuse-transport.js';
import { createRequestSlots, RequestSlots } from '../../src/fuse/request-slots.js';
import { IntRing } from '../../src/shared/int-ring.js';
import { COUNT_PENDING, COUNT_WORDS, mapVolumeFile, MemoryFileSystem, type MemoryState } from './memory-file-system.js';
import type { MemoryWorkerData } from './memory-worker.js';

export interface LibfuseServerStart {
  readonly mountpoint: string;
  readonly volumeFile: string;
  readonly sizeBytes: number;
}
export type LibfuseServerMessage =
  | { readonly kind: 'ready' }
  | { readonly kind: 'failed'; readonly message: string }
  | { readonly kind: 'ended'; readonly errors: string[]; readonly pending: number };

async function serve({ mountpoint, volumeFile, sizeBytes }: LibfuseServerStart): Promise<void> {
  const tell = (message: LibfuseServerMessage): void => void process.send!(message);
  // Few, so that requests have to wait for a slot.
  const slots = createRequestSlots(LIBFUSE_MAX_WRITE_BYTES, 2);
  const counts = new Int32Array(new SharedArrayBuffer(COUNT_WORDS * 4));
  const pending = IntRing.create(64, 1).state;
  const state: MemoryState = { address: mapVolumeFile(volumeFile, sizeBytes), sizeBytes, kind: 'directory', pending, counts };
  const stopWord = new Int32Array(new SharedArrayBuffer(4));
  const workerData: MemoryWorkerData = { fd: undefined, slots, state, stopWord, swallow: false };
  new Worker(new URL('./memory-worker.js', import.meta.url), { workerData });
  const errors: string[] = [];
  try {
    const session = await mountLibfuse({
      mountpoint,
      fsName: 'memory, by libfuse',
      fileSystem: new MemoryFileSystem(state),
      slots: new RequestSlots(slots),
      onError: (operation, error) => errors.push(`${operation}: ${messageOf(error)}`),
    });
    tell({ kind: 'ready' });
    await session.ended;
    tell({ kind: 'ended', errors, pending: counts[COUNT_PENDING]! });
  } catch (error) {
    tell({ kind: 'failed', message: messageOf(error) });
  }
}

process.once('message', (start: LibfuseServerStart) => void serve(start));
