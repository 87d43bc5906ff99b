// The part of the status that an open cache knows, whether a gateway serves it or it was only opened to be looked at.

import type { CacheMedia } from '../cache/cache-media.js';
import { NumberWord, SegmentState, Word, type CacheShared } from '../cache/shared-state.js';
import { cacheFlagsOf } from '../media/cache-info.js';
import { SECTOR_BYTES } from '../media/layout.js';
import { lock, unlock } from '../shared/mutex.js';
import type { MediaStatus, StatusPosition } from './status.js';

/** Cheap: looks at a few words, and at two for each segment. `media` is what was read when the cache was opened. */
export function mediaStatusOf(shared: CacheShared, media: CacheMedia): MediaStatus {
  const { words } = shared;
  const gcPercent = Atomics.load(words, Word.gcPercent);
  const position = (segmentWord: number, offsetWord: number): StatusPosition => ({ seg: words[segmentWord]!, off: words[offsetWord]! });
  // The two words of a position change under this lock.
  lock(words, Word.logLock);
  const positions = {
    key_head: position(Word.durableSegment, Word.durableOffset),
    dirty_tail: position(Word.dirtyTailSegment, Word.dirtyTailOffset),
    key_tail: position(Word.keyTailSegment, Word.keyTailOffset),
  };
  unlock(words, Word.logLock);
  let segmentsUsed = 0;
  let cachedSectors = 0;
  for (let segment = 0; segment < shared.segmentCount; segment++) {
    if (shared.state[segment] !== SegmentState.free) segmentsUsed++;
    cachedSectors += shared.liveSectors[segment]!;
  }
  return {
    sb_flags: media.superblock.flags,
    seg_total: media.superblock.segmentCount,
    cache_segs: shared.segmentCount,
    segs_used: segmentsUsed,
    gc_percent: gcPercent,
    cache_flags: cacheFlagsOf({ ...media.cacheInfo, gcPercent }),
    ...positions,
    data_crc: shared.dataCrc,
    uuid: media.gatewayHeader === undefined ? null : shared.uuid,
    backing_identity: media.gatewayHeader?.backingIdentity ?? null,
    volume_bytes: shared.volumeBytes,
    dirty_bytes: shared.numbers[NumberWord.dirtyBytes]!,
    cached_bytes: cachedSectors * SECTOR_BYTES,
  };
}
