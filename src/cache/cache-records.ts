// The records of the cache device that change while the cache runs. Each store is durable when it returns. The copy to overwrite is
// chosen anew each time from what stands on the media, so no state about it can go stale.
//
// Who may call: `storeKeyTail`, `storeDirtyTail` and `storeGeneration` only the background worker; the others any thread, under
// Word.controlLock, which they take themselves.

import type { CacheDevice } from '../device/device.js';
import { PcacheError } from '../errors.js';
import { CACHE_INFO_BYTES, readCacheInfo, writeCacheInfo } from '../media/cache-info.js';
import type { GatewayHeader } from '../media/gateway-header.js';
import { readGatewayHeader, writeGatewayHeader } from '../media/gateway-header.js';
import {
  CACHE_INFO_OFFSETS,
  GATEWAY_HEADER_BYTES,
  GATEWAY_HEADER_OFFSETS,
  SEGMENT_DATA_OFFSET,
  SEGMENT_GENERATION_OFFSETS,
} from '../media/layout.js';
import type { CacheSegId, SegmentOffset } from '../media/layout.js';
import { SEGMENT_GENERATION_BYTES, writeSegmentGeneration } from '../media/segment-generation.js';
import { TAIL_BYTES, TAIL_OFFSETS, writeTail } from '../media/tails.js';
import type { TailName } from '../media/tails.js';
import { chooseCopy } from '../media/two-copy-record.js';
import { lock, unlock } from '../shared/mutex.js';
import type { SegmentTable } from './segment-table.js';
import { NumberWord, Word } from './shared-state.js';
import type { CacheShared } from './shared-state.js';

export class CacheRecords {
  readonly #shared: CacheShared;
  readonly #segments: SegmentTable;
  readonly #device: CacheDevice;

  constructor(shared: CacheShared, segments: SegmentTable, device: CacheDevice) {
    this.#shared = shared;
    this.#segments = segments;
    this.#device = device;
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
    const written = writeTail(control, name, { cacheSegId: segment, segOff: offset as SegmentOffset }, current);
    this.#device.persist(TAIL_OFFSETS[name][written.index], TAIL_BYTES);
  }

  /** Stores the generation that the segment table holds for `segment`. */
  storeGeneration(segment: CacheSegId): void {
    const bytes = this.#segments.view(segment).bytes;
    const current = chooseCopy(bytes, SEGMENT_GENERATION_OFFSETS, SEGMENT_GENERATION_BYTES);
    const written = writeSegmentGeneration(bytes, this.#segments.generation(segment), current);
    const start = this.#segments.deviceOffset(segment, 0) - SEGMENT_DATA_OFFSET;
    this.#device.persist(start + SEGMENT_GENERATION_OFFSETS[written.index], SEGMENT_GENERATION_BYTES);
  }

  /** `gcPercent`: 0 to 90. */
  storeGcPercent(gcPercent: number): void {
    this.#withControlLock(() => {
      const control = this.#device.control.bytes;
      const current = readCacheInfo(control, this.#device.segmentCount);
      if (!current.ok) throw new PcacheError('damaged', `cache_info: ${current.reason}`);
      const written = writeCacheInfo(control, { ...current.value, gcPercent }, current);
      this.#device.persist(CACHE_INFO_OFFSETS[written.index], CACHE_INFO_BYTES);
      Atomics.store(this.#shared.words, Word.gcPercent, gcPercent);
    });
  }

  /** Changes fields of the gateway header. */
  storeGatewayHeader(change: Partial<GatewayHeader>): void {
    this.#withControlLock(() => {
      const control = this.#device.control.bytes;
      const current = readGatewayHeader(control);
      if (!current.ok) throw new PcacheError('damaged', `gateway header: ${current.reason}`);
      const written = writeGatewayHeader(control, { ...current.value, ...change }, current);
      this.#device.persist(GATEWAY_HEADER_OFFSETS[written.index], GATEWAY_HEADER_BYTES);
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
