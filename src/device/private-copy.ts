// A copy of a mapped cache device that may be changed without the device being changed: what is stored through it is this process's alone and takes
// memory page by page (MAP_PRIVATE), so the copy of a large cache costs nothing until it is written to. For trying out what a repair would do.
//
// Invariant: the device stays open, and as it is, for as long as the copy is used: a change of the device would show through wherever the copy has not
// been written to.

import { SEGMENTS_OFFSET, SEGMENT_BYTES } from '../media/layout.js';
import { attempt } from './device-file.js';
import { mmap, munmap } from './libc.js';
import { MAP_NORESERVE, MAP_PRIVATE, PROT_READ, PROT_WRITE } from './linux-constants.js';
import type { MappedCacheDevice } from './mapped-cache-device.js';
import { attachCacheDevice } from './mapped-cache-device.js';

/** Runs `action` with a copy, which is gone afterwards. `persist` does nothing to it. Throws PcacheError if it can't be mapped. */
export async function withPrivateCopy<T>(device: MappedCacheDevice, action: (copy: MappedCacheDevice) => T | Promise<T>): Promise<T> {
  const { path, fd } = device.handle;
  const bytes = SEGMENTS_OFFSET + device.segmentCount * SEGMENT_BYTES;
  const flags = MAP_PRIVATE | MAP_NORESERVE;
  const address = attempt(`${path}: map`, () => mmap(bytes, PROT_READ | PROT_WRITE, flags, fd, 0));
  try {
    const copy = attachCacheDevice({ ...device.handle, address, persistence: 'memory', readOnly: false });
    try {
      return await action(copy);
    } finally {
      copy.close();
    }
  } finally {
    munmap(address, bytes);
  }
}
