// The engine process of the tests: serves a MemoryFileSystem on descriptors inherited from the test process, which mounted. Started by
// memory-mount.ts with an IPC channel on descriptor 3 and the queues' descriptors from 4 on.

import { Worker } from 'node:worker_threads';
import { createWakeEvent } from '../../src/device/wake-event.js';
import { stopQueues } from '../../src/fuse/dev-fuse-transport.js';
import type { NegotiatedSession } from '../../src/fuse/init.js';
import { ringQueueCount, wakeRings } from '../../src/fuse/io-uring-transport.js';
import { createRequestSlots } from '../../src/fuse/request-slots.js';
import { requestResend, setNonBlocking } from '../../src/fuse/session.js';
import { IntRing } from '../../src/shared/int-ring.js';
import { COUNT_WORDS, mapVolumeFile, type MemoryState } from './memory-file-system.js';
import type { MemoryWorkerData } from './memory-worker.js';

export interface MemoryServerStart {
  readonly queues: number;
  /** The queues' descriptors are followed by as many that do not block. */
  readonly isEager: boolean;
  /** Workers for each queue's descriptor. */
  readonly workersPerQueue: number;
  readonly mountpoint: string;
  readonly volumeFile: string;
  readonly sizeBytes: number;
  readonly kind: 'directory' | 'file';
  readonly session: NegotiatedSession;
  readonly slotCount: number;
  readonly resend: boolean;
  readonly swallow: boolean;
  readonly pollUs: number;
}

export type MemoryServerMessage =
  | { readonly kind: 'ready' }
  | { readonly kind: 'swallowed' }
  | { readonly kind: 'counts'; readonly counts: number[]; readonly freeSlots: number }
  | { readonly kind: 'error'; readonly text: string }
  | { readonly kind: 'ended'; readonly ends: string[] };

const FIRST_QUEUE_FD = 4;
const RING_DEPTH = 8;
const tell = (message: MemoryServerMessage): void => void process.send!(message);

function start(options: MemoryServerStart): void {
  // As in the gateway: a ring for each CPU.
  const rings = options.session.overIoUring ? ringQueueCount() : 0;
  const slots = createRequestSlots(options.session.maxWriteBytes, options.slotCount + rings * RING_DEPTH, rings);
  const stopWord = new Int32Array(new SharedArrayBuffer(4));
  const helperStopWord = new Int32Array(new SharedArrayBuffer(4));
  const state: MemoryState = {
    address: mapVolumeFile(options.volumeFile, options.sizeBytes),
    sizeBytes: options.sizeBytes,
    kind: options.kind,
    pending: IntRing.create(1024, 1).state,
    counts: new Int32Array(new SharedArrayBuffer(COUNT_WORDS * 4)),
  };
  if (options.resend) requestResend(FIRST_QUEUE_FD);
  const wakeFd = rings > 0 ? createWakeEvent() : undefined;
  if (wakeFd !== undefined) setNonBlocking(FIRST_QUEUE_FD);
  const ends: string[] = [];
  let ready = 0;
  let exited = 0;
  const queueWorkers = options.queues * options.workersPerQueue;
  const workerCount = queueWorkers + rings;
  const startWorker = (fd: number | undefined, ring?: number): Worker => {
    const workerData: MemoryWorkerData = {
      fd,
      ...(options.isEager && fd !== undefined ? { eagerFd: fd + options.queues } : {}),
      ...(wakeFd === undefined ? {} : { wakeFd }),
      ...(ring === undefined ? {} : { ring: { number: ring, queues: [ring], depth: RING_DEPTH } }),
      slots,
      state,
      stopWord: fd === undefined ? helperStopWord : stopWord,
      swallow: options.swallow,
      pollUs: options.pollUs,
    };
    return new Worker(new URL('./memory-worker.js', import.meta.url), { workerData });
  };
  const helper = startWorker(undefined);
  helper.on('message', (message) => tell({ kind: 'error', text: JSON.stringify(message) }));
  for (let i = 0; i < workerCount; i++) {
    const ring = i < queueWorkers ? undefined : i - queueWorkers;
    const worker = startWorker(FIRST_QUEUE_FD + (i % options.queues), ring);
    worker.on('error', (error) => tell({ kind: 'error', text: String(error) }));
    worker.on('message', (message: { end?: string; swallowed?: boolean; ready?: boolean }) => {
      if (message.ready === true) {
        if (++ready === workerCount) tell({ kind: 'ready' });
        return;
      }
      if (message.swallowed === true) tell({ kind: 'swallowed' });
      else if (message.end === undefined) tell({ kind: 'error', text: JSON.stringify(message) });
      else ends.push(message.end);
    });
    worker.on('exit', () => {
      if (++exited !== workerCount) return;
      Atomics.store(helperStopWord, 0, 1);
      tell({ kind: 'ended', ends });
      // The channel may be gone already; without it nothing keeps this process.
      if (process.connected) process.disconnect();
    });
  }
  process.on('message', (order: 'counts' | 'stop') => {
    if (order === 'stop' && wakeFd !== undefined) {
      Atomics.store(stopWord, 0, 1);
      wakeRings(slots.rings, wakeFd);
    } else if (order === 'stop')
      stopQueues({
        fd: FIRST_QUEUE_FD,
        stopWord,
        workerCount: queueWorkers,
        nodeid: options.kind === 'file' ? 1 : 2,
        mountpoint: options.mountpoint,
      });
    else tell({ kind: 'counts', counts: [...state.counts], freeSlots: Atomics.load(slots.words, 1) });
  });
}

process.once('message', (options: MemoryServerStart) => start(options));
