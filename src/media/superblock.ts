// The superblock: one copy, at 0x1000, written once by whoever formats the cache. The kernel formats the device whenever its magic reads 0.

import { pcacheCrcOfRange } from './crc32c.js';
import type { Decoded } from './decoded.js';
import { accepted, refused } from './decoded.js';
import { CACHE_BYTES_MAX, SEGMENT_BYTES, SUPERBLOCK_OFFSET } from './layout.js';
import { structLayout } from './struct-layout.js';
import { allZero, holds, viewOf } from './u64.js';

export const SUPERBLOCK_BYTES = 24;
export const SUPERBLOCK_LAYOUT = structLayout('superblock', SUPERBLOCK_BYTES, {
  crc: [0, 4],
  flags: [4, 4],
  magic: [8, 8],
  seg_num: [16, 4],
  padding: [20, 4],
});
const AT = SUPERBLOCK_LAYOUT;

/** 0x65B05EFA96C596EF in two halves. */
const MAGIC_LOW = 0x96c596ef;
const MAGIC_HIGH = 0x65b05efa;

/** Flags bit 0: a big-endian machine wrote the cache. Not supported. */
export const SUPERBLOCK_FLAG_BIG_ENDIAN = 1 << 0;

/** Segments that the largest cache has. */
export const SEGMENT_COUNT_MAX = CACHE_BYTES_MAX / SEGMENT_BYTES;

export interface Superblock {
  /** 0: no flag but the endian bit is known, and that one is refused. */
  readonly flags: number;
  /** Segments on the device, 1 or more. */
  readonly segmentCount: number;
}

/** Whether the kernel would take the device for a new one and format it: its magic reads 0. */
export function superblockIsBlank(bytes: Uint8Array, offset: number = SUPERBLOCK_OFFSET): boolean {
  return holds(bytes, offset, SUPERBLOCK_BYTES) && allZero(bytes, offset + AT.magic, 8);
}

/** `bytes` is the device's control area, unless an `offset` says otherwise. Whether the device holds that many segments is the caller's to check. */
export function decodeSuperblock(bytes: Uint8Array, offset: number = SUPERBLOCK_OFFSET): Decoded<Superblock> {
  if (!holds(bytes, offset, SUPERBLOCK_BYTES)) return refused('too few bytes for a superblock');
  const view = viewOf(bytes);
  const magicLow = view.getUint32(offset + AT.magic, true);
  const magicHigh = view.getUint32(offset + AT.magic + 4, true);
  if (magicLow === 0 && magicHigh === 0) return refused('no superblock');
  // A big-endian machine's magic reads with its bytes reversed here.
  if (view.getUint32(offset + AT.magic, false) === MAGIC_HIGH && view.getUint32(offset + AT.magic + 4, false) === MAGIC_LOW) {
    return refused('a big-endian machine wrote the cache');
  }
  if (magicLow !== MAGIC_LOW || magicHigh !== MAGIC_HIGH) return refused('no pcache superblock magic');
  const crc = pcacheCrcOfRange(bytes, offset + AT.flags, offset + SUPERBLOCK_BYTES);
  if (view.getUint32(offset + AT.crc, true) !== crc) return refused('superblock with a bad CRC');
  const flags = view.getUint32(offset + AT.flags, true);
  if ((flags & SUPERBLOCK_FLAG_BIG_ENDIAN) !== 0) return refused('a big-endian machine wrote the cache');
  const segmentCount = view.getUint32(offset + AT.seg_num, true);
  if (segmentCount < 1) return refused('superblock with no segments');
  if (segmentCount > SEGMENT_COUNT_MAX) return refused(`superblock with ${segmentCount} segments, more than ${SEGMENT_COUNT_MAX}`);
  return accepted({ flags, segmentCount });
}

export function encodeSuperblock(bytes: Uint8Array, superblock: Superblock, offset: number = SUPERBLOCK_OFFSET): void {
  const view = viewOf(bytes);
  view.setUint32(offset + AT.flags, superblock.flags, true);
  view.setUint32(offset + AT.magic, MAGIC_LOW, true);
  view.setUint32(offset + AT.magic + 4, MAGIC_HIGH, true);
  view.setUint32(offset + AT.seg_num, superblock.segmentCount, true);
  view.setUint32(offset + AT.padding, 0, true);
  view.setUint32(offset + AT.crc, pcacheCrcOfRange(bytes, offset + AT.flags, offset + SUPERBLOCK_BYTES), true);
}
