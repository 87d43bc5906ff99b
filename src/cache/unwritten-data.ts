// Payload of a cache file that was cut, and perhaps made longer since. Where it was, there is nothing: the keys that refer to it are damaged, whether or not
// that could be told from the bytes, which read as zeros.

import type { CacheDevice } from '../device/device.js';
import { PcacheError } from '../errors.js';
import { SEGMENT_DATA_OFFSET, segmentDeviceOffset } from '../media/layout.js';
import type { PhysicalSegmentId } from '../media/layout.js';
import { walkLog } from '../media/log-walk.js';
import type { CacheMedia } from './cache-media.js';
import type { StagedKset } from './staged-ksets.js';
import { forEachKeyOf } from './staged-ksets.js';

interface Payload {
  readonly cacheSegId: number;
  readonly cacheSegOff: number;
  readonly len: number;
}

/** Device offset of the end of a key's payload, whose segment is at this place. */
export function payloadEnd(physical: number, { cacheSegOff, len }: Pick<Payload, 'cacheSegOff' | 'len'>): number {
  return segmentDeviceOffset(physical as PhysicalSegmentId) + SEGMENT_DATA_OFFSET + cacheSegOff + len;
}

/** Bytes of a key's payload that are at or behind `endBytes` of the device. */
export function bytesBehind(endBytes: number, physical: number, key: Pick<Payload, 'cacheSegOff' | 'len'>): number {
  return Math.min(key.len, Math.max(0, payloadEnd(physical, key) - endBytes));
}

/** To follow a colon. A longer file does not help: what grows is zeros. */
export const CUT_ADVICE =
  'only a copy of the whole cache, if there is one, brings it back; pcache recover writes all that is left to the backing device';

export const CUT_HINT =
  'pcache recover CACHE BACKING writes all that is left of it to the backing device and names the rest; pcache check names it too.';

/** Every segment of a cache was written to when it was formatted. Throws PcacheError `damaged` if the last of them begins where nothing ever was. */
export function requireSegmentsWritten({ dataEnd, lostFrom }: CacheDevice, segmentCount: number): void {
  if (dataEnd === undefined || lostFrom !== undefined || segmentDeviceOffset((segmentCount - 1) as PhysicalSegmentId) < dataEnd) return;
  throw new PcacheError('damaged', `nothing of the file was ever written from byte ${dataEnd} on: it was cut and made longer since`, {
    hint: CUT_HINT,
  });
}

/**
 * Throws PcacheError `damaged` if keys that count refer to payload where nothing of the file was ever written. With data CRC that needs no look: each such key
 * is found to be damaged, or has zeros for its payload.
 */
export function requireDataWritten({ dataEnd, lostFrom }: CacheDevice, media: CacheMedia, unclosed: readonly StagedKset[]): void {
  if (dataEnd === undefined || lostFrom !== undefined || media.cacheInfo.dataCrc) return;
  let bytes = 0;
  const add = (key: Payload & { readonly segGen: number }): void => {
    if (key.segGen >= media.generations[key.cacheSegId]!) bytes += bytesBehind(dataEnd, media.physicalOf[key.cacheSegId]!, key);
  };
  walkLog(media.log, media.keyTail, media.walkOptions, { onKey: add });
  for (const kset of unclosed) forEachKeyOf(media.log, kset, add);
  if (bytes === 0) return;
  const what = `keys of the log refer to ${bytes} bytes at the end of the file that were never written: it was cut and made longer since`;
  throw new PcacheError('damaged', what, {
    hint: `${CUT_HINT} If it is a sparse copy of a whole cache: copy that again, without holes (cp --sparse=never).`,
  });
}
