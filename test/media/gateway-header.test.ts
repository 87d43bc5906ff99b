import test from 'ava';
import fc from 'fast-check';
import { PRINT_BYTES_MAX } from '../../src/media/backing-print.js';
import { pcacheCrcOfRange } from '../../src/media/crc32c.js';
import type { DurablePlace, GatewayHeader } from '../../src/media/gateway-header.js';
import {
  encodeGatewayHeader,
  gatewayHeaderProblem,
  newGatewayHeader,
  readGatewayBackup,
  readGatewayHeader,
  withLogPlaces,
  writeGatewayBackup,
  writeGatewayHeader,
} from '../../src/media/gateway-header.js';
import { KSET_SEQUENCE_MAX } from '../../src/media/kset.js';
import type { CacheSegId, SegmentOffset } from '../../src/media/layout.js';
import { LOG_OFFSET_MAX } from '../../src/media/log-position.js';
import { viewOf } from '../../src/media/u64.js';

const UUID = Uint8Array.from({ length: 16 }, (_, index) => 0xa0 + index);
const HEADER: GatewayHeader = {
  uuid: UUID,
  volumeBytes: 10 * 1024 ** 3,
  backingIdentity: 'file:/srv/ü.img',
  bootId: '01234567-89ab-cdef-0123-456789abcdef',
  sequenceLimit: 0x0000_1234_5678_9abc,
  state: 'open',
  createdMs: 1_700_000_000_000,
};

const controlArea = (): Uint8Array => new Uint8Array(0x5000);

/** A control area whose copy 0 holds HEADER with one field changed and the CRC made good again. */
function withField(change: (view: DataView) => void): Uint8Array {
  const control = controlArea();
  encodeGatewayHeader(control, 0, HEADER, 1);
  change(viewOf(control));
  viewOf(control).setUint32(0, pcacheCrcOfRange(control, 4, 2048), true);
  return control;
}

test('a header reads back as it was written, and nothing outside its copy is touched', (t) => {
  const control = controlArea().fill(0xee);
  const written = writeGatewayHeader(control, HEADER, undefined);
  t.deepEqual(written, { value: HEADER, index: 0, generation: 1, otherValid: false });
  t.true(control.subarray(2048).every((byte) => byte === 0xee));
  t.deepEqual(readGatewayHeader(control), { ok: true, ...written });
});

test('a copy begins as the format says', (t) => {
  const control = controlArea();
  encodeGatewayHeader(control, 1, HEADER, 3);
  t.is(
    Buffer.from(control.subarray(2048 + 4, 2048 + 64)).toString('hex'),
    '01000000' + // format version
      '5043414348454757' + // "PCACHEGW"
      '03000000' + // generation
      '01000000' + // state: open
      'a0a1a2a3a4a5a6a7a8a9aaabacadaeaf' + // uuid
      '0000008002000000' + // volume_bytes
      'bc9a785634120000' + // sequence_limit
      '0068e5cf8b010000', // created_ms
  );
  t.is(Buffer.from(control.subarray(2048 + 64, 2048 + 100)).toString('latin1'), HEADER.bootId);
  t.is(viewOf(control).getUint32(2048 + 100, true), 16);
  t.true(control.subarray(2048 + 120, 4096).every((byte) => byte === 0));
});

test('every header that can be stored comes back', (t) => {
  const text = fc.string({ unit: 'binary', maxLength: 120 });
  const place = fc.record({
    sequence: fc.integer({ min: 1, max: KSET_SEQUENCE_MAX }),
    position: fc.record({
      cacheSegId: fc.nat(0xffffffff).map((id) => id as CacheSegId),
      segOff: fc.nat(LOG_OFFSET_MAX / 8).map((unit) => (unit * 8) as SegmentOffset),
    }),
  });
  const header = fc.record({
    uuid: fc.uint8Array({ minLength: 16, maxLength: 16 }),
    volumeBytes: fc.nat(2 ** 35).map((sectors) => sectors * 512),
    backingIdentity: text,
    bootId: fc.constantFrom('', HEADER.bootId),
    sequenceLimit: fc.integer({ min: 1, max: KSET_SEQUENCE_MAX }),
    state: fc.constantFrom('clean' as const, 'open' as const),
    createdMs: fc.maxSafeNat(),
    durable: place,
    dirtyTail: place,
    backingPrint: fc.record({
      bytes: fc.integer({ min: 1, max: PRINT_BYTES_MAX }),
      crc: fc.nat(0xffffffff),
      recordsCrc: fc.nat(0xffffffff),
      changed: fc.record({ seconds: fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER }), nanoseconds: fc.nat(999_999_999) }),
    }),
  });
  const control = controlArea();
  fc.assert(
    fc.property(header, (value) => {
      fc.pre(gatewayHeaderProblem(value) === undefined);
      const read = readGatewayHeader(control);
      const written = writeGatewayHeader(control, value, read.ok ? read : undefined);
      t.deepEqual(readGatewayHeader(control), { ok: true, ...written });
      t.deepEqual(written.value, value);
    }),
  );
});

test('a print of the backing device is kept while the header is clean; it goes with the first change of state, and the backup has none', (t) => {
  const control = controlArea();
  const backingPrint = { bytes: 512, crc: 0x01020304, recordsCrc: 0x05060708 };
  const clean = { ...HEADER, state: 'clean' as const, backingPrint };
  const written = writeGatewayHeader(control, clean, undefined);
  t.is(Buffer.from(control.subarray(648, 672)).toString('hex'), '00020000' + '04030201' + '0000000000000000' + '00000000' + '08070605');
  t.deepEqual(readGatewayHeader(control), { ok: true, ...written });
  t.deepEqual(withLogPlaces(clean, undefined, undefined).backingPrint, backingPrint);
  t.is(withLogPlaces({ ...clean, state: 'open' }, undefined, undefined).backingPrint, undefined);
  t.is(gatewayHeaderProblem({ ...clean, state: 'open' }), 'a print of the backing device that is none');
  writeGatewayBackup(control, written);
  t.is(readGatewayBackup(control)?.state, 'clean');
  t.is(readGatewayBackup(control)?.backingPrint, undefined);
});

test('a header without a print, as older versions write it, and one whose print makes no sense read as headers without one', (t) => {
  for (const bytes of [0, PRINT_BYTES_MAX + 1]) {
    const control = controlArea();
    encodeGatewayHeader(control, 0, { ...HEADER, state: 'clean' }, 1);
    viewOf(control).setUint32(648, bytes, true);
    viewOf(control).setUint32(0, pcacheCrcOfRange(control, 4, 2048), true);
    const read = readGatewayHeader(control);
    t.true(read.ok && read.value.state === 'clean' && read.value.backingPrint === undefined);
  }
});

test('the copies are written in turn, and the later generation is current', (t) => {
  const control = controlArea();
  let current = writeGatewayHeader(control, HEADER, undefined);
  for (let generation = 2; generation < 6; generation++) {
    current = writeGatewayHeader(control, { ...HEADER, sequenceLimit: generation }, current);
    t.deepEqual([current.index, current.generation], [(generation + 1) & 1, generation]);
    const read = readGatewayHeader(control);
    t.deepEqual(read.ok && read.value.sequenceLimit, generation);
  }
});

test('the generation wraps, and what is written after that is current', (t) => {
  const control = controlArea();
  encodeGatewayHeader(control, 0, HEADER, 2 ** 32 - 1);
  const before = readGatewayHeader(control);
  if (!before.ok) throw new Error(before.reason);
  const written = writeGatewayHeader(control, { ...HEADER, state: 'clean' }, before);
  t.like(written, { index: 1, generation: 0 });
  const read = readGatewayHeader(control);
  t.deepEqual(read.ok && [read.index, read.value.state, read.otherValid], [1, 'clean', true]);
});

test('of two valid copies with one generation, copy 0 is current', (t) => {
  const control = controlArea();
  encodeGatewayHeader(control, 0, HEADER, 4);
  encodeGatewayHeader(control, 1, { ...HEADER, state: 'clean' }, 4);
  const read = readGatewayHeader(control);
  t.deepEqual(read.ok && [read.index, read.value.state, read.otherValid], [0, 'open', true]);
});

test('a copy that was written only in part leaves the other one current', (t) => {
  const before = controlArea();
  const first = writeGatewayHeader(before, HEADER, undefined);
  const after = Uint8Array.from(before);
  writeGatewayHeader(after, { ...HEADER, state: 'clean' }, first);
  for (const cut of [1, 4, 8, 16, 20, 24, 100, 119]) {
    const torn = Uint8Array.from(before);
    torn.set(after.subarray(2048, 2048 + cut), 2048);
    const read = readGatewayHeader(torn);
    t.deepEqual(read.ok && [read.index, read.value.state, read.otherValid], [0, 'open', false], `cut after ${cut}`);
  }
});

test('every changed bit of the only copy is noticed, and what had no magic is absent', (t) => {
  const control = controlArea();
  writeGatewayHeader(control, HEADER, undefined);
  for (let bit = 0; bit < 2048 * 8; bit++) {
    control[bit >> 3]! ^= 1 << (bit & 7);
    const read = readGatewayHeader(control);
    const inMagic = bit >= 64 && bit < 128;
    if (read.ok || read.kind !== (inMagic ? 'absent' : 'damaged')) t.fail(`bit ${bit}: ${read.ok ? 'accepted' : read.kind}`);
    control[bit >> 3]! ^= 1 << (bit & 7);
  }
  t.true(readGatewayHeader(control).ok);
});

test('what the log is known to have reached stands behind the identity, and a version without it reads as not known', (t) => {
  const control = controlArea();
  const durable: DurablePlace = {
    sequence: 0x0102_0304_0506,
    position: { cacheSegId: 7 as CacheSegId, segOff: 0x1230 as SegmentOffset },
  };
  encodeGatewayHeader(control, 0, { ...HEADER, durable }, 1);
  t.is(Buffer.from(control.subarray(616, 632)).toString('hex'), '06050403020100000700000030120000');
  t.deepEqual(readGatewayHeader(control), { ok: true, value: { ...HEADER, durable }, index: 0, generation: 1, otherValid: false });
  for (const [offset, value] of [
    [622, 1],
    [628, 4],
    [628, 0xffdff0],
  ] as const) {
    const bad = Uint8Array.from(control);
    viewOf(bad).setUint32(offset, value, true);
    viewOf(bad).setUint32(0, pcacheCrcOfRange(bad, 4, 2048), true);
    t.like(readGatewayHeader(bad), { ok: false, kind: 'damaged' }, `${offset}`);
  }
  control.fill(0, 616, 632);
  viewOf(control).setUint32(0, pcacheCrcOfRange(control, 4, 2048), true);
  t.deepEqual(readGatewayHeader(control), { ok: true, value: HEADER, index: 0, generation: 1, otherValid: false });
});

test('with both copies gone the backup is read, without places in the log; the next write goes to copy 0', (t) => {
  const control = controlArea();
  const durable: DurablePlace = { sequence: 9, position: { cacheSegId: 1 as CacheSegId, segOff: 64 as SegmentOffset } };
  const written = writeGatewayHeader(control, { ...HEADER, durable, dirtyTail: durable }, undefined);
  writeGatewayBackup(control, written);
  t.deepEqual(readGatewayHeader(control), { ok: true, ...written });
  t.true(control.subarray(0x1000, 0x1800).every((byte) => byte === 0));
  for (const spoil of [() => control.fill(0, 0, 4096), () => control.fill(0xff, 0, 4096)]) {
    spoil();
    const read = readGatewayHeader(control);
    t.deepEqual(read, { ok: true, value: HEADER, index: 1, generation: 1, otherValid: false, fromBackup: true });
    t.deepEqual(readGatewayBackup(control), HEADER);
    t.is(writeGatewayHeader(control, HEADER, read.ok ? read : undefined).index, 0);
  }
  control.fill(0, 0, 4096);
  viewOf(control).setUint32(0x1804, 2, true);
  viewOf(control).setUint32(0x1800, pcacheCrcOfRange(control, 0x1804, 0x2000), true);
  t.like(readGatewayHeader(control), { ok: false, kind: 'newer' });
  control[0x1900]! ^= 1;
  t.deepEqual(readGatewayHeader(control), {
    ok: false,
    kind: 'damaged',
    reason: 'both copies of the gateway header are gone, and its backup is not valid: bad CRC',
  });
  control[0x1808]! ^= 1;
  t.like(readGatewayHeader(control), { ok: false, kind: 'absent' }, 'what is there is no backup');
  t.is(readGatewayBackup(control), undefined);
});

test("a kernel's cache has no header, and a short control area is no crash", (t) => {
  t.deepEqual(readGatewayHeader(controlArea()), { ok: false, kind: 'absent', reason: 'no gateway header' });
  for (const length of [0, 1, 2047, 2048, 4095]) t.false(readGatewayHeader(new Uint8Array(length)).ok);
});

test('a header of a later version is refused as such, even beside a good one', (t) => {
  const expected = { ok: false, kind: 'newer', reason: 'gateway header of format 2, this program knows 1' } as const;
  const control = withField((view) => {
    view.setUint32(4, 2, true);
  });
  t.deepEqual(readGatewayHeader(control), expected);
  encodeGatewayHeader(control, 1, HEADER, 9);
  t.deepEqual(readGatewayHeader(control), expected);
});

test('fields that make no sense are refused though the CRC is good', (t) => {
  const reasonOf = (change: (view: DataView) => void): string => {
    const read = readGatewayHeader(withField(change));
    return read.ok ? 'accepted' : read.reason.replace('no valid copy of the gateway header: ', '');
  };
  t.is(
    reasonOf(() => undefined),
    'accepted',
  );
  t.is(
    reasonOf((view) => view.setUint32(4, 0, true)),
    'format version 0, absent',
  );
  t.is(
    reasonOf((view) => view.setUint32(20, 2, true)),
    'unknown state, absent',
  );
  t.is(
    reasonOf((view) => view.setBigUint64(40, 513n, true)),
    'a volume of 513 bytes, not a multiple of 512, absent',
  );
  t.is(
    reasonOf((view) => view.setBigUint64(40, 2n ** 44n + 512n, true)),
    'a volume of 17592186044928 bytes, absent',
  );
  t.is(
    reasonOf((view) => view.setBigUint64(40, 2n ** 64n - 512n, true)),
    'a volume of 18446744073709552000 bytes, absent',
  );
  t.is(
    reasonOf((view) => view.setBigUint64(48, 0n, true)),
    'a sequence limit of 0, absent',
  );
  t.is(
    reasonOf((view) => view.setBigUint64(48, 2n ** 48n, true)),
    'a sequence limit of 281474976710656, absent',
  );
  t.is(
    reasonOf((view) => view.setBigUint64(56, 2n ** 53n, true)),
    'a creation time of 9007199254740992 ms, absent',
  );
  t.is(
    reasonOf((view) => view.setUint8(64, 7)),
    'a boot id that is not ASCII, absent',
  );
  t.is(
    reasonOf((view) => view.setUint32(100, 513, true)),
    'a backing identity of 513 bytes, absent',
  );
  t.is(
    reasonOf((view) => view.setUint32(100, 0xffffffff, true)),
    'a backing identity of 4294967295 bytes, absent',
  );
  t.is(
    reasonOf((view) => view.setUint8(104, 0xff)),
    'a backing identity that is not UTF-8, absent',
  );
});

test('what can not be stored is refused before a byte is changed', (t) => {
  const control = controlArea();
  const refuse = (change: Partial<GatewayHeader>, message: string): void => {
    t.throws(() => writeGatewayHeader(control, { ...HEADER, ...change }, undefined), { instanceOf: RangeError, message });
    t.true(control.every((byte) => byte === 0));
  };
  refuse({ uuid: new Uint8Array(15) }, 'gateway header: a UUID of 15 bytes');
  refuse({ volumeBytes: -512 }, 'gateway header: a volume of -512 bytes');
  refuse({ backingIdentity: 'ü'.repeat(257) }, 'gateway header: a backing identity of more than 512 bytes');
  refuse({ backingIdentity: '\ud800' }, 'gateway header: a backing identity that is not UTF-8');
  refuse({ bootId: 'short' }, 'gateway header: a boot id that is not 36 characters of ASCII');
  refuse({ sequenceLimit: 2 ** 48 }, 'gateway header: a sequence limit of 281474976710656');
  refuse({ createdMs: 0.5 }, 'gateway header: a creation time of 0.5 ms');
  t.throws(() => encodeGatewayHeader(control, 0, HEADER, 2 ** 32), { message: 'gateway header: generation 4294967296' });
  t.notThrows(() => writeGatewayHeader(control, { ...HEADER, backingIdentity: 'ü'.repeat(256) }, undefined));
});

test("a new cache's sequences start above those of the cache that was there before it, or else far from any", (t) => {
  const nowMs = 1_700_000_000_000;
  const first = newGatewayHeader(new Uint8Array(16), nowMs);
  t.deepEqual(first, {
    uuid: new Uint8Array(16),
    volumeBytes: 0,
    backingIdentity: '',
    bootId: '',
    sequenceLimit: nowMs * 64,
    state: 'clean',
    createdMs: nowMs,
  });
  const used = nowMs * 64 + 2 ** 42;
  t.is(newGatewayHeader(new Uint8Array(16), nowMs + 1, used).sequenceLimit, used);
  t.is(newGatewayHeader(new Uint8Array(16), nowMs + 1, 5).sequenceLimit, (nowMs + 1) * 64);
  const jump = Uint8Array.of(1, 2, 3, 4, 5, ...new Uint8Array(11));
  t.is(newGatewayHeader(jump, nowMs).sequenceLimit - nowMs * 64, 0x01_0203_0405);
  for (const uuid of [UUID, new Uint8Array(16).fill(255)]) {
    for (const atMs of [-1, 0, 1.5, 1e15]) t.is(gatewayHeaderProblem(newGatewayHeader(uuid, atMs)), undefined);
  }
});
