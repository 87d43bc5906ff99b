// The log of inspected media in numbers, and where its ksets are: what `dump` prints.

import type { KeyCursor } from '../media/cache-key.js';
import type { LogWalk } from '../media/log-walk.js';
import { logWalkOptions, walkLog } from '../media/log-walk.js';
import type { InspectedMedia } from './inspect-media.js';
import { isStale } from './inspect-media.js';
import type { TellProgress } from './tell-progress.js';
import { tellingWalk } from './tell-progress.js';

/** How a segment is used, as the log tells it. */
export interface SegmentUse {
  use: 'free' | 'data' | 'log';
  /** Keys that refer to it, stale ones included. */
  keys: number;
  staleKeys: number;
}

export interface InspectedLog {
  readonly walk: LogWalk;
  readonly cleanKeys: number;
  readonly staleKeys: number;
  /** Bytes of keys behind dirty_tail that are neither clean nor stale; overwritten ones are counted too. */
  readonly dirtyBytes: number;
  /** By cache_seg_id. */
  readonly segments: readonly SegmentUse[];
  /** Places of all ksets in order, LAST ones too: cache_seg_id and seg_off in turn. */
  readonly ksetPlaces: readonly number[];
}

/** Walks the log from key_tail, or from dirty_tail where that is lost; `undefined` if both are. Keys are counted as they stand, unchecked. */
export function inspectLog(media: InspectedMedia, tell?: TellProgress): InspectedLog | undefined {
  const { keyTail, dirtyTail, gatewayHeader } = media;
  const start = keyTail.ok ? keyTail.value : dirtyTail.ok ? dirtyTail.value : undefined;
  if (start === undefined) return undefined;
  const segments = Array.from({ length: media.segmentCount }, (): SegmentUse => ({ use: 'free', keys: 0, staleKeys: 0 }));
  const ksetPlaces: number[] = [];
  let cleanKeys = 0;
  let staleKeys = 0;
  let dirtyBytes = 0;
  let isDirty = !dirtyTail.ok;
  const header = gatewayHeader.ok ? gatewayHeader.value : undefined;
  // Without key_tail the walk starts at dirty_tail, of which no stamp counts.
  const options = logWalkOptions(keyTail.ok ? keyTail : { value: start }, dirtyTail.ok ? dirtyTail : undefined, header);
  const walk = walkLog(media.log, start, tellingWalk(options, tell, 'reading the log', media.log, start), {
    onKset({ cacheSegId, segOff }) {
      ksetPlaces.push(cacheSegId, segOff);
      isDirty ||= dirtyTail.ok && dirtyTail.value.cacheSegId === cacheSegId && dirtyTail.value.segOff === segOff;
    },
    onKey(key: KeyCursor) {
      if (key.isClean) cleanKeys++;
      const stale = isStale(media, key.cacheSegId, key.segGen);
      if (stale) staleKeys++;
      if (isDirty && !stale && !key.isClean) dirtyBytes += key.len;
      const segment = segments[key.cacheSegId];
      if (segment === undefined) return;
      segment.use = 'data';
      segment.keys++;
      if (stale) segment.staleKeys++;
    },
  });
  for (const segment of walk.segments) segments[segment]!.use = 'log';
  return { walk, cleanKeys, staleKeys, dirtyBytes, segments, ksetPlaces };
}
