// Answers READs that need the backing device, many at a time, in one thread that sleeps only in the ring of its device: it wakes for what the device has
// read and for new requests alike.
//
// Invariants:
// - A request is begun in order of arrival, and answered once. One whose range is being read already waits for that, once, and then looks again: what it
//   waits for may not be kept (no room), or may be older than a write that came meanwhile.
// - The device reads straight into the request's slot, which is this thread's until the answer. Only ranges that do not fit there, and what is read ahead,
//   take memory of this thread's own.
// - Nothing is read ahead while a request waits to be begun, while writers wait for room, or when the cache has little room left.

import type { Cache } from '../cache/cache.js';
import { Word } from '../cache/shared-state.js';
import type { BackingRing } from '../device/backing-ring.js';
import { PAGE_BYTES, SECTOR_BYTES } from '../media/layout.js';
import type { RequestSlot, RequestSlots } from '../fuse/request-slots.js';
import { COUNTER } from '../shared/counters.js';
import { lastingBuffer } from './aligned-buffer.js';
import { errnoFor } from './errno-of.js';
import type { MissLane } from './miss-lane.js';
import { RangeReads, type RangeRead } from './range-reads.js';
import { ReadAhead } from './read-ahead.js';

/** Requests under way at a time. */
export const MISSES_MAX = 64;
/** Entries of the ring: a request may need several, and what is read ahead has its own. */
export const RING_DEPTH = 96;
/** What is read ahead is cut into such ranges, so that who waits for a part waits for no more; and so many of them are under way at most. */
const AHEAD_BYTES = 256 * 1024;
const AHEAD_MAX = 8;
/** Of the cache's segments, those that reading ahead leaves free: one in so many. */
const AHEAD_FREE_SHARE = 16;
const CHUNK_BYTES = 1024 * 1024;
/** A sector at each end, and what makes it whole pages. */
const CHUNK_BUFFER_BYTES = CHUNK_BYTES + 2 * PAGE_BYTES;
/** Bounded, so that an order to stop is seen even if its wake-up was missed. */
const WAIT_MS = 1000;
const NO_SLOT = -1;

export interface MissServerParts {
  readonly cache: Cache;
  readonly slots: RequestSlots;
  readonly lane: MissLane;
  readonly ring: BackingRing;
  /** What the backing device wants offsets to be multiples of. */
  readonly alignmentBytes: number;
  /** Whether to end once there is nothing left to answer. */
  shouldStop(): boolean;
  answer(slot: RequestSlot, result: number): void;
  onError(what: string, error: unknown): void;
}

export class MissServer {
  readonly #parts: MissServerParts;
  readonly #reads: RangeReads;
  readonly #readAhead: ReadAhead;
  readonly #tuple = new Int32Array(1);
  /** Slots to begin again, before new ones. */
  readonly #again: number[] = [];
  /** By slot: bytes that are in its payload, of those that are read in several parts; and whether it has waited for another's range. */
  readonly #done: Float64Array;
  readonly #hasWaited: Uint8Array;
  readonly #aheadBuffers: Uint8Array[] = [];
  readonly #chunkBuffers: Uint8Array[] = [];

  constructor(parts: MissServerParts) {
    const { cache, ring, slots, alignmentBytes } = parts;
    this.#parts = parts;
    this.#reads = new RangeReads(cache, ring, alignmentBytes);
    this.#readAhead = new ReadAhead(cache.shared.volumeBytes);
    this.#done = new Float64Array(slots.handle.count);
    this.#hasWaited = new Uint8Array(slots.handle.count);
  }

  /** Returns when it is to stop and everything is answered. Throws PcacheError `io` if the ring fails. */
  serve(): void {
    const { lane, ring } = this.#parts;
    const reads = this.#reads;
    ring.watch(lane.listen(), WAIT_MS);
    for (;;) {
      this.#beginRequests();
      reads.submit();
      if (this.#mayEnd()) return;
      this.#sleep();
      for (let read = reads.harvest(); read !== undefined; read = reads.harvest()) this.#finish(read);
    }
  }

  #mayEnd(): boolean {
    return this.#parts.shouldStop() && this.#reads.demanded + this.#reads.ahead + this.#again.length + this.#parts.lane.length === 0;
  }

  #sleep(): void {
    const { lane, ring } = this.#parts;
    if (this.#reads.demanded === MISSES_MAX) {
      ring.sleep();
      return;
    }
    const isIdle = lane.fallAsleep() && this.#again.length === 0 && !this.#mayEnd();
    if (isIdle) ring.sleep();
    else ring.wait(0);
    lane.wakeUp();
  }

  #beginRequests(): void {
    const { lane, slots } = this.#parts;
    while (this.#reads.demanded < MISSES_MAX) {
      const again = this.#again.shift();
      if (again === undefined && !lane.requests.pop(this.#tuple)) return;
      this.#beginRequest(slots.slot(again ?? this.#tuple[0]!));
    }
  }

  #beginRequest(slot: RequestSlot): void {
    const malformed = slot.reopen();
    if (malformed !== 0) {
      this.#answer(slot, malformed);
      return;
    }
    const length = this.#lengthOf(slot);
    if (length === 0) {
      this.#answer(slot, 0);
      return;
    }
    try {
      this.#beginRange(slot, length);
    } catch (error) {
      this.#fail(slot, error);
    }
  }

  #lengthOf({ request }: RequestSlot): number {
    return Math.max(0, Math.min(request.sizeBytes, this.#parts.cache.shared.volumeBytes - request.offsetBytes));
  }

  #beginRange(slot: RequestSlot, length: number): void {
    const offset = slot.request.offsetBytes + this.#done[slot.index]!;
    const bytes = Math.min(length - this.#done[slot.index]!, CHUNK_BYTES);
    const start = offset - (offset % SECTOR_BYTES);
    const end = Math.ceil((offset + bytes) / SECTOR_BYTES) * SECTOR_BYTES;
    if (this.#hasWaited[slot.index] === 0) {
      const isSequential = this.#readAhead.note(start, end);
      const other = this.#reads.overlapping(start, end);
      if (other !== undefined) {
        this.#hasWaited[slot.index] = 1;
        other.waiters.push(slot.index);
      }
      if (isSequential) this.#beginAhead(this.#readAhead.startBytes, this.#readAhead.endBytes);
      if (other !== undefined) return;
    }
    const base = this.#baseFor(slot, length, start, end);
    const target = base < 0 ? (this.#chunkBuffers.pop() ?? lastingBuffer(CHUNK_BUFFER_BYTES)) : slot.payload;
    const read = this.#reads.begin(slot.index, start, end, target, base < 0 ? start - (start % PAGE_BYTES) : base, false);
    if (read.isDone) this.#finish(read);
  }

  /** The volume offset of the payload's first byte, if the payload has room for the whole request and the rest of its sectors, or pages; else -1. */
  #baseFor(slot: RequestSlot, length: number, start: number, end: number): number {
    if (length > CHUNK_BYTES) return -1;
    const base = start - (start % PAGE_BYTES);
    if (Math.ceil(end / PAGE_BYTES) * PAGE_BYTES - base <= slot.payload.length) return base;
    return end - start <= slot.payload.length ? start : -1;
  }

  #beginAhead(startBytes: number, endBytes: number): void {
    const reads = this.#reads;
    if (!this.#mayReadAhead(Math.ceil((endBytes - startBytes) / AHEAD_BYTES))) {
      this.#readAhead.decline();
      return;
    }
    for (let start = startBytes; start < endBytes; start += AHEAD_BYTES) {
      const end = Math.min(start + AHEAD_BYTES, endBytes);
      const read = reads.begin(NO_SLOT, start, end, this.#aheadBuffers.pop() ?? lastingBuffer(AHEAD_BYTES), start, true);
      if (read.isDone) this.#finish(read);
    }
  }

  #mayReadAhead(ranges: number): boolean {
    const { cache, lane } = this.#parts;
    const { words, readOnly, segmentCount } = cache.shared;
    return (
      !readOnly &&
      this.#reads.ahead + ranges <= AHEAD_MAX &&
      this.#again.length === 0 &&
      lane.length === 0 &&
      Atomics.load(words, Word.roomWaiters) === 0 &&
      Atomics.load(words, Word.indexFull) === 0 &&
      cache.segments.freeForData() > Math.max(2, segmentCount / AHEAD_FREE_SHARE)
    );
  }

  /** A range is done: its request is answered, or goes on. */
  #finish(read: RangeRead): void {
    const { error, tag, target, baseBytes } = read;
    for (const waiter of read.waiters) this.#again.push(waiter);
    this.#reads.release(read);
    if (read.isAhead) {
      this.#aheadBuffers.push(target);
      // Whoever needs it asks for it, and hears of the error.
      if (error !== undefined) this.#readAhead.forget();
      return;
    }
    const slot = this.#parts.slots.slot(tag);
    const isChunk = target !== slot.payload;
    if (isChunk) this.#chunkBuffers.push(target);
    if (error !== undefined) this.#fail(slot, error);
    else if (isChunk) this.#addChunk(slot, target, baseBytes);
    else this.#succeed(slot, slot.request.offsetBytes - baseBytes);
  }

  #addChunk(slot: RequestSlot, chunk: Uint8Array, baseBytes: number): void {
    const done = this.#done[slot.index]!;
    const length = this.#lengthOf(slot);
    const from = slot.request.offsetBytes + done - baseBytes;
    const bytes = Math.min(length - done, CHUNK_BYTES);
    slot.payload.set(chunk.subarray(from, from + bytes), done);
    this.#done[slot.index] = done + bytes;
    if (done + bytes < length) this.#again.unshift(slot.index);
    else this.#succeed(slot, 0);
  }

  #succeed(slot: RequestSlot, payloadOffset: number): void {
    const length = this.#lengthOf(slot);
    slot.iovec.add(slot.payloadAddress + payloadOffset, length);
    this.#answer(slot, length);
  }

  #fail(slot: RequestSlot, error: unknown): void {
    this.#parts.onError(`read of ${this.#lengthOf(slot)} bytes at ${slot.request.offsetBytes}`, error);
    this.#answer(slot, -errnoFor(error));
  }

  #answer(slot: RequestSlot, result: number): void {
    const { counters } = this.#parts.cache;
    if (result < 0) {
      counters[COUNTER.read_errors]! += 1;
    } else {
      counters[COUNTER.reads]! += 1;
      counters[COUNTER.read_bytes]! += result;
    }
    this.#done[slot.index] = 0;
    this.#hasWaited[slot.index] = 0;
    this.#parts.answer(slot, result);
  }
}
