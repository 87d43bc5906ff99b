import test from 'ava';
import fc from 'fast-check';
import { allZero, holds, readU64, viewOf, writeU64 } from '../../src/media/u64.js';

test('a u64 up to 2^53 - 1 comes back as it was stored, in little-endian order', (t) => {
  const bytes = new Uint8Array(16);
  const view = viewOf(bytes);
  writeU64(view, 4, 0x0010_2030_4050_6070);
  t.deepEqual([...bytes.subarray(4, 12)], [0x70, 0x60, 0x50, 0x40, 0x30, 0x20, 0x10, 0x00]);
  fc.assert(
    fc.property(fc.maxSafeNat(), (value) => {
      writeU64(view, 4, value);
      t.is(view.getBigUint64(4, true), BigInt(value));
      t.is(readU64(view, 4), value);
    }),
  );
});

test('a u64 above 2^53 - 1 never reads as a safe integer', (t) => {
  const view = new DataView(new ArrayBuffer(8));
  fc.assert(
    fc.property(fc.bigInt({ min: 2n ** 53n, max: 2n ** 64n - 1n }), (value) => {
      view.setBigUint64(0, value, true);
      t.false(Number.isSafeInteger(readU64(view, 0)));
    }),
  );
});

test('a view looks at the very bytes, wherever they start in their buffer', (t) => {
  const bytes = new Uint8Array([1, 2, 3, 4, 5, 6]).subarray(2);
  viewOf(bytes).setUint8(0, 9);
  t.deepEqual([...bytes], [9, 4, 5, 6]);
});

test('a range is held if all of it lies within the bytes', (t) => {
  const bytes = new Uint8Array(24);
  t.true(holds(bytes, 0, 24));
  for (const [offset, size] of [
    [1, 24],
    [-1, 2],
    [0.5, 2],
    [Number.NaN, 2],
    [Number.MAX_SAFE_INTEGER, 2],
  ] as const) {
    t.false(holds(bytes, offset, size), `${offset}+${size}`);
  }
});

test('zeros are looked for in the range alone', (t) => {
  const bytes = new Uint8Array([7, 0, 0, 0, 7]);
  t.true(allZero(bytes, 1, 3));
  t.false(allZero(bytes, 1, 4));
  t.false(allZero(bytes, 0, 4));
});
