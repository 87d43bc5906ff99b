// What writing everything dirty back would write, without writing: the bytes of the volume that keys behind dirty_tail cover, each once.

import type { KeyCursor } from '../media/cache-key.js';
import { pcacheCrcOfRange } from '../media/crc32c.js';
import { samePosition } from '../media/log-position.js';
import { walkLog } from '../media/log-walk.js';
import type { CacheMedia } from './cache-media.js';
import { DamagedRanges } from './check-damage.js';
import { forEachKeyOf } from './staged-ksets.js';
import type { StagedKset } from './staged-ksets.js';

export interface RecoveryPlan {
  /** Different bytes of the volume, and the ranges without gaps that they make. */
  readonly bytes: number;
  readonly ranges: number;
  /** Bytes of the volume whose only copy is damaged; they would not be written. */
  readonly damagedBytes: number;
  readonly damagedRanges: number;
}

/** End of the volume byte range that the log's keys cover, 0 without keys; a volume can't be smaller. */
export function endOfKeys(media: CacheMedia): number {
  let end = 0;
  walkLog(media.log, media.keyTail, {}, { onKey: (key) => (end = Math.max(end, key.off + key.len)) });
  return end;
}

/** `media` have been replayed without an error, and `unclosed` are the staged ksets that the replay took. */
export function planRecovery(media: CacheMedia, unclosed: readonly StagedKset[]): RecoveryPlan {
  const starts: number[] = [];
  const ends: number[] = [];
  const damage = new DamagedRanges();
  const add = (key: KeyCursor): void => {
    if (key.segGen < media.generations[key.cacheSegId]!) return;
    const isDamaged = !key.isClean && media.cacheInfo.dataCrc && !payloadIsGood(media, key);
    damage.key(key.off, key.len, isDamaged ? 'only-copy' : 'none');
    if (key.isClean || isDamaged) return;
    starts.push(key.off);
    ends.push(key.off + key.len);
  };
  let isDirty = false;
  walkLog(
    media.log,
    media.keyTail,
    { dirtyTail: media.dirtyTail },
    {
      onKset: (kset) => (isDirty ||= samePosition(kset, media.dirtyTail)),
      onKey: (key) => {
        if (isDirty) add(key);
      },
    },
  );
  for (const kset of unclosed) forEachKeyOf(media.log, kset, add);
  const damaged = damage.merged();
  return {
    ...unionOf(Float64Array.from(starts), Float64Array.from(ends)),
    damagedBytes: damaged.reduce((sum, { start, end }) => sum + end - start, 0),
    damagedRanges: damaged.length,
  };
}

function payloadIsGood(media: CacheMedia, key: KeyCursor): boolean {
  const { bytes, base } = media.log.data(key.cacheSegId as Parameters<typeof media.log.data>[0]);
  return pcacheCrcOfRange(bytes, base + key.cacheSegOff, base + key.cacheSegOff + key.len) === key.dataCrc;
}

/** Size of the union of ranges, and of how many ranges it consists. Starts and ends can be sorted apart: only their order counts. */
function unionOf(starts: Float64Array, ends: Float64Array): { bytes: number; ranges: number } {
  starts.sort();
  ends.sort();
  let bytes = 0;
  let ranges = 0;
  let open = 0;
  let from = 0;
  let next = 0;
  for (const end of ends) {
    // A range that starts where another ends continues it.
    for (; next < starts.length && starts[next]! <= end; next++) {
      if (open++ === 0) from = starts[next]!;
    }
    if (--open > 0) continue;
    bytes += end - from;
    ranges++;
  }
  return { bytes, ranges };
}
