import test from 'ava';
import fc from 'fast-check';
import type { CacheKey } from '../../src/media/cache-key.js';
import { KeyCursor } from '../../src/media/cache-key.js';
import { pcacheCrc } from '../../src/media/crc32c.js';
import {
  BATCH_INDEX_MAX,
  KSET_BARRIER,
  KSET_BARRIER_BEFORE,
  KSET_LAST,
  KSET_SEQUENCE_MAX,
  KsetHeader,
  batchIndexOfFlags,
  encodeKset,
  encodeLastKset,
  ksetFlagsHigh,
  ksetFlagsLow,
  ksetIsValid,
  ksetProblem,
  ksetSizeBytes,
  readKsetHeader,
  sealKsetHeader,
  sequenceOfFlags,
} from '../../src/media/kset.js';
import type { CacheSegId, SegmentOffset, VolumeOffset } from '../../src/media/layout.js';
import { KEY_BYTES, KSET_HEADER_BYTES, SEGMENT_DATA_BYTES } from '../../src/media/layout.js';
import { viewOf } from '../../src/media/u64.js';

function keyAt(index: number): CacheKey {
  return {
    off: (index * 4096) as VolumeOffset,
    len: 512,
    flags: 0,
    cacheSegId: 1 as CacheSegId,
    cacheSegOff: (index * 512) as SegmentOffset,
    segGen: 0,
    dataCrc: index,
    reserved: 0,
  };
}

const keys = (count: number): CacheKey[] => Array.from({ length: count }, (_, index) => keyAt(index));

/** Why the kset at the start of `bytes` is not valid, were it at `segOff` of a segment. */
function problemAt(bytes: Uint8Array, segOff: number): string | undefined {
  return ksetProblem(bytes, -segOff, segOff, readKsetHeader(viewOf(bytes), 0));
}

test('a kset begins as the format says', (t) => {
  const bytes = encodeKset(keys(2), { marks: KSET_BARRIER, batchIndex: 5, sequence: 0x0000_1234_5678_9abc });
  t.is(bytes.byteLength, 24 + 80);
  t.is(
    Buffer.from(bytes.subarray(4, 24)).toString('hex'),
    '02000000' + // key_num
      '1a4f164ea6946867' + // magic 0x676894A64E164F1A
      '0015bc9a78563412', // flags: bit 8, batch index 5 << 10, sequence << 16
  );
  t.is(viewOf(bytes).getUint32(0, true), pcacheCrc(bytes.subarray(4)));
});

test('what a kernel would write, without sequence or marks, has flags 0', (t) => {
  const header = readKsetHeader(viewOf(encodeKset(keys(1))), 0);
  t.is(header.sequence, 0);
  t.is(ksetFlagsLow(0, 0, 0), 0);
  t.is(ksetFlagsHigh(0), 0);
});

test('marks, batch index and sequence fit in the flags side by side', (t) => {
  fc.assert(
    fc.property(fc.nat(7), fc.nat(BATCH_INDEX_MAX), fc.integer({ min: 0, max: KSET_SEQUENCE_MAX }), (markBits, batchIndex, sequence) => {
      const marks =
        ((markBits & 1) === 0 ? 0 : KSET_LAST) |
        ((markBits & 2) === 0 ? 0 : KSET_BARRIER) |
        ((markBits & 4) === 0 ? 0 : KSET_BARRIER_BEFORE);
      const low = ksetFlagsLow(marks, batchIndex, sequence);
      const high = ksetFlagsHigh(sequence);
      t.is(BigInt(low) | (BigInt(high) << 32n), BigInt(marks) | (BigInt(batchIndex) << 10n) | (BigInt(sequence) << 16n));
      t.is(sequenceOfFlags(low, high), sequence);
      t.is(batchIndexOfFlags(low), batchIndex);
    }),
  );
});

test('a header reads back with everything that was put in', (t) => {
  const header = readKsetHeader(
    viewOf(encodeKset(keys(3), { marks: KSET_BARRIER_BEFORE, batchIndex: 63, sequence: KSET_SEQUENCE_MAX })),
    0,
  );
  const { crc, ...rest } = header;
  t.true(crc > 0);
  t.deepEqual(
    { ...rest },
    {
      magicMatches: true,
      isLast: false,
      isBarrier: false,
      isBarrierBefore: true,
      batchIndex: 63,
      sequence: KSET_SEQUENCE_MAX,
      keyNum: 3,
      nextCacheSegId: 0,
      sizeBytes: 24 + 120,
    },
  );
});

test('a kset of 0 to 128 keys is valid, and its keys come back', (t) => {
  const cursor = new KeyCursor();
  for (const count of [0, 1, 127, 128]) {
    const bytes = encodeKset(keys(count), { sequence: 9 });
    t.is(problemAt(bytes, 0), undefined);
    for (let index = 0; index < count; index++) {
      cursor.load(viewOf(bytes), KSET_HEADER_BYTES + index * KEY_BYTES);
      t.deepEqual(cursor.toKey(), keyAt(index));
    }
  }
});

test('a LAST kset says where the log goes on; its CRC covers the header alone', (t) => {
  const bytes = encodeLastKset(17 as CacheSegId, { sequence: 4 });
  t.is(bytes.byteLength, 24);
  t.is(Buffer.from(bytes.subarray(4, 16)).toString('hex'), '110000001a4f164ea6946867');
  t.is(viewOf(bytes).getUint32(0, true), pcacheCrc(bytes.subarray(4, 24)));
  const header = readKsetHeader(viewOf(bytes), 0);
  t.deepEqual([header.isLast, header.nextCacheSegId, header.keyNum, header.sizeBytes, header.sequence], [true, 17, 0, 24, 4]);
  // A segment number above 128 is no key_num.
  t.is(problemAt(encodeLastKset(65535 as CacheSegId), 0), undefined);
});

test('every changed bit of a kset is noticed', (t) => {
  const good = encodeKset(keys(2), { sequence: 77 });
  for (let bit = 0; bit < good.byteLength * 8; bit++) {
    const bytes = new Uint8Array(128 * KEY_BYTES + 24);
    bytes.set(good);
    bytes[bit >> 3]! ^= 1 << (bit & 7);
    t.not(problemAt(bytes, 0), undefined, `bit ${bit}`);
  }
});

test('a key_num above 128 is refused, whatever the CRC', (t) => {
  const bytes = encodeKset(keys(129));
  t.is(problemAt(bytes, 0), 'key_num 129 is above 128');
  const huge = encodeKset(keys(1));
  viewOf(huge).setUint32(4, 0xffffffff, true);
  t.is(problemAt(huge, 0), 'key_num 4294967295 is above 128');
});

test('zeros, which end a log, are no kset', (t) => {
  t.is(problemAt(new Uint8Array(24), 0), 'no kset magic');
});

test('a kset must leave room for a LAST kset, and a LAST kset must fit', (t) => {
  const bytes = encodeKset(keys(1));
  t.is(problemAt(bytes, SEGMENT_DATA_BYTES - 24 - 64), undefined);
  t.is(
    problemAt(bytes, SEGMENT_DATA_BYTES - 24 - 64 + 8),
    `it would end at ${SEGMENT_DATA_BYTES - 16}, beyond what its segment has room for`,
  );
  const last = encodeLastKset(1 as CacheSegId);
  t.is(problemAt(last, SEGMENT_DATA_BYTES - 24), undefined);
  t.is(problemAt(last, SEGMENT_DATA_BYTES - 16), `it would end at ${SEGMENT_DATA_BYTES + 8}, beyond what its segment has room for`);
});

test('ksetIsValid refuses a place without room for a header instead of reading there', (t) => {
  const bytes = new Uint8Array(64);
  const header = new KsetHeader();
  t.false(ksetIsValid(bytes, viewOf(bytes), 0, SEGMENT_DATA_BYTES - 16, header));
  t.false(ksetIsValid(bytes, viewOf(bytes), 0, -8, header));
  const good = encodeKset(keys(1), { sequence: 3 });
  t.true(ksetIsValid(good, viewOf(good), 0, 0, header));
  t.is(header.sequence, 3);
});

test('keys that already stand in the log become a kset when the header is sealed over them', (t) => {
  const whole = encodeKset(keys(5), { marks: KSET_BARRIER, batchIndex: 2, sequence: 123456 });
  const log = new Uint8Array(1000).fill(0xee);
  log.set(whole.subarray(KSET_HEADER_BYTES), 16 + KSET_HEADER_BYTES);
  sealKsetHeader(log, viewOf(log), 16, 5, KSET_BARRIER, 2, 123456);
  t.deepEqual(log.subarray(16, 16 + ksetSizeBytes(5)), whole);
  t.true(log.subarray(0, 16).every((byte) => byte === 0xee));
  t.true(log.subarray(16 + whole.byteLength).every((byte) => byte === 0xee));
});
