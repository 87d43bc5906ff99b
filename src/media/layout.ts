// The places and sizes of everything on a cache device, and the types of the numbers that name places. Every figure is dm-pcache's
// (drivers/md/dm-pcache in Linux 6.18, see docs/media.md); `test/media/layout.test.ts` snapshots them.
//
// Two pairs of numbers look alike and must never be mixed, so each has a type of its own:
// a physical segment id (place on the device) and a cache_seg_id (place in the chain that starts at cache_info.seg_id);
// a volume offset (bytes from the start of the volume) and a segment offset (bytes from the start of a segment's *data*).

declare const brand: unique symbol;
interface Brand<Name extends string> {
  readonly [brand]: Name;
}

/** Place of a segment on the device, 0 to seg_num - 1. */
export type PhysicalSegmentId = number & Brand<'PhysicalSegmentId'>;
/** Place of a segment in the cache's chain, 0 to n_segs - 1. Ksets, keys and tails use it. */
export type CacheSegId = number & Brand<'CacheSegId'>;
/** Bytes from the start of the volume. */
export type VolumeOffset = number & Brand<'VolumeOffset'>;
/** Bytes from the start of a segment's data (12 KiB after the segment's start). */
export type SegmentOffset = number & Brand<'SegmentOffset'>;

export const SECTOR_BYTES = 512;
export const PAGE_BYTES = 4096;

/** Gateway header copies live in the page that the kernel leaves alone. */
export const GATEWAY_HEADER_OFFSETS = [0x0000, 0x0800] as const;
export const GATEWAY_HEADER_BYTES = 0x0800;
export const SUPERBLOCK_OFFSET = 0x1000;
/** A third copy of the gateway header, in the rest of the superblock's page, should damage to the first page take both others. */
export const GATEWAY_BACKUP_OFFSET = 0x1800;
export const CACHE_INFO_OFFSETS = [0x2000, 0x3000] as const;
export const CACHE_CTRL_OFFSET = 0x4000;
/** Within the device: both copies of each tail. */
export const KEY_TAIL_OFFSETS = [CACHE_CTRL_OFFSET, CACHE_CTRL_OFFSET + 16] as const;
export const DIRTY_TAIL_OFFSETS = [CACHE_CTRL_OFFSET + 32, CACHE_CTRL_OFFSET + 48] as const;
/** Segments start here. */
export const SEGMENTS_OFFSET = 0x5000;

export const SEGMENT_BYTES = 16 * 1024 * 1024;
/** Within a segment: both copies of segment_info. */
export const SEGMENT_INFO_OFFSETS = [0x0000, 0x1000] as const;
/** Within a segment: both copies of the generation. */
export const SEGMENT_GENERATION_OFFSETS = [0x2000, 0x2010] as const;
/** Within a segment: where its data starts. */
export const SEGMENT_DATA_OFFSET = 0x3000;
/** Bytes of data in a segment. */
export const SEGMENT_DATA_BYTES = SEGMENT_BYTES - SEGMENT_DATA_OFFSET;

/** A key never crosses a multiple of this (4 MiB) of the volume; the cache tree has one subtree for each. */
export const SUBTREE_BYTES = 4 * 1024 * 1024;

export const KSET_HEADER_BYTES = 24;
export const KEY_BYTES = 40;
/** Keys in a kset at most. */
export const KSET_KEYS_MAX = 128;
/** The largest kset: 5,144 bytes. */
export const KSET_BYTES_MAX = KSET_HEADER_BYTES + KSET_KEYS_MAX * KEY_BYTES;
/** At the end of a log segment, kept for the LAST kset. */
export const LAST_KSET_BYTES = KSET_HEADER_BYTES;

/** Smallest cache this gateway formats: five segments. (The kernel wants 512 MiB or more.) */
export const CACHE_BYTES_MIN = 96 * 1024 * 1024;
export const CACHE_BYTES_MAX = 1024 ** 4;
export const KERNEL_CACHE_BYTES_MIN = 512 * 1024 * 1024;
export const VOLUME_BYTES_MIN = SECTOR_BYTES;
export const VOLUME_BYTES_MAX = 16 * 1024 ** 4;
export const GC_PERCENT_MIN = 0;
export const GC_PERCENT_MAX = 90;
export const GC_PERCENT_DEFAULT = 70;

/** Segments that fit on a device of `deviceBytes`. */
export function segmentCountOf(deviceBytes: number): number {
  return Math.max(0, Math.floor((deviceBytes - SEGMENTS_OFFSET) / SEGMENT_BYTES));
}

/** Device offset of physical segment `id`. */
export function segmentDeviceOffset(id: PhysicalSegmentId): number {
  return SEGMENTS_OFFSET + id * SEGMENT_BYTES;
}
