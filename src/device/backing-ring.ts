// Requests to a backing device through an io_uring: the kernel has many of them under way, and the thread sleeps, or does something else.
//
// Invariants, beside those of every DirectQueue:
// - One fsync is under way at a time. The kernel tells of a failed write once for a descriptor: if two fsyncs ran, one could take the failure and the other say that
//   all is well. Flushes that come meanwhile share the next one, and those that wait when one fails, fail with it.
//
// What is under way when the process dies may still reach the device when the process is gone. That is nothing to a read; who writes to a device that another
// process may go on with, as the gateway does, takes backing-aio.ts.

import { PcacheError } from '../errors.js';
import { PAGE_BYTES } from '../media/layout.js';
import { outcomeOf } from './backing-queue.js';
import { DirectQueue, isRefusal } from './direct-queue.js';
import type { DirectDevice, DirectRequest } from './direct-queue.js';
import { errno } from './errno-codes.js';
import { IoUring } from './io-uring.js';
import { mmap, munmap, view } from './libc.js';
import {
  IORING_FSYNC_DATASYNC,
  IORING_OP_ASYNC_CANCEL,
  IORING_OP_FSYNC,
  IORING_OP_READ,
  IORING_OP_TIMEOUT,
  IORING_OP_WRITE,
  MAP_ANONYMOUS,
  MAP_PRIVATE,
  PROT_READ,
  PROT_WRITE,
} from './linux-constants.js';
import { systemError } from './system-error.js';

/** user_data of entries that are no reads or writes; those have the number of their request. */
const EVENT = 0x7fff_ffff;
const TIMER = 0x7fff_fffe;
const FLUSH = 0x7fff_fffd;
const CANCEL = 0x7fff_fffc;
/** Entries for those. */
const SPECIAL_ENTRIES = 4;
/** Words of `struct io_uring_sqe`. */
const SQE = { fd: 1, offset: 2, address: 4, length: 6, flags: 7 } as const;
const TWO_32 = 4294967296;
/** Where the timer's `struct timespec` lies in the page for events, in words. */
const TIMESPEC_WORD = 16;

export class BackingRing extends DirectQueue {
  readonly #ring: IoUring;
  /** Entries of requests that are prepared, or with the kernel. */
  #inKernel = 0;
  /** Flushes that the fsync under way is for, and those that wait for the next. */
  #flushing: DirectRequest[] = [];
  #waitingFlushes: DirectRequest[] = [];
  /** A page: what the eventfd's count is read into, and the timer's interval. Not V8's, for if this thread dies the kernel may still write there. */
  readonly #eventAddress: number;
  #eventFd = -1;
  /** Whether the kernel may write into that page; the ring is being closed. */
  #isWatching = false;
  #isClosing = false;

  /** Throws PcacheError if there can be no ring, as IoUring. */
  constructor(device: DirectDevice, depth: number) {
    super(device, depth);
    this.#ring = new IoUring(depth + SPECIAL_ENTRIES);
    this.#eventAddress = mmap(PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    // File systems that can't do it otherwise have threads of the kernel wait for the device; by default there are four for each CPU.
    this.#ring.limitWorkers(depth);
  }

  submitFlush(token: number): boolean {
    const request = this.take(token);
    if (request === undefined) return false;
    this.#waitingFlushes.push(request);
    if (this.#flushing.length === 0) this.#startFlush();
    return true;
  }

  wait(count: number): void {
    const wanted = Math.min(count, this.inFlight);
    do this.#enter(Math.min(Math.max(0, wanted - this.doneCount), this.#inKernel));
    while (this.doneCount < wanted);
  }

  /**
   * From now on `sleep` also ends when this eventfd is written, and after `intervalMs`, again and again: a wake-up that were missed would cost time, not
   * a hang. The ring takes the event's count.
   */
  watch(eventFd: number, intervalMs: number): void {
    const seconds = Math.floor(intervalMs / 1000);
    new Uint32Array(view(this.#eventAddress, PAGE_BYTES)).set([seconds, 0, (intervalMs - seconds * 1000) * 1_000_000, 0], TIMESPEC_WORD);
    this.#eventFd = eventFd;
    this.#readEvent();
    this.#startTimer();
  }

  /** Starts what was submitted, and blocks until there is a completion, or what is watched happens; it may also return without any. */
  sleep(): void {
    this.#enter(this.doneCount > 0 ? 0 : 1);
  }

  close(): void {
    this.wait(this.depth);
    while (this.next());
    this.#isClosing = true;
    if (this.#isWatching) this.#ring.sqes[this.#prepare(IORING_OP_ASYNC_CANCEL, CANCEL) + SQE.address] = EVENT;
    while (this.#isWatching) this.#enter(1);
    this.#ring.close();
    munmap(this.#eventAddress, PAGE_BYTES);
  }

  /** Prepares what is left of a read or a write. */
  protected prepareTransfer(request: DirectRequest): void {
    const at = this.#prepare(request.isWrite ? IORING_OP_WRITE : IORING_OP_READ, request.index);
    const { sqes } = this.#ring;
    const offset = request.offsetBytes + request.doneBytes;
    const address = request.address + request.doneBytes;
    sqes[at + SQE.fd] = this.device.fd;
    sqes[at + SQE.offset] = offset;
    sqes[at + SQE.offset + 1] = Math.floor(offset / TWO_32);
    sqes[at + SQE.address] = address;
    sqes[at + SQE.address + 1] = Math.floor(address / TWO_32);
    sqes[at + SQE.length] = request.lengthBytes - request.doneBytes;
    this.#inKernel++;
  }

  #startFlush(): void {
    const at = this.#prepare(IORING_OP_FSYNC, FLUSH);
    this.#ring.sqes[at + SQE.fd] = this.device.fd;
    // As the device's own flush: for a file it includes what is needed to find the data again.
    this.#ring.sqes[at + SQE.flags] = IORING_FSYNC_DATASYNC;
    this.#inKernel++;
    const started = this.#waitingFlushes;
    this.#waitingFlushes = this.#flushing;
    this.#flushing = started;
  }

  #prepare(opcode: number, userData: number): number {
    const at = this.#ring.prepare(opcode, userData);
    if (at < 0) throw new PcacheError('internal', 'backing ring: no submission entry is free');
    return at;
  }

  /** Submits what is prepared, waits for `count` entries to complete, and deals with all that have. Throws PcacheError `io` if the ring fails. */
  #enter(count: number): void {
    const ring = this.#ring;
    if (count === 0 && this.#inKernel === 0 && ring.prepared === 0) return;
    const result = ring.submitAndWait(count);
    if (result < 0 && result !== -errno.EINTR && result !== -errno.EAGAIN && result !== -errno.EBUSY) {
      throw systemError('backing ring: io_uring_enter', -result, 'io');
    }
    while (ring.next()) {
      if (ring.completedData === EVENT) this.#readEvent();
      else if (ring.completedData === TIMER) this.#startTimer();
      else if (ring.completedData === CANCEL) continue;
      else if (ring.completedData === FLUSH) this.#finishFlush(ring.completedResult);
      else this.#finishTransfer(ring.completedData, ring.completedResult);
    }
  }

  #finishTransfer(index: number, result: number): void {
    this.#inKernel--;
    this.finish(this.requests[index]!, result);
  }

  #finishFlush(result: number): void {
    this.#inKernel--;
    const error = isRefusal(result)
      ? outcomeOf(() => this.device.device.flush())
      : result < 0
        ? this.device.flushFailure(-result)
        : undefined;
    for (const request of this.#flushing) this.complete(request, error);
    this.#flushing.length = 0;
    if (error !== undefined) {
      for (const request of this.#waitingFlushes) this.complete(request, error);
      this.#waitingFlushes.length = 0;
    } else if (this.#waitingFlushes.length > 0) {
      this.#startFlush();
    }
  }

  #readEvent(): void {
    this.#isWatching = !this.#isClosing;
    if (this.#isClosing) return;
    const at = this.#prepare(IORING_OP_READ, EVENT);
    const { sqes } = this.#ring;
    const address = this.#eventAddress;
    sqes[at + SQE.fd] = this.#eventFd;
    sqes[at + SQE.offset] = 0xffff_ffff;
    sqes[at + SQE.offset + 1] = 0xffff_ffff;
    sqes[at + SQE.address] = address;
    sqes[at + SQE.address + 1] = Math.floor(address / TWO_32);
    sqes[at + SQE.length] = 8;
  }

  #startTimer(): void {
    if (this.#isClosing) return;
    const at = this.#prepare(IORING_OP_TIMEOUT, TIMER);
    const { sqes } = this.#ring;
    const address = this.#eventAddress + TIMESPEC_WORD * 4;
    sqes[at + SQE.address] = address;
    sqes[at + SQE.address + 1] = Math.floor(address / TWO_32);
    sqes[at + SQE.length] = 1;
  }
}
