// The volume that `pcache recover` writes back: opened in a thread, which takes long, and used in this one.

import { readCacheMedia } from '../cache/cache-media.js';
import { factsOf } from '../cache/changed-backing.js';
import type { FileBackingDevice } from '../device/file-backing-device.js';
import type { MappedCacheDevice } from '../device/mapped-cache-device.js';
import { InlineVolume } from '../gateway/inline-volume.js';
import { aboutCache } from './cache-file.js';
import { openOptions } from './recover-tasks.js';
import { runTask, type TaskWatch } from './task.js';

/** Throws PcacheError as `openCache`. */
export async function openVolume(
  device: MappedCacheDevice,
  backing: FileBackingDevice,
  adopt: boolean,
  watch: TaskWatch,
): Promise<InlineVolume> {
  const facts = factsOf(backing);
  const opened = await runTask('openToRecover', { cache: device.handle, backing: facts, adopt }, watch);
  const media = aboutCache(device.handle.path, () => readCacheMedia(device));
  return new InlineVolume(device, backing, openOptions(adopt, false), { ...opened, media });
}
