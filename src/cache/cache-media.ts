// Reads and validates what a cache device says of itself, before anything is used or changed: superblock, cache_info, the chain of
// segments, generations, tails and the gateway header. Mounting, recovering, checking and dumping all start here.

import type { CacheDevice } from '../device/device.js';
import { PcacheError } from '../errors.js';
import { readCacheInfo } from '../media/cache-info.js';
import type { CacheInfo } from '../media/cache-info.js';
import { readGatewayHeader } from '../media/gateway-header.js';
import type { GatewayHeader } from '../media/gateway-header.js';
import { SEGMENT_DATA_OFFSET } from '../media/layout.js';
import type { CacheSegId, PhysicalSegmentId } from '../media/layout.js';
import type { LogPosition } from '../media/log-position.js';
import type { LogSource, LogWalkOptions } from '../media/log-walk.js';
import { logWalkOptions } from '../media/log-walk.js';
import { readSegmentChain } from '../media/segment-chain.js';
import { readSegmentGeneration } from '../media/segment-generation.js';
import { readSegmentInfo } from '../media/segment-info.js';
import { decodeSuperblock, superblockIsBlank } from '../media/superblock.js';
import type { Superblock } from '../media/superblock.js';
import { readTail, tailsAreStamped } from '../media/tails.js';
import { CUT_HINT, requireSegmentsWritten } from './unwritten-data.js';

export interface CacheMedia {
  readonly superblock: Superblock;
  readonly cacheInfo: CacheInfo;
  /** By cache_seg_id. */
  readonly physicalOf: readonly PhysicalSegmentId[];
  /** By cache_seg_id. */
  readonly generations: readonly number[];
  /** By cache_seg_id: whether this gateway stored the generation. */
  readonly ownGenerations: readonly boolean[];
  readonly keyTail: LogPosition;
  readonly dirtyTail: LogPosition;
  /** `undefined` on a cache that only the kernel has used. */
  readonly gatewayHeader: GatewayHeader | undefined;
  /** What `walkLog` reads the log from, and what is known of it before it is walked from key_tail. */
  readonly log: LogSource;
  readonly walkOptions: LogWalkOptions;
}

/**
 * Throws PcacheError `not-a-cache` if there is no superblock, `damaged` if a record has no valid copy, `unsupported` for a cache of another
 * version or mode. Changes nothing.
 */
export function readCacheMedia(device: CacheDevice): CacheMedia {
  device.expectAccess('scattered');
  try {
    return readRecords(device);
  } finally {
    device.expectAccess('normal');
  }
}

function readRecords(device: CacheDevice): CacheMedia {
  const control = device.control.bytes;
  const superblock = decodeSuperblock(control);
  if (!superblock.ok) {
    // A kernel would format it, and whoever has lost the superblock alone must not be told to do the same.
    if (readCacheInfo(control, device.segmentCount).ok)
      throw damaged(`the superblock is lost (${superblock.reason}), but the rest of a cache is there`);
    if (superblockIsBlank(control)) {
      const hint = device.findData?.() === undefined ? 'pcache format makes one.' : 'It is not empty: pcache check says what is there.';
      throw new PcacheError('not-a-cache', 'not a cache: no superblock', { hint });
    }
    throw new PcacheError('not-a-cache', `not a cache: ${superblock.reason}`);
  }
  const { segmentCount } = superblock.value;
  if (segmentCount > device.segmentCount) {
    throw new PcacheError(
      'damaged',
      `the superblock names ${segmentCount} segments, but the device has room for ${device.segmentCount}: it was cut short`,
      { hint: CUT_HINT },
    );
  }
  requireSegmentsWritten(device, segmentCount);
  const info = readCacheInfo(control, segmentCount);
  if (!info.ok) throw damaged(info.reason);
  if (info.value.mode !== 'writeback') throw new PcacheError('unsupported', `cache mode ${info.value.mode} is not supported`);
  const chain = readSegmentChain(
    { firstSegment: info.value.firstSegment, segmentCount: info.value.segmentCount, deviceSegmentCount: segmentCount },
    (segment) => readSegmentInfo(device.segment(segment).bytes, segmentCount),
  );
  if (!chain.ok) throw damaged(chain.reason);
  const generations = chain.value.map((physical, cacheSegId) => generationOf(device, physical, cacheSegId));
  const keyTail = readTail(control, 'key_tail', info.value.segmentCount);
  if (!keyTail.ok) throw damaged(keyTail.reason);
  const dirtyTail = readTail(control, 'dirty_tail', info.value.segmentCount);
  if (!dirtyTail.ok) throw damaged(dirtyTail.reason);
  const header = readGatewayHeader(control);
  if (!header.ok && header.kind === 'newer') throw new PcacheError('unsupported', header.reason);
  if (!header.ok && header.kind === 'damaged') throw damaged(header.reason);
  if (!header.ok && tailsAreStamped(control)) throw damaged('the gateway header is lost, though this gateway has used the cache');
  return {
    superblock: superblock.value,
    cacheInfo: info.value,
    physicalOf: chain.value,
    generations: generations.map(({ value }) => value),
    ownGenerations: generations.map(({ isOwn }) => isOwn),
    keyTail: keyTail.value,
    dirtyTail: dirtyTail.value,
    gatewayHeader: header.ok ? header.value : undefined,
    walkOptions: logWalkOptions(keyTail, dirtyTail, header.ok ? header.value : undefined),
    log: {
      segmentCount: info.value.segmentCount,
      data(cacheSegId: CacheSegId) {
        const { bytes, view } = device.segment(chain.value[cacheSegId]!);
        return { bytes, view, base: SEGMENT_DATA_OFFSET };
      },
    },
  };
}

function generationOf(device: CacheDevice, physical: PhysicalSegmentId, cacheSegId: number): { value: number; isOwn: boolean } {
  const generation = readSegmentGeneration(device.segment(physical).bytes);
  if (generation.ok) return { value: generation.value, isOwn: generation.stamp !== undefined };
  // Neither copy was ever written: the segment was never freed.
  if (generation.blank) return { value: 0, isOwn: false };
  throw damaged(`segment ${cacheSegId}: ${generation.reason}`);
}

function damaged(what: string): PcacheError {
  return new PcacheError('damaged', what, { hint: 'pcache check says what is left.' });
}
