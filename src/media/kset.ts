// A kset on the media: a 24-byte header and up to 128 keys. Invariants: the CRC covers everything after itself, keys included; a kset with keys ends
// where a LAST kset still fits before the end of its segment's data; a LAST kset has no keys and names the segment where the log goes on.
//
// The kernel reads bit 0 (LAST) of the flags and nothing else. This gateway keeps in the other bits what lets replay tell the end of the log
// from damage:
//   bit 8      BARRIER: closed by a flush
//   bit 9      BARRIER_BEFORE: a flush, or an open of the cache, lies between the kset before and this one
//   bits 10-15 batchIndex: how many ksets before it were perhaps not yet durable when its header was written (63: unknown)
//   bits 16-63 sequence: number of the kset, rising by one each (0: unknown, the kernel wrote it)
// Flags are handled as two 32-bit halves, never as a BigInt.

import type { CacheKey } from './cache-key.js';
import { encodeKey } from './cache-key.js';
import { pcacheCrcOfRange } from './crc32c.js';
import type { CacheSegId } from './layout.js';
import { KEY_BYTES, KSET_HEADER_BYTES, KSET_KEYS_MAX, LAST_KSET_BYTES, SEGMENT_DATA_BYTES } from './layout.js';
import { structLayout } from './struct-layout.js';
import { viewOf } from './u64.js';

export const KSET_HEADER_LAYOUT = structLayout('kset', KSET_HEADER_BYTES, {
  crc: [0, 4],
  /** In a LAST kset: next_cache_seg_id. */
  key_num: [4, 4],
  magic: [8, 8],
  flags: [16, 8],
});

const CRC_AT = KSET_HEADER_LAYOUT.crc;
const KEY_NUM_AT = KSET_HEADER_LAYOUT.key_num;
const MAGIC_AT = KSET_HEADER_LAYOUT.magic;
const FLAGS_AT = KSET_HEADER_LAYOUT.flags;
/** The CRC covers bytes from here to the end of the kset. */
const CRC_START = KEY_NUM_AT;

/** 0x676894A64E164F1A in two halves. */
export const KSET_MAGIC_LOW = 0x4e164f1a;
export const KSET_MAGIC_HIGH = 0x676894a6;

/** Marks: the low bits of the flags. */
export const KSET_LAST = 1 << 0;
export const KSET_BARRIER = 1 << 8;
export const KSET_BARRIER_BEFORE = 1 << 9;

const BATCH_INDEX_SHIFT = 10;
/** The largest batch index: it proves nothing. */
export const BATCH_INDEX_MAX = 63;
/** Highest sequence number that fits: 48 bits. */
export const KSET_SEQUENCE_MAX = 2 ** 48 - 1;
const SEQUENCE_LOW_SHIFT = 16;
const SEQUENCE_LOW_SIZE = 0x1_0000;

/** Flags bits 0-31. `marks`: KSET_* bits; `batchIndex` 0 to 63; `sequence` 0 to 2^48 - 1. */
export function ksetFlagsLow(marks: number, batchIndex: number, sequence: number): number {
  return (marks | (batchIndex << BATCH_INDEX_SHIFT) | ((sequence % SEQUENCE_LOW_SIZE) << SEQUENCE_LOW_SHIFT)) >>> 0;
}

/** Flags bits 32-63. */
export function ksetFlagsHigh(sequence: number): number {
  return Math.floor(sequence / SEQUENCE_LOW_SIZE);
}

export function sequenceOfFlags(low: number, high: number): number {
  return high * SEQUENCE_LOW_SIZE + (low >>> SEQUENCE_LOW_SHIFT);
}

export function batchIndexOfFlags(low: number): number {
  return (low >>> BATCH_INDEX_SHIFT) & BATCH_INDEX_MAX;
}

/** Bytes of a kset with `keyNum` keys. */
export function ksetSizeBytes(keyNum: number): number {
  return KSET_HEADER_BYTES + keyNum * KEY_BYTES;
}

/** A kset's header as plain numbers; `load` overwrites them. It says what stands there, valid or not. */
export class KsetHeader {
  crc = 0;
  magicMatches = false;
  isLast = false;
  isBarrier = false;
  isBarrierBefore = false;
  batchIndex = 0;
  /** 0: written by the kernel. */
  sequence = 0;
  /** 0 for a LAST kset; not checked against 128. */
  keyNum = 0;
  /** LAST only: where the log goes on, not checked; 0 otherwise. */
  nextCacheSegId = 0;
  /** Of header and keys. */
  sizeBytes = 0;

  /** Reads the header at `byteOffset`, which must leave room for 24 bytes. */
  load(view: DataView, byteOffset: number): void {
    const low = view.getUint32(byteOffset + FLAGS_AT, true);
    const high = view.getUint32(byteOffset + FLAGS_AT + 4, true);
    const count = view.getUint32(byteOffset + KEY_NUM_AT, true);
    this.crc = view.getUint32(byteOffset + CRC_AT, true);
    this.magicMatches =
      view.getUint32(byteOffset + MAGIC_AT, true) === KSET_MAGIC_LOW && view.getUint32(byteOffset + MAGIC_AT + 4, true) === KSET_MAGIC_HIGH;
    this.isLast = (low & KSET_LAST) !== 0;
    this.isBarrier = (low & KSET_BARRIER) !== 0;
    this.isBarrierBefore = (low & KSET_BARRIER_BEFORE) !== 0;
    this.batchIndex = batchIndexOfFlags(low);
    this.sequence = sequenceOfFlags(low, high);
    this.keyNum = this.isLast ? 0 : count;
    this.nextCacheSegId = this.isLast ? count : 0;
    this.sizeBytes = ksetSizeBytes(this.keyNum);
  }
}

export function readKsetHeader(view: DataView, byteOffset: number): KsetHeader {
  const header = new KsetHeader();
  header.load(view, byteOffset);
  return header;
}

/**
 * Why the kset that `header` was loaded from is not valid; `undefined` if it is.
 * `base`: where the segment's data starts in `bytes`; `segOff`: of the kset, at most 24 bytes before the end of the data.
 */
export function ksetProblem(bytes: Uint8Array, base: number, segOff: number, header: KsetHeader): string | undefined {
  if (!header.magicMatches) return 'no kset magic';
  if (header.keyNum > KSET_KEYS_MAX) return `key_num ${header.keyNum} is above ${KSET_KEYS_MAX}`;
  const end = segOff + header.sizeBytes;
  if (end > SEGMENT_DATA_BYTES - (header.isLast ? 0 : LAST_KSET_BYTES))
    return `it would end at ${end}, beyond what its segment has room for`;
  if (pcacheCrcOfRange(bytes, base + segOff + CRC_START, base + end) !== header.crc) return 'bad CRC';
  return undefined;
}

/** Whether a valid kset stands at `segOff`. Loads `header` if there is room for one. */
export function ksetIsValid(bytes: Uint8Array, view: DataView, base: number, segOff: number, header: KsetHeader): boolean {
  if (segOff < 0 || segOff > SEGMENT_DATA_BYTES - KSET_HEADER_BYTES) return false;
  header.load(view, base + segOff);
  return ksetProblem(bytes, base, segOff, header) === undefined;
}

/**
 * Closes a kset whose `keyNum` keys already stand behind its header: computes the CRC and stores the header, the CRC last.
 * `marks`: KSET_BARRIER and KSET_BARRIER_BEFORE bits. `bytes` and `view` are the same memory.
 */
export function sealKsetHeader(
  bytes: Uint8Array,
  view: DataView,
  byteOffset: number,
  keyNum: number,
  marks: number,
  batchIndex: number,
  sequence: number,
): void {
  storeHeader(bytes, view, byteOffset, keyNum, ksetSizeBytes(keyNum), ksetFlagsLow(marks, batchIndex, sequence), ksetFlagsHigh(sequence));
}

/** Stores a LAST kset: the log goes on at offset 0 of `nextCacheSegId`, whose first 24 bytes must be zero and durable by then. */
export function sealLastKset(
  bytes: Uint8Array,
  view: DataView,
  byteOffset: number,
  nextCacheSegId: CacheSegId,
  marks: number,
  batchIndex: number,
  sequence: number,
): void {
  const low = ksetFlagsLow(marks | KSET_LAST, batchIndex, sequence);
  storeHeader(bytes, view, byteOffset, nextCacheSegId, LAST_KSET_BYTES, low, ksetFlagsHigh(sequence));
}

function storeHeader(
  bytes: Uint8Array,
  view: DataView,
  byteOffset: number,
  count: number,
  sizeBytes: number,
  flagsLow: number,
  flagsHigh: number,
): void {
  view.setUint32(byteOffset + KEY_NUM_AT, count, true);
  view.setUint32(byteOffset + MAGIC_AT, KSET_MAGIC_LOW, true);
  view.setUint32(byteOffset + MAGIC_AT + 4, KSET_MAGIC_HIGH, true);
  view.setUint32(byteOffset + FLAGS_AT, flagsLow, true);
  view.setUint32(byteOffset + FLAGS_AT + 4, flagsHigh, true);
  view.setUint32(byteOffset + CRC_AT, pcacheCrcOfRange(bytes, byteOffset + CRC_START, byteOffset + sizeBytes), true);
}

export interface KsetOptions {
  readonly marks?: number;
  readonly batchIndex?: number;
  readonly sequence?: number;
}

/** A whole kset in memory of its own, for tests and tools. 128 keys at most. */
export function encodeKset(keys: readonly CacheKey[], options: KsetOptions = {}): Uint8Array {
  const bytes = new Uint8Array(ksetSizeBytes(keys.length));
  const view = viewOf(bytes);
  for (const [index, key] of keys.entries()) encodeKey(view, KSET_HEADER_BYTES + index * KEY_BYTES, key);
  sealKsetHeader(bytes, view, 0, keys.length, options.marks ?? 0, options.batchIndex ?? 0, options.sequence ?? 0);
  return bytes;
}

/** A LAST kset in memory of its own, for tests and tools. */
export function encodeLastKset(nextCacheSegId: CacheSegId, options: KsetOptions = {}): Uint8Array {
  const bytes = new Uint8Array(LAST_KSET_BYTES);
  sealLastKset(bytes, viewOf(bytes), 0, nextCacheSegId, options.marks ?? 0, options.batchIndex ?? 0, options.sequence ?? 0);
  return bytes;
}
