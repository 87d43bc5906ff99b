// The process that serves a FaultFileSystem, and its threads: the same module for both. Started by fault-mount.ts, with an IPC channel on descriptor 3
// and the queues' descriptors from 4 on. It ends when it is unmounted, and when its parent is gone.

import { Worker, isMainThread, parentPort, workerData } from 'node:worker_threads';
import { serveQueue } from '../../src/fuse/dev-fuse-transport.js';
import { RequestSlots, createRequestSlots, type RequestSlotsHandle } from '../../src/fuse/request-slots.js';
import { COUNT_WORDS, mapVolumeFile } from '../fuse/memory-file-system.js';
import {
  COUNT_NAMES,
  FAULT_NAMES,
  FaultFileSystem,
  NO_FAULTS,
  type FaultCounts,
  type Faults,
  type FaultState,
} from './fault-file-system.js';

export interface FaultServerStart {
  readonly queues: number;
  readonly workers: number;
  readonly maxWriteBytes: number;
  readonly bytesFile: string;
  readonly sizeBytes: number;
  readonly isCached: boolean;
}

/** Each is answered with `done`. */
export interface FaultOrder {
  readonly faults: Partial<Faults>;
}

export type FaultServerMessage = { readonly kind: 'ready' } | { readonly kind: 'done'; readonly counts: FaultCounts };

interface FaultWorkerData {
  readonly fd: number;
  readonly slots: RequestSlotsHandle;
  readonly state: FaultState;
  readonly stopWord: Int32Array<SharedArrayBuffer>;
}

const FIRST_QUEUE_FD = 4;
const HANGS = FAULT_NAMES.indexOf('hangs');

function setFaults({ faults }: FaultState, change: Partial<Faults>): void {
  for (const [index, name] of FAULT_NAMES.entries()) {
    const value = change[name];
    if (value !== undefined) Atomics.store(faults, index, value);
  }
  Atomics.notify(faults, HANGS);
}

function start(options: FaultServerStart): void {
  const state: FaultState = {
    memory: {
      address: mapVolumeFile(options.bytesFile, options.sizeBytes),
      sizeBytes: options.sizeBytes,
      kind: 'file',
      pending: undefined,
      counts: new Int32Array(new SharedArrayBuffer(COUNT_WORDS * 4)),
    },
    isCached: options.isCached,
    faults: new Int32Array(new SharedArrayBuffer(FAULT_NAMES.length * 4)),
    counts: new Int32Array(new SharedArrayBuffer(COUNT_NAMES.length * 4)),
  };
  setFaults(state, NO_FAULTS);
  const slots = createRequestSlots(options.maxWriteBytes, options.workers + 1);
  const stopWord = new Int32Array(new SharedArrayBuffer(4));
  const tell = (message: FaultServerMessage): void => void process.send?.(message);
  let ready = 0;
  let left = options.workers;
  for (let index = 0; index < options.workers; index++) {
    const data: FaultWorkerData = { fd: FIRST_QUEUE_FD + (index % options.queues), slots, state, stopWord };
    const worker = new Worker(new URL(import.meta.url), { workerData: data });
    worker.once('message', () => {
      if (++ready === options.workers) tell({ kind: 'ready' });
    });
    worker.once('exit', () => {
      if (--left === 0 && process.connected) process.disconnect();
    });
  }
  process.on('message', ({ faults }: FaultOrder) => {
    setFaults(state, faults);
    const counts = Object.fromEntries(COUNT_NAMES.map((name, index) => [name, Atomics.load(state.counts, index)]));
    tell({ kind: 'done', counts: counts as unknown as FaultCounts });
  });
  // Nobody would let go what hangs any more.
  process.on('disconnect', () => setFaults(state, { hangs: 0 }));
}

function serve({ fd, slots, state, stopWord }: FaultWorkerData): void {
  parentPort!.postMessage('ready');
  serveQueue({
    fd,
    slots: new RequestSlots(slots),
    fileSystem: new FaultFileSystem(state),
    stopWord,
    onError: (operation, error) => process.stderr.write(`fault server: ${operation}: ${String(error)}\n`),
  });
}

if (isMainThread) process.once('message', (options: FaultServerStart) => start(options));
else serve(workerData as FaultWorkerData);
