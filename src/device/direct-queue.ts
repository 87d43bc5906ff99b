// What queues have in common whose requests the kernel moves straight between a device and the caller's memory (backing-ring, backing-aio): the requests in
// hand, and what becomes of each.
//
// Invariants, beside those of every BackingQueue:
// - A request that does not suit direct I/O, or that the kernel refuses to do this way, is done by the device's own synchronous calls, with all their rules
//   (bounce buffer, lock over blocks that are written in part).
// - A transfer that ends early goes on where it ended, or is the error that the synchronous call would give; errors have the same texts and codes.
// - Nothing is allocated for a request but an error.

import { PcacheError } from '../errors.js';
import { outcomeOf } from './backing-queue.js';
import type { BackingQueue } from './backing-queue.js';
import type { BackingDevice } from './device.js';
import { errno } from './errno-codes.js';
import { fileSystemOf } from './libc.js';
import { FUSE_SUPER_MAGIC } from './linux-constants.js';

/** What such a queue must know of its device. */
export interface DirectDevice {
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

/** One request in hand. */
export class DirectRequest {
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

export abstract class DirectQueue implements BackingQueue {
  readonly depth: number;
  completedToken = 0;
  completedError: PcacheError | undefined;
  protected readonly device: DirectDevice;
  /** By index. */
  protected readonly requests: readonly DirectRequest[];
  /** Of those, how many are complete and not yet taken with `next`. */
  protected doneCount = 0;
  /** Indices of requests that are free; the last given back is the next taken. */
  readonly #free: Int32Array;
  #freeCount: number;
  /** Indices of requests that are complete, oldest first, from `#doneHead` on, and round. */
  readonly #done: Int32Array;
  #doneHead = 0;

  constructor(device: DirectDevice, depth: number) {
    if (!(Number.isInteger(depth) && depth > 0)) throw new RangeError(`backing queue: a depth of ${depth}`);
    this.depth = depth;
    this.device = device;
    this.requests = Array.from({ length: depth }, (_, index) => new DirectRequest(index));
    this.#free = Int32Array.from({ length: depth }, (_, index) => depth - 1 - index);
    this.#freeCount = depth;
    this.#done = new Int32Array(depth);
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

  abstract submitFlush(token: number): boolean;
  abstract wait(count: number): void;
  abstract close(): void;
  /** Prepares what is left of a read or a write for the kernel. */
  protected abstract prepareTransfer(request: DirectRequest): void;

  next(): boolean {
    if (this.doneCount === 0) return false;
    const request = this.requests[this.#done[this.#doneHead]!]!;
    this.#doneHead = this.#doneHead + 1 === this.depth ? 0 : this.#doneHead + 1;
    this.doneCount--;
    this.completedToken = request.token;
    this.completedError = request.error;
    request.error = undefined;
    this.#free[this.#freeCount++] = request.index;
    return true;
  }

  /** A free request for a token; undefined if there is none. */
  protected take(token: number): DirectRequest | undefined {
    if (this.#freeCount === 0) return undefined;
    const request = this.requests[this.#free[--this.#freeCount]!]!;
    request.token = token;
    return request;
  }

  #submit(token: number, isWrite: boolean, offsetBytes: number, memory: Uint8Array, memoryOffset: number, lengthBytes: number): boolean {
    if (this.#freeCount === 0) return false;
    let address: number;
    let refusal: PcacheError | undefined;
    try {
      address = this.device.directAddress(offsetBytes, memory, memoryOffset, lengthBytes);
    } catch (error) {
      if (!(error instanceof PcacheError)) throw error;
      address = 0;
      refusal = error;
    }
    const request = this.take(token)!;
    request.isWrite = isWrite;
    request.offsetBytes = offsetBytes;
    request.lengthBytes = lengthBytes;
    request.memory = memory;
    request.memoryOffset = memoryOffset;
    request.address = address;
    request.doneBytes = 0;
    if (refusal !== undefined) this.complete(request, refusal);
    else if (address === 0 || lengthBytes === 0) this.#doSynchronously(request);
    else this.prepareTransfer(request);
    return true;
  }

  /** The kernel has moved `result` bytes of what was left of a transfer, or says -errno. */
  protected finish(request: DirectRequest, result: number): void {
    const wanted = request.lengthBytes - request.doneBytes;
    if (result === wanted) {
      this.complete(request, undefined);
    } else if (isRefusal(result) || (result === -errno.EIO && request.isWrite && this.device.hidesShortWrites)) {
      this.#doSynchronously(request);
    } else {
      const progress = this.device.progressOf(result, wanted);
      if (progress <= 0) {
        const { lengthBytes, offsetBytes } = request;
        this.complete(request, this.device.failure(request.isWrite ? 'write' : 'read', lengthBytes, offsetBytes, result));
      } else {
        request.doneBytes += progress;
        this.prepareTransfer(request);
      }
    }
  }

  /** The whole of it: what was moved before is moved once more. */
  #doSynchronously(request: DirectRequest): void {
    const { device } = this.device;
    const { isWrite, offsetBytes, memoryOffset, lengthBytes } = request;
    const memory = request.memory!;
    this.complete(
      request,
      outcomeOf(() =>
        isWrite
          ? device.write(offsetBytes, memory, memoryOffset, lengthBytes)
          : device.read(offsetBytes, memory, memoryOffset, lengthBytes),
      ),
    );
  }

  protected complete(request: DirectRequest, error: PcacheError | undefined): void {
    request.error = error;
    request.memory = undefined;
    let place = this.#doneHead + this.doneCount++;
    if (place >= this.depth) place -= this.depth;
    this.#done[place] = request.index;
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
