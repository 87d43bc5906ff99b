// A sound cache that takes long to check, for its size: a small log whose keys all refer to the same 4 MiB, so that checking the data means reading them once
// for each key.

import { truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { ExecutionContext } from 'ava';
import { formatCache } from '../../src/cache/format.js';
import { createCacheFile, openCacheDevice } from '../../src/device/mapped-cache-device.js';
import { pcacheCrcOfRange } from '../../src/media/crc32c.js';
import { encodeKset } from '../../src/media/kset.js';
import type { CacheSegId, PhysicalSegmentId, SegmentOffset, VolumeOffset } from '../../src/media/layout.js';
import {
  CACHE_BYTES_MIN,
  KSET_BYTES_MAX,
  KSET_KEYS_MAX,
  SEGMENT_DATA_OFFSET,
  SUBTREE_BYTES,
  segmentDeviceOffset,
} from '../../src/media/layout.js';
import { temporaryFolder } from '../support/tmp.js';
import { VOLUME_BYTES, overwrite } from './offline-support.js';

/** Of 128 keys each: reading what they refer to takes minutes. */
const KSETS = 2000;
export const LOG_BYTES = KSETS * KSET_BYTES_MAX;

/** The cache, and its backing device. A kset takes some 50 ms. */
export function slowCache(t: ExecutionContext, ksetCount = KSETS): { cachePath: string; backingPath: string } {
  const folder = temporaryFolder(t);
  const cachePath = join(folder, 'cache.pmem');
  const backingPath = join(folder, 'backing.img');
  writeFileSync(backingPath, '');
  truncateSync(backingPath, VOLUME_BYTES);
  createCacheFile(cachePath, CACHE_BYTES_MIN);
  const device = openCacheDevice(cachePath);
  formatCache(device, { dataCrc: true, gcPercent: 70, uuid: new Uint8Array(16).fill(5), nowMs: 1000 });
  device.close();
  const key = {
    off: 0 as VolumeOffset,
    len: SUBTREE_BYTES,
    flags: 0,
    cacheSegId: 1 as CacheSegId,
    cacheSegOff: 0 as SegmentOffset,
    segGen: 0,
    reserved: 0,
    dataCrc: pcacheCrcOfRange(new Uint8Array(SUBTREE_BYTES), 0, SUBTREE_BYTES),
  };
  const keys = Array.from({ length: KSET_KEYS_MAX }, () => key);
  const ksets = Array.from({ length: ksetCount }, (_, index) => encodeKset(keys, { sequence: index + 1 }));
  overwrite(cachePath, segmentDeviceOffset(0 as PhysicalSegmentId) + SEGMENT_DATA_OFFSET, Buffer.concat(ksets));
  return { cachePath, backingPath };
}
