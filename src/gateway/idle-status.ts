// The status of a cache that nobody serves, read from its media. Changes nothing.

import { hostBootId } from './host-boot-id.js';
import { readCacheMedia, type CacheMedia } from '../cache/cache-media.js';
import { openCache } from '../cache/open.js';
import { NumberWord, SegmentState, Word, type CacheShared } from '../cache/shared-state.js';
import { tellingWalk, type TellProgress } from '../cache/tell-progress.js';
import type { CacheDevice } from '../device/device.js';
import { openCacheDevice } from '../device/mapped-cache-device.js';
import { PcacheError } from '../errors.js';
import { cacheFlagsOf } from '../media/cache-info.js';
import { SECTOR_BYTES, SUBTREE_BYTES, VOLUME_BYTES_MAX } from '../media/layout.js';
import { walkLog } from '../media/log-walk.js';
import { dirtyBytesOf } from './dirty-segments.js';
import { errorAbout } from './error-about.js';
import type { IdleStatus, LogPosition, MediaStatus } from './status.js';

/**
 * As idleStatusOf, of the cache at a path. Throws PcacheError `in-use` too (somebody serves it), and what opening the device throws.
 */
export function readIdleStatus(cachePath: string): IdleStatus {
  const device = openCacheDevice(cachePath, { readOnly: true });
  try {
    return idleStatusOf(device, cachePath);
  } catch (error) {
    throw error instanceof PcacheError ? errorAbout(cachePath, error) : error;
  } finally {
    device.close();
  }
}

/**
 * Reads the whole log, which may take long: `tell` hears how far it is. Throws PcacheError `not-a-cache`, `damaged`. The volume's size is 0 if the cache was never
 * bound to a backing device by a gateway: the kernel's media don't tell it.
 */
export function idleStatusOf(device: CacheDevice, cachePath: string, tell?: TellProgress): IdleStatus {
  const media = readCacheMedia(device);
  const knownVolumeBytes = media.gatewayHeader?.volumeBytes ?? 0;
  const { shared } = openCache(device, {
    volumeBytes: knownVolumeBytes === 0 ? volumeBytesOfKeys(media, tell) : knownVolumeBytes,
    backingIdentity: '',
    adopt: true,
    bootId: hostBootId(),
    writers: 1,
    counterSlices: 1,
    readOnly: true,
    acceptsHoles: true,
    newUuid: new Uint8Array(16),
    nowMs: 0,
    clock: () => 0,
    tell,
  });
  return {
    state: 'idle',
    mode: 'writeback',
    cache: cachePath,
    closed_in_order: media.gatewayHeader?.state !== 'open',
    ...mediaStatusOf(shared, media),
    volume_bytes: knownVolumeBytes,
  };
}

/** What replay made of the media; nobody else uses this memory. */
function mediaStatusOf(shared: CacheShared, media: CacheMedia): MediaStatus {
  const { words, numbers, state, liveSectors } = shared;
  const pendingBytes = numbers[NumberWord.dirtyBytes]!;
  const position = (segmentWord: number, offsetWord: number): LogPosition => ({ seg: words[segmentWord]!, off: words[offsetWord]! });
  return {
    sb_flags: media.superblock.flags,
    seg_total: media.superblock.segmentCount,
    cache_segs: shared.segmentCount,
    segs_used: state.filter((each) => each !== SegmentState.free).length,
    gc_percent: media.cacheInfo.gcPercent,
    cache_flags: cacheFlagsOf(media.cacheInfo),
    key_head: position(Word.openSegment, Word.openOffset),
    dirty_tail: position(Word.dirtyTailSegment, Word.dirtyTailOffset),
    key_tail: position(Word.keyTailSegment, Word.keyTailOffset),
    data_crc: shared.dataCrc,
    uuid: media.gatewayHeader === undefined ? null : shared.uuid,
    backing_identity: media.gatewayHeader?.backingIdentity ?? null,
    volume_bytes: shared.volumeBytes,
    dirty_bytes: dirtyBytesOf(shared, pendingBytes, numbers[NumberWord.writtenSequence]!),
    writeback_pending_bytes: pendingBytes,
    cached_bytes: liveSectors.reduce((sum, sectors) => sum + sectors, 0) * SECTOR_BYTES,
  };
}

/** Size of the smallest volume that all keys of the log fit into. */
function volumeBytesOfKeys(media: CacheMedia, tell: TellProgress | undefined): number {
  let end = SECTOR_BYTES;
  const options = tellingWalk({}, tell, 'reading the log', media.log, media.keyTail);
  walkLog(media.log, media.keyTail, options, { onKey: (key) => (end = Math.max(end, key.off + key.len)) });
  return Math.min(VOLUME_BYTES_MAX, Math.ceil(end / SUBTREE_BYTES) * SUBTREE_BYTES);
}
