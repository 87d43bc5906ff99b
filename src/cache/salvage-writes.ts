// The writes behind a damaged place of the log, one by one in their order, for writing what is whole of them to the backing device. Changes nothing. What
// comes of it is no state that the volume was ever in: writes that can't be read are missing between others that are there.

import type { CacheDevice } from '../device/device.js';
import type { KeyCursor } from '../media/cache-key.js';
import { validateKey } from '../media/cache-key.js';
import { pcacheCrcOfRange } from '../media/crc32c.js';
import type { CacheSegId } from '../media/layout.js';
import { SEGMENT_DATA_OFFSET } from '../media/layout.js';
import type { LogSource } from '../media/log-walk.js';
import type { CacheMedia } from './cache-media.js';
import { inspectMedia } from './inspect-media.js';
import type { LogLoss } from './salvage-log.js';
import { forEachKeyOf } from './staged-ksets.js';
import type { TellProgress } from './tell-progress.js';
import { payloadEnd } from './unwritten-data.js';

export interface SalvageVisitor {
  /** `bytes` at `start` are the payload. */
  onWhole(offsetBytes: number, bytes: Uint8Array, start: number, lengthBytes: number): void;
  /** Its payload is damaged, or whether the segment still holds it can't be told. */
  onDamaged(offsetBytes: number, lengthBytes: number): void;
}

/** `device`: as it is; `media`: of its repaired copy, which knows where each segment is. */
export function salvageWrites(
  device: CacheDevice,
  media: CacheMedia,
  loss: LogLoss,
  visitor: SalvageVisitor,
  volumeBytes: number,
  tell?: TellProgress,
): void {
  const limits = { volumeBytes, segmentCount: media.physicalOf.length };
  const asItIs = inspectMedia(device);
  const log: LogSource = {
    segmentCount: media.physicalOf.length,
    data(id: CacheSegId) {
      const { bytes, view } = device.segment(media.physicalOf[id]!);
      return { bytes, view, base: SEGMENT_DATA_OFFSET };
    },
  };
  const take = (key: KeyCursor): void => {
    if (key.isClean || validateKey(key, limits) !== undefined) return;
    const generation = asItIs.generations[key.cacheSegId];
    // A segment is reused only after key_tail has passed all keys that refer to it; a key of an older generation was written back by then.
    if (generation?.ok === true && key.segGen < generation.value) return;
    const { bytes, base } = log.data(key.cacheSegId as CacheSegId);
    const start = base + key.cacheSegOff;
    const isThere = payloadEnd(media.physicalOf[key.cacheSegId]!, key) <= (device.lostFrom ?? Infinity);
    const isWhole = media.cacheInfo.dataCrc ? pcacheCrcOfRange(bytes, start, start + key.len) === key.dataCrc : isThere;
    if (generation?.ok === true && isWhole) visitor.onWhole(key.off, bytes, start, key.len);
    else visitor.onDamaged(key.off, key.len);
  };
  const totalBytes = loss.ksets.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
  let doneBytes = 0;
  for (const kset of loss.ksets) {
    forEachKeyOf(log, kset, take);
    doneBytes += kset.sizeBytes;
    tell?.('salvaging', doneBytes, totalBytes);
  }
}
