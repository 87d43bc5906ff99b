// A thread of the memory server: a queue worker, or the one that answers what queue workers hand on.

import { isMainThread, parentPort, workerData } from 'node:worker_threads';
import { sendAnswer } from '../../src/fuse/answer.js';
import { serveQueue, type QueueEnd } from '../../src/fuse/dev-fuse-transport.js';
import { serveRing } from '../../src/fuse/io-uring-transport.js';
import { RequestSlots, type RequestSlotsHandle } from '../../src/fuse/request-slots.js';
import { IntRing } from '../../src/shared/int-ring.js';
import { MemoryFileSystem, type MemoryState } from './memory-file-system.js';

export interface MemoryWorkerData {
  /** undefined: answer what others hand on. */
  readonly fd: number | undefined;
  readonly wakeFd?: number;
  readonly eagerFd?: number;
  /** Serve this ring instead of the descriptor's own queue. */
  readonly ring?: { readonly number: number; readonly queues: readonly number[]; readonly depth: number };
  readonly slots: RequestSlotsHandle;
  readonly state: MemoryState;
  readonly stopWord: Int32Array<SharedArrayBuffer>;
  /** For tests of a crash: read one request, and never answer it. */
  readonly swallow: boolean;
  readonly pollUs?: number;
}

function main(data: MemoryWorkerData): void {
  const slots = new RequestSlots(data.slots);
  const fileSystem = new MemoryFileSystem(data.state, data.fd !== undefined);
  if (data.fd === undefined) {
    answerPending(data, slots, fileSystem);
    return;
  }
  if (data.swallow) {
    fileSystem.read = fileSystem.write = () => {
      parentPort!.postMessage({ swallowed: true });
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);
      return 0;
    };
  }
  const ready = (): void => parentPort!.postMessage({ ready: true });
  const options = {
    fd: data.fd,
    eagerFd: data.eagerFd,
    ...(data.pollUs === undefined ? {} : { pollUs: data.pollUs }),
    slots,
    fileSystem,
    stopWord: data.stopWord,
    onError: (operation: string, error: unknown) => parentPort!.postMessage({ operation, error: String(error) }),
  };
  let end: QueueEnd;
  if (data.ring === undefined) {
    ready();
    end = serveQueue(data.wakeFd === undefined ? options : { ...options, wakeFd: data.wakeFd });
  } else {
    const { number: ring, queues, depth } = data.ring;
    end = serveRing({ ...options, ring, queues, depth, onRegistered: ready });
  }
  parentPort!.postMessage({ end });
}

function answerPending(data: MemoryWorkerData, slots: RequestSlots, fileSystem: MemoryFileSystem): void {
  const ring = IntRing.attach(data.state.pending!);
  const tuple = new Int32Array(1);
  while (Atomics.load(data.stopWord, 0) === 0) {
    ring.waitNotEmpty(100);
    while (ring.pop(tuple)) {
      const slot = slots.slot(tuple[0]!);
      slot.reopen();
      const failure = sendAnswer(slot, slot.row!.handle(fileSystem, slot));
      if (failure !== 0) parentPort!.postMessage({ operation: 'pending', error: String(failure) });
      slots.give(slot);
    }
  }
}

if (!isMainThread) main(workerData as MemoryWorkerData);
