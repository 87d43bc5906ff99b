// The chain of segments: from cache_info.seg_id along next_seg. A segment's place in it is its cache_seg_id, by which ksets, keys and tails name it.
// The kernel formats caches so that both numbers agree, but nothing here relies on it.

import type { Decoded } from './decoded.js';
import { accepted, refused } from './decoded.js';
import type { PhysicalSegmentId } from './layout.js';
import type { SegmentInfo } from './segment-info.js';
import type { RecordRead } from './two-copy-record.js';

/** What the chain starts from: fields of cache_info and the superblock. */
export interface ChainStart {
  readonly firstSegment: PhysicalSegmentId;
  /** n_segs: segments in the chain. */
  readonly segmentCount: number;
  /** seg_num of the superblock: segments on the device. */
  readonly deviceSegmentCount: number;
}

/**
 * The physical segment of each cache_seg_id. Refused: a chain that comes back to itself, ends early, leaves the device or meets a segment without a
 * valid segment_info. A link from the last segment onward is ignored, as n_segs is what counts.
 */
export function readSegmentChain(
  start: ChainStart,
  infoOf: (segment: PhysicalSegmentId) => RecordRead<SegmentInfo>,
): Decoded<PhysicalSegmentId[]> {
  const { segmentCount, deviceSegmentCount } = start;
  if (segmentCount > deviceSegmentCount) return refused(`a chain of ${segmentCount} segments on a device of ${deviceSegmentCount}`);
  const physicalOf: PhysicalSegmentId[] = [];
  const seen = new Uint8Array(deviceSegmentCount);
  let segment = start.firstSegment;
  while (true) {
    const place = physicalOf.length;
    if (!Number.isInteger(segment) || segment < 0 || segment >= deviceSegmentCount) {
      return refused(`place ${place} of the segment chain is segment ${segment}, which is not on the device`);
    }
    if (seen[segment] !== 0) return refused(`the segment chain comes back to segment ${segment} at place ${place}`);
    seen[segment] = 1;
    physicalOf.push(segment);
    const info = infoOf(segment);
    if (!info.ok) return refused(`segment ${segment}, place ${place} of the segment chain: ${info.reason}`);
    if (physicalOf.length >= segmentCount) return accepted(physicalOf);
    if (info.value.next === undefined) return refused(`the segment chain ends after ${physicalOf.length} of ${segmentCount} segments`);
    segment = info.value.next;
  }
}
