// A cache key on the media: 40 bytes that say where a range of the volume lies in the cache. Invariants of every key that a writer stores
// (`validateKey` checks them): off, len and cache_seg_off are multiples of 512; len > 0; the range crosses no multiple of 4 MiB and ends within the
// volume; the payload ends within its segment's data. Of two keys that overlap, the later in the log wins.
//
// The hot loops (replay: hundreds of thousands of keys) read keys through one reusable KeyCursor and allocate nothing.

import type { CacheSegId, SegmentOffset, VolumeOffset } from './layout.js';
import { KEY_BYTES, SECTOR_BYTES, SEGMENT_DATA_BYTES, SUBTREE_BYTES } from './layout.js';
import { structLayout } from './struct-layout.js';

export const KEY_LAYOUT = structLayout('cache_key', KEY_BYTES, {
  off: [0, 8],
  len: [8, 4],
  flags: [12, 4],
  cache_seg_id: [16, 4],
  cache_seg_off: [20, 4],
  seg_gen: [24, 8],
  data_crc: [32, 4],
  reserved: [36, 4],
});

// Plain constants, so that the compiler folds them into the loops.
const OFF_AT = KEY_LAYOUT.off;
const LEN_AT = KEY_LAYOUT.len;
const FLAGS_AT = KEY_LAYOUT.flags;
const SEG_ID_AT = KEY_LAYOUT.cache_seg_id;
const SEG_OFF_AT = KEY_LAYOUT.cache_seg_off;
const SEG_GEN_AT = KEY_LAYOUT.seg_gen;
const DATA_CRC_AT = KEY_LAYOUT.data_crc;
const RESERVED_AT = KEY_LAYOUT.reserved;

/** Offsets within a key of the two words that other modules store by themselves. */
export const KEY_RESERVED_OFFSET = RESERVED_AT;
export const KEY_DATA_CRC_OFFSET = DATA_CRC_AT;

/** The range is missing (a placeholder). Lives in memory only, never on the media. */
export const KEY_FLAG_EMPTY = 1 << 0;
/** A copy of what the backing device holds: nothing to write back. */
export const KEY_FLAG_CLEAN = 1 << 1;

const HALF = 0x1_0000_0000;
/** High halves from here on make a u64 that a number can't hold. */
const HIGH_HALF_LIMIT = 0x20_0000;

export interface CacheKey {
  readonly off: VolumeOffset;
  /** Bytes, a positive multiple of 512. */
  readonly len: number;
  /** KEY_FLAG_* bits. */
  readonly flags: number;
  readonly cacheSegId: CacheSegId;
  readonly cacheSegOff: SegmentOffset;
  readonly segGen: number;
  /** CRC of the payload; 0 where data CRC is off. */
  readonly dataCrc: number;
  readonly reserved: number;
}

/** One key at a time, as plain numbers: `load` overwrites them, so copy what must outlive the next `load`. */
export class KeyCursor {
  off = 0;
  len = 0;
  flags = 0;
  cacheSegId = 0;
  cacheSegOff = 0;
  segGen = 0;
  dataCrc = 0;
  reserved = 0;
  /** False if `off` or `segGen` is above 2^53 - 1; both are then rounded. */
  representable = true;

  /** Reads the key at `byteOffset`, which must leave room for 40 bytes. */
  load(view: DataView, byteOffset: number): void {
    const offHigh = view.getUint32(byteOffset + OFF_AT + 4, true);
    const genHigh = view.getUint32(byteOffset + SEG_GEN_AT + 4, true);
    this.off = offHigh * HALF + view.getUint32(byteOffset + OFF_AT, true);
    this.len = view.getUint32(byteOffset + LEN_AT, true);
    this.flags = view.getUint32(byteOffset + FLAGS_AT, true);
    this.cacheSegId = view.getUint32(byteOffset + SEG_ID_AT, true);
    this.cacheSegOff = view.getUint32(byteOffset + SEG_OFF_AT, true);
    this.segGen = genHigh * HALF + view.getUint32(byteOffset + SEG_GEN_AT, true);
    this.dataCrc = view.getUint32(byteOffset + DATA_CRC_AT, true);
    this.reserved = view.getUint32(byteOffset + RESERVED_AT, true);
    this.representable = offHigh < HIGH_HALF_LIMIT && genHigh < HIGH_HALF_LIMIT;
  }

  get isClean(): boolean {
    return (this.flags & KEY_FLAG_CLEAN) !== 0;
  }

  /** A copy that lasts. Check the key first: the places get their types here. */
  toKey(): CacheKey {
    return {
      off: this.off as VolumeOffset,
      len: this.len,
      flags: this.flags,
      cacheSegId: this.cacheSegId as CacheSegId,
      cacheSegOff: this.cacheSegOff as SegmentOffset,
      segGen: this.segGen,
      dataCrc: this.dataCrc,
      reserved: this.reserved,
    };
  }
}

/** Stores a key, field by field, for hot paths. All values are non-negative; u32 but for `off` and `segGen`, which are at most 2^53 - 1. */
export function storeKey(
  view: DataView,
  byteOffset: number,
  off: number,
  len: number,
  flags: number,
  cacheSegId: number,
  cacheSegOff: number,
  segGen: number,
  dataCrc: number,
  reserved: number,
): void {
  view.setUint32(byteOffset + OFF_AT, off % HALF, true);
  view.setUint32(byteOffset + OFF_AT + 4, Math.floor(off / HALF), true);
  view.setUint32(byteOffset + LEN_AT, len, true);
  view.setUint32(byteOffset + FLAGS_AT, flags, true);
  view.setUint32(byteOffset + SEG_ID_AT, cacheSegId, true);
  view.setUint32(byteOffset + SEG_OFF_AT, cacheSegOff, true);
  view.setUint32(byteOffset + SEG_GEN_AT, segGen % HALF, true);
  view.setUint32(byteOffset + SEG_GEN_AT + 4, Math.floor(segGen / HALF), true);
  view.setUint32(byteOffset + DATA_CRC_AT, dataCrc, true);
  view.setUint32(byteOffset + RESERVED_AT, reserved, true);
}

export function encodeKey(view: DataView, byteOffset: number, key: CacheKey): void {
  storeKey(view, byteOffset, key.off, key.len, key.flags, key.cacheSegId, key.cacheSegOff, key.segGen, key.dataCrc, key.reserved);
}

export interface KeyLimits {
  /** Size of the volume; `Number.MAX_SAFE_INTEGER` where it isn't known. */
  readonly volumeBytes: number;
  /** Segments of the cache's chain (n_segs). */
  readonly segmentCount: number;
}

/** `undefined` if the key keeps every rule of the format, else which one it breaks. Allocates only for a bad key. */
export function validateKey(key: KeyCursor | CacheKey, limits: KeyLimits): string | undefined {
  const { off, len, cacheSegOff } = key;
  if (!Number.isSafeInteger(off)) return 'its volume offset is above 2^53 - 1';
  if (!Number.isSafeInteger(key.segGen)) return 'its segment generation is above 2^53 - 1';
  if (len === 0) return 'its length is 0';
  if (len % SECTOR_BYTES !== 0) return `its length ${len} is not a multiple of ${SECTOR_BYTES}`;
  if (off % SECTOR_BYTES !== 0) return `its volume offset ${off} is not a multiple of ${SECTOR_BYTES}`;
  if (cacheSegOff % SECTOR_BYTES !== 0) return `its segment offset ${cacheSegOff} is not a multiple of ${SECTOR_BYTES}`;
  if ((off % SUBTREE_BYTES) + len > SUBTREE_BYTES) return `its range ${off}+${len} crosses a multiple of 4 MiB`;
  if (off + len > limits.volumeBytes) return `its range ${off}+${len} ends beyond the volume of ${limits.volumeBytes} bytes`;
  if (key.cacheSegId >= limits.segmentCount) return `its segment ${key.cacheSegId} is not one of the ${limits.segmentCount} of the cache`;
  if (cacheSegOff + len > SEGMENT_DATA_BYTES) return `its payload ${cacheSegOff}+${len} ends beyond its segment's data`;
  if ((key.flags & KEY_FLAG_EMPTY) !== 0) return 'it is marked EMPTY, which exists in memory only';
  return undefined;
}
