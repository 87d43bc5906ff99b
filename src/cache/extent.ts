// An extent of the cache tree, packed into three 32-bit words. Everything in it counts in sectors of 512 bytes.
//
//     word 0   [ first sector in the subtree: 13 | length - 1: 13 | flags: 6 ]
//     word 1   [ 0 | cache_seg_id: 16 | sector in the segment's data: 15 ]      a placeholder's token: 31
//     word 2   [ low 32 bits of the segment's generation ]                      a placeholder's: 0
//
// A subtree covers 4 MiB, 8192 sectors; a segment's data is 32,744 sectors; a cache of 1 TiB has fewer than 65,536 segments. The first
// sector is in the highest bits, so extents in order are words in (unsigned) order. Payload of one segment that follows on differs in
// word 1 by the number of sectors, and no carry reaches the segment's bits: 32,744 < 32,768.

import { PcacheError } from '../errors.js';
import { CACHE_BYTES_MAX, SECTOR_BYTES, SEGMENT_DATA_BYTES, SUBTREE_BYTES, segmentCountOf } from '../media/layout.js';
import type { CacheSegId } from '../media/layout.js';

/** 32-bit words of an extent. */
export const EXTENT_WORDS = 3;
export const EXTENT_BYTES = EXTENT_WORDS * 4;

/** Sectors that a subtree covers, and so the most extents that it can hold. */
export const SUBTREE_SECTORS = SUBTREE_BYTES / SECTOR_BYTES;
/** Sectors of data in a segment. */
export const SEGMENT_DATA_SECTORS = SEGMENT_DATA_BYTES / SECTOR_BYTES;

/** Flags of an extent, 6 bits. */
export const ExtentFlag = {
  /** The backing device has the same bytes. */
  clean: 1,
  /** A placeholder: a read miss is fetching these sectors. In memory only. */
  empty: 2,
  /** The payload is known to be damaged: answer EIO. */
  corrupt: 4,
} as const;

const SECTOR_BITS = 13;
const FLAG_BITS = 6;
const SECTOR_MASK = (1 << SECTOR_BITS) - 1;
/** All bits of flags. */
export const FLAG_MASK = (1 << FLAG_BITS) - 1;
const SECTOR_SHIFT = SECTOR_BITS + FLAG_BITS;
const PLACE_BITS = 15;
const PLACE_MASK = (1 << PLACE_BITS) - 1;

/** Tokens of placeholders are 0 to this. */
export const TOKEN_MAX = 2 ** 31 - 1;

if (SUBTREE_SECTORS !== 1 << SECTOR_BITS || SEGMENT_DATA_SECTORS > PLACE_MASK || segmentCountOf(CACHE_BYTES_MAX) > 1 << 16) {
  throw new PcacheError('internal', 'extent: the media layout does not fit the packed words');
}

/** Word 0. `sector` 0 to 8191, `sectors` 1 to 8192 - sector. */
export function packRange(sector: number, sectors: number, flags: number): number {
  return (sector << SECTOR_SHIFT) | ((sectors - 1) << FLAG_BITS) | flags;
}

/** First sector, from word 0. */
export function firstSector(word0: number): number {
  return word0 >>> SECTOR_SHIFT;
}

/** Number of sectors, from word 0. */
export function sectorCount(word0: number): number {
  return ((word0 >>> FLAG_BITS) & SECTOR_MASK) + 1;
}

/** The sector after the last, from word 0. */
export function endSector(word0: number): number {
  return firstSector(word0) + sectorCount(word0);
}

/** Flags, from word 0. */
export function flagsOf(word0: number): number {
  return word0 & FLAG_MASK;
}

/** Word 1. `dataSector` is the place in the segment's data, 0 to 32,743. */
export function packPlace(segment: CacheSegId, dataSector: number): number {
  return (segment << PLACE_BITS) | dataSector;
}

/** cache_seg_id, from word 1. */
export function segmentOf(word1: number): CacheSegId {
  return (word1 >>> PLACE_BITS) as CacheSegId;
}

/** Sector in the segment's data, from word 1. */
export function dataSectorOf(word1: number): number {
  return word1 & PLACE_MASK;
}
