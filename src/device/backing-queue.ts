// Requests to a backing device that are under way at the same time, for one thread. `SynchronousBackingQueue` does each when it is submitted; it serves
// devices that have nothing better, and systems that forbid io_uring.
//
// Invariants of every implementation:
// - Each request that was submitted completes exactly once: `next` comes to it, with what the device said of it.
// - Requests that are in flight together have no order, so a caller keeps overlapping writes apart. A flush covers the writes that had completed when it
//   was submitted, no others.
// - The memory of a request stays with the queue, unchanged by others (for a read: unread), until its completion.
// - It belongs to the thread that made it.

import { PcacheError } from '../errors.js';
import type { BackingDevice } from './device.js';

export interface BackingQueue {
  /** Requests that can be in flight at most. */
  readonly depth: number;
  readonly inFlight: number;
  /** Of the request that `next` came to: what it was submitted with, and what went wrong; undefined if nothing did. */
  readonly completedToken: number;
  readonly completedError: PcacheError | undefined;
  /**
   * Each takes a request with a token of the caller's, 0 to 2^31 - 1, and returns false if `depth` are in flight. Ranges as in BackingDevice. What the
   * device says, errors too, is told by `next`; these never throw PcacheError `io`.
   */
  submitRead(token: number, offsetBytes: number, target: Uint8Array, targetOffset: number, lengthBytes: number): boolean;
  submitWrite(token: number, offsetBytes: number, source: Uint8Array, sourceOffset: number, lengthBytes: number): boolean;
  submitFlush(token: number): boolean;
  /** Starts what was submitted, and blocks until `count` completions or more can be taken with `next`, or fewer if fewer are in flight. 0: doesn't block. */
  wait(count: number): void;
  /** Goes on to the next completion. Returns false if there is none yet. */
  next(): boolean;
  /** Waits for what is in flight, and lets it be forgotten. */
  close(): void;
}

/** Takes requests for a device, up to `depth` at a time, for the calling thread. Close it before the device. */
export function openBackingQueue(device: BackingDevice, depth: number): BackingQueue {
  return device.queue?.(depth) ?? new SynchronousBackingQueue(device, depth);
}

/**
 * The same for writes: none of them reaches the device after the process is gone, so the next process that writes can't be overtaken by the last. (An io_uring
 * does not keep to that.)
 */
export function openWriteQueue(device: BackingDevice, depth: number): BackingQueue {
  return device.writeQueue?.(depth) ?? new SynchronousBackingQueue(device, depth);
}

/** What a request fails with; undefined if it doesn't. */
export function outcomeOf(request: () => void): PcacheError | undefined {
  try {
    request();
    return undefined;
  } catch (error) {
    if (error instanceof PcacheError) return error;
    throw error;
  }
}

/** Does each request at once, in the calling thread. */
export class SynchronousBackingQueue implements BackingQueue {
  readonly depth: number;
  completedToken = 0;
  completedError: PcacheError | undefined;
  readonly #device: BackingDevice;
  readonly #tokens: number[] = [];
  readonly #errors: (PcacheError | undefined)[] = [];

  constructor(device: BackingDevice, depth: number) {
    this.#device = device;
    this.depth = depth;
  }

  get inFlight(): number {
    return this.#tokens.length;
  }

  submitRead(token: number, offsetBytes: number, target: Uint8Array, targetOffset: number, lengthBytes: number): boolean {
    return this.#do(token, () => this.#device.read(offsetBytes, target, targetOffset, lengthBytes));
  }

  submitWrite(token: number, offsetBytes: number, source: Uint8Array, sourceOffset: number, lengthBytes: number): boolean {
    return this.#do(token, () => this.#device.write(offsetBytes, source, sourceOffset, lengthBytes));
  }

  submitFlush(token: number): boolean {
    return this.#do(token, () => this.#device.flush());
  }

  wait(): void {
    // Everything is done already.
  }

  next(): boolean {
    const token = this.#tokens.shift();
    if (token === undefined) return false;
    this.completedToken = token;
    this.completedError = this.#errors.shift();
    return true;
  }

  close(): void {
    this.#tokens.length = 0;
    this.#errors.length = 0;
  }

  #do(token: number, request: () => void): boolean {
    if (this.#tokens.length >= this.depth) return false;
    this.#tokens.push(token);
    this.#errors.push(outcomeOf(request));
    return true;
  }
}
