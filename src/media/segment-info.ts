// segment_info: the link from a segment to the next of the chain. Two copies, a page each, at the start of every segment. Invariant of what is
// accepted: if there is a next segment, it is one of the device's; the type is cache data.

import type { Decoded } from './decoded.js';
import { accepted, refused } from './decoded.js';
import type { PhysicalSegmentId } from './layout.js';
import { SEGMENT_INFO_OFFSETS } from './layout.js';
import { structLayout } from './struct-layout.js';
import type { Current, CurrentCopy, NoCopy, RecordCodec, RecordRead } from './two-copy-record.js';
import { readRecord, writeRecord } from './two-copy-record.js';

export const SEGMENT_INFO_BYTES = 16;
export const SEGMENT_INFO_LAYOUT = structLayout('segment_info', SEGMENT_INFO_BYTES, { header: [0, 8], flags: [8, 4], next_seg: [12, 4] });
const AT = SEGMENT_INFO_LAYOUT;

const FLAG_HAS_NEXT = 1 << 0;
const TYPE_SHIFT = 1;
const TYPE_MASK = 0xf;
/** The only type there is. */
const TYPE_CACHE_DATA = 1;

export interface SegmentInfo {
  /** `undefined` at the end of the chain. */
  readonly next: PhysicalSegmentId | undefined;
}

function codecFor(deviceSegmentCount: number): RecordCodec<SegmentInfo> {
  return {
    name: 'segment_info',
    sizeBytes: SEGMENT_INFO_BYTES,
    decodeFields(view, at): Decoded<SegmentInfo> {
      const flags = view.getUint32(at + AT.flags, true);
      const type = (flags >>> TYPE_SHIFT) & TYPE_MASK;
      if (type !== TYPE_CACHE_DATA) return refused(`unknown segment type ${type}`);
      if ((flags & FLAG_HAS_NEXT) === 0) return accepted({ next: undefined });
      const next = view.getUint32(at + AT.next_seg, true);
      if (next >= deviceSegmentCount) return refused(`next segment ${next} is not one of the ${deviceSegmentCount} on the device`);
      return accepted({ next: next as PhysicalSegmentId });
    },
    encodeFields(view, at, info): void {
      const hasNext = info.next === undefined ? 0 : FLAG_HAS_NEXT;
      view.setUint32(at + AT.flags, hasNext | (TYPE_CACHE_DATA << TYPE_SHIFT), true);
      view.setUint32(at + AT.next_seg, info.next ?? 0, true);
    },
  };
}

/** `segment`: a segment's bytes from its start. `deviceSegmentCount`: the superblock's seg_num. */
export function readSegmentInfo(segment: Uint8Array, deviceSegmentCount: number): RecordRead<SegmentInfo> {
  return readRecord(codecFor(deviceSegmentCount), segment, SEGMENT_INFO_OFFSETS);
}

/** Writes the copy that is not current; the caller persists SEGMENT_INFO_OFFSETS[result.index] of the segment. */
export function writeSegmentInfo(segment: Uint8Array, info: SegmentInfo, current: CurrentCopy | NoCopy): Current<SegmentInfo> {
  return writeRecord(codecFor(0), segment, SEGMENT_INFO_OFFSETS, info, current);
}
