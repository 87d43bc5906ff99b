// The background work that needs the backing device: writes a batch back, then lets the collector make room. In bounded steps.

import type { Cache } from '../cache/cache.js';
import { Collector } from '../cache/collector.js';
import { Writeback } from '../cache/writeback.js';
import type { BackingDevice } from '../device/device.js';
import { alignedBuffer } from './aligned-buffer.js';

/** Pieces that follow each other in the volume are written together, up to this. */
const WRITE_BYTES_MAX = 1024 * 1024;

export class Maintenance {
  readonly #backing: BackingDevice;
  readonly #writeback: Writeback;
  readonly #collector: Collector;
  readonly #buffer = alignedBuffer(WRITE_BYTES_MAX);
  #isBackingFailure = false;

  constructor(cache: Cache, backing: BackingDevice) {
    this.#backing = backing;
    this.#writeback = new Writeback(cache);
    this.#collector = new Collector(cache);
  }

  /** Whether what `writebackStep` threw last was about the backing device; if not, it was about the cache device or the log. */
  get isBackingFailure(): boolean {
    return this.#isBackingFailure;
  }

  /**
   * Writes one batch to the backing device, flushes it, and moves dirty_tail. Returns whether there was one. Throws PcacheError `io` (or
   * `no-space`) if the backing device fails: then nothing has moved and the batch will be tried again; `io` if the cache device does (see
   * `isBackingFailure`); `damaged` if the log is.
   */
  writebackStep(): boolean {
    this.#isBackingFailure = false;
    if (!this.#writeback.plan()) return false;
    this.#isBackingFailure = true;
    const { pieces } = this.#writeback;
    let at = 0;
    while (at < pieces.count) at = this.#writeRun(at);
    if (pieces.count > 0) this.#backing.flush();
    this.#isBackingFailure = false;
    return this.#writeback.complete();
  }

  /** Writes the pieces from `first` on that follow each other. Returns the index of the next piece. */
  #writeRun(first: number): number {
    const { pieces } = this.#writeback;
    const start = pieces.volumeOffsets[first]!;
    let at = first;
    let length = 0;
    while (at < pieces.count && pieces.volumeOffsets[at] === start + length && length + pieces.lengths[at]! <= WRITE_BYTES_MAX) {
      const { bytes, offset } = this.#writeback.bytesOf(at);
      this.#buffer.set(bytes.subarray(offset, offset + pieces.lengths[at]!), length);
      length += pieces.lengths[at]!;
      at++;
    }
    if (at > first) {
      this.#backing.write(start, this.#buffer, 0, length);
      return at;
    }
    // A piece larger than the buffer: up to 4 MiB.
    const { bytes, offset } = this.#writeback.bytesOf(first);
    for (let done = 0; done < pieces.lengths[first]!; done += length) {
      length = Math.min(WRITE_BYTES_MAX, pieces.lengths[first]! - done);
      this.#buffer.set(bytes.subarray(offset + done, offset + done + length));
      this.#backing.write(start + done, this.#buffer, 0, length);
    }
    return first + 1;
  }

  /** One step of the collector if it is wanted. Returns whether it made room. Throws PcacheError `io` or `damaged`. */
  gcStep(): boolean {
    return this.#collector.isWanted() && this.#collector.step();
  }

  /** One step of the collector, wanted or not. */
  forcedGcStep(): boolean {
    return this.#collector.step();
  }
}
