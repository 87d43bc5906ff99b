// A place in the log: a segment of the chain and an offset in its data. Ksets start at multiples of 8 (their sizes are 24 + 40 n), and a LAST kset
// always fits behind the place where the log ends.

import type { CacheSegId, SegmentOffset } from './layout.js';
import { LAST_KSET_BYTES, SEGMENT_DATA_BYTES } from './layout.js';

export interface LogPosition {
  readonly cacheSegId: CacheSegId;
  readonly segOff: SegmentOffset;
}

/** Places of ksets are multiples of this. */
export const LOG_ALIGNMENT_BYTES = 8;
/** The last place where a kset, or the end of the log, can be. */
export const LOG_OFFSET_MAX = SEGMENT_DATA_BYTES - LAST_KSET_BYTES;

export function samePosition(a: LogPosition, b: LogPosition): boolean {
  return a.cacheSegId === b.cacheSegId && a.segOff === b.segOff;
}

/** Why no kset can be there; `undefined` if one can. `segmentCount`: n_segs. */
export function positionProblem(cacheSegId: number, segOff: number, segmentCount: number): string | undefined {
  if (cacheSegId >= segmentCount) return `segment ${cacheSegId} is not one of the ${segmentCount} of the cache`;
  if (segOff > LOG_OFFSET_MAX) return `offset ${segOff} leaves no room for a kset`;
  if (segOff % LOG_ALIGNMENT_BYTES !== 0) return `offset ${segOff} is not a multiple of ${LOG_ALIGNMENT_BYTES}`;
  return undefined;
}
