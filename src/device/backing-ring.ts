// Requests to a backing device through an io_uring: the kernel has many of them under way, and the thread sleeps, or does something else.
//
// Invariants, beside those of every BackingQueue:
// - A request that does not suit direct I/O, or that the kernel refuses to do this way, is done by the device's own synchronous calls, with all their rules
//   (bounce buffer, lock over blocks that are written in part).
// - A transfer that ends early goes on where it ended, or is the error that the synchronous call would give; errors have the same texts and codes.
// - One fsync is under way at a time. The kernel tells of a failed write once for a descriptor: if two fsyncs ran, one could take the failure and the other say that
//   all is well. Flushes that come meanwhile share the next one, and those that wait when one fails, fail with it.
// - Nothing is allocated for a request.
//
// What is under way when the process dies may still reach the device when the process is gone. That is nothing to a read; who writes to a device that another
// process may go on with, as the gateway does, takes backing-aio.ts.

import { PcacheError } from '../errors.js';
import { PAGE_BYTES } from '../media/layout.js';
import { outcomeOf } from './backing-queue.js';
import type { BackingQueue } from './backing-queue.js';
import type { BackingDevice } from './device.js';
import { errno } from './errno-codes.js';
import { IoUring } from './io-uring.js';
import { fileSystemOf, mmap, munmap, view } from './libc.js';
import {
  FUSE_SUPER_MAGIC,
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

/** What a ring must know of its device. */
export interface RingDevice {
  /** The synchronous way. */
  readonly device: BackingDevice;
  readonly fd: number;
  /** See `hidesShortWrites`. */
  readonly hidesShortWrites: boolean;
  /** Where the memory of a request is if I/O can go straight there; else 0. Throws as the device's `read` does. */
  directAddress(offsetBytes: number, memory: Uint8Array, memoryOffset: number, lengthBytes: number): number;
  /** How much of a transfer counts that moved `result` bytes of `wantedBytes`; 0 or less: it failed. */
  progressOf(result: number, wantedBytes: number): number;
  failure(what: 'read' | 'write', lengthBytes: number, offsetBytes: number, result: number): PcacheError;
  flushFailure(errnoNumber: number): PcacheError;
}

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

class RingRequest {
  readonly index: number;
  token = 0;
  isWrite = false;
  offsetBytes = 0;
  lengthBytes = 0;
  /** Kept, so that its memory stays while the kernel uses it. */
  memory: Uint8Array | undefined;
  memoryOffset = 0;
  address = 0;
  doneBytes = 0;
  error: PcacheError | undefined;

  constructor(index: number) {
    this.index = index;
  }
}

export class BackingRing implements BackingQueue {
  readonly depth: number;
  completedToken = 0;
  completedError: PcacheError | undefined;
  readonly #device: RingDevice;
  readonly #ring: IoUring;
  readonly #requests: RingRequest[];
  /** Numbers of requests that are free; the last given back is the next taken. */
  readonly #free: Int32Array;
  #freeCount: number;
  /** Numbers of requests that are complete, oldest first, from `#doneHead` on, and round. */
  readonly #done: Int32Array;
  #doneHead = 0;
  #doneCount = 0;
  /** Entries of requests that are prepared, or with the kernel. */
  #inKernel = 0;
  /** Flushes that the fsync under way is for, and those that wait for the next. */
  #flushing: RingRequest[] = [];
  #waitingFlushes: RingRequest[] = [];
  /** A page: what the eventfd's count is read into, and the timer's interval. Not V8's, for if this thread dies the kernel may still write there. */
  readonly #eventAddress: number;
  #eventFd = -1;
  /** Whether the kernel may write into that page; the ring is being closed. */
  #isWatching = false;
  #isClosing = false;

  /** Throws PcacheError if there can be no ring, as IoUring. */
  constructor(device: RingDevice, depth: number) {
    if (!(Number.isInteger(depth) && depth > 0)) throw new RangeError(`backing ring: a depth of ${depth}`);
    this.depth = depth;
    this.#device = device;
    this.#ring = new IoUring(depth + SPECIAL_ENTRIES);
    this.#eventAddress = mmap(PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    this.#requests = Array.from({ length: depth }, (_, index) => new RingRequest(index));
    this.#free = Int32Array.from({ length: depth }, (_, index) => depth - 1 - index);
    this.#freeCount = depth;
    this.#done = new Int32Array(depth);
    // File systems that can't do it otherwise have threads of the kernel wait for the device; by default there are four for each CPU.
    this.#ring.limitWorkers(depth);
  }

  get inFlight(): number {
    return this.depth - this.#freeCount;
  }

  submitRead(token: number, offsetBytes: number, target: Uint8Array, targetOffset: number, lengthBytes: number): boolean {
    return this.#submit(token, false, offsetBytes, target, targetOffset, lengthBytes);
  }

  submitWrite(token: number, offsetBytes: number, source: Uint8Array, sourceOffset: number, lengthBytes: number): boolean {
    return this.#submit(token, true, offsetBytes, source, sourceOffset, lengthBytes);
  }

  submitFlush(token: number): boolean {
    const request = this.#take(token);
    if (request === undefined) return false;
    this.#waitingFlushes.push(request);
    if (this.#flushing.length === 0) this.#startFlush();
    return true;
  }

  wait(count: number): void {
    const wanted = Math.min(count, this.inFlight);
    do this.#enter(Math.min(Math.max(0, wanted - this.#doneCount), this.#inKernel));
    while (this.#doneCount < wanted);
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
    this.#enter(this.#doneCount > 0 ? 0 : 1);
  }

  next(): boolean {
    if (this.#doneCount === 0) return false;
    const request = this.#requests[this.#done[this.#doneHead]!]!;
    this.#doneHead = this.#doneHead + 1 === this.depth ? 0 : this.#doneHead + 1;
    this.#doneCount--;
    this.completedToken = request.token;
    this.completedError = request.error;
    request.error = undefined;
    this.#free[this.#freeCount++] = request.index;
    return true;
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

  #take(token: number): RingRequest | undefined {
    if (this.#freeCount === 0) return undefined;
    const request = this.#requests[this.#free[--this.#freeCount]!]!;
    request.token = token;
    return request;
  }

  #submit(token: number, isWrite: boolean, offsetBytes: number, memory: Uint8Array, memoryOffset: number, lengthBytes: number): boolean {
    if (this.#freeCount === 0) return false;
    let address: number;
    let refusal: PcacheError | undefined;
    try {
      address = this.#device.directAddress(offsetBytes, memory, memoryOffset, lengthBytes);
    } catch (error) {
      if (!(error instanceof PcacheError)) throw error;
      address = 0;
      refusal = error;
    }
    const request = this.#take(token)!;
    request.isWrite = isWrite;
    request.offsetBytes = offsetBytes;
    request.lengthBytes = lengthBytes;
    request.memory = memory;
    request.memoryOffset = memoryOffset;
    request.address = address;
    request.doneBytes = 0;
    if (refusal !== undefined) this.#complete(request, refusal);
    else if (address === 0 || lengthBytes === 0) this.#doSynchronously(request);
    else this.#start(request);
    return true;
  }

  /** Prepares what is left of a read or a write. */
  #start(request: RingRequest): void {
    const at = this.#prepare(request.isWrite ? IORING_OP_WRITE : IORING_OP_READ, request.index);
    const { sqes } = this.#ring;
    const offset = request.offsetBytes + request.doneBytes;
    const address = request.address + request.doneBytes;
    sqes[at + SQE.fd] = this.#device.fd;
    sqes[at + SQE.offset] = offset;
    sqes[at + SQE.offset + 1] = Math.floor(offset / TWO_32);
    sqes[at + SQE.address] = address;
    sqes[at + SQE.address + 1] = Math.floor(address / TWO_32);
    sqes[at + SQE.length] = request.lengthBytes - request.doneBytes;
    this.#inKernel++;
  }

  #startFlush(): void {
    const at = this.#prepare(IORING_OP_FSYNC, FLUSH);
    this.#ring.sqes[at + SQE.fd] = this.#device.fd;
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
      else this.#finish(this.#requests[ring.completedData]!, ring.completedResult);
    }
  }

  #finish(request: RingRequest, result: number): void {
    this.#inKernel--;
    const wanted = request.lengthBytes - request.doneBytes;
    if (result === wanted) {
      this.#complete(request, undefined);
    } else if (isRefusal(result) || (result === -errno.EIO && request.isWrite && this.#device.hidesShortWrites)) {
      this.#doSynchronously(request);
    } else {
      const progress = this.#device.progressOf(result, wanted);
      if (progress <= 0) {
        const { lengthBytes, offsetBytes } = request;
        this.#complete(request, this.#device.failure(request.isWrite ? 'write' : 'read', lengthBytes, offsetBytes, result));
      } else {
        request.doneBytes += progress;
        this.#start(request);
      }
    }
  }

  #finishFlush(result: number): void {
    this.#inKernel--;
    const error = isRefusal(result)
      ? outcomeOf(() => this.#device.device.flush())
      : result < 0
        ? this.#device.flushFailure(-result)
        : undefined;
    for (const request of this.#flushing) this.#complete(request, error);
    this.#flushing.length = 0;
    if (error !== undefined) {
      for (const request of this.#waitingFlushes) this.#complete(request, error);
      this.#waitingFlushes.length = 0;
    } else if (this.#waitingFlushes.length > 0) {
      this.#startFlush();
    }
  }

  /** The whole of it: what was moved before is moved once more. */
  #doSynchronously(request: RingRequest): void {
    const { device } = this.#device;
    const { isWrite, offsetBytes, memoryOffset, lengthBytes } = request;
    const memory = request.memory!;
    this.#complete(
      request,
      outcomeOf(() =>
        isWrite
          ? device.write(offsetBytes, memory, memoryOffset, lengthBytes)
          : device.read(offsetBytes, memory, memoryOffset, lengthBytes),
      ),
    );
  }

  #complete(request: RingRequest, error: PcacheError | undefined): void {
    request.error = error;
    request.memory = undefined;
    let place = this.#doneHead + this.#doneCount++;
    if (place >= this.depth) place -= this.depth;
    this.#done[place] = request.index;
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

/**
 * Whether EIO for a write may mean that it ended early, which only a synchronous call tells: so it is with files on FUSE (fs/fuse/file.c,
 * fuse_get_res_by_io).
 */
export function hidesShortWrites(fd: number): boolean {
  return fileSystemOf(fd).type === FUSE_SUPER_MAGIC;
}

/** Not the device's word, but the kernel's that it won't do it this way, or was disturbed. */
export function isRefusal(result: number): boolean {
  return (
    result === -errno.EINVAL ||
    result === -errno.EFAULT ||
    result === -errno.EINTR ||
    result === -errno.EAGAIN ||
    result === -errno.ECANCELED
  );
}
