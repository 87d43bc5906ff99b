// A thread of null-transport-main.ts: takes requests as a queue worker of the gateway does (src/gateway/queue-worker.ts), for an image in memory instead of
// a cache.

import { parentPort, workerData } from 'node:worker_threads';
import { pinThreadToCpu } from '../src/device/libc.js';
import { PcacheError, messageOf } from '../src/errors.js';
import { serveQueue } from '../src/fuse/dev-fuse-transport.js';
import { serveRing } from '../src/fuse/io-uring-transport.js';
import { RequestSlots, type RequestSlotsHandle } from '../src/fuse/request-slots.js';
import type { RingStart } from '../src/gateway/queue-worker.js';
import { NullFiles, type NullImageMemory } from './null-files.js';

export interface NullWorkerStart {
  readonly fd: number;
  readonly eagerFd: number | undefined;
  readonly wakeFd: number | undefined;
  readonly ring: RingStart | undefined;
  readonly pollUs: number;
  readonly slots: RequestSlotsHandle;
  readonly stopWord: Int32Array<SharedArrayBuffer>;
  readonly memory: NullImageMemory;
}

/** The thread takes requests, or has registered its ring; a text is what went wrong with a request. */
export type NullWorkerMessage = 'ready' | { readonly error: string };

const tell = (message: NullWorkerMessage): void => parentPort!.postMessage(message);

const { fd, eagerFd, wakeFd, ring, pollUs, slots, stopWord, memory } = workerData as NullWorkerStart;
const options = {
  fd,
  eagerFd,
  pollUs,
  stopWord,
  slots: new RequestSlots(slots),
  fileSystem: new NullFiles(memory),
  onError: (operation: string, error: unknown) => tell({ error: `${operation}: ${messageOf(error)}` }),
};

if (ring === undefined) {
  tell('ready');
  serveQueue(wakeFd === undefined ? options : { ...options, wakeFd });
} else {
  const [cpu, ...others] = ring.queues;
  if (cpu !== undefined && others.length === 0) runOn(cpu);
  serveRing({ ...options, ring: ring.number, queues: ring.queues, depth: ring.depth, onRegistered: () => tell('ready') });
}

function runOn(cpu: number): void {
  try {
    pinThreadToCpu(cpu);
  } catch (error) {
    // Not one of the CPUs that this process was given.
    if (!(error instanceof PcacheError)) throw error;
  }
}
