// A queue worker on /dev/fuse: reads a request, has the file system answer it, and again while there are some that wait already; sends the answers. Runs in a
// worker thread, which it blocks until the session ends. Invariants: nothing is allocated for a READ or WRITE; a request is answered exactly once, by this
// worker or, if PENDING, by whoever got the slot; no answer is held back while the worker sleeps; an exception in the file system becomes EIO for its request
// and is reported, and the worker goes on.

import { errno } from '../device/errno-codes.js';
import { addressOf, poll, read } from '../device/libc.js';
import { POLLIN } from '../device/linux-constants.js';
import { systemError } from '../device/system-error.js';
import { AnswerBatch } from './answer-batch.js';
import { carryOut } from './carry-out.js';
import { DepthPolicy } from './depth-policy.js';
import { PENDING, type FileSystem } from './file-system.js';
import { PollPolicy } from './poll-policy.js';
import type { RequestTimer } from './request-timer.js';
import type { RequestSlot, RequestSlots } from './request-slots.js';
import { setBlocking, wakeQueues } from './session.js';

/** Bounded so that a lost wake-up would cost time, not a hang. */
const SLOT_WAIT_MS = 1000;
/** Reading from an aborted session, with FUSE_ABORT_ERROR negotiated. */
const ECONNABORTED = 103;
/** Answers that are sent together at most, and bytes after which no further request is taken before they are. */
const BATCH_ANSWERS = 8;
const BATCH_BYTES = 64 * 1024;
/** A worker keeps slots for itself only while more than so many are free: it need not take them one by one then. */
const SLOTS_FOR_OTHERS = 128;

export interface QueueOptions {
  /** This worker's descriptor: the session's, or a clone (see `queueDescriptors`). Several workers may share one. */
  readonly fd: number;
  /**
   * Another clone, which does not block: with it, requests that wait already are taken one after another and answered together. Several workers may share one,
   * too.
   */
  readonly eagerFd?: number | undefined;
  /**
   * A wake event (device/wake-event.ts) that makes the worker look at the stop word, where the kernel would send the requests of `stopQueues` elsewhere:
   * beside rings. `fd` must be non-blocking then.
   */
  readonly wakeFd?: number;
  /** This thread's view of the process's slots. */
  readonly slots: RequestSlots;
  readonly fileSystem: FileSystem;
  /** How long a wait for the next request polls `eagerFd` before it sleeps, while that pays; default 0: never. */
  readonly pollUs?: number;
  /** One word for all workers: not 0 means to carry out no further request and return; see `stopQueues`. */
  readonly stopWord: Int32Array<SharedArrayBuffer>;
  /** Who times the requests, if anybody does. */
  readonly timer?: RequestTimer;
  /** A file system threw, or an answer was refused by the kernel (`error` is an errno then); the request got EIO. */
  readonly onError: (operation: string, error: unknown) => void;
}

/** Why a worker came to its end. `aborted`: through fusectl; whoever used the mount got errors. */
export type QueueEnd = 'unmounted' | 'aborted' | 'stopped';

/**
 * Serves requests until the session ends or the stop word is set.
 * Throws PcacheError `io` if the descriptor fails in another way.
 */
export function serveQueue(options: QueueOptions): QueueEnd {
  const worker = new QueueWorker(options);
  try {
    return worker.serve();
  } finally {
    worker.close();
  }
}

class QueueWorker {
  readonly #options: QueueOptions;
  readonly #reads: QueueReads;
  readonly #batch: AnswerBatch;
  /** Bytes that the requests of the batch brought and their answers take. */
  #batchBytes = 0;
  /** The request that came last: the only one that may be timed. */
  #last: RequestSlot | undefined;
  /** Free slots that this worker keeps. */
  readonly #own: RequestSlot[] = [];
  readonly #sending = (slot: RequestSlot): void => {
    if (slot.wantsAfterReply) this.#options.fileSystem.beforeReply(slot);
  };
  readonly #given = (slot: RequestSlot, failure: number): void => this.#answered(slot, failure);

  constructor(options: QueueOptions) {
    this.#options = options;
    const { fd, eagerFd, wakeFd, pollUs } = options;
    this.#reads = new QueueReads(fd, eagerFd, pollUs ?? 0);
    this.#batch = new AnswerBatch(eagerFd === undefined ? 1 : BATCH_ANSWERS);
    // An older program that was killed while it polled has left it so.
    if (wakeFd === undefined) setBlocking(fd);
  }

  serve(): QueueEnd {
    const { fd, wakeFd, stopWord, timer } = this.#options;
    const batch = this.#batch;
    let slot: RequestSlot | undefined;
    try {
      while (Atomics.load(stopWord, 0) === 0) {
        slot ??= this.#takeSlot();
        if (slot === undefined) {
          // All slots are with other threads: the kernel keeps further requests until one comes back.
          this.#send();
          continue;
        }
        const length = this.#reads.read(slot, batch.count);
        if (length > 0) {
          timer?.arrive();
          const error = slot.receive(this.#reads.fd, length);
          if (slot.row?.touchesData === true && Atomics.load(stopWord, 0) !== 0) break;
          this.#serve(slot, error, length);
          slot = undefined;
        } else if (!batch.isEmpty) {
          // Whatever it is, it comes again.
          this.#send();
        } else if (length === -errno.ENODEV || length === 0) {
          return 'unmounted';
        } else if (length === -ECONNABORTED) {
          return 'aborted';
        } else if (length === -errno.EAGAIN) {
          waitReadable(fd, wakeFd ?? -1);
        } else if (length !== -errno.ENOENT && length !== -errno.EINTR) {
          throw systemError(`FUSE descriptor ${fd}: read`, -length, 'io');
        }
      }
      return 'stopped';
    } finally {
      this.#send();
      if (slot !== undefined) this.#own.push(slot);
    }
  }

  close(): void {
    for (const slot of this.#own) this.#options.slots.give(slot);
    this.#batch.close();
  }

  #takeSlot(): RequestSlot | undefined {
    return this.#own.pop() ?? this.#options.slots.take(this.#batch.isEmpty ? SLOT_WAIT_MS : 0)?.touch();
  }

  /** The slot is the batch's then, or was handed on. */
  #serve(slot: RequestSlot, decodeError: number, lengthBytes: number): void {
    const { fileSystem, timer, onError } = this.#options;
    const result = carryOut(fileSystem, slot, decodeError, onError);
    if (result === PENDING) return;
    this.#batch.add(slot, result);
    this.#last = slot;
    this.#batchBytes += lengthBytes + slot.iovec.dataBytes;
    // A request that is timed is answered at once, since its time ends before the next one's begins: where few come, each is.
    const isHeld = this.#reads.depth.isDeep && !this.#batch.isFull && this.#batchBytes < BATCH_BYTES && timer?.isTiming !== true;
    if (!isHeld) this.#send();
  }

  #send(): void {
    if (this.#batch.isEmpty) return;
    this.#batchBytes = 0;
    this.#batch.send(this.#sending, this.#given);
  }

  #answered(slot: RequestSlot, failure: number): void {
    const { slots, fileSystem, timer, onError } = this.#options;
    if (slot === this.#last) timer?.answered(slot);
    if (failure !== 0) onError(slot.row?.name ?? 'request', systemError('FUSE answer', -failure, 'io'));
    if (slot.wantsAfterReply) fileSystem.afterReply(slot);
    if (this.#own.length < BATCH_ANSWERS && slots.freeCount > SLOTS_FOR_OTHERS) this.#own.push(slot);
    else slots.give(slot);
  }
}

/** Looks at the clock once in so many reads. */
const READS_PER_LOOK = 8;
/** Looks whether there is a request without waiting once in so many reads, while there was none. */
const READS_PER_TRY = 8;

/** Takes requests off the kernel's queue: without waiting while there are some, if there is a descriptor for that. */
class QueueReads {
  /** The descriptor that the last request came from, and must be answered on. */
  fd: number;
  readonly depth = new DepthPolicy();
  readonly #fd: number;
  readonly #eagerFd: number;
  readonly #policy: PollPolicy;
  /** Reads until the next that does not wait. */
  #readsUntilTry = READS_PER_TRY;

  constructor(fd: number, eagerFd: number | undefined, pollUs: number) {
    this.fd = fd;
    this.#fd = fd;
    this.#eagerFd = eagerFd ?? -1;
    this.#policy = new PollPolicy(eagerFd === undefined ? 0 : pollUs);
  }

  /**
   * @param held answers that are held back for this: with some, it does not wait. Without, it waits for a request if there is none, polling first while
   * that pays
   * @returns as read(2): bytes, or -errno; -EAGAIN if there is none
   */
  read(slot: RequestSlot, held: number): number {
    if (this.#eagerFd < 0) return held > 0 ? -errno.EAGAIN : this.#sleep(slot);
    if (held > 0 || --this.#readsUntilTry <= 0) {
      const length = this.#readEagerly(slot);
      const isThere = length !== -errno.EAGAIN;
      this.depth.tried(isThere, held);
      this.#readsUntilTry = isThere ? 0 : READS_PER_TRY;
      if (isThere || held > 0) return length;
    }
    if (!this.#policy.polls) {
      this.#policy.slept();
      return this.#sleep(slot);
    }
    const length = this.#poll(slot);
    return length === -errno.EAGAIN ? this.#sleep(slot) : length;
  }

  #sleep(slot: RequestSlot): number {
    this.fd = this.#fd;
    return read(this.#fd, slot.requestAddress, slot.requestCapacityBytes);
  }

  #poll(slot: RequestSlot): number {
    const end = performance.now() + this.#policy.limitUs / 1000;
    let length = -errno.EAGAIN;
    do {
      for (let i = 0; i < READS_PER_LOOK && length === -errno.EAGAIN; i++) length = this.#readEagerly(slot);
    } while (length === -errno.EAGAIN && performance.now() < end);
    this.#policy.polled(length !== -errno.EAGAIN);
    return length;
  }

  #readEagerly({ requestAddress, requestCapacityBytes }: RequestSlot): number {
    this.fd = this.#eagerFd;
    return read(this.#eagerFd, requestAddress, requestCapacityBytes);
  }
}

/** Waits until a non-blocking descriptor has a request (or its session's end) to tell, or the other one (-1: none) is readable. */
function waitReadable(fd: number, wakeFd: number): void {
  const pollfds = Int32Array.of(fd, POLLIN, wakeFd, POLLIN);
  poll(addressOf(pollfds), 2, -1);
}

export interface QueueStop {
  /** Any descriptor of the session. */
  readonly fd: number;
  readonly stopWord: Int32Array<SharedArrayBuffer>;
  /** How many workers may be waiting. */
  readonly workerCount: number;
  /** The node id of a regular file, such as the volume. */
  readonly nodeid: number;
  readonly mountpoint: string;
}

/**
 * Ends the workers that share `stopWord` while the session stays mounted: each finishes the request it works on, if any, and returns 'stopped'.
 * READ, WRITE and the like that they get later are not
 * carried out, but left for a successor to ask for (`requestResend`). Call from a thread that serves no queue.
 * Throws PcacheError `closed` if the session is gone; the workers end then, too.
 */
export function stopQueues({ fd, stopWord, workerCount, nodeid, mountpoint }: QueueStop): void {
  Atomics.store(stopWord, 0, 1);
  wakeQueues(fd, workerCount, nodeid, mountpoint);
}
