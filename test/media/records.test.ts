// cache_info, segment_info, segment generation and tails: each against bytes that the kernel wrote, and against fields that make no sense.

import test from 'ava';
import { cacheFlagsOf, readCacheInfo, writeCacheInfo } from '../../src/media/cache-info.js';
import type { CacheInfo } from '../../src/media/cache-info.js';
import type { CacheSegId, PhysicalSegmentId, SegmentOffset } from '../../src/media/layout.js';
import { readSegmentGeneration, writeSegmentGeneration } from '../../src/media/segment-generation.js';
import { readSegmentInfo, writeSegmentInfo } from '../../src/media/segment-info.js';
import { readTail, writeTail } from '../../src/media/tails.js';
import { NO_COPY, sealCopy } from '../../src/media/two-copy-record.js';
import { viewOf } from '../../src/media/u64.js';

const CONTROL_BYTES = 0x5000;
const SEGMENT_HEAD_BYTES = 0x3000;

function put(bytes: Uint8Array, at: number, hex: string): void {
  bytes.set(Buffer.from(hex, 'hex'), at);
}

/** A control area with one copy of cache_info, its fields as given. */
function cacheInfoWith(fields: { segId?: number; nSegs?: number; flags?: number }): Uint8Array {
  const control = new Uint8Array(CONTROL_BYTES);
  const view = viewOf(control);
  view.setUint32(0x2008, fields.segId ?? 0, true);
  view.setUint32(0x200c, fields.nSegs ?? 31, true);
  view.setUint32(0x2010, fields.flags ?? 0x1182, true);
  sealCopy(control, 0x2000, 24, 1);
  return control;
}

test("the kernel's cache_info reads, and is written byte for byte the same", (t) => {
  const control = new Uint8Array(CONTROL_BYTES);
  // The log-wrap image: data CRC on, gc_percent raised from 70 to 90, which went to copy 0.
  put(control, 0x2000, '042bd7d0' + '02000000' + '00000000' + '1f000000' + '83160000' + '00000000');
  put(control, 0x3000, '4a83f694' + '01000000' + '00000000' + '1f000000' + '83110000' + '00000000');
  const value: CacheInfo = {
    firstSegment: 0 as PhysicalSegmentId,
    segmentCount: 31,
    dataCrc: true,
    initialised: true,
    mode: 'writeback',
    gcPercent: 90,
    otherFlags: 0,
  };
  t.deepEqual(readCacheInfo(control, 31), { ok: true, index: 0, seq: 2, otherValid: true, value });
  t.is(cacheFlagsOf(value), 5763);
  const written = new Uint8Array(CONTROL_BYTES);
  const first = writeCacheInfo(written, { ...value, gcPercent: 70 }, { index: 0, seq: 0, otherValid: false });
  const second = writeCacheInfo(written, value, first);
  t.deepEqual([first.index, second.index], [1, 0]);
  t.deepEqual(written, control);
});

test('cache_info with a chain that can not be is refused', (t) => {
  const reasonOf = (control: Uint8Array): string => {
    const read = readCacheInfo(control, 31);
    return read.ok ? 'accepted' : read.reason;
  };
  t.is(reasonOf(cacheInfoWith({})), 'accepted');
  t.is(reasonOf(cacheInfoWith({ segId: 30, nSegs: 1 })), 'accepted');
  t.is(reasonOf(cacheInfoWith({ segId: 31 })), 'cache_info: first segment 31 is not one of the 31 on the device');
  t.is(reasonOf(cacheInfoWith({ segId: 0xffffffff })), 'cache_info: first segment 4294967295 is not one of the 31 on the device');
  t.is(reasonOf(cacheInfoWith({ nSegs: 0 })), 'cache_info: a chain of no segments');
  t.is(reasonOf(cacheInfoWith({ nSegs: 32 })), 'cache_info: a chain of 32 segments on a device of 31');
  t.is(reasonOf(cacheInfoWith({ nSegs: 0xffffffff })), 'cache_info: a chain of 4294967295 segments on a device of 31');
});

test('cache_info names one of four modes, and a gc_percent of 90 at most', (t) => {
  const modes = [0, 1, 2, 3, 4, 15].map((mode) => {
    const read = readCacheInfo(cacheInfoWith({ flags: mode << 2 }), 31);
    return read.ok ? read.value.mode : read.reason;
  });
  t.deepEqual(modes, [
    'writeback',
    'writethrough',
    'writearound',
    'writeonly',
    'cache_info: unknown cache mode 4',
    'cache_info: unknown cache mode 15',
  ]);
  const percents = [0, 90, 91, 127].map((percent) => {
    const read = readCacheInfo(cacheInfoWith({ flags: percent << 6 }), 31);
    return read.ok ? read.value.gcPercent : read.reason;
  });
  t.deepEqual(percents, [0, 90, 'cache_info: gc_percent 91 is above 90', 'cache_info: gc_percent 127 is above 90']);
});

test('flags of cache_info that mean nothing here are kept', (t) => {
  const control = cacheInfoWith({ flags: 0xffffe000 });
  const read = readCacheInfo(control, 31);
  t.true(read.ok);
  if (!read.ok) return;
  t.is(read.value.otherFlags, 0xffffe000);
  t.is(cacheFlagsOf(read.value), 0xffffe000);
});

test("the kernel's segment_info reads, and is written byte for byte the same", (t) => {
  const segment = new Uint8Array(SEGMENT_HEAD_BYTES);
  put(segment, 0x0000, '318e663b' + '02000000' + '03000000' + '01000000');
  put(segment, 0x1000, 'fe258dfc' + '01000000' + '02000000' + '00000000');
  t.deepEqual(readSegmentInfo(segment, 31), { ok: true, index: 0, seq: 2, otherValid: true, value: { next: 1 as PhysicalSegmentId } });
  const written = new Uint8Array(SEGMENT_HEAD_BYTES);
  const first = writeSegmentInfo(written, { next: undefined }, { index: 0, seq: 0, otherValid: false });
  writeSegmentInfo(written, { next: 1 as PhysicalSegmentId }, first);
  t.deepEqual(written, segment);
});

test('segment_info that leads off the device, or is of another type, is refused', (t) => {
  const reasonOf = (flags: number, next: number): string => {
    const segment = new Uint8Array(SEGMENT_HEAD_BYTES);
    const view = viewOf(segment);
    view.setUint32(8, flags, true);
    view.setUint32(12, next, true);
    sealCopy(segment, 0, 16, 1);
    const read = readSegmentInfo(segment, 31);
    return read.ok ? `next ${read.value.next ?? 'none'}` : read.reason;
  };
  t.is(reasonOf(3, 30), 'next 30');
  t.is(reasonOf(3, 31), 'segment_info: next segment 31 is not one of the 31 on the device');
  t.is(reasonOf(3, 0xffffffff), 'segment_info: next segment 4294967295 is not one of the 31 on the device');
  t.is(reasonOf(2, 0xffffffff), 'next none');
  t.is(reasonOf(0, 0), 'segment_info: unknown segment type 0');
  t.is(reasonOf(31, 0), 'segment_info: unknown segment type 15');
});

test("the kernel's generation reads, and a segment without one is told from a damaged one", (t) => {
  const segment = new Uint8Array(SEGMENT_HEAD_BYTES);
  t.deepEqual(readSegmentGeneration(segment), { ok: false, reason: 'segment generation was never written', blank: true });
  put(segment, 0x2010, 'b0dff56e' + '01000000' + '0000000000000000');
  t.deepEqual(readSegmentGeneration(segment), { ok: true, index: 1, seq: 1, otherValid: false, value: 0 });
  segment[0x2018] = 1;
  t.deepEqual(readSegmentGeneration(segment), { ok: false, reason: 'no valid copy of segment generation', blank: false });
});

test('a generation is stored up to 2^53 - 1, and refused above', (t) => {
  const segment = new Uint8Array(SEGMENT_HEAD_BYTES);
  const written = writeSegmentGeneration(segment, Number.MAX_SAFE_INTEGER, NO_COPY);
  t.deepEqual(readSegmentGeneration(segment), { ok: true, ...written, value: Number.MAX_SAFE_INTEGER });
  viewOf(segment).setBigUint64(0x2008, 2n ** 53n, true);
  sealCopy(segment, 0x2000, 16, 1);
  t.deepEqual(readSegmentGeneration(segment), { ok: false, reason: 'segment generation: it is above 2^53 - 1', blank: false });
});

test("the kernel's tails read, and are written byte for byte the same", (t) => {
  const control = new Uint8Array(CONTROL_BYTES);
  put(control, 0x4000, 'b0dff56e' + '01000000' + '00000000' + '00000000');
  // The log-wrap image's dirty tail, written 216 times.
  put(control, 0x4020, '88b9c2b8' + 'd7000000' + '00000000' + '60ed9c00');
  put(control, 0x4030, '949efea7' + 'd8000000' + '00000000' + '78019d00');
  const at = (segOff: number) => ({ cacheSegId: 0 as CacheSegId, segOff: segOff as SegmentOffset });
  t.deepEqual(readTail(control, 'key_tail', 31), { ok: true, index: 0, seq: 1, otherValid: false, value: at(0) });
  t.deepEqual(readTail(control, 'dirty_tail', 31), { ok: true, index: 1, seq: 0xd8, otherValid: true, value: at(0x9d0178) });
  const written = new Uint8Array(CONTROL_BYTES);
  writeTail(written, 'key_tail', at(0), NO_COPY);
  const first = writeTail(written, 'dirty_tail', at(0x9ced60), { index: 1, seq: 0xd6, otherValid: true });
  writeTail(written, 'dirty_tail', at(0x9d0178), first);
  t.deepEqual(written, control);
});

test('a tail where no kset can be is refused', (t) => {
  const reasonOf = (segment: number, offset: number): string => {
    const control = new Uint8Array(CONTROL_BYTES);
    writeTail(control, 'dirty_tail', { cacheSegId: segment as CacheSegId, segOff: offset as SegmentOffset }, NO_COPY);
    const read = readTail(control, 'dirty_tail', 31);
    return read.ok ? 'accepted' : read.reason;
  };
  const last = 16 * 1024 * 1024 - 12 * 1024 - 24;
  t.is(reasonOf(30, last), 'accepted');
  t.is(reasonOf(31, 0), 'dirty_tail: segment 31 is not one of the 31 of the cache');
  t.is(reasonOf(0xffffffff, 0), 'dirty_tail: segment 4294967295 is not one of the 31 of the cache');
  t.is(reasonOf(0, last + 8), `dirty_tail: offset ${last + 8} leaves no room for a kset`);
  t.is(reasonOf(0, 0xffffffff), 'dirty_tail: offset 4294967295 leaves no room for a kset');
  t.is(reasonOf(0, 4), 'dirty_tail: offset 4 is not a multiple of 8');
});
