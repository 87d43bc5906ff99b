// How long the log is, from its kset headers alone: no more than a look ahead, so that a walk that takes its time can say how much of it is left.

import { KSET_KEYS_MAX, KSET_HEADER_BYTES, SEGMENT_DATA_BYTES } from './layout.js';
import type { CacheSegId } from './layout.js';
import { KsetHeader } from './kset.js';
import type { LogPosition } from './log-position.js';
import { positionProblem } from './log-position.js';
import type { LogSource } from './log-walk.js';

/**
 * Bytes of the ksets from `start` on, about as far as `walkLog` will go: no CRC is looked at, so on a damaged log it may be more. Ends on any bytes.
 */
export function logBytesFrom(source: LogSource, start: LogPosition): number {
  if (positionProblem(start.cacheSegId, start.segOff, source.segmentCount) !== undefined) return 0;
  const header = new KsetHeader();
  const seen = new Uint8Array(source.segmentCount);
  let cacheSegId: number = start.cacheSegId;
  let segOff: number = start.segOff;
  let lastSequence = 0;
  let totalBytes = 0;
  while (cacheSegId < source.segmentCount && seen[cacheSegId] === 0) {
    seen[cacheSegId] = 1;
    const { view, base } = source.data(cacheSegId as CacheSegId);
    do {
      if (segOff > SEGMENT_DATA_BYTES - KSET_HEADER_BYTES) return totalBytes;
      header.load(view, base + segOff);
      if (!header.magicMatches || header.keyNum > KSET_KEYS_MAX) return totalBytes;
      if (header.sequence !== 0 && header.sequence <= lastSequence) return totalBytes;
      if (header.sequence !== 0) lastSequence = header.sequence;
      totalBytes += header.sizeBytes;
      segOff += header.sizeBytes;
    } while (!header.isLast);
    cacheSegId = header.nextCacheSegId;
    segOff = 0;
  }
  return totalBytes;
}
