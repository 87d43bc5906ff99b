// A queue worker on /dev/fuse: reads a request, has the file system answer it, sends the answer, and again. Runs in a worker thread, which it
// blocks until the session ends. Invariants: nothing is allocated for a READ or WRITE; a request is answered exactly once, by this
// worker or, if PENDING, by whoever got the slot; an exception in the file system becomes EIO for its request and is reported, and the worker goes on.

import { errno } from '../device/errno-codes.js';
import { addressOf, poll, read } from '../device/libc.js';
import { POLLIN } from '../device/linux-constants.js';
import { systemError } from '../device/system-error.js';
import { sendAnswer } from './answer.js';
import { PENDING, type FileSystem } from './file-system.js';
import { PollPolicy } from './poll-policy.js';
import type { RequestTimer } from './request-timer.js';
import type { RequestSlot, RequestSlots } from './request-slots.js';
import { setBlocking, setNonBlocking, wakeQueues } from './session.js';

/** Bounded so that a lost wake-up would cost time, not a hang. */
const SLOT_WAIT_MS = 1000;
/** Reading from an aborted session, with FUSE_ABORT_ERROR negotiated. */
const ECONNABORTED = 103;

export interface QueueOptions {
  /** This worker's descriptor: the session's, or a clone (see `queueDescriptors`). Several workers may share one. */
  readonly fd: number;
  /**
   * A wake event (device/wake-event.ts) that makes the worker look at the stop word, where the kernel would send the requests of `stopQueues` elsewhere:
   * beside rings. `fd` must be non-blocking then.
   */
  readonly wakeFd?: number;
  /** This thread's view of the process's slots. */
  readonly slots: RequestSlots;
  readonly fileSystem: FileSystem;
  /** How long a wait for the next request polls before it sleeps, while that pays; default 0: never. */
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
  const { fd, slots, stopWord, timer } = options;
  let slot: RequestSlot | undefined;
  // A descriptor that must not block anyway is beside rings, where requests are rare.
  const polling = new PollingReads(fd, options.wakeFd === undefined ? (options.pollUs ?? 0) : 0);
  // A worker that was killed while it polled has left it so.
  if (options.wakeFd === undefined) setBlocking(fd);
  try {
    while (Atomics.load(stopWord, 0) === 0) {
      slot ??= slots.take(SLOT_WAIT_MS)?.touch();
      // All slots are with other threads: the kernel keeps further requests until one comes back.
      if (slot === undefined) continue;
      const length = polling.read(slot);
      if (length > 0) {
        timer?.arrive();
        const error = slot.receive(fd, length);
        if (slot.row?.touchesData === true && Atomics.load(stopWord, 0) !== 0) break;
        if (serveRequest(options, slot, error)) slot = undefined;
      } else if (length === -errno.ENODEV || length === 0) {
        return 'unmounted';
      } else if (length === -ECONNABORTED) {
        return 'aborted';
      } else if (length === -errno.EAGAIN) {
        waitReadable(fd, options.wakeFd ?? -1);
      } else if (length !== -errno.ENOENT && length !== -errno.EINTR) {
        throw systemError(`FUSE descriptor ${fd}: read`, -length, 'io');
      }
    }
    return 'stopped';
  } finally {
    polling.end();
    if (slot !== undefined) slots.give(slot);
  }
}

/** Looks at the clock once in so many reads. */
const READS_PER_LOOK = 8;

/** Reads that poll: the descriptor does not block meanwhile. Workers that share one disturb each other's polling, not their requests. */
class PollingReads {
  readonly policy: PollPolicy;
  readonly #fd: number;
  #isNonBlocking = false;

  constructor(fd: number, limitUs: number) {
    this.#fd = fd;
    this.policy = new PollPolicy(limitUs);
  }

  /** Polls for a request, if that pays, then sleeps until there is one. @returns as `read` */
  read({ requestAddress, requestCapacityBytes }: RequestSlot): number {
    const fd = this.#fd;
    if (!this.policy.polls) {
      this.policy.slept();
      return read(fd, requestAddress, requestCapacityBytes);
    }
    if (!this.#isNonBlocking) setNonBlocking(fd);
    this.#isNonBlocking = true;
    let length = read(fd, requestAddress, requestCapacityBytes);
    // There was one already: nothing is learned about waiting.
    if (length !== -errno.EAGAIN) return length;
    const end = performance.now() + this.policy.limitUs / 1000;
    do {
      for (let i = 0; i < READS_PER_LOOK && length === -errno.EAGAIN; i++) length = read(fd, requestAddress, requestCapacityBytes);
    } while (length === -errno.EAGAIN && performance.now() < end);
    this.policy.polled(length !== -errno.EAGAIN);
    if (length !== -errno.EAGAIN) return length;
    this.end();
    return read(fd, requestAddress, requestCapacityBytes);
  }

  end(): void {
    if (this.#isNonBlocking) setBlocking(this.#fd);
    this.#isNonBlocking = false;
  }
}

/** @returns whether the slot was handed on */
function serveRequest({ fileSystem, timer, onError }: QueueOptions, slot: RequestSlot, decodeError: number): boolean {
  let result = decodeError;
  const row = slot.row;
  if (result === 0 && row !== undefined) {
    try {
      result = row.handle(fileSystem, slot);
    } catch (error) {
      onError(row.name, error);
      slot.iovec.clear();
      result = -errno.EIO;
    }
    if (result === PENDING) return true;
  }
  const failure = sendAnswer(slot, result);
  timer?.answered(slot);
  if (failure !== 0) onError(row?.name ?? 'request', systemError('FUSE answer', -failure, 'io'));
  if (slot.wantsAfterReply) fileSystem.afterReply(slot);
  return false;
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
