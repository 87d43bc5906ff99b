// A list of pieces of the volume and where each lies, in arrays that are made once. Used for the answer of a read and for the plan of a
// writeback. Places and lengths are bytes.

import type { CacheSegId } from '../media/layout.js';

/** What a piece is. */
export const PieceKind = {
  /** In the cache: `segment` and `segmentOffset` say where. */
  cached: 0,
  /** Not in the cache. */
  missing: 1,
  /** In the cache, but its payload is known to be damaged. */
  corrupt: 2,
} as const;

export class PieceList {
  readonly capacity: number;
  count = 0;
  readonly kinds: Uint8Array;
  readonly volumeOffsets: Float64Array;
  readonly lengths: Int32Array;
  readonly segments: Int32Array;
  readonly segmentOffsets: Int32Array;

  constructor(capacity: number) {
    this.capacity = capacity;
    this.kinds = new Uint8Array(capacity);
    this.volumeOffsets = new Float64Array(capacity);
    this.lengths = new Int32Array(capacity);
    this.segments = new Int32Array(capacity);
    this.segmentOffsets = new Int32Array(capacity);
  }

  clear(): void {
    this.count = 0;
  }

  /** The caller keeps `count` below `capacity`. */
  add(kind: number, volumeOffset: number, lengthBytes: number, segment: CacheSegId, segmentOffset: number): void {
    const at = this.count;
    this.kinds[at] = kind;
    this.volumeOffsets[at] = volumeOffset;
    this.lengths[at] = lengthBytes;
    this.segments[at] = segment;
    this.segmentOffsets[at] = segmentOffset;
    this.count = at + 1;
  }
}
