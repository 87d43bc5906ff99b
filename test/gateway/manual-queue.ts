// A queue to a backing device whose requests complete when a test says so, in the order that it likes, or fail.

import type { BackingQueue } from '../../src/device/backing-queue.js';
import type { BackingDevice } from '../../src/device/device.js';
import { errno } from '../../src/device/errno-codes.js';
import { PcacheError } from '../../src/errors.js';

interface Pending {
  readonly token: number;
  readonly offsetBytes: number;
  readonly lengthBytes: number;
  readonly target: Uint8Array;
  readonly targetOffset: number;
}

export class ManualQueue implements BackingQueue {
  readonly depth: number;
  completedToken = 0;
  completedError: PcacheError | undefined;
  /** Reads under way, as [offset, length], oldest first. */
  readonly pending: Pending[] = [];
  /** All reads that were ever submitted. */
  readonly submitted: [offsetBytes: number, lengthBytes: number][] = [];
  readonly #device: BackingDevice;
  readonly #done: { token: number; error: PcacheError | undefined }[] = [];

  constructor(device: BackingDevice, depth: number) {
    this.#device = device;
    this.depth = depth;
  }

  get inFlight(): number {
    return this.pending.length + this.#done.length;
  }

  submitRead(token: number, offsetBytes: number, target: Uint8Array, targetOffset: number, lengthBytes: number): boolean {
    if (this.inFlight >= this.depth) return false;
    this.pending.push({ token, offsetBytes, lengthBytes, target, targetOffset });
    this.submitted.push([offsetBytes, lengthBytes]);
    return true;
  }

  submitWrite(): boolean {
    throw new Error('a write');
  }

  submitFlush(): boolean {
    throw new Error('a flush');
  }

  wait(): void {
    throw new Error('a wait');
  }

  /** Completes the pending read at a place, with what the device holds now, or with EIO. */
  complete(place = 0, fails = false): void {
    const [{ token, offsetBytes, lengthBytes, target, targetOffset }] = this.pending.splice(place, 1) as [Pending];
    if (!fails) this.#device.read(offsetBytes, target, targetOffset, lengthBytes);
    this.#done.push({ token, error: fails ? new PcacheError('io', 'planted: EIO', { errno: errno.EIO }) : undefined });
  }

  next(): boolean {
    const done = this.#done.shift();
    if (done === undefined) return false;
    this.completedToken = done.token;
    this.completedError = done.error;
    return true;
  }

  close(): void {
    this.pending.length = 0;
  }
}
