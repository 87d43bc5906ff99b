// No decoder throws, loops or reads outside of what it was given, whatever the bytes.

import test from 'ava';
import fc from 'fast-check';
import { readCacheInfo } from '../../src/media/cache-info.js';
import { KeyCursor, validateKey } from '../../src/media/cache-key.js';
import { readGatewayHeader, writeGatewayHeader } from '../../src/media/gateway-header.js';
import { KsetHeader, encodeKset, encodeLastKset, ksetIsValid } from '../../src/media/kset.js';
import type { CacheSegId, PhysicalSegmentId, SegmentOffset } from '../../src/media/layout.js';
import { KEY_BYTES, SEGMENT_BYTES, SEGMENT_DATA_BYTES, SEGMENT_DATA_OFFSET } from '../../src/media/layout.js';
import { walkLog } from '../../src/media/log-walk.js';
import { readSegmentChain } from '../../src/media/segment-chain.js';
import { readSegmentGeneration, writeSegmentGeneration } from '../../src/media/segment-generation.js';
import { readSegmentInfo, writeSegmentInfo } from '../../src/media/segment-info.js';
import { decodeSuperblock, encodeSuperblock } from '../../src/media/superblock.js';
import { readTail, writeTail } from '../../src/media/tails.js';
import { NO_COPY, sealCopy } from '../../src/media/two-copy-record.js';
import { viewOf } from '../../src/media/u64.js';

const CONTROL_BYTES = 0x5000;

/** Everything that is read from a control area. Each result is a value or a reason. */
function readControl(control: Uint8Array): { ok: boolean; reason?: string }[] {
  return [
    decodeSuperblock(control),
    readCacheInfo(control, 31),
    readTail(control, 'key_tail', 31),
    readTail(control, 'dirty_tail', 31),
    readGatewayHeader(control),
  ];
}

function isAnswer(result: { ok: boolean; reason?: string }): boolean {
  return result.ok || (typeof result.reason === 'string' && result.reason.length > 0 && !result.reason.includes('\n'));
}

function goodControl(): Uint8Array {
  const control = new Uint8Array(CONTROL_BYTES);
  const start = { cacheSegId: 0 as CacheSegId, segOff: 0 as SegmentOffset };
  encodeSuperblock(control, { flags: 0, segmentCount: 31 });
  writeTail(control, 'key_tail', start, NO_COPY);
  writeTail(control, 'dirty_tail', start, NO_COPY);
  const value = {
    uuid: new Uint8Array(16),
    volumeBytes: 0,
    backingIdentity: 'x',
    bootId: '',
    sequenceLimit: 1,
    state: 'clean',
    createdMs: 0,
  } as const;
  writeGatewayHeader(control, value, undefined);
  viewOf(control).setUint32(0x200c, 31, true);
  sealCopy(control, 0x2000, 24, 1);
  return control;
}

/** Bytes with some ranges overwritten by anything. */
const scribbles = (size: number) =>
  fc.array(fc.record({ at: fc.nat(size - 1), bytes: fc.uint8Array({ minLength: 1, maxLength: 64 }) }), { maxLength: 12 });

function scribble(bytes: Uint8Array, marks: readonly { at: number; bytes: Uint8Array }[]): void {
  for (const mark of marks) bytes.set(mark.bytes.subarray(0, bytes.byteLength - mark.at), mark.at);
}

test('control areas of random bytes are answered with reasons', (t) => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 1024 }), fc.nat(CONTROL_BYTES), (bytes, length) => {
      const control = new Uint8Array(length);
      for (let at = 0; at < length && bytes.byteLength > 0; at += bytes.byteLength) control.set(bytes.subarray(0, length - at), at);
      t.true(readControl(control).every(isAnswer));
    }),
  );
});

test('good control areas with scribbles on them are answered', (t) => {
  fc.assert(
    fc.property(scribbles(CONTROL_BYTES), (marks) => {
      const control = goodControl();
      scribble(control, marks);
      t.true(readControl(control).every(isAnswer));
    }),
  );
});

test('every prefix of a good control area is answered, and the whole is accepted', (t) => {
  const control = goodControl();
  t.deepEqual(
    readControl(control).map(({ ok }) => ok),
    [true, true, true, true, true],
  );
  for (let length = 0; length < CONTROL_BYTES; length += length % 4096 < 130 ? 1 : 61) {
    const results = readControl(control.subarray(0, length));
    if (!results.every(isAnswer)) t.fail(`${length} bytes`);
  }
});

test('records with a good CRC and any fields are answered within their limits', (t) => {
  const fields = fc.uint8Array({ minLength: 16, maxLength: 16 });
  fc.assert(
    fc.property(fields, fc.constantFrom(0, 1, 31, 65536), (bytes, count) => {
      const control = new Uint8Array(CONTROL_BYTES);
      control.set(bytes, 0x2008);
      sealCopy(control, 0x2000, 24, 1);
      control.set(bytes.subarray(0, 8), 0x4008);
      sealCopy(control, 0x4000, 16, 1);
      const segment = new Uint8Array(SEGMENT_DATA_OFFSET);
      segment.set(bytes.subarray(0, 8), 8);
      sealCopy(segment, 0, 16, 1);
      segment.set(bytes.subarray(8, 16), 0x2008);
      sealCopy(segment, 0x2000, 16, 1);
      const info = readCacheInfo(control, count);
      const tail = readTail(control, 'key_tail', count);
      const link = readSegmentInfo(segment, count);
      const generation = readSegmentGeneration(segment);
      t.true([info, tail, link, generation].every(isAnswer));
      if (info.ok) t.true(info.value.firstSegment < count && info.value.segmentCount >= 1 && info.value.segmentCount <= count);
      if (tail.ok) t.true(tail.value.cacheSegId < count && tail.value.segOff <= SEGMENT_DATA_BYTES - 24 && tail.value.segOff % 8 === 0);
      if (link.ok) t.true(link.value.next === undefined || link.value.next < count);
      if (generation.ok) t.true(Number.isSafeInteger(generation.value));
    }),
    { numRuns: 500 },
  );
});

test('segment heads with scribbles give a chain or a reason', (t) => {
  const count = 5;
  const marks = fc.array(fc.record({ segment: fc.nat(count - 1), at: fc.nat(20), bytes: fc.uint8Array({ minLength: 1, maxLength: 16 }) }), {
    maxLength: 3,
  });
  let accepted = 0;
  fc.assert(
    fc.property(marks, fc.array(fc.nat(count), { minLength: count, maxLength: count }), (scribbled, next) => {
      const heads = next.map((target) => {
        const head = new Uint8Array(SEGMENT_DATA_OFFSET);
        writeSegmentInfo(head, { next: target === count ? undefined : (target as PhysicalSegmentId) }, NO_COPY);
        writeSegmentGeneration(head, 1, NO_COPY);
        return head;
      });
      for (const { segment, at, bytes } of scribbled) heads[segment]!.set(bytes, at);
      const chain = readSegmentChain({ firstSegment: 0 as PhysicalSegmentId, segmentCount: 3, deviceSegmentCount: count }, (id) =>
        readSegmentInfo(heads[id]!, count),
      );
      t.true(isAnswer(chain));
      if (chain.ok) {
        accepted++;
        t.is(new Set(chain.value).size, 3);
      }
    }),
    { numRuns: 500 },
  );
  t.true(accepted > 0);
});

test('any 40 bytes are a key that is good or has a reason', (t) => {
  const cursor = new KeyCursor();
  fc.assert(
    fc.property(fc.uint8Array({ minLength: KEY_BYTES, maxLength: KEY_BYTES }), (bytes) => {
      cursor.load(viewOf(bytes), 0);
      const problem = validateKey(cursor, { volumeBytes: 2 ** 44, segmentCount: 31 });
      t.true(problem === undefined || problem.length > 0);
    }),
    { numRuns: 1000 },
  );
});

test('log segments of any content end every walk within the log', (t) => {
  const segments = [0, 1, 2].map(() => new Uint8Array(SEGMENT_BYTES));
  const source = {
    segmentCount: segments.length,
    data: (id: CacheSegId) => ({ bytes: segments[id]!, view: viewOf(segments[id]!), base: SEGMENT_DATA_OFFSET }),
  };
  const position = { segment: fc.nat(2), at: fc.nat(40).map((n) => n * 8) };
  const piece = fc.oneof(
    fc.record({ ...position, bytes: fc.uint8Array({ minLength: 1, maxLength: 64 }) }),
    fc.record({
      ...position,
      bytes: fc.tuple(fc.nat(3), fc.nat(6), fc.nat(63)).map(([count, sequence, batchIndex]) => {
        const key = { off: 0, len: 512, flags: 0, cacheSegId: 0, cacheSegOff: 0, segGen: 0, dataCrc: 0, reserved: 0 };
        return encodeKset(Array(count).fill(key), { sequence, batchIndex });
      }),
    }),
    fc.record({
      ...position,
      bytes: fc.tuple(fc.nat(4), fc.nat(6)).map(([next, sequence]) => encodeLastKset(next as CacheSegId, { sequence })),
    }),
  );
  let damaged = 0;
  fc.assert(
    fc.property(fc.array(piece, { maxLength: 30 }), fc.nat(3), fc.nat(41), fc.nat(41), (pieces, startSegment, startAt, tailAt) => {
      for (const bytes of segments) bytes.fill(0, SEGMENT_DATA_OFFSET, SEGMENT_DATA_OFFSET + 1024);
      for (const { segment, at, bytes } of pieces) segments[segment]!.set(bytes, SEGMENT_DATA_OFFSET + at);
      const start = { cacheSegId: startSegment as CacheSegId, segOff: (startAt * 8) as SegmentOffset };
      const dirtyTail = { cacheSegId: startSegment as CacheSegId, segOff: (tailAt * 8) as SegmentOffset };
      let keys = 0;
      const result = walkLog(source, start, tailAt < 20 ? { dirtyTail } : {}, { onKey: () => keys++ });
      t.is(keys, result.keys);
      t.is(result.ending === 'damaged', result.damage !== undefined);
      t.is(new Set(result.segments).size, result.segments.length);
      t.true(result.end.segOff <= SEGMENT_DATA_BYTES - 24);
      if (result.ending === 'damaged') damaged++;
    }),
    { numRuns: 150 },
  );
  t.true(damaged > 0);
});

test('any 24 bytes at any place are a kset or not', (t) => {
  const header = new KsetHeader();
  const bytes = new Uint8Array(SEGMENT_BYTES);
  const view = viewOf(bytes);
  const place = fc.oneof(fc.nat(200), fc.integer({ min: SEGMENT_DATA_BYTES - 80, max: SEGMENT_DATA_BYTES + 80 }));
  fc.assert(
    fc.property(place, fc.nat(0xffffffff), fc.boolean(), (segOff, count, isLast) => {
      const kset = isLast ? encodeLastKset(count as CacheSegId) : encodeKset([]);
      if (!isLast) viewOf(kset).setUint32(4, count, true);
      bytes.set(kset.subarray(0, Math.max(0, SEGMENT_DATA_BYTES - segOff)), SEGMENT_DATA_OFFSET + Math.min(segOff, SEGMENT_DATA_BYTES));
      const valid = ksetIsValid(bytes, view, SEGMENT_DATA_OFFSET, segOff, header);
      t.is(valid, segOff <= SEGMENT_DATA_BYTES - 24 && (isLast || (count === 0 && segOff <= SEGMENT_DATA_BYTES - 48)));
    }),
    { numRuns: 500 },
  );
});
