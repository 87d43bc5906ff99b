import test from 'ava';
import * as cacheInfo from '../../src/media/cache-info.js';
import * as cacheKey from '../../src/media/cache-key.js';
import * as gatewayHeader from '../../src/media/gateway-header.js';
import * as kset from '../../src/media/kset.js';
import * as layout from '../../src/media/layout.js';
import type { PhysicalSegmentId } from '../../src/media/layout.js';
import * as logPosition from '../../src/media/log-position.js';
import * as segmentGeneration from '../../src/media/segment-generation.js';
import * as segmentInfo from '../../src/media/segment-info.js';
import * as superblock from '../../src/media/superblock.js';
import * as tails from '../../src/media/tails.js';

test('the places and sizes on a cache device are the ones that caches already have', (t) => {
  t.deepEqual(
    { ...layout, segmentCountOf: undefined, segmentDeviceOffset: undefined },
    {
      SECTOR_BYTES: 512,
      PAGE_BYTES: 4096,
      GATEWAY_HEADER_OFFSETS: [0, 2048],
      GATEWAY_HEADER_BYTES: 2048,
      SUPERBLOCK_OFFSET: 4096,
      GATEWAY_BACKUP_OFFSET: 6144,
      CACHE_INFO_OFFSETS: [8192, 12288],
      CACHE_CTRL_OFFSET: 16384,
      KEY_TAIL_OFFSETS: [16384, 16400],
      DIRTY_TAIL_OFFSETS: [16416, 16432],
      SEGMENTS_OFFSET: 20480,
      SEGMENT_BYTES: 16777216,
      SEGMENT_INFO_OFFSETS: [0, 4096],
      SEGMENT_GENERATION_OFFSETS: [8192, 8208],
      SEGMENT_DATA_OFFSET: 12288,
      SEGMENT_DATA_BYTES: 16764928,
      SUBTREE_BYTES: 4194304,
      KSET_HEADER_BYTES: 24,
      KEY_BYTES: 40,
      KSET_KEYS_MAX: 128,
      KSET_BYTES_MAX: 5144,
      LAST_KSET_BYTES: 24,
      CACHE_BYTES_MIN: 100663296,
      CACHE_BYTES_MAX: 1099511627776,
      KERNEL_CACHE_BYTES_MIN: 536870912,
      VOLUME_BYTES_MIN: 512,
      VOLUME_BYTES_MAX: 17592186044416,
      GC_PERCENT_MIN: 0,
      GC_PERCENT_MAX: 90,
      GC_PERCENT_DEFAULT: 70,
      segmentCountOf: undefined,
      segmentDeviceOffset: undefined,
    },
  );
  t.is(logPosition.LOG_OFFSET_MAX, 16764904);
  t.is(superblock.SEGMENT_COUNT_MAX, 65536);
});

test('the fields of every structure are where they already are', (t) => {
  t.deepEqual(superblock.SUPERBLOCK_LAYOUT, { crc: 0, flags: 4, magic: 8, seg_num: 16, padding: 20 });
  t.deepEqual(cacheInfo.CACHE_INFO_LAYOUT, { header: 0, seg_id: 8, n_segs: 12, flags: 16, reserved: 20 });
  t.deepEqual(segmentInfo.SEGMENT_INFO_LAYOUT, { header: 0, flags: 8, next_seg: 12 });
  t.deepEqual(segmentGeneration.SEGMENT_GENERATION_LAYOUT, { header: 0, gen: 8 });
  t.deepEqual(tails.TAIL_LAYOUT, { header: 0, cache_seg_id: 8, seg_off: 12 });
  t.deepEqual(kset.KSET_HEADER_LAYOUT, { crc: 0, key_num: 4, magic: 8, flags: 16 });
  t.deepEqual(cacheKey.KEY_LAYOUT, {
    off: 0,
    len: 8,
    flags: 12,
    cache_seg_id: 16,
    cache_seg_off: 20,
    seg_gen: 24,
    data_crc: 32,
    reserved: 36,
  });
  t.deepEqual(gatewayHeader.GATEWAY_HEADER_LAYOUT, {
    crc: 0,
    format_version: 4,
    magic: 8,
    generation: 16,
    state: 20,
    uuid: 24,
    volume_bytes: 40,
    sequence_limit: 48,
    created_ms: 56,
    boot_id: 64,
    backing_identity_bytes: 100,
    backing_identity: 104,
    durable_sequence: 616,
    durable_segment: 624,
    durable_offset: 628,
    dirty_tail_sequence: 632,
    dirty_tail_segment: 640,
    dirty_tail_offset: 644,
    print_bytes: 648,
    print_crc: 652,
    print_seconds: 656,
    print_nanoseconds: 664,
    print_records_crc: 668,
    reserved: 672,
  });
  t.deepEqual(
    [
      superblock.SUPERBLOCK_BYTES,
      cacheInfo.CACHE_INFO_BYTES,
      segmentInfo.SEGMENT_INFO_BYTES,
      segmentGeneration.SEGMENT_GENERATION_BYTES,
      tails.TAIL_BYTES,
    ],
    [24, 24, 16, 16, 16],
  );
});

test('a device has as many segments as fit whole', (t) => {
  const mebibyte = 1024 * 1024;
  t.is(layout.segmentCountOf(512 * mebibyte), 31);
  t.is(layout.segmentCountOf(96 * mebibyte), 5);
  t.is(layout.segmentCountOf(layout.SEGMENTS_OFFSET + layout.SEGMENT_BYTES), 1);
  t.is(layout.segmentCountOf(layout.SEGMENTS_OFFSET + layout.SEGMENT_BYTES - 1), 0);
  t.is(layout.segmentCountOf(0), 0);
  t.is(layout.segmentDeviceOffset(2 as PhysicalSegmentId), 0x5000 + 2 * 16 * mebibyte);
});
