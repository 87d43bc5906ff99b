import test from 'ava';
import fc from 'fast-check';
import { accepted } from '../../src/media/decoded.js';
import type { CopyOffsets, RecordCodec } from '../../src/media/two-copy-record.js';
import {
  NO_COPY,
  chooseCopy,
  decodeCopy,
  encodeCopy,
  nextCopy,
  readRecord,
  sealCopy,
  seqIsAfter,
  writeRecord,
} from '../../src/media/two-copy-record.js';

const OFFSETS: CopyOffsets = [16, 64];
const SIZE = 16;

/** A record of one u32, refused if it is 13. */
const codec: RecordCodec<number> = {
  name: 'number',
  sizeBytes: SIZE,
  decodeFields: (view, at) =>
    view.getUint32(at + 8, true) === 13 ? { ok: false, reason: 'it is 13' } : accepted(view.getUint32(at + 8, true)),
  encodeFields: (view, at, value) => {
    view.setUint32(at + 8, value, true);
    view.setUint32(at + 12, 0, true);
  },
};

function withCopies(first: { seq: number; value: number } | undefined, second: { seq: number; value: number } | undefined): Uint8Array {
  const bytes = new Uint8Array(96).fill(0xee);
  if (first !== undefined) encodeCopy(codec, bytes, OFFSETS[0], first.value, first.seq);
  if (second !== undefined) encodeCopy(codec, bytes, OFFSETS[1], second.value, second.seq);
  return bytes;
}

test('a seq is after another if the signed 8-bit difference is positive', (t) => {
  t.true(seqIsAfter(1, 0));
  t.true(seqIsAfter(0, 255));
  t.true(seqIsAfter(127, 0));
  t.false(seqIsAfter(128, 0));
  t.false(seqIsAfter(0, 128));
  t.false(seqIsAfter(5, 5));
  t.false(seqIsAfter(255, 0));
});

test('the valid copy with the later seq is current, also when the number wraps', (t) => {
  for (let seq = 0; seq < 256; seq++) {
    const next = (seq + 1) & 0xff;
    t.deepEqual(chooseCopy(withCopies({ seq, value: 1 }, { seq: next, value: 2 }), OFFSETS, SIZE), {
      index: 1,
      seq: next,
      otherValid: true,
    });
    t.deepEqual(chooseCopy(withCopies({ seq: next, value: 1 }, { seq, value: 2 }), OFFSETS, SIZE), {
      index: 0,
      seq: next,
      otherValid: true,
    });
  }
});

test('of two valid copies with one seq, copy 0 is current', (t) => {
  t.deepEqual(chooseCopy(withCopies({ seq: 7, value: 1 }, { seq: 7, value: 2 }), OFFSETS, SIZE), { index: 0, seq: 7, otherValid: true });
});

test('a copy with a bad CRC is passed over, even if it is the later one', (t) => {
  const bytes = withCopies({ seq: 8, value: 1 }, { seq: 9, value: 2 });
  bytes[OFFSETS[1] + 9]! ^= 1;
  t.deepEqual(readRecord(codec, bytes, OFFSETS), { ok: true, index: 0, seq: 8, otherValid: false, value: 1 });
});

test('two bad copies are told from two that were never written', (t) => {
  t.deepEqual(readRecord(codec, new Uint8Array(96), OFFSETS), { ok: false, reason: 'number was never written', blank: true });
  t.deepEqual(readRecord(codec, withCopies(undefined, undefined), OFFSETS), { ok: false, reason: 'no valid copy of number', blank: false });
  t.deepEqual(readRecord(codec, new Uint8Array(40), OFFSETS), { ok: false, reason: 'no valid copy of number', blank: false });
});

test('a current copy with senseless fields is refused, not passed over for the older one', (t) => {
  const read = readRecord(codec, withCopies({ seq: 1, value: 1 }, { seq: 2, value: 13 }), OFFSETS);
  t.deepEqual(read, { ok: false, reason: 'number: it is 13', blank: false });
});

test('a write goes to the copy that is not current, and changes no byte but its own', (t) => {
  fc.assert(
    fc.property(fc.boolean(), fc.nat(255), fc.nat(0xffffffff), (currentIsFirst, seq, value) => {
      const current = { seq, value: 1 };
      const older = { seq: (seq - 1) & 0xff, value: 2 };
      const bytes = currentIsFirst ? withCopies(current, older) : withCopies(older, current);
      const before = Uint8Array.from(bytes);
      const written = writeRecord(codec, bytes, OFFSETS, value, chooseCopy(bytes, OFFSETS, SIZE));
      t.deepEqual(written, { index: currentIsFirst ? 1 : 0, seq: (seq + 1) & 0xff, otherValid: true, value });
      const start = OFFSETS[written.index];
      t.deepEqual(bytes.subarray(0, start), before.subarray(0, start));
      t.deepEqual(bytes.subarray(start + SIZE), before.subarray(start + SIZE));
      if (value !== 13) t.deepEqual(readRecord(codec, bytes, OFFSETS), { ok: true, ...written });
    }),
  );
});

test('a write that was cut short anywhere leaves the old value current', (t) => {
  const bytes = withCopies({ seq: 254, value: 1 }, { seq: 255, value: 2 });
  const complete = Uint8Array.from(bytes);
  writeRecord(codec, complete, OFFSETS, 3, chooseCopy(bytes, OFFSETS, SIZE));
  // Up to the value's low byte; all bytes behind it are what they were.
  for (let cut = 0; cut <= 8; cut++) {
    const torn = Uint8Array.from(bytes);
    torn.set(complete.subarray(OFFSETS[0], OFFSETS[0] + cut), OFFSETS[0]);
    const read = readRecord(codec, torn, OFFSETS);
    t.deepEqual(read.ok && read.value, 2, `cut after ${cut}`);
  }
  const read = readRecord(codec, complete, OFFSETS);
  t.deepEqual(read, { ok: true, index: 0, seq: 0, otherValid: true, value: 3 });
});

test('the first write of all goes to copy 0 with seq 1', (t) => {
  const bytes = new Uint8Array(96);
  t.deepEqual(nextCopy(NO_COPY), { index: 0, seq: 1 });
  t.deepEqual(writeRecord(codec, bytes, OFFSETS, 5, NO_COPY), { index: 0, seq: 1, otherValid: false, value: 5 });
  t.deepEqual(readRecord(codec, bytes, OFFSETS), { ok: true, index: 0, seq: 1, otherValid: false, value: 5 });
});

test('a header carries the seq, version 0 and a zero', (t) => {
  const bytes = new Uint8Array(96).fill(0xee);
  sealCopy(bytes, 16, SIZE, 0x42);
  t.deepEqual([...bytes.subarray(20, 24)], [0x42, 0, 0, 0]);
});

test('a stamped copy says so in its version, and is read with its stamp; a copy of the kernel has none', (t) => {
  const bytes = new Uint8Array(96);
  const first = writeRecord(codec, bytes, OFFSETS, 5, NO_COPY, 0xbeef);
  t.deepEqual([...bytes.subarray(OFFSETS[0] + 4, OFFSETS[0] + 8)], [1, 0x47, 0xef, 0xbe]);
  t.deepEqual(readRecord(codec, bytes, OFFSETS), { ok: true, index: 0, seq: 1, otherValid: false, value: 5, stamp: 0xbeef });
  const second = writeRecord(codec, bytes, OFFSETS, 6, first);
  t.deepEqual(readRecord(codec, bytes, OFFSETS), { ok: true, ...second });
  t.false('stamp' in second);
});

test('one copy reads by itself, and every prefix of it is refused', (t) => {
  const bytes = withCopies({ seq: 3, value: 77 }, undefined);
  t.deepEqual(decodeCopy(codec, bytes, 16), { ok: true, value: 77 });
  for (let length = 16; length < 32; length++) {
    t.deepEqual(decodeCopy(codec, bytes.subarray(0, length), 16), { ok: false, reason: 'too few bytes' });
  }
});
