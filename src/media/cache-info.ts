// cache_info: what kind of cache this is and where its chain of segments starts. Two copies, a page each. Invariants of what is accepted: the
// chain has 1 to seg_num segments and starts at one of them; the mode is one of four; gc_percent is 0 to 90.

import type { Decoded } from './decoded.js';
import { accepted, refused } from './decoded.js';
import type { PhysicalSegmentId } from './layout.js';
import { CACHE_INFO_OFFSETS, GC_PERCENT_MAX } from './layout.js';
import { structLayout } from './struct-layout.js';
import type { Current, CurrentCopy, NoCopy, RecordCodec, RecordRead } from './two-copy-record.js';
import { readRecord, writeRecord } from './two-copy-record.js';

export const CACHE_INFO_BYTES = 24;
export const CACHE_INFO_LAYOUT = structLayout('cache_info', CACHE_INFO_BYTES, {
  header: [0, 8],
  seg_id: [8, 4],
  n_segs: [12, 4],
  flags: [16, 4],
  reserved: [20, 4],
});
const AT = CACHE_INFO_LAYOUT;

/** In the order of the format's numbers. The kernel accepts only the first. */
export const CACHE_MODES = ['writeback', 'writethrough', 'writearound', 'writeonly'] as const;
export type CacheMode = (typeof CACHE_MODES)[number];

const FLAG_DATA_CRC = 1 << 0;
const FLAG_INITIALISED = 1 << 1;
const MODE_SHIFT = 2;
const MODE_MASK = 0xf;
const GC_PERCENT_SHIFT = 6;
const GC_PERCENT_MASK = 0x7f;
const KNOWN_FLAGS = FLAG_DATA_CRC | FLAG_INITIALISED | (MODE_MASK << MODE_SHIFT) | (GC_PERCENT_MASK << GC_PERCENT_SHIFT);

export interface CacheInfo {
  /** First segment of the chain. */
  readonly firstSegment: PhysicalSegmentId;
  /** Segments in the chain (n_segs). */
  readonly segmentCount: number;
  readonly dataCrc: boolean;
  readonly initialised: boolean;
  readonly mode: CacheMode;
  readonly gcPercent: number;
  /** Flag bits that have no meaning here (13-31), kept as they are. */
  readonly otherFlags: number;
}

/** The flags word of the media, what dm-pcache's status line calls cache_flags. */
export function cacheFlagsOf(info: CacheInfo): number {
  return (
    ((info.dataCrc ? FLAG_DATA_CRC : 0) |
      (info.initialised ? FLAG_INITIALISED : 0) |
      (CACHE_MODES.indexOf(info.mode) << MODE_SHIFT) |
      (info.gcPercent << GC_PERCENT_SHIFT) |
      info.otherFlags) >>>
    0
  );
}

/** `deviceSegmentCount`: the superblock's seg_num. */
function codecFor(deviceSegmentCount: number): RecordCodec<CacheInfo> {
  return {
    name: 'cache_info',
    sizeBytes: CACHE_INFO_BYTES,
    decodeFields(view, at): Decoded<CacheInfo> {
      const firstSegment = view.getUint32(at + AT.seg_id, true);
      const segmentCount = view.getUint32(at + AT.n_segs, true);
      const flags = view.getUint32(at + AT.flags, true);
      const modeNumber = (flags >>> MODE_SHIFT) & MODE_MASK;
      const mode = CACHE_MODES[modeNumber];
      const gcPercent = (flags >>> GC_PERCENT_SHIFT) & GC_PERCENT_MASK;
      if (firstSegment >= deviceSegmentCount)
        return refused(`first segment ${firstSegment} is not one of the ${deviceSegmentCount} on the device`);
      if (segmentCount < 1) return refused('a chain of no segments');
      if (segmentCount > deviceSegmentCount) return refused(`a chain of ${segmentCount} segments on a device of ${deviceSegmentCount}`);
      if (mode === undefined) return refused(`unknown cache mode ${modeNumber}`);
      if (gcPercent > GC_PERCENT_MAX) return refused(`gc_percent ${gcPercent} is above ${GC_PERCENT_MAX}`);
      return accepted({
        firstSegment: firstSegment as PhysicalSegmentId,
        segmentCount,
        dataCrc: (flags & FLAG_DATA_CRC) !== 0,
        initialised: (flags & FLAG_INITIALISED) !== 0,
        mode,
        gcPercent,
        otherFlags: (flags & ~KNOWN_FLAGS) >>> 0,
      });
    },
    encodeFields(view, at, info): void {
      view.setUint32(at + AT.seg_id, info.firstSegment, true);
      view.setUint32(at + AT.n_segs, info.segmentCount, true);
      view.setUint32(at + AT.flags, cacheFlagsOf(info), true);
      view.setUint32(at + AT.reserved, 0, true);
    },
  };
}

/** `control`: device bytes from 0. `deviceSegmentCount`: the superblock's seg_num. */
export function readCacheInfo(control: Uint8Array, deviceSegmentCount: number): RecordRead<CacheInfo> {
  return readRecord(codecFor(deviceSegmentCount), control, CACHE_INFO_OFFSETS);
}

/** Writes the copy that is not current; the caller persists CACHE_INFO_OFFSETS[result.index]. */
export function writeCacheInfo(control: Uint8Array, info: CacheInfo, current: CurrentCopy | NoCopy): Current<CacheInfo> {
  return writeRecord(codecFor(0), control, CACHE_INFO_OFFSETS, info, current);
}
