// The background work that needs the backing device: writes batches back, and lets the collector make room. In bounded steps.

import type { Cache } from '../cache/cache.js';
import { Collector } from '../cache/collector.js';
import { Writeback } from '../cache/writeback.js';
import type { BackingDevice } from '../device/device.js';
import { WritebackWriter } from './writeback-writer.js';

/** What a part of writeback came to: there was nothing to do, a batch is under way, or one is done. */
export type WritebackOutcome = 'none' | 'under-way' | 'done';

export class Maintenance {
  readonly #writeback: Writeback;
  readonly #writer: WritebackWriter;
  readonly #collector: Collector;
  readonly #backing: BackingDevice;
  #isUnderWay = false;
  #isBackingFailure = false;

  /** @param onTaken told how many bytes of a batch the backing device has taken, as it goes; less again by those of a batch that fails */
  constructor(cache: Cache, backing: BackingDevice, onTaken?: (bytes: number) => void) {
    this.#backing = backing;
    this.#writeback = new Writeback(cache);
    this.#writer = new WritebackWriter(this.#writeback, backing, onTaken);
    this.#collector = new Collector(cache);
  }

  /** Whether the backing device was found shorter than the volume: nothing is written to it any more. */
  get isBackingCut(): boolean {
    return (this.#backing.lostBytes ?? 0) > 0;
  }

  /** As `BackingDevice.requireWhole`. */
  requireWholeBacking(): void {
    this.#backing.requireWhole?.();
  }

  /** Whether what was thrown last was about the backing device; if not, it was about the cache device or the log. */
  get isBackingFailure(): boolean {
    return this.#isBackingFailure;
  }

  /**
   * Writes one batch to the backing device, flushes it, and moves dirty_tail. Returns whether there was one. Throws PcacheError `io` (or
   * `no-space`, `mismatch` if it was cut) if the backing device fails: then nothing has moved and the batch will be tried again; `io` if the cache device does (see
   * `isBackingFailure`); `damaged` if the log is.
   */
  writebackStep(): boolean {
    return this.writebackPart(Infinity, () => 0) === 'done';
  }

  /**
   * The same, but returns when it is `untilMs` of `clock` or soon after, with the batch under way; the next call goes on with it. Requests that were
   * submitted go on in between.
   */
  writebackPart(untilMs: number, clock: () => number): WritebackOutcome {
    this.#isBackingFailure = false;
    if (!this.#isUnderWay && !this.#begin()) return 'none';
    this.#isBackingFailure = true;
    // Whatever it throws, the batch is planned anew.
    this.#isUnderWay = false;
    if (!this.#writer.advance(untilMs, clock)) {
      this.#isUnderWay = true;
      return 'under-way';
    }
    this.#isBackingFailure = false;
    return this.#writeback.complete() ? 'done' : 'none';
  }

  #begin(): boolean {
    if (!this.#writeback.plan()) return false;
    this.#isBackingFailure = true;
    this.#writer.begin();
    return true;
  }

  /** One step of the collector if it is wanted. Returns whether it made room. Throws PcacheError `io` or `damaged`. */
  gcStep(): boolean {
    return this.#collector.isWanted() && this.#collector.step();
  }

  /** One step of the collector, wanted or not. */
  forcedGcStep(): boolean {
    return this.#collector.step();
  }

  /** Waits for the requests that are under way; their batch is forgotten, as if it had not begun. Nothing is done after this. */
  close(): void {
    this.#isUnderWay = false;
    this.#writer.close();
  }
}
