// A copy of a mapped cache device that may be changed without the device being changed: what is stored through it is this process's alone and takes
// memory page by page (MAP_PRIVATE), so the copy of a large cache costs nothing until it is written to. For trying out what a repair would do.
//
// A copy of the whole has the size that the superblock says, if the device was cut. Where nothing of it was ever written, the copy has memory of its own: a
// look at it leaves a hole of the file a hole (see data-end.ts).
//
// Invariant: the device stays open, and as it is, for as long as the copy is used: a change of the device would show through wherever the copy has not
// been written to.

import { CACHE_BYTES_MAX, PAGE_BYTES, SEGMENTS_OFFSET, SEGMENT_BYTES, segmentCountOf } from '../media/layout.js';
import { decodeSuperblock } from '../media/superblock.js';
import { attempt } from './device-file.js';
import { mmap, mmapAt, munmap } from './libc.js';
import { MAP_ANONYMOUS, MAP_FIXED, MAP_NORESERVE, MAP_PRIVATE, PROT_READ, PROT_WRITE } from './linux-constants.js';
import type { MappedCacheDevice } from './mapped-cache-device.js';
import { attachCacheDevice } from './mapped-cache-device.js';

/** Whether the device has lost its end, as far as its size and a hole there show. */
export function wasCut(device: MappedCacheDevice): boolean {
  return device.dataEnd !== undefined || wholeBytesOf(device) > device.sizeBytes;
}

/**
 * Runs `action` with a copy, which is gone afterwards. `persist` does nothing to it. `whole`: as large as the cache was before the device was cut. Throws
 * PcacheError if it can't be mapped.
 */
export async function withPrivateCopy<T>(
  device: MappedCacheDevice,
  action: (copy: MappedCacheDevice) => T | Promise<T>,
  { whole = false }: { readonly whole?: boolean } = {},
): Promise<T> {
  const { path, fd } = device.handle;
  const sizeBytes = whole ? Math.max(device.sizeBytes, wholeBytesOf(device)) : device.sizeBytes;
  const bytes = SEGMENTS_OFFSET + segmentCountOf(sizeBytes) * SEGMENT_BYTES;
  const endBytes = Math.min(bytes, device.dataEnd ?? device.sizeBytes);
  const protection = PROT_READ | PROT_WRITE;
  const address = attempt(`${path}: map`, () => mmap(bytes, protection, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
  try {
    const mappedBytes = Math.ceil(endBytes / PAGE_BYTES) * PAGE_BYTES;
    if (mappedBytes > 0) {
      attempt(`${path}: map`, () => mmapAt(address, mappedBytes, protection, MAP_PRIVATE | MAP_NORESERVE | MAP_FIXED, fd, 0));
    }
    const lost = endBytes < bytes ? { lostFrom: endBytes } : {};
    const copy = attachCacheDevice({ ...device.handle, sizeBytes, ...lost, address, persistence: 'memory', readOnly: false });
    try {
      return await action(copy);
    } finally {
      copy.close();
    }
  } finally {
    munmap(address, bytes);
  }
}

/** What a device needs for all the segments that its superblock names; 0 if it has none that can be read. */
function wholeBytesOf(device: MappedCacheDevice): number {
  const superblock = decodeSuperblock(device.control.bytes);
  const bytes = superblock.ok ? SEGMENTS_OFFSET + superblock.value.segmentCount * SEGMENT_BYTES : 0;
  return bytes <= CACHE_BYTES_MAX ? bytes : 0;
}
