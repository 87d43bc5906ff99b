// Gathers the memory of a tmpfs cache into huge pages beside an engine that serves already, in the engine's main thread, which has nothing else to do.

import type { MappedCacheDevice } from '../device/mapped-cache-device.js';

/** It works for so long, at least one page, and rests for as long: a second or two for a GiB of small pages, next to nothing for huge ones. */
const WORK_MS = 1;
const REST_MS = 1;

export interface HugePageGathering {
  /** Before the device is closed. */
  stop(): void;
}

export function gatherHugePages(device: MappedCacheDevice): HugePageGathering {
  const gatherer = device.hugePageGatherer();
  let timer: NodeJS.Timeout | undefined;
  const work = (): void => {
    const endMs = performance.now() + WORK_MS;
    while (gatherer?.step() === true) {
      if (performance.now() < endMs) continue;
      timer = setTimeout(work, REST_MS);
      return;
    }
  };
  if (gatherer !== undefined) timer = setTimeout(work, REST_MS);
  return { stop: () => clearTimeout(timer) };
}
