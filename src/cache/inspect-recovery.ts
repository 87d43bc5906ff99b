// What writing everything dirty back would write, without writing: the bytes of the volume that keys behind dirty_tail cover, each once.

import type { KeyCursor } from '../media/cache-key.js';
import { pcacheCrcOfRange } from '../media/crc32c.js';
import { samePosition } from '../media/log-position.js';
import { walkLog } from '../media/log-walk.js';
import type { CacheMedia } from './cache-media.js';
import { DamagedRanges } from './check-damage.js';
import { forEachKeyOf } from './staged-ksets.js';
import type { TellProgress } from './tell-progress.js';
import { tellingWalk } from './tell-progress.js';
import type { StagedKset } from './staged-ksets.js';
import { payloadEnd } from './unwritten-data.js';
import type { VolumeRange } from './volume-ranges.js';
import { VolumeRanges, bytesOf } from './volume-ranges.js';

export interface RecoveryPlan {
  /** Different bytes of the volume, and the ranges without gaps that they make. */
  readonly bytes: number;
  readonly ranges: number;
  /** Bytes of the volume whose only copy is damaged; they would not be written. */
  readonly damaged: readonly VolumeRange[];
}

/** End of the volume byte range that the log's keys cover, 0 without keys; a volume can't be smaller. */
export function endOfKeys(media: CacheMedia, tell?: TellProgress): number {
  let end = 0;
  const options = tellingWalk({}, tell, 'reading the log', media.log, media.keyTail);
  walkLog(media.log, media.keyTail, options, { onKey: (key) => (end = Math.max(end, key.off + key.len)) });
  return end;
}

/** `media` have been replayed without an error, and `unclosed` are the staged ksets that the replay took. `lostFrom`: of their device. */
export function planRecovery(
  media: CacheMedia,
  unclosed: readonly StagedKset[],
  lostFrom: number | undefined,
  tell?: TellProgress,
): RecoveryPlan {
  const ranges = new VolumeRanges();
  const damage = new DamagedRanges();
  const add = (key: KeyCursor): void => {
    if (key.segGen < media.generations[key.cacheSegId]!) return;
    const isDamaged = !key.isClean && !payloadIsGood(media, key, lostFrom);
    damage.key(key.off, key.len, isDamaged ? 'only-copy' : 'none');
    if (key.isClean || isDamaged) return;
    ranges.add(key.off, key.len);
  };
  let isDirty = false;
  walkLog(media.log, media.keyTail, tellingWalk({ dirtyTail: media.dirtyTail }, tell, 'looking at dirty data', media.log, media.keyTail), {
    onKset: (kset) => (isDirty ||= samePosition(kset, media.dirtyTail)),
    onKey: (key) => {
      if (isDirty) add(key);
    },
  });
  for (const kset of unclosed) forEachKeyOf(media.log, kset, add);
  const written = ranges.merged();
  const damaged = damage.merged().map(({ start, end }) => ({ offsetBytes: start, lengthBytes: end - start }));
  return { bytes: bytesOf(written), ranges: written.length, damaged };
}

function payloadIsGood(media: CacheMedia, key: KeyCursor, lostFrom: number | undefined): boolean {
  if (!media.cacheInfo.dataCrc) return lostFrom === undefined || payloadEnd(media.physicalOf[key.cacheSegId]!, key) <= lostFrom;
  const { bytes, base } = media.log.data(key.cacheSegId as Parameters<typeof media.log.data>[0]);
  return pcacheCrcOfRange(bytes, base + key.cacheSegOff, base + key.cacheSegOff + key.len) === key.dataCrc;
}
