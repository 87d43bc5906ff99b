import test from 'ava';
import fc from 'fast-check';
import type { CacheKey, KeyLimits } from '../../src/media/cache-key.js';
import { KEY_FLAG_CLEAN, KEY_FLAG_EMPTY, KeyCursor, encodeKey, validateKey } from '../../src/media/cache-key.js';
import type { CacheSegId, SegmentOffset, VolumeOffset } from '../../src/media/layout.js';

const MIB = 1024 * 1024;
const LIMITS: KeyLimits = { volumeBytes: 64 * MIB, segmentCount: 31 };

function keyWith(change: Partial<Record<keyof CacheKey, number>>): CacheKey {
  const key = { off: 4096, len: 512, flags: 0, cacheSegId: 3, cacheSegOff: 1024, segGen: 7, dataCrc: 0xfedcba98, reserved: 0, ...change };
  return key as CacheKey;
}

const u32 = fc.nat(0xffffffff);
const anyKey = fc
  .record({
    off: fc.maxSafeNat(),
    len: u32,
    flags: u32,
    cacheSegId: u32,
    cacheSegOff: u32,
    segGen: fc.maxSafeNat(),
    dataCrc: u32,
    reserved: u32,
  })
  .map(keyWith);

test('a key is 40 bytes in the order of the format', (t) => {
  const bytes = new Uint8Array(44);
  encodeKey(new DataView(bytes.buffer), 4, {
    off: 0x0000_1234_5678_9a00 as VolumeOffset,
    len: 0x00100200,
    flags: KEY_FLAG_CLEAN,
    cacheSegId: 0x0b as CacheSegId,
    cacheSegOff: 0x00c0de00 as SegmentOffset,
    segGen: 0x0000_0001_0000_0002,
    dataCrc: 0xfedcba98,
    reserved: 0x11223344,
  });
  t.is(
    Buffer.from(bytes).toString('hex'),
    '00000000' + // what stands before it
      '009a785634120000' + // off
      '00021000' + // len
      '02000000' + // flags: CLEAN
      '0b000000' + // cache_seg_id
      '00dec000' + // cache_seg_off
      '0200000001000000' + // seg_gen
      '98badcfe' + // data_crc
      '44332211', // reserved
  );
});

test('every key comes back as it was stored', (t) => {
  const view = new DataView(new ArrayBuffer(48));
  const cursor = new KeyCursor();
  fc.assert(
    fc.property(anyKey, (key) => {
      encodeKey(view, 8, key);
      cursor.load(view, 8);
      t.deepEqual(cursor.toKey(), key);
      t.true(cursor.representable);
      t.is(cursor.isClean, (key.flags & KEY_FLAG_CLEAN) !== 0);
    }),
  );
});

test('an offset or generation above 2^53 - 1 is flagged, and the key is not valid', (t) => {
  const view = new DataView(new ArrayBuffer(40));
  const cursor = new KeyCursor();
  for (const [at, reason] of [
    [0, 'its volume offset is above 2^53 - 1'],
    [24, 'its segment generation is above 2^53 - 1'],
  ] as const) {
    for (const value of [2n ** 53n, 2n ** 53n + 1n, 2n ** 63n, 2n ** 64n - 1n]) {
      encodeKey(view, 0, keyWith({}));
      view.setBigUint64(at, value, true);
      cursor.load(view, 0);
      t.false(cursor.representable);
      t.is(validateKey(cursor, LIMITS), reason);
    }
  }
});

test('a key that keeps all rules is good, up to the very ends', (t) => {
  const dataBytes = 16 * MIB - 12 * 1024;
  const good: Partial<Record<keyof CacheKey, number>>[] = [
    {},
    { off: 0, len: 4 * MIB },
    { off: 60 * MIB, len: 4 * MIB },
    { off: 64 * MIB - 512 },
    { off: 4 * MIB - 512 },
    { cacheSegId: 30 },
    { cacheSegOff: dataBytes - 512 },
    { cacheSegOff: dataBytes - 4 * MIB, off: 4 * MIB, len: 4 * MIB },
    { segGen: Number.MAX_SAFE_INTEGER },
    { flags: KEY_FLAG_CLEAN, reserved: 0xffffffff },
  ];
  for (const change of good) t.is(validateKey(keyWith(change), LIMITS), undefined, JSON.stringify(change));
});

test('a key that breaks a rule is refused with the rule', (t) => {
  const dataBytes = 16 * MIB - 12 * 1024;
  const bad: [Partial<Record<keyof CacheKey, number>>, string][] = [
    [{ len: 0 }, 'its length is 0'],
    [{ len: 513 }, 'its length 513 is not a multiple of 512'],
    [{ len: 0xffffffff }, 'its length 4294967295 is not a multiple of 512'],
    [{ off: 4097 }, 'its volume offset 4097 is not a multiple of 512'],
    [{ cacheSegOff: 100 }, 'its segment offset 100 is not a multiple of 512'],
    [{ off: 4 * MIB - 512, len: 1024 }, `its range ${4 * MIB - 512}+1024 crosses a multiple of 4 MiB`],
    [{ off: 0, len: 4 * MIB + 512 }, `its range 0+${4 * MIB + 512} crosses a multiple of 4 MiB`],
    [{ off: 64 * MIB }, `its range ${64 * MIB}+512 ends beyond the volume of ${64 * MIB} bytes`],
    [{ off: 2 ** 53 - 512 }, `its range ${2 ** 53 - 512}+512 ends beyond the volume of ${64 * MIB} bytes`],
    [{ cacheSegId: 31 }, 'its segment 31 is not one of the 31 of the cache'],
    [{ cacheSegId: 0xffffffff }, 'its segment 4294967295 is not one of the 31 of the cache'],
    [{ cacheSegOff: dataBytes }, `its payload ${dataBytes}+512 ends beyond its segment's data`],
    [{ cacheSegOff: 0xfffffe00 }, "its payload 4294966784+512 ends beyond its segment's data"],
    [{ flags: KEY_FLAG_EMPTY }, 'it is marked EMPTY, which exists in memory only'],
  ];
  for (const [change, reason] of bad) t.is(validateKey(keyWith(change), LIMITS), reason);
});

test('whatever validateKey lets through lies within the volume, one subtree and one segment', (t) => {
  const sectors = fc.nat(200_000).map((n) => n * 512);
  const key = fc
    .record({
      off: sectors,
      len: fc.nat(9000).map((n) => n * 512),
      cacheSegId: fc.nat(33),
      cacheSegOff: sectors,
      flags: fc.constantFrom(0, KEY_FLAG_CLEAN),
    })
    .map(keyWith);
  let good = 0;
  fc.assert(
    fc.property(key, ({ off, len, cacheSegId, cacheSegOff, ...rest }) => {
      if (validateKey({ off, len, cacheSegId, cacheSegOff, ...rest }, LIMITS) !== undefined) return;
      good++;
      t.true(len > 0 && off + len <= LIMITS.volumeBytes);
      t.is(Math.floor(off / (4 * MIB)), Math.floor((off + len - 1) / (4 * MIB)));
      t.true(cacheSegId < 31 && cacheSegOff + len <= 16 * MIB - 12 * 1024);
    }),
    { numRuns: 1000 },
  );
  t.true(good > 0);
});
