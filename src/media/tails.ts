// The two tails of the log, in cache_ctrl: key_tail, where the log starts, and dirty_tail, where the ksets that writeback has not yet seen start.
// Two copies each, 16 bytes apart. Invariant of what is accepted: the place is one where a kset can be.
//
// A tail that this gateway writes is stamped with a hash of its place and of the sequence of the kset that stands there, or will. An older version of
// the tail, put back after its segment was reused, then does not fit the kset that stands there now.

import type { Decoded } from './decoded.js';
import { accepted, refused } from './decoded.js';
import type { CacheSegId, SegmentOffset } from './layout.js';
import { DIRTY_TAIL_OFFSETS, KEY_TAIL_OFFSETS } from './layout.js';
import type { LogPosition } from './log-position.js';
import { positionProblem } from './log-position.js';
import { structLayout } from './struct-layout.js';
import type { CopyOffsets, Current, CurrentCopy, NoCopy, RecordCodec, RecordRead } from './two-copy-record.js';
import { chooseCopy, readRecord, writeRecord } from './two-copy-record.js';

export const TAIL_BYTES = 16;
export const TAIL_LAYOUT = structLayout('tail', TAIL_BYTES, { header: [0, 8], cache_seg_id: [8, 4], seg_off: [12, 4] });
const AT = TAIL_LAYOUT;

export type TailName = 'key_tail' | 'dirty_tail';

/** In the device: both copies of each tail. */
export const TAIL_OFFSETS: Readonly<Record<TailName, CopyOffsets>> = { key_tail: KEY_TAIL_OFFSETS, dirty_tail: DIRTY_TAIL_OFFSETS };

function codecFor(name: TailName, segmentCount: number): RecordCodec<LogPosition> {
  return {
    name,
    sizeBytes: TAIL_BYTES,
    decodeFields(view, at): Decoded<LogPosition> {
      const cacheSegId = view.getUint32(at + AT.cache_seg_id, true);
      const segOff = view.getUint32(at + AT.seg_off, true);
      const problem = positionProblem(cacheSegId, segOff, segmentCount);
      if (problem !== undefined) return refused(problem);
      return accepted({ cacheSegId: cacheSegId as CacheSegId, segOff: segOff as SegmentOffset });
    },
    encodeFields(view, at, position): void {
      view.setUint32(at + AT.cache_seg_id, position.cacheSegId, true);
      view.setUint32(at + AT.seg_off, position.segOff, true);
    },
  };
}

/** `control`: device bytes from 0. `segmentCount`: n_segs of cache_info. */
export function readTail(control: Uint8Array, name: TailName, segmentCount: number): RecordRead<LogPosition> {
  return readRecord(codecFor(name, segmentCount), control, TAIL_OFFSETS[name]);
}

/** Whether this gateway wrote either tail last. It has always stored a header before. */
export function tailsAreStamped(control: Uint8Array): boolean {
  return Object.values(TAIL_OFFSETS).some((offsets) => {
    const current = chooseCopy(control, offsets, TAIL_BYTES);
    return current.index !== 'none' && current.stamp !== undefined;
  });
}

/** The stamp of a tail at `position`; `sequence`: of the kset there, 0 to 2^48 - 1. */
export function tailStamp(position: LogPosition, sequence: number): number {
  let hash = 0x5043;
  for (const word of [position.cacheSegId, position.segOff, sequence | 0, Math.floor(sequence / 2 ** 32)]) {
    hash = Math.imul(hash ^ word, 0x85ebca6b);
    hash ^= hash >>> 15;
  }
  return (hash ^ (hash >>> 16)) & 0xffff;
}

/**
 * Writes the copy that is not current; the caller persists TAIL_OFFSETS[name][result.index]. `nextSequence`: of the kset that stands at `position`
 * or will stand there next (0 for one of the kernel's), for the stamp; without it the copy is as the kernel writes it.
 */
export function writeTail(
  control: Uint8Array,
  name: TailName,
  position: LogPosition,
  current: CurrentCopy | NoCopy,
  nextSequence?: number,
): Current<LogPosition> {
  const stamp = nextSequence === undefined ? undefined : tailStamp(position, nextSequence);
  return writeRecord(codecFor(name, 0), control, TAIL_OFFSETS[name], position, current, stamp);
}
