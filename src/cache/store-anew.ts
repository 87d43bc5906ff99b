// A cache device whose persist makes durable also what an earlier persist failed to.
//
// After a failed write the kernel takes the pages for clean: they show what was stored as long as they stay in memory, and a later msync that succeeds
// leaves them out. Nobody who opens the cache afterwards can tell. So whoever takes over a cache that was not closed in order stores what it is
// going to rely on once more, the bytes as they are, and then persists it.

import type { CacheDevice } from '../device/device.js';
import { PAGE_BYTES, SEGMENTS_OFFSET, SEGMENT_BYTES } from '../media/layout.js';
import type { PhysicalSegmentId } from '../media/layout.js';

/** Passes everything on to `device`; `persist` first stores a word of each page anew. For use by one thread, before others use the device. */
export function storingAnew(device: CacheDevice): CacheDevice {
  if (device.persistence === 'memory') return device;
  return {
    sizeBytes: device.sizeBytes,
    segmentCount: device.segmentCount,
    persistence: device.persistence,
    readOnly: device.readOnly,
    control: device.control,
    segment: (id) => device.segment(id),
    addressOf: (offset) => device.addressOf(offset),
    persist: (offset, lengthBytes) => {
      for (let page = offset - (offset % PAGE_BYTES); page < offset + lengthBytes; page += PAGE_BYTES) storeAnew(device, page);
      device.persist(offset, lengthBytes);
    },
    expectAccess: (pattern) => device.expectAccess(pattern),
    close: () => device.close(),
  };
}

function storeAnew(device: CacheDevice, page: number): void {
  // Not a plain store of what was loaded, which a compiler may leave out.
  if (page < SEGMENTS_OFFSET) {
    Atomics.or(device.control.words, page / 4, 0);
    return;
  }
  const segment = Math.floor((page - SEGMENTS_OFFSET) / SEGMENT_BYTES) as PhysicalSegmentId;
  Atomics.or(device.segment(segment).words, ((page - SEGMENTS_OFFSET) % SEGMENT_BYTES) / 4, 0);
}
