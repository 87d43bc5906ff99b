// Whether a sparse cache file may be given the room that it lacks. Where payload is lost it may not: afterwards a look at the file could no longer tell room
// that was never written from zeros that were, and the loss would be one that nobody sees.

import type { CacheDevice } from '../device/device.js';
import { PcacheError } from '../errors.js';
import { readCacheMedia } from './cache-media.js';
import { requireDataWritten } from './unwritten-data.js';

/** For `openCacheDevice`. What is refused here `openCache` refuses as well. */
export function mayAllocate(device: CacheDevice): boolean {
  try {
    requireDataWritten(device, readCacheMedia(device), []);
    return true;
  } catch (error) {
    if (!(error instanceof PcacheError)) throw error;
    return error.code !== 'damaged';
  }
}
