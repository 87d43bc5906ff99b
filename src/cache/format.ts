// Makes a cache of a device. The superblock is written last and durably, so a format that is cut short leaves no cache behind. Both copies of every
// record are written, so that damage to one of them costs nothing.

import type { CacheDevice } from '../device/device.js';
import { PcacheError } from '../errors.js';
import type { CacheInfo } from '../media/cache-info.js';
import { writeCacheInfo } from '../media/cache-info.js';
import { newGatewayHeader, readGatewayHeader, writeGatewayBackup, writeGatewayHeader } from '../media/gateway-header.js';
import {
  CACHE_BYTES_MAX,
  CACHE_BYTES_MIN,
  GC_PERCENT_MAX,
  GC_PERCENT_MIN,
  KSET_HEADER_BYTES,
  SEGMENT_DATA_OFFSET,
  SEGMENTS_OFFSET,
  SEGMENT_BYTES,
  SUPERBLOCK_OFFSET,
  segmentCountOf,
} from '../media/layout.js';
import type { CacheSegId, PhysicalSegmentId, SegmentOffset } from '../media/layout.js';
import { writeSegmentGeneration } from '../media/segment-generation.js';
import { writeSegmentInfo } from '../media/segment-info.js';
import { SUPERBLOCK_BYTES, encodeSuperblock } from '../media/superblock.js';
import { writeTail } from '../media/tails.js';
import { NO_COPY } from '../media/two-copy-record.js';
import type { TellProgress } from './tell-progress.js';

export interface FormatOptions {
  readonly dataCrc: boolean;
  /** 0 to 90. */
  readonly gcPercent: number;
  /** 16 random bytes. */
  readonly uuid: Uint8Array;
  /** Milliseconds since 1970. */
  readonly nowMs: number;
  readonly tell?: TellProgress | undefined;
}

/**
 * Formats the device; whatever it held is lost, and asking first is the caller's business. Durable when it returns.
 * Throws PcacheError `too-small` or `usage` before anything is changed, `io` if the device fails.
 */
export function formatCache(device: CacheDevice, options: FormatOptions): void {
  if (device.sizeBytes < CACHE_BYTES_MIN)
    throw new PcacheError('too-small', `a cache of ${device.sizeBytes} bytes: it needs 96 MiB or more`);
  if (device.sizeBytes > CACHE_BYTES_MAX) throw new PcacheError('usage', `a cache of ${device.sizeBytes} bytes: 1 TiB is the most`);
  if (!Number.isInteger(options.gcPercent) || options.gcPercent < GC_PERCENT_MIN || options.gcPercent > GC_PERCENT_MAX) {
    throw new PcacheError('usage', `gc_percent ${options.gcPercent}: it must be 0 to 90`);
  }
  const count = segmentCountOf(device.sizeBytes);
  device.expectAccess('scattered');
  device.dataEnd = undefined;
  const control = device.control.bytes;
  const old = readGatewayHeader(control);
  const header = newGatewayHeader(options.uuid, options.nowMs, old.ok ? old.value.sequenceLimit : 0);
  control.fill(0);
  device.persist(SUPERBLOCK_OFFSET, SUPERBLOCK_BYTES);

  for (let id = 0; id < count; id++) {
    const { bytes } = device.segment(id as PhysicalSegmentId);
    bytes.fill(0, 0, SEGMENT_DATA_OFFSET + KSET_HEADER_BYTES);
    const info = { next: id + 1 < count ? ((id + 1) as PhysicalSegmentId) : undefined };
    writeSegmentInfo(bytes, info, writeSegmentInfo(bytes, info, NO_COPY));
    writeSegmentGeneration(bytes, 0, writeSegmentGeneration(bytes, 0, NO_COPY, { stamped: true }), { stamped: true });
    options.tell?.('formatting', (id + 1) * SEGMENT_BYTES, count * SEGMENT_BYTES);
  }
  // In one go: for a file each persist is a flush of the disk below, and a large cache has 65,535 segments.
  device.persist(SEGMENTS_OFFSET, count * SEGMENT_BYTES);
  const info: CacheInfo = {
    firstSegment: 0 as PhysicalSegmentId,
    segmentCount: count,
    dataCrc: options.dataCrc,
    initialised: true,
    mode: 'writeback',
    gcPercent: options.gcPercent,
    otherFlags: 0,
  };
  writeCacheInfo(control, info, writeCacheInfo(control, info, NO_COPY));
  const start = { cacheSegId: 0 as CacheSegId, segOff: 0 as SegmentOffset };
  for (const name of ['key_tail', 'dirty_tail'] as const) {
    const first = writeTail(control, name, start, NO_COPY, header.sequenceLimit);
    writeTail(control, name, start, first, header.sequenceLimit);
  }
  // With one copy alone, damage to it would look like a cache that only the kernel has used.
  const second = writeGatewayHeader(control, header, writeGatewayHeader(control, header, undefined));
  writeGatewayBackup(control, second);
  device.persist(0, SEGMENTS_OFFSET);
  encodeSuperblock(control, { flags: 0, segmentCount: count });
  device.persist(SUPERBLOCK_OFFSET, SUPERBLOCK_BYTES);
  device.expectAccess('normal');
}
