// The records of the cache device that change while the cache runs. Each store is durable when it returns. The copy to overwrite is
// chosen anew each time from what stands on the media, so no state about it can go stale.
//
// Both copies of a record end up with the same value, so that damage to one costs nothing: the copy that is not current is written and made durable,
// then the other one. For records of 16 bytes, whose copies lie in one line of 64, which is never torn, the second is made durable with the next store.
// The place of a flush goes to one copy of the gateway header only, which costs one persist instead of two; the log worker brings the other one up when
// nobody waits for it. Both name the same dirty_tail meanwhile, so key_tail passes neither's.
//
// What is stored as the place the log has reached was durable before: `commitStep` says where that is when its last persist has returned.
//
// Who may call: `storeKeyTail`, `storeDirtyTail` and `storeGeneration` only the background worker (or whoever opens the cache, alone); the others any
// thread, under Word.controlLock, which they take themselves.

import type { CacheDevice } from '../device/device.js';
import { PcacheError } from '../errors.js';
import { CACHE_INFO_BYTES, readCacheInfo, writeCacheInfo } from '../media/cache-info.js';
import { DurablePlaceStore } from '../media/durable-place-store.js';
import type { DirtyTailPlace, DurablePlace, GatewayHeader } from '../media/gateway-header.js';
import { readGatewayHeader, withLogPlaces, writeGatewayBackup, writeGatewayHeader } from '../media/gateway-header.js';
import { sequenceOfFlags, KSET_HEADER_LAYOUT } from '../media/kset.js';
import {
  CACHE_INFO_OFFSETS,
  GATEWAY_BACKUP_OFFSET,
  GATEWAY_HEADER_BYTES,
  GATEWAY_HEADER_OFFSETS,
  SEGMENT_DATA_OFFSET,
  SEGMENT_GENERATION_OFFSETS,
} from '../media/layout.js';
import type { CacheSegId, SegmentOffset } from '../media/layout.js';
import type { LogPosition } from '../media/log-position.js';
import { samePosition } from '../media/log-position.js';
import { SEGMENT_GENERATION_BYTES, writeSegmentGeneration } from '../media/segment-generation.js';
import { TAIL_BYTES, TAIL_OFFSETS, writeTail } from '../media/tails.js';
import type { TailName } from '../media/tails.js';
import { chooseCopy } from '../media/two-copy-record.js';
import type { CopyIndex } from '../media/two-copy-record.js';
import { lock, unlock } from '../shared/mutex.js';
import type { SegmentTable } from './segment-table.js';
import { NumberWord, Word } from './shared-state.js';
import type { CacheShared } from './shared-state.js';

export class CacheRecords {
  readonly #shared: CacheShared;
  readonly #segments: SegmentTable;
  readonly #device: CacheDevice;
  readonly #placeStore: DurablePlaceStore;

  constructor(shared: CacheShared, segments: SegmentTable, device: CacheDevice) {
    this.#shared = shared;
    this.#segments = segments;
    this.#device = device;
    this.#placeStore = new DurablePlaceStore(device.control.bytes);
  }

  storeKeyTail(segment: CacheSegId, offset: number): void {
    this.#storeTail('key_tail', segment, offset);
  }

  storeDirtyTail(segment: CacheSegId, offset: number): void {
    this.#storeTail('dirty_tail', segment, offset);
  }

  #storeTail(name: TailName, segment: CacheSegId, offset: number): void {
    const control = this.#device.control.bytes;
    const current = chooseCopy(control, TAIL_OFFSETS[name], TAIL_BYTES);
    const position = { cacheSegId: segment, segOff: offset as SegmentOffset };
    const nextSequence = this.#sequenceAt(position, this.durablePlace());
    const written = writeTail(control, name, position, current, nextSequence);
    // Both copies: the other was written last time, after the persist, and must not stay behind by so much that its 8-bit number looks newer.
    this.#device.persist(TAIL_OFFSETS[name][0], 2 * TAIL_BYTES);
    writeTail(control, name, position, written, nextSequence);
  }

  /** Sequence of the kset at a place up to the durable end of the log; there, of the one that comes next. */
  #sequenceAt(position: LogPosition, durable: DurablePlace): number {
    if (samePosition(durable.position, position)) return durable.sequence + 1;
    const { view } = this.#segments.view(position.cacheSegId);
    const at = SEGMENT_DATA_OFFSET + position.segOff + KSET_HEADER_LAYOUT.flags;
    return sequenceOfFlags(view.getUint32(at, true), view.getUint32(at + 4, true));
  }

  /** Where the log has got to durably. */
  durablePlace(): DurablePlace {
    const { words, numbers } = this.#shared;
    lock(words, Word.logLock);
    const cacheSegId = words[Word.durableSegment]! as CacheSegId;
    const segOff = words[Word.durableOffset]! as SegmentOffset;
    const sequence = numbers[NumberWord.durableSequence]!;
    unlock(words, Word.logLock);
    return { sequence, position: { cacheSegId, segOff } };
  }

  /**
   * Where the log has got to durably, and where dirty_tail is; `undefined` if a kset of the kernel stands there. Under controlLock: with it, key_tail
   * stays before the dirty_tail that the header names, so the kset there can be read.
   */
  #placesForHeader(): { durable: DurablePlace; dirtyTail: DirtyTailPlace | undefined } {
    const { words } = this.#shared;
    const durable = this.durablePlace();
    lock(words, Word.logLock);
    const position = { cacheSegId: words[Word.dirtyTailSegment]! as CacheSegId, segOff: words[Word.dirtyTailOffset]! as SegmentOffset };
    unlock(words, Word.logLock);
    const sequence = this.#sequenceAt(position, durable);
    return { durable, dirtyTail: sequence === 0 ? undefined : { sequence, position } };
  }

  /** Stores the generation that the segment table holds for `segment`. `stamped`: this gateway freed the segment. */
  storeGeneration(segment: CacheSegId, { stamped = true }: { stamped?: boolean } = {}): void {
    const bytes = this.#segments.view(segment).bytes;
    const current = chooseCopy(bytes, SEGMENT_GENERATION_OFFSETS, SEGMENT_GENERATION_BYTES);
    const generation = this.#segments.generation(segment);
    const written = writeSegmentGeneration(bytes, generation, current, { stamped });
    const start = this.#segments.deviceOffset(segment, 0) - SEGMENT_DATA_OFFSET;
    // Both copies, as for a tail.
    this.#device.persist(start + SEGMENT_GENERATION_OFFSETS[0], 2 * SEGMENT_GENERATION_BYTES);
    writeSegmentGeneration(bytes, generation, written, { stamped });
  }

  /** `gcPercent`: 0 to 90. */
  storeGcPercent(gcPercent: number): void {
    this.#withControlLock(() => {
      const control = this.#device.control.bytes;
      const current = readCacheInfo(control, this.#device.segmentCount);
      if (!current.ok) throw new PcacheError('damaged', `cache_info: ${current.reason}`);
      const written = writeCacheInfo(control, { ...current.value, gcPercent }, current);
      this.#device.persist(CACHE_INFO_OFFSETS[written.index], CACHE_INFO_BYTES);
      const second = writeCacheInfo(control, written.value, written);
      this.#device.persist(CACHE_INFO_OFFSETS[second.index], CACHE_INFO_BYTES);
      Atomics.store(this.#shared.words, Word.gcPercent, gcPercent);
    });
  }

  /** Changes fields of the gateway header, of its backup too. Stores the durable place and dirty_tail as well. */
  storeGatewayHeader(change: Partial<GatewayHeader>): void {
    this.#storeHeader(change, true);
  }

  /** Has both copies of the gateway header say how far the log has got durably, and where dirty_tail is. */
  storeLogPlaces(): void {
    this.#storeHeader({}, false);
  }

  /** Has one copy of the gateway header say how far the log has got durably, for the flushes that wait for it. Allocates nothing. Throws PcacheError `io`. */
  storeDurablePlace(): void {
    const { words, numbers } = this.#shared;
    // A copy may be damaged then: the header has to be read before it is stored.
    if (Atomics.load(words, Word.headerCopySpoiled) !== 0) {
      this.storeLogPlaces();
      return;
    }
    lock(words, Word.controlLock);
    try {
      lock(words, Word.logLock);
      const segment = words[Word.durableSegment]!;
      const offset = words[Word.durableOffset]!;
      const sequence = numbers[NumberWord.durableSequence]!;
      unlock(words, Word.logLock);
      if (sequence <= numbers[NumberWord.recordedSequence]!) return;
      const index = this.#placeStore.write(sequence, segment, offset);
      words[Word.headerCopyBehind] = 1;
      this.#persistHeaderCopy(index, GATEWAY_HEADER_OFFSETS[index] + GATEWAY_HEADER_BYTES);
      numbers[NumberWord.recordedSequence] = sequence;
    } finally {
      unlock(words, Word.controlLock);
    }
  }

  /**
   * Persists from a copy of the header that was just written to `end`. If that fails, the copy does not count, lest it be taken for the current one and
   * the other, which is durable, be overwritten.
   */
  #persistHeaderCopy(index: CopyIndex, end: number): void {
    const start = GATEWAY_HEADER_OFFSETS[index];
    try {
      this.#device.persist(start, end - start);
    } catch (error) {
      this.#placeStore.spoil(index);
      Atomics.store(this.#shared.words, Word.headerCopySpoiled, 1);
      throw error;
    }
  }

  #storeHeader(change: Partial<GatewayHeader>, withBackup: boolean): void {
    this.#withControlLock(() => {
      const { durable, dirtyTail } = this.#placesForHeader();
      const control = this.#device.control.bytes;
      const current = readGatewayHeader(control);
      if (!current.ok) throw new PcacheError('damaged', `gateway header: ${current.reason}`);
      const known = current.value.durable;
      const later = known === undefined || known.sequence < durable.sequence ? durable : known;
      const written = writeGatewayHeader(control, withLogPlaces({ ...current.value, ...change }, later, dirtyTail), current);
      this.#persistHeaderCopy(written.index, GATEWAY_HEADER_OFFSETS[written.index] + GATEWAY_HEADER_BYTES);
      const second = writeGatewayHeader(control, written.value, written);
      if (withBackup) writeGatewayBackup(control, second);
      const end = (withBackup ? GATEWAY_BACKUP_OFFSET : GATEWAY_HEADER_OFFSETS[second.index]) + GATEWAY_HEADER_BYTES;
      this.#persistHeaderCopy(second.index, end);
      this.#shared.words[Word.headerCopyBehind] = 0;
      Atomics.store(this.#shared.words, Word.headerCopySpoiled, 0);
      this.#shared.numbers[NumberWord.recordedSequence] = durable.sequence;
      this.#shared.numbers[NumberWord.recordedDirtySequence] = dirtyTail?.sequence ?? 0;
    });
  }

  /** Stores a higher limit for kset sequence numbers, and lets the log use it once it is durable. */
  raiseSequenceLimit(limit: number): void {
    this.storeGatewayHeader({ sequenceLimit: limit });
    this.#shared.numbers[NumberWord.sequenceLimit] = limit;
  }

  #withControlLock(action: () => void): void {
    lock(this.#shared.words, Word.controlLock);
    try {
      action();
    } finally {
      unlock(this.#shared.words, Word.controlLock);
    }
  }
}
