// Which segments are free, what each holds, and when it may be used again.
//
// A data segment is reused only when no key of the log refers to it (`refs`) and no reader pins it (`pins`). A reader pins first and
// compares generations afterwards; the collector moves the generation on first and looks at the pins afterwards: one of them sees the
// other. A freed segment's generation is durable before anybody can take the segment (`finishFree`), and the collector drops
// references only after the key_tail that no longer covers them is durable; so no crash brings back a key whose payload is gone.

import type { CacheDevice, SegmentView } from '../device/device.js';
import { SEGMENT_DATA_BYTES, SEGMENT_DATA_OFFSET, segmentDeviceOffset } from '../media/layout.js';
import type { CacheSegId, PhysicalSegmentId } from '../media/layout.js';
import { lock, unlock } from '../shared/mutex.js';
import { signal } from '../shared/event-word.js';
import { HeadWord, LOG_RESERVE_SEGMENTS, SegmentState, Word } from './shared-state.js';
import type { CacheShared } from './shared-state.js';

export class SegmentTable {
  readonly #shared: CacheShared;
  readonly #words: Int32Array;
  readonly #device: CacheDevice;
  readonly #dataBytes: number;
  /** Addresses of the segments' data by cache_seg_id, where the device is a mapping. An array, since a function's result would be allocated. */
  readonly dataAddresses: Float64Array;
  /** Where the last successful `reserve` put its room. */
  reservedSegment = 0 as CacheSegId;
  reservedOffset = 0;
  reservedBytes = 0;

  constructor(shared: CacheShared, device: CacheDevice) {
    this.#shared = shared;
    this.#words = shared.words;
    this.#device = device;
    this.#dataBytes = shared.segmentDataBytes ?? SEGMENT_DATA_BYTES;
    this.dataAddresses = new Float64Array(shared.segmentCount);
    for (let segment = 0; segment < shared.segmentCount; segment++) {
      this.dataAddresses[segment] = device.addressOf(this.deviceOffset(segment as CacheSegId, 0));
    }
  }

  view(segment: CacheSegId): SegmentView {
    return this.#device.segment(this.#shared.physicalOf[segment]! as PhysicalSegmentId);
  }

  /** Device offset of a place in a segment's data. */
  deviceOffset(segment: CacheSegId, segmentOffset: number): number {
    return segmentDeviceOffset(this.#shared.physicalOf[segment]! as PhysicalSegmentId) + SEGMENT_DATA_OFFSET + segmentOffset;
  }

  /** Copies from memory at an address into a segment's data, where the device can. */
  store(segment: CacheSegId, segmentOffset: number, sourceAddress: number, lengthBytes: number): void {
    this.#device.store!(
      this.#shared.physicalOf[segment]! as PhysicalSegmentId,
      SEGMENT_DATA_OFFSET + segmentOffset,
      sourceAddress,
      lengthBytes,
    );
  }

  /** The generation of a segment, as keys store it. */
  generation(segment: CacheSegId): number {
    return this.#shared.generationHigh[segment]! * 2 ** 32 + (this.#shared.generationLow[segment]! >>> 0);
  }

  /** Segments in use, for gc_percent and the status. */
  used(): number {
    return this.#shared.segmentCount - Atomics.load(this.#words, Word.freeSegments);
  }

  /** Free segments that data may take: the log's reserve is kept back. */
  freeForData(): number {
    const kept = Atomics.load(this.#words, Word.nextLogSegment) === -1 ? LOG_RESERVE_SEGMENTS : LOG_RESERVE_SEGMENTS - 1;
    return Atomics.load(this.#words, Word.freeSegments) - kept;
  }

  /**
   * Takes room for up to `wantedBytes` (a multiple of 512) at a data head and holds one reference on its segment, which becomes the
   * key's. What was taken is in `reservedSegment`, `reservedOffset`, `reservedBytes`; it may be less than wanted, at a segment's end.
   * Returns false if there is no room; `waiting` says that the caller is the first of those who wait.
   */
  reserve(head: number, wantedBytes: number, waiting: boolean): boolean {
    const heads = this.#shared.heads;
    const base = head * HeadWord.stride;
    lock(heads, base + HeadWord.lock);
    let segment = heads[base + HeadWord.segment]!;
    let offset = heads[base + HeadWord.offsetBytes]!;
    if (segment === -1 || offset >= this.#dataBytes) {
      const next = this.#take(SegmentState.data, waiting);
      if (next === -1) {
        unlock(heads, base + HeadWord.lock);
        return false;
      }
      if (segment !== -1) this.dropReference(segment as CacheSegId);
      segment = next;
      offset = 0;
      heads[base + HeadWord.segment] = segment;
    }
    const bytes = Math.min(wantedBytes, this.#dataBytes - offset);
    heads[base + HeadWord.offsetBytes] = offset + bytes;
    Atomics.add(this.#shared.refs, segment, 1);
    unlock(heads, base + HeadWord.lock);
    this.reservedSegment = segment as CacheSegId;
    this.reservedOffset = offset;
    this.reservedBytes = bytes;
    return true;
  }

  /** Leaves every data head, so that segments without keys can be collected. */
  releaseHeads(): void {
    const heads = this.#shared.heads;
    for (let base = 0; base < heads.length; base += HeadWord.stride) {
      lock(heads, base + HeadWord.lock);
      const segment = heads[base + HeadWord.segment]!;
      heads[base + HeadWord.segment] = -1;
      unlock(heads, base + HeadWord.lock);
      if (segment !== -1) this.dropReference(segment as CacheSegId);
    }
  }

  dropReference(segment: CacheSegId): void {
    if (Atomics.sub(this.#shared.refs, segment, 1) === 1) Atomics.add(this.#words, Word.emptySegments, 1);
  }

  /** Takes a free segment to be the next log segment; -1 if there is none at all. */
  takeForLog(): CacheSegId | -1 {
    return this.#take(SegmentState.nextLog, true);
  }

  #take(state: number, waiting: boolean): CacheSegId | -1 {
    const words = this.#words;
    const states = this.#shared.state;
    lock(words, Word.segmentLock);
    const free = words[Word.freeSegments]!;
    const isData = state === SegmentState.data;
    const kept = isData ? (Atomics.load(words, Word.nextLogSegment) === -1 ? LOG_RESERVE_SEGMENTS : LOG_RESERVE_SEGMENTS - 1) : 0;
    if (free <= kept || (isData && !waiting && Atomics.load(words, Word.roomWaiters) > 0)) {
      unlock(words, Word.segmentLock);
      return -1;
    }
    const count = this.#shared.segmentCount;
    let segment = words[Word.freeHint]!;
    while (states[segment] !== SegmentState.free) segment = segment + 1 === count ? 0 : segment + 1;
    words[Word.freeHint] = segment + 1 === count ? 0 : segment + 1;
    states[segment] = state;
    this.#shared.refs[segment] = isData ? 1 : 0;
    this.#shared.liveSectors[segment] = 0;
    words[Word.freeSegments] = free - 1;
    unlock(words, Word.segmentLock);
    return segment as CacheSegId;
  }

  setState(segment: CacheSegId, state: number): void {
    lock(this.#words, Word.segmentLock);
    this.#shared.state[segment] = state;
    unlock(this.#words, Word.segmentLock);
  }

  /**
   * Pins a data segment for reading if its generation is still `generationLow`. Returns false if the segment has been freed
   * meanwhile; then nothing is pinned.
   */
  pin(segment: CacheSegId, generationLow: number): boolean {
    Atomics.add(this.#shared.pins, segment, 1);
    if (Atomics.load(this.#shared.generationLow, segment) === generationLow) return true;
    this.unpin(segment);
    return false;
  }

  unpin(segment: CacheSegId): void {
    Atomics.sub(this.#shared.pins, segment, 1);
  }

  /**
   * First half of freeing: moves the generation of an unreferenced data segment on, in memory. From here on its extents are stale.
   * Returns false if the segment is not data without references.
   */
  startFree(segment: CacheSegId): boolean {
    lock(this.#words, Word.segmentLock);
    const unused = this.#shared.state[segment] === SegmentState.data && Atomics.load(this.#shared.refs, segment) === 0;
    if (unused) {
      this.#shared.state[segment] = SegmentState.draining;
      const low = (this.#shared.generationLow[segment]! + 1) | 0;
      if (low === 0) this.#shared.generationHigh[segment]! += 1;
      Atomics.store(this.#shared.generationLow, segment, low);
    }
    unlock(this.#words, Word.segmentLock);
    return unused;
  }

  /** Second half, once the generation is durable and no reader is left: the segment can be taken, and whoever waits is woken. */
  finishFree(segment: CacheSegId): void {
    lock(this.#words, Word.segmentLock);
    this.#shared.state[segment] = SegmentState.free;
    this.#words[Word.freeSegments]! += 1;
    unlock(this.#words, Word.segmentLock);
    signal(this.#words, Word.roomEvent);
  }

  isPinned(segment: CacheSegId): boolean {
    return Atomics.load(this.#shared.pins, segment) !== 0;
  }
}
