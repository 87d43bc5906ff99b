// Writes a planned batch to the backing device and flushes it: many requests under way at a time, as much of it at once as the caller has time for.
//
// Invariants:
// - The flush is submitted when every write of the batch has completed, and none has failed. A flush covers nothing else.
// - After a failure nothing more is submitted; it is thrown when nothing is in flight any more. No part of the batch counts then.
// - Nothing is written to a device that was found shorter than the volume, and no batch on it counts: a file would be lengthened with holes, and what is
//   missing would not be noticed any more.
// - A batch begins when nothing of an earlier one is in flight: so no old bytes come after newer ones.
// - Pieces do not overlap, so the order of writes does not matter. The memory of a request stays unchanged until its completion: payload that is not
//   written back is neither moved nor freed, and a buffer is used for one request at a time.

import type { Writeback } from '../cache/writeback.js';
import { openWriteQueue } from '../device/backing-queue.js';
import type { BackingQueue } from '../device/backing-queue.js';
import type { BackingDevice } from '../device/device.js';
import { PAGE_BYTES } from '../media/layout.js';
import { PcacheError } from '../errors.js';
import { alignedBuffer } from './aligned-buffer.js';

/** Pieces that follow each other in the volume are written together, up to this. */
export const WRITE_BYTES_MAX = 1024 * 1024;
/**
 * Writes under way at a time. A fast device completes what was submitted together nearly together: with 32, all of them were mostly done before the next were
 * submitted, and it idled meanwhile.
 */
export const WRITE_DEPTH = 128;
/** Of these so many bytes at most: large writes keep a device busy when there are a few of them, and more would only take memory. */
export const WRITE_BYTES_IN_FLIGHT_MAX = 4 * 1024 * 1024;
/** Completions waited for at once when no more can be submitted: one at a time would be a system call for each. */
const WAIT_COUNT = 16;
/** What lies together in the cache and has this much is not copied to be written with what follows: that would take longer than another request. */
const DIRECT_BYTES = 64 * 1024;
/** Buffers, WRITE_BYTES_MAX each, for pieces that do not follow each other in the cache. */
const BUFFERS_MAX = 32;

const FLUSH_TOKEN = WRITE_DEPTH;

export class WritebackWriter {
  readonly #writeback: Writeback;
  readonly #backing: BackingDevice;
  readonly #onTaken: (bytes: number) => void;
  #queue: BackingQueue | undefined;
  /** Those that no write uses; the last given back is the next taken, so that few are used while the device is fast. */
  readonly #freeBuffers: Uint8Array[] = [];
  #bufferCount = 0;
  /** By token of the write: its buffer if it has one, and its length. */
  readonly #buffers: (Uint8Array | undefined)[] = Array.from({ length: WRITE_DEPTH }, () => undefined);
  readonly #lengths = new Int32Array(WRITE_DEPTH);
  /** Tokens that are free. */
  readonly #free = Int32Array.from({ length: WRITE_DEPTH }, (_, index) => WRITE_DEPTH - 1 - index);
  #freeCount = WRITE_DEPTH;
  #bytesInFlight = 0;
  /** What is submitted next: a piece, and how many of its bytes were submitted before. */
  #piece = 0;
  #pieceBytes = 0;
  #failure: PcacheError | undefined;
  /** Of the batch, by writes that succeeded. */
  #takenBytes = 0;
  #isFlushSubmitted = false;
  #isFlushed = false;

  /** @param onTaken told how many bytes the device has taken, with each write that succeeds; of a batch that fails, as much with a minus sign: none of it counts */
  constructor(writeback: Writeback, backing: BackingDevice, onTaken: (bytes: number) => void = () => undefined) {
    this.#onTaken = onTaken;
    this.#writeback = writeback;
    this.#backing = backing;
  }

  /** The writeback has planned a batch: starts with it. Waits for what is in flight of another one. */
  begin(): void {
    this.#settle();
    this.#piece = 0;
    this.#pieceBytes = 0;
    this.#takenBytes = 0;
    this.#failure = undefined;
    this.#isFlushSubmitted = false;
    this.#isFlushed = this.#writeback.pieces.count === 0;
  }

  get isSubmitted(): boolean {
    return this.#piece >= this.#writeback.pieces.count;
  }

  /** Whether every write of the batch has completed. */
  isWritten(): boolean {
    return this.isSubmitted && this.#freeCount === WRITE_DEPTH;
  }

  /**
   * Goes on until all is written and flushed, and returns true; or until it is `untilMs` of `clock`, and returns false: then it is to be called again. It
   * may block beyond that while it can do nothing but wait for the device. Throws PcacheError `io` (or `no-space`) if the device has failed,
   * `mismatch` if it was cut.
   */
  advance(untilMs: number, clock: () => number): boolean {
    const queue = (this.#queue ??= openWriteQueue(this.#backing, WRITE_DEPTH + 1));
    // Between slices, not between requests; what comes in between lengthens no file up to its end, unless the end itself is written.
    this.#look();
    for (;;) {
      if (this.#failure === undefined && this.#isFlushed) this.#look();
      if (this.#failure !== undefined) {
        this.#settle();
        this.#onTaken(-this.#takenBytes);
        this.#takenBytes = 0;
        throw this.#failure;
      }
      if (this.#isFlushed) return true;
      if (!this.isSubmitted && this.#hasRoom()) {
        this.#submit(queue);
      } else if (!this.isWritten()) {
        queue.wait(Math.min(WAIT_COUNT, Math.ceil(queue.inFlight / 2)));
      } else if (!this.#isFlushSubmitted) {
        this.#isFlushSubmitted = queue.submitFlush(FLUSH_TOKEN);
      } else {
        queue.wait(1);
      }
      this.#takeCompletions(queue);
      if (clock() < untilMs) continue;
      // What was submitted starts, and goes on by itself.
      queue.wait(0);
      return false;
    }
  }

  /** Waits for what is in flight, and lets go of the device. */
  close(): void {
    this.#settle();
    this.#queue?.close();
    this.#queue = undefined;
  }

  #look(): void {
    try {
      this.#backing.requireWhole?.();
    } catch (error) {
      if (!(error instanceof PcacheError)) throw error;
      this.#failure ??= error;
    }
  }

  #hasRoom(): boolean {
    // Whether a write needs a buffer is seen when it is put together.
    const hasBuffer = this.#freeBuffers.length > 0 || this.#bufferCount < BUFFERS_MAX;
    return this.#freeCount > 0 && hasBuffer && this.#bytesInFlight < WRITE_BYTES_IN_FLIGHT_MAX;
  }

  #takeBuffer(token: number): Uint8Array {
    let buffer = this.#freeBuffers.pop();
    if (buffer === undefined) {
      buffer = alignedBuffer(WRITE_BYTES_MAX);
      this.#bufferCount++;
    }
    this.#buffers[token] = buffer;
    return buffer;
  }

  #giveBuffer(token: number): void {
    const buffer = this.#buffers[token];
    if (buffer === undefined) return;
    this.#buffers[token] = undefined;
    this.#freeBuffers.push(buffer);
  }

  #settle(): void {
    const queue = this.#queue;
    while (queue !== undefined && queue.inFlight > 0) {
      queue.wait(queue.inFlight);
      this.#takeCompletions(queue);
    }
  }

  #takeCompletions(queue: BackingQueue): void {
    while (queue.next()) {
      const token = queue.completedToken;
      this.#failure ??= queue.completedError;
      if (token === FLUSH_TOKEN) {
        this.#isFlushed = queue.completedError === undefined;
      } else {
        const length = this.#lengths[token]!;
        this.#bytesInFlight -= length;
        if (queue.completedError === undefined) {
          this.#takenBytes += length;
          this.#onTaken(length);
        }
        this.#giveBuffer(token);
        this.#free[this.#freeCount++] = token;
      }
    }
  }

  /** Submits one write: of the pieces that follow each other in the volume, as much as fits one. */
  #submit(queue: BackingQueue): void {
    const writeback = this.#writeback;
    const { volumeOffsets, lengths } = writeback.pieces;
    const first = this.#piece;
    const firstPlace = writeback.placeOf(first) + this.#pieceBytes;
    const memory = writeback.memoryOf(first);
    const start = volumeOffsets[first]! + this.#pieceBytes;
    // It ends at a page if more follows, so that no block of the device is cut.
    const bytesMax = WRITE_BYTES_MAX - (start % PAGE_BYTES);
    const token = this.#free[--this.#freeCount]!;
    const length = Math.min(bytesMax, lengths[first]! - this.#pieceBytes);
    this.#pass(length);
    let source = memory;
    let sourceOffset = firstPlace;
    let total = length;
    while (total < bytesMax && !this.isSubmitted && volumeOffsets[this.#piece] === start + total) {
      const piece = this.#piece;
      const more = Math.min(bytesMax - total, lengths[piece]!);
      const place = writeback.placeOf(piece);
      const from = writeback.memoryOf(piece);
      if (source !== memory || from !== memory || place !== firstPlace + total) {
        if (source === memory) {
          if (total >= DIRECT_BYTES && (start + total) % PAGE_BYTES === 0) break;
          // What follows lies elsewhere: all of it goes through a buffer.
          source = this.#takeBuffer(token);
          source.set(memory.subarray(firstPlace, firstPlace + total));
          sourceOffset = 0;
        }
        source.set(from.subarray(place, place + more), total);
      }
      total += more;
      this.#pass(more);
    }
    this.#lengths[token] = total;
    this.#bytesInFlight += total;
    if (!queue.submitWrite(token, start, source, sourceOffset, total))
      throw new Error('writeback: the queue takes fewer writes than it said');
  }

  /** So many bytes of the piece at hand are taken care of. */
  #pass(bytes: number): void {
    this.#pieceBytes += bytes;
    if (this.#pieceBytes < this.#writeback.pieces.lengths[this.#piece]!) return;
    this.#piece++;
    this.#pieceBytes = 0;
  }
}
