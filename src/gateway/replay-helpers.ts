// The threads that help an engine to replay its log: those that are parked, since they are loaded already and have nothing else to do until the log is replayed.

import { availableParallelism } from 'node:os';
import { HELPERS_MAX } from '../cache/replay-crew.js';
import type { ReplayHelpers } from '../cache/replay-helper.js';
import type { CacheDeviceHandle } from '../device/mapped-cache-device.js';
import type { ParkedThreads } from './parked-threads.js';

/** One a core, with the thread that replays. `cores` is for tests. */
export function replayHelpers(threads: ParkedThreads, cacheDevice: CacheDeviceHandle, cores = availableParallelism()): ReplayHelpers {
  return {
    start(job) {
      for (const thread of threads.first(Math.min(cores - 1, HELPERS_MAX))) thread.help({ help: job, cacheDevice });
    },
  };
}
