// A queue of requests to a simulated device that completes them in any order, and only when somebody waits: what a real device may do with those that are
// under way together. The order is a function of the numbers it is given.
//
// Invariants: nothing of a request happens when it is submitted, but that a flush takes down which writes had completed by then: it covers these alone.
// The memory of a write is looked at when the write happens, so whoever changes it too early is found out.

import type { PcacheError } from '../errors.js';
import { outcomeOf } from './backing-queue.js';
import type { BackingQueue } from './backing-queue.js';

export interface OutOfOrderDevice {
  read(offsetBytes: number, target: Uint8Array, targetOffset: number, lengthBytes: number): void;
  write(offsetBytes: number, source: Uint8Array, sourceOffset: number, lengthBytes: number): void;
  /** A flush is submitted; what is returned is called when it happens. */
  startFlush(): () => void;
}

export interface PendingWrite {
  readonly offsetBytes: number;
  readonly source: Uint8Array;
  readonly sourceOffset: number;
  readonly lengthBytes: number;
}

interface Pending {
  readonly token: number;
  readonly perform: () => void;
  readonly write?: PendingWrite;
}

export class OutOfOrderQueue implements BackingQueue {
  readonly depth: number;
  completedToken = 0;
  completedError: PcacheError | undefined;
  readonly #device: OutOfOrderDevice;
  readonly #random: () => number;
  #pending: Pending[] = [];
  readonly #done: { token: number; error: PcacheError | undefined }[] = [];

  /** @param random numbers from 0 up to, not including, 1 */
  constructor(device: OutOfOrderDevice, depth: number, random: () => number) {
    this.#device = device;
    this.depth = depth;
    this.#random = random;
  }

  get inFlight(): number {
    return this.#pending.length + this.#done.length;
  }

  /** Writes that have not happened, oldest first. */
  get pendingWrites(): PendingWrite[] {
    return this.#pending.flatMap(({ write }) => write ?? []);
  }

  submitRead(token: number, offsetBytes: number, target: Uint8Array, targetOffset: number, lengthBytes: number): boolean {
    return this.#submit({ token, perform: () => this.#device.read(offsetBytes, target, targetOffset, lengthBytes) });
  }

  submitWrite(token: number, offsetBytes: number, source: Uint8Array, sourceOffset: number, lengthBytes: number): boolean {
    return this.#submit({
      token,
      perform: () => this.#device.write(offsetBytes, source, sourceOffset, lengthBytes),
      write: { offsetBytes, source, sourceOffset, lengthBytes },
    });
  }

  submitFlush(token: number): boolean {
    return this.inFlight < this.depth && this.#submit({ token, perform: this.#device.startFlush() });
  }

  wait(count: number): void {
    const wanted = Math.min(count, this.inFlight);
    while (this.#done.length < wanted) this.#performOne();
    // Some that nobody asked for, as a device would.
    while (this.#pending.length > 0 && this.#random() < 0.3) this.#performOne();
  }

  next(): boolean {
    const done = this.#done.shift();
    if (done === undefined) return false;
    this.completedToken = done.token;
    this.completedError = done.error;
    return true;
  }

  close(): void {
    this.wait(this.inFlight);
    this.#done.length = 0;
  }

  /** What has not happened never will. */
  forget(): void {
    this.#pending = [];
    this.#done.length = 0;
  }

  #submit(request: Pending): boolean {
    if (this.inFlight >= this.depth) return false;
    this.#pending.push(request);
    return true;
  }

  #performOne(): void {
    const [request] = this.#pending.splice(Math.floor(this.#random() * this.#pending.length), 1);
    this.#done.push({ token: request!.token, error: outcomeOf(request!.perform) });
  }
}
