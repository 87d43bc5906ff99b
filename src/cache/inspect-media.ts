// Reads from a cache device whatever can be read, each structure by itself, for `dump` and `check`: where `readCacheMedia` refuses, this goes on.
//
// Invariants:
// - Nothing is changed, and no bytes on the media make it throw anything but PcacheError `not-a-cache`.
// - What could not be read is there as a refusal, never as a made-up value. Where reading on needs one, the assumption is named: without a
//   superblock the device's size says how many segments there are; without cache_info all of them are in the chain and it starts at 0; where the chain breaks
//   after segments in order (as every program formats it) the rest are taken in order too.

import type { CacheDevice, SegmentView } from '../device/device.js';
import { PcacheError } from '../errors.js';
import type { CacheInfo } from '../media/cache-info.js';
import { readCacheInfo } from '../media/cache-info.js';
import type { Decoded } from '../media/decoded.js';
import type { GatewayHeaderRead } from '../media/gateway-header.js';
import { readGatewayHeader } from '../media/gateway-header.js';
import type { CacheSegId, PhysicalSegmentId } from '../media/layout.js';
import { SEGMENT_DATA_OFFSET } from '../media/layout.js';
import type { LogPosition } from '../media/log-position.js';
import type { LogSource } from '../media/log-walk.js';
import { readSegmentGeneration } from '../media/segment-generation.js';
import { readSegmentInfo } from '../media/segment-info.js';
import type { Superblock } from '../media/superblock.js';
import { decodeSuperblock, superblockIsBlank } from '../media/superblock.js';
import { readTail } from '../media/tails.js';
import type { RecordRead } from '../media/two-copy-record.js';

export interface InspectedChain {
  /** Physical segment of each cache_seg_id, as far as known or assumed. */
  readonly physicalOf: readonly PhysicalSegmentId[];
  /** Why the chain could not be followed to its end; `undefined` if it could. */
  readonly problem: string | undefined;
  /** First cache_seg_id whose place is only assumed; the chain's length if none is. */
  readonly assumedFrom: number;
}

export interface InspectedMedia {
  readonly superblock: Decoded<Superblock>;
  /** The superblock's magic reads 0, so the kernel would format the device. */
  readonly superblockIsBlank: boolean;
  /** seg_num of the superblock; without one, what the device has room for. */
  readonly deviceSegmentCount: number;
  readonly cacheInfo: RecordRead<CacheInfo>;
  /** n_segs of cache_info; without one, `deviceSegmentCount`. */
  readonly segmentCount: number;
  readonly chain: InspectedChain;
  /** By cache_seg_id, for the segments of `chain.physicalOf`. A generation never written is accepted as 0. */
  readonly generations: readonly Decoded<number>[];
  /** By cache_seg_id: whether this gateway stored the generation. */
  readonly ownGenerations: readonly boolean[];
  readonly keyTail: RecordRead<LogPosition>;
  readonly dirtyTail: RecordRead<LogPosition>;
  readonly gatewayHeader: GatewayHeaderRead;
  /** Covers the segments of `chain.physicalOf`. */
  readonly log: LogSource;
}

/** Throws PcacheError `not-a-cache` if there is neither a superblock nor anything that only a cache has. */
export function inspectMedia(device: CacheDevice): InspectedMedia {
  const control = device.control.bytes;
  const superblock = decodeSuperblock(control);
  const deviceSegmentCount = superblock.ok ? superblock.value.segmentCount : device.segmentCount;
  const cacheInfo = readCacheInfo(control, deviceSegmentCount);
  const gatewayHeader = readGatewayHeader(control);
  if (!superblock.ok && !cacheInfo.ok && !gatewayHeader.ok && gatewayHeader.kind === 'absent') {
    throw new PcacheError('not-a-cache', `not a cache: ${superblock.reason}`, superblockIsBlank(control) ? { hint: hintFor(device) } : {});
  }
  const segmentCount = cacheInfo.ok ? cacheInfo.value.segmentCount : deviceSegmentCount;
  const chain = followChain(device, cacheInfo.ok ? cacheInfo.value.firstSegment : 0, segmentCount, deviceSegmentCount);
  return {
    superblock,
    superblockIsBlank: superblockIsBlank(control),
    deviceSegmentCount,
    cacheInfo,
    segmentCount,
    chain,
    generations: chain.physicalOf.map((physical) => generationOf(device.segment(physical))),
    ownGenerations: chain.physicalOf.map((physical) => isOwnGeneration(device.segment(physical))),
    keyTail: readTail(control, 'key_tail', segmentCount),
    dirtyTail: readTail(control, 'dirty_tail', segmentCount),
    gatewayHeader,
    log: {
      segmentCount: chain.physicalOf.length,
      data(cacheSegId: CacheSegId) {
        const { bytes, view } = device.segment(chain.physicalOf[cacheSegId]!);
        return { bytes, view, base: SEGMENT_DATA_OFFSET };
      },
    },
  };
}

function hintFor(device: CacheDevice): string {
  const dataAt = device.findData?.();
  if (dataAt === undefined) return 'pcache format makes one.';
  return `Nothing of a cache is left that could be read, but it is not empty: there is something at byte ${dataAt}. pcache format takes it with --force only.`;
}

function generationOf(segment: SegmentView): Decoded<number> {
  const read = readSegmentGeneration(segment.bytes);
  return !read.ok && read.blank ? { ok: true, value: 0 } : read;
}

function isOwnGeneration(segment: SegmentView): boolean {
  const read = readSegmentGeneration(segment.bytes);
  return read.ok && read.stamp !== undefined;
}

function followChain(device: CacheDevice, first: number, segmentCount: number, deviceSegmentCount: number): InspectedChain {
  const usable = Math.min(deviceSegmentCount, device.segmentCount);
  const physicalOf: PhysicalSegmentId[] = [];
  const seen = new Set<number>();
  let problem: string | undefined;
  let next: number | undefined = first;
  while (physicalOf.length < segmentCount) {
    if (next === undefined) problem = `it ends after ${physicalOf.length} of ${segmentCount} segments`;
    else if (next >= usable) problem = `place ${physicalOf.length} is segment ${next}, which is not on the device`;
    else if (seen.has(next)) problem = `it comes back to segment ${next} at place ${physicalOf.length}`;
    if (next === undefined || problem !== undefined) break;
    seen.add(next);
    physicalOf.push(next as PhysicalSegmentId);
    const info = readSegmentInfo(device.segment(next as PhysicalSegmentId).bytes, deviceSegmentCount);
    if (!info.ok) {
      problem = `segment ${next}, place ${physicalOf.length - 1}: ${info.reason}`;
      break;
    }
    next = info.value.next;
  }
  const assumedFrom = physicalOf.length;
  if (problem !== undefined && physicalOf.every((physical, place) => physical === place)) {
    for (let place = assumedFrom; place < Math.min(segmentCount, usable); place++) physicalOf.push(place as PhysicalSegmentId);
  }
  return { physicalOf, problem, assumedFrom };
}

/** Whether a key of this generation is stale: its segment has been reused since. One whose segment's generation is lost counts as live. */
export function isStale(media: InspectedMedia, cacheSegId: number, segGen: number): boolean {
  const generation = media.generations[cacheSegId];
  return generation?.ok === true && segGen < generation.value;
}
