// Records that are kept twice and written in turn. Each copy begins with a header of 8 bytes: crc u32 (over everything after it), seq u8, version
// u8, res u16. Invariants: the copy with a good CRC and the later seq is current; a writer overwrites the *other* copy, with the current seq + 1,
// so that a torn write leaves the current copy as it was. Nothing else of the page is touched.
//
// The kernel stores 0 as version and res, and reads neither. So a copy can carry a *stamp*: a version of our own says that this gateway wrote it, and
// res is a word of its choice. What is known of our own writing, and of the kernel's not, holds only for stamped copies.
//
// "Later" is the sign of the 8-bit difference, so the number wraps. Two good copies with equal seq, or exactly 128 apart: copy 0, as the
// kernel has it (it keeps the first good copy unless the second is strictly later).

import { pcacheCrcOfRange } from './crc32c.js';
import type { Decoded, Refused } from './decoded.js';
import { holds, allZero, viewOf } from './u64.js';

export const RECORD_HEADER_BYTES = 8;
const SEQ_AT = 4;
/** What the kernel stores as version. */
const RECORD_VERSION = 0;
/** The version of a copy with a stamp: 'G'. */
const STAMPED_VERSION = 0x47;

/** Where the two copies are, in the bytes that are handed in. */
export type CopyOffsets = readonly [number, number];
export type CopyIndex = 0 | 1;

/** Which copy is current. */
export interface CurrentCopy {
  readonly index: CopyIndex;
  /** 0 to 255. */
  readonly seq: number;
  /** Whether the other copy has a good CRC too. On a record written once it never had. */
  readonly otherValid: boolean;
  /** What this gateway stored in `res`, 0 to 65535; not there if it did not write the copy. */
  readonly stamp?: number;
}

/** Neither copy is good. `blank`: both are all zero, as if never written. */
export interface NoCopy {
  readonly index: 'none';
  readonly blank: boolean;
}

/** A record's value, and which copy it came from. */
export interface Current<T> extends CurrentCopy {
  readonly value: T;
}

/** Why there is no value: no good copy, or a good one with senseless fields (then `blank` is false). */
export interface RefusedRecord extends Refused {
  readonly blank: boolean;
}

export type RecordRead<T> = ({ readonly ok: true } & Current<T>) | RefusedRecord;

/** How one kind of record is laid out behind its header. */
export interface RecordCodec<T> {
  readonly name: string;
  /** With the header. */
  readonly sizeBytes: number;
  /** Reads the fields of the record that starts at `at`; the CRC was good. */
  readonly decodeFields: (view: DataView, at: number) => Decoded<T>;
  readonly encodeFields: (view: DataView, at: number, value: T) => void;
}

/** Whether seq `a` comes after `b`; both 0 to 255. */
export function seqIsAfter(a: number, b: number): boolean {
  return ((a - b) << 24) >> 24 > 0;
}

export function copyIsValid(bytes: Uint8Array, offset: number, sizeBytes: number): boolean {
  if (!holds(bytes, offset, sizeBytes)) return false;
  return viewOf(bytes).getUint32(offset, true) === pcacheCrcOfRange(bytes, offset + 4, offset + sizeBytes);
}

export function chooseCopy(bytes: Uint8Array, offsets: CopyOffsets, sizeBytes: number): CurrentCopy | NoCopy {
  const valid0 = copyIsValid(bytes, offsets[0], sizeBytes);
  const valid1 = copyIsValid(bytes, offsets[1], sizeBytes);
  const seq0 = bytes[offsets[0] + SEQ_AT] ?? 0;
  const seq1 = bytes[offsets[1] + SEQ_AT] ?? 0;
  if (valid1 && (!valid0 || seqIsAfter(seq1, seq0))) return { index: 1, seq: seq1, otherValid: valid0, ...stampOf(bytes, offsets[1]) };
  if (valid0) return { index: 0, seq: seq0, otherValid: valid1, ...stampOf(bytes, offsets[0]) };
  const blank = offsets.every((offset) => holds(bytes, offset, sizeBytes) && allZero(bytes, offset, sizeBytes));
  return { index: 'none', blank };
}

function stampOf(bytes: Uint8Array, offset: number): { stamp?: number } {
  const view = viewOf(bytes);
  if (view.getUint8(offset + SEQ_AT + 1) !== STAMPED_VERSION) return {};
  return { stamp: view.getUint16(offset + SEQ_AT + 2, true) };
}

/** The copy to write next, and its seq. */
export function nextCopy(current: CurrentCopy | NoCopy): { index: CopyIndex; seq: number } {
  if (current.index === 'none') return { index: 0, seq: 1 };
  return { index: current.index === 0 ? 1 : 0, seq: (current.seq + 1) & 0xff };
}

/** Stores the header of a copy whose fields already stand behind it; the CRC last. Without `stamp` it is as the kernel writes it. */
export function sealCopy(bytes: Uint8Array, offset: number, sizeBytes: number, seq: number, stamp?: number): void {
  const view = viewOf(bytes);
  view.setUint8(offset + SEQ_AT, seq);
  view.setUint8(offset + SEQ_AT + 1, stamp === undefined ? RECORD_VERSION : STAMPED_VERSION);
  view.setUint16(offset + SEQ_AT + 2, stamp ?? 0, true);
  view.setUint32(offset, pcacheCrcOfRange(bytes, offset + 4, offset + sizeBytes), true);
}

/** One copy, by itself. */
export function decodeCopy<T>(codec: RecordCodec<T>, bytes: Uint8Array, offset: number): Decoded<T> {
  if (!holds(bytes, offset, codec.sizeBytes)) return { ok: false, reason: 'too few bytes' };
  if (!copyIsValid(bytes, offset, codec.sizeBytes)) return { ok: false, reason: 'bad CRC' };
  return codec.decodeFields(viewOf(bytes), offset);
}

/** One copy, by itself, with the seq given. */
export function encodeCopy<T>(codec: RecordCodec<T>, bytes: Uint8Array, offset: number, value: T, seq: number, stamp?: number): void {
  codec.encodeFields(viewOf(bytes), offset, value);
  sealCopy(bytes, offset, codec.sizeBytes, seq, stamp);
}

/**
 * The record's current value. A current copy with a good CRC but senseless fields is refused, not passed over for the older one: whoever wrote it
 * meant it to count.
 */
export function readRecord<T>(codec: RecordCodec<T>, bytes: Uint8Array, offsets: CopyOffsets): RecordRead<T> {
  const current = chooseCopy(bytes, offsets, codec.sizeBytes);
  if (current.index === 'none') {
    return {
      ok: false,
      reason: current.blank ? `${codec.name} was never written` : `no valid copy of ${codec.name}`,
      blank: current.blank,
    };
  }
  const decoded = codec.decodeFields(viewOf(bytes), offsets[current.index]);
  if (!decoded.ok) return { ok: false, reason: `${codec.name}: ${decoded.reason}`, blank: false };
  return { ok: true, ...current, value: decoded.value };
}

/**
 * Writes the value over the copy that is not current. The caller persists `offsets[result.index]`, +sizeBytes, before relying on it, and
 * passes the result as `current` the next time. `stamp`: 0 to 65535.
 */
export function writeRecord<T>(
  codec: RecordCodec<T>,
  bytes: Uint8Array,
  offsets: CopyOffsets,
  value: T,
  current: CurrentCopy | NoCopy,
  stamp?: number,
): Current<T> {
  const { index, seq } = nextCopy(current);
  encodeCopy(codec, bytes, offsets[index], value, seq, stamp);
  return { index, seq, otherValid: current.index !== 'none', value, ...(stamp === undefined ? {} : { stamp }) };
}

/** `current` for a record that has no good copy, or is to be written from scratch. */
export const NO_COPY: NoCopy = { index: 'none', blank: false };
