// Opens a cache to look at it, without its backing device: as a mount would, but read-only, and for any backing device. Changes nothing.

import type { CacheDevice } from '../device/device.js';
import { SUBTREE_BYTES, VOLUME_BYTES_MAX } from '../media/layout.js';
import { readCacheMedia } from './cache-media.js';
import { endOfKeys } from './inspect-recovery.js';
import { openCache } from './open.js';
import type { OpenedCache } from './open.js';
import type { TellProgress } from './tell-progress.js';

/** `bootId`: of the running system; keys staged in it are taken. Throws PcacheError as `openCache`. */
export function openUnbound(device: CacheDevice, bootId: string, tell?: TellProgress): OpenedCache {
  const media = readCacheMedia(device);
  const boundBytes = media.gatewayHeader?.volumeBytes ?? 0;
  const leastBytes = Math.max(SUBTREE_BYTES, Math.ceil(endOfKeys(media, tell) / SUBTREE_BYTES) * SUBTREE_BYTES);
  return openCache(device, {
    volumeBytes: boundBytes === 0 ? Math.min(VOLUME_BYTES_MAX, leastBytes) : boundBytes,
    backingIdentity: '',
    adopt: true,
    bootId,
    writers: 1,
    counterSlices: 1,
    readOnly: true,
    acceptsHoles: true,
    newUuid: new Uint8Array(16),
    nowMs: 0,
    clock: () => 0,
    tell,
  });
}
