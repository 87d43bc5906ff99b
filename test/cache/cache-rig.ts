// A cache without a volume over it, for tests of its parts: format, open, and the parts themselves.

import { Cache } from '../../src/cache/cache.js';
import { openCache } from '../../src/cache/open.js';
import type { OpenedCache } from '../../src/cache/open.js';
import type { CacheSegId } from '../../src/media/layout.js';
import { SECTOR_BYTES, SEGMENT_DATA_OFFSET, SUBTREE_BYTES } from '../../src/media/layout.js';
import { bootIdOf, Rig } from '../support/model-rig.js';
import type { RigOptions } from '../support/model-rig.js';

export interface CacheRig {
  readonly rig: Rig;
  readonly opened: OpenedCache;
  readonly cache: Cache;
}

export function cacheRig(options: RigOptions, writers = 1): CacheRig {
  const rig = new Rig(options);
  const opened = openCache(rig.device, {
    volumeBytes: options.volumeBytes,
    backingIdentity: rig.backing.identity,
    adopt: false,
    bootId: bootIdOf(1),
    writers,
    counterSlices: writers,
    readOnly: false,
    newUuid: new Uint8Array(16).fill(1),
    nowMs: 1,
    clock: () => rig.clockMs,
  });
  return { rig, opened, cache: new Cache(opened.shared, rig.device, 0, 0, () => rig.clockMs) };
}

/** Stages a key of one sector for `volumeOffset` by itself, without payload or tree. Returns what `append` did. */
export function appendKey({ cache }: CacheRig, volumeOffset: number): boolean {
  if (!cache.segments.reserve(0, 512, true)) throw new Error('no room for a key');
  const segment = cache.segments.reservedSegment;
  const subtree = Math.floor(volumeOffset / SUBTREE_BYTES);
  return cache.log.append(
    subtree,
    (volumeOffset - subtree * SUBTREE_BYTES) / SECTOR_BYTES,
    512,
    0,
    segment,
    cache.segments.reservedOffset,
    cache.shared.generationLow[segment]!,
    0,
    0,
  );
}

/** The header of the kset at a place, as the two words of its flags and the rest. */
export function headerAt({ cache }: CacheRig, segment: number, offset: number): { isWhole: boolean; keys: number; flags: bigint } {
  const { view } = cache.segments.view(segment as CacheSegId);
  const at = SEGMENT_DATA_OFFSET + offset;
  return {
    isWhole: view.getBigUint64(at + 8, true) === 0x676894a64e164f1an,
    keys: view.getUint32(at + 4, true),
    flags: view.getBigUint64(at + 16, true),
  };
}
