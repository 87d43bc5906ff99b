// No decoder throws, loops or reads outside of what it was given, whatever the bytes.

import test from 'ava';
import fc from 'fast-check';
import { readCacheInfo } from '../../src/media/cache-info.js';
import { pcacheCrcOfRange } from '../../src/media/crc32c.js';
import { KeyCursor, validateKey } from '../../src/media/cache-key.js';
import { readGatewayHeader } from '../../src/media/gateway-header.js';
import { KsetHeader, encodeKset, encodeLastKset, ksetIsValid } from '../../src/media/kset.js';
import type { CacheSegId, PhysicalSegmentId, SegmentOffset } from '../../src/media/layout.js';
import {
  GATEWAY_HEADER_BYTES,
  KEY_BYTES,
  SEGMENT_BYTES,
  SEGMENT_DATA_BYTES,
  SEGMENT_DATA_OFFSET,
  SUPERBLOCK_OFFSET,
} from '../../src/media/layout.js';
import { walkLog } from '../../src/media/log-walk.js';
import { readSegmentChain } from '../../src/media/segment-chain.js';
import { readSegmentGeneration, writeSegmentGeneration } from '../../src/media/segment-generation.js';
import { readSegmentInfo, writeSegmentInfo } from '../../src/media/segment-info.js';
import { readTail } from '../../src/media/tails.js';
import { NO_COPY, sealCopy } from '../../src/media/two-copy-record.js';
import { viewOf } from '../../src/media/u64.js';
import { CONTROL_BYTES, controlNoise, goodControl, isAnswer, readControl } from './garbage-control.js';

/** Of a field of so many bytes. */
function extremesOf(bytes: number): bigint[] {
  const most = 2n ** BigInt(8 * bytes) - 1n;
  const half = 2n ** BigInt(8 * bytes - 1);
  return [
    ...new Set([0n, 1n, 2n, half - 1n, half, most - 1n, most, 2n ** 32n, 2n ** 53n - 1n, 2n ** 53n].filter((value) => value <= most)),
  ];
}

function setField(bytes: Uint8Array, at: number, length: number, value: bigint): void {
  for (let index = 0; index < length; index++) bytes[at + index] = Number((value >> BigInt(8 * index)) & 0xffn);
}

test('control areas of random bytes, and good ones with scribbles on them, are answered with reasons', (t) => {
  fc.assert(
    fc.property(controlNoise, (control) => {
      t.true(readControl(control).every(isAnswer));
    }),
    { numRuns: 200 },
  );
});

/** Records of the control area: where each copy is, its bytes, and the size of its fields behind the CRC. */
const records = [
  {
    name: 'superblock',
    copies: [SUPERBLOCK_OFFSET],
    bytes: 24,
    fields: [
      [4, 4],
      [8, 8],
      [16, 4],
      [20, 4],
    ],
  },
  {
    name: 'cache_info',
    copies: [0x2000, 0x3000],
    bytes: 24,
    fields: [
      [4, 1],
      [5, 1],
      [6, 2],
      [8, 4],
      [12, 4],
      [16, 4],
      [20, 4],
    ],
  },
  {
    name: 'key_tail',
    copies: [0x4000, 0x4010],
    bytes: 16,
    fields: [
      [4, 1],
      [5, 1],
      [6, 2],
      [8, 4],
      [12, 4],
    ],
  },
  {
    name: 'dirty_tail',
    copies: [0x4020, 0x4030],
    bytes: 16,
    fields: [
      [4, 1],
      [5, 1],
      [6, 2],
      [8, 4],
      [12, 4],
    ],
  },
  {
    name: 'gateway header',
    copies: [0, GATEWAY_HEADER_BYTES],
    bytes: GATEWAY_HEADER_BYTES,
    fields: [
      [4, 4],
      [8, 8],
      [16, 4],
      [20, 4],
      [24, 8],
      [40, 8],
      [48, 8],
      [56, 8],
      [64, 8],
      [96, 4],
      [100, 4],
      [104, 8],
      [616, 8],
      [624, 4],
      [628, 4],
      [632, 8],
    ],
  },
] as const;

for (const { name, copies, bytes, fields } of records) {
  test(`each field of ${name} at its extremes, in each copy and with a good CRC, is answered within its limits`, (t) => {
    let accepted = 0;
    for (const copy of copies) {
      for (const [at, length] of fields) {
        for (const value of extremesOf(length)) {
          const control = goodControl();
          setField(control, copy + at, length, value);
          viewOf(control).setUint32(copy, pcacheCrcOfRange(control, copy + 4, copy + bytes), true);
          const results = readControl(control);
          t.true(results.every(isAnswer), `${name} at ${at}: ${value}`);
          if (results.every(({ ok }) => ok)) accepted++;
          const header = readGatewayHeader(control);
          if (header.ok) {
            const { volumeBytes, sequenceLimit, backingIdentity, durable } = header.value;
            t.true(Number.isSafeInteger(volumeBytes) && volumeBytes >= 0 && volumeBytes % 512 === 0, `${name} at ${at}: ${value}`);
            t.true(Number.isSafeInteger(sequenceLimit) && sequenceLimit >= 0);
            t.true(backingIdentity.length <= 512);
            t.true(durable === undefined || durable.position.segOff <= SEGMENT_DATA_BYTES - 24);
          }
        }
      }
    }
    t.true(accepted > 0);
  });
}

test('every prefix of a segment head, of a kset and of a LAST is answered, and only the whole counts', (t) => {
  const head = new Uint8Array(SEGMENT_DATA_OFFSET);
  writeSegmentInfo(head, { next: 1 as PhysicalSegmentId }, NO_COPY);
  writeSegmentGeneration(head, 3, NO_COPY);
  for (let length = 0; length <= SEGMENT_DATA_OFFSET; length += length % 4096 < 40 ? 1 : 57) {
    t.true(
      [readSegmentInfo(head.subarray(0, length), 5), readSegmentGeneration(head.subarray(0, length))].every(isAnswer),
      `${length} bytes`,
    );
  }
  const key = { off: 0, len: 512, flags: 0, cacheSegId: 0, cacheSegOff: 0, segGen: 0, dataCrc: 0, reserved: 0 };
  const header = new KsetHeader();
  const ksets = [encodeKset(Array<never>(3).fill(key as never), { sequence: 9 }), encodeLastKset(1 as CacheSegId, { sequence: 9 })];
  for (const kset of ksets) {
    for (let length = 0; length <= kset.length; length++) {
      // What is not there yet is zeros, as on the media.
      const bytes = new Uint8Array(SEGMENT_BYTES);
      bytes.set(kset.subarray(0, length), SEGMENT_DATA_OFFSET);
      const valid = ksetIsValid(bytes, viewOf(bytes), SEGMENT_DATA_OFFSET, 0, header);
      t.is(
        valid,
        kset.subarray(length).every((byte) => byte === 0),
        `${length} bytes`,
      );
    }
  }
});

test('each field of a key at its extremes is accepted within the limits or has a reason', (t) => {
  const limits = { volumeBytes: 2 ** 44, segmentCount: 31 };
  const cursor = new KeyCursor();
  let accepted = 0;
  for (const [at, length] of [
    [0, 8],
    [8, 4],
    [12, 4],
    [16, 4],
    [20, 4],
    [24, 8],
    [32, 4],
    [36, 4],
  ] as const) {
    for (const value of extremesOf(length)) {
      const bytes = new Uint8Array(KEY_BYTES);
      setField(bytes, 8, 4, 512n);
      setField(bytes, at, length, value);
      cursor.load(viewOf(bytes), 0);
      if (validateKey(cursor, limits) !== undefined) continue;
      accepted++;
      t.true(cursor.off + cursor.len <= limits.volumeBytes && cursor.len > 0 && cursor.cacheSegId < 31);
      t.true(cursor.cacheSegOff + cursor.len <= SEGMENT_DATA_BYTES && Number.isSafeInteger(cursor.segGen));
    }
  }
  t.true(accepted > 8);
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
