// A place in the log that moves kset by kset over ksets that are known to be there: between a tail and the durable end of the log.
// (Replay, which does not know where the log ends, uses `media/log-walk`.) A kset that is not valid here is damage.

import { PcacheError } from '../errors.js';
import { KEY_BYTES, KSET_HEADER_BYTES, SEGMENT_DATA_OFFSET } from '../media/layout.js';
import type { CacheSegId } from '../media/layout.js';
import { KeyCursor } from '../media/cache-key.js';
import { KsetHeader, ksetIsValid } from '../media/kset.js';
import type { SegmentTable } from './segment-table.js';

export class LogCursor {
  segment = 0 as CacheSegId;
  offset = 0;
  readonly header = new KsetHeader();
  readonly key = new KeyCursor();
  readonly #segments: SegmentTable;
  readonly #segmentCount: number;

  constructor(segments: SegmentTable, segmentCount: number) {
    this.#segments = segments;
    this.#segmentCount = segmentCount;
  }

  moveTo(segment: number, offset: number): void {
    this.segment = segment as CacheSegId;
    this.offset = offset;
  }

  isAt(segment: number, offset: number): boolean {
    return this.segment === segment && this.offset === offset;
  }

  /** Loads the header of the kset here. Throws PcacheError `damaged` if there is no valid one. */
  loadKset(): void {
    const { bytes, view } = this.#segments.view(this.segment);
    const valid = ksetIsValid(bytes, view, SEGMENT_DATA_OFFSET, this.offset, this.header);
    if (!valid || (this.header.isLast && this.header.nextCacheSegId >= this.#segmentCount)) {
      throw new PcacheError('damaged', `log: the kset in segment ${this.segment} at offset ${this.offset} is damaged`);
    }
  }

  /** Loads key `index` of the kset here into `key`. */
  loadKey(index: number): void {
    this.key.load(this.#segments.view(this.segment).view, SEGMENT_DATA_OFFSET + this.offset + KSET_HEADER_BYTES + index * KEY_BYTES);
  }

  /** Moves past the kset whose header was loaded. */
  advance(): void {
    if (this.header.isLast) this.moveTo(this.header.nextCacheSegId, 0);
    else this.offset += this.header.sizeBytes;
  }
}
