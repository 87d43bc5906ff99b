import test from 'ava';
import fc from 'fast-check';
import { KEY_BYTES } from '../../src/media/layout.js';
import { stagedKeyCheck } from '../../src/media/staged-key.js';
import { viewOf } from '../../src/media/u64.js';

const keyBytes = fc.uint8Array({ minLength: KEY_BYTES, maxLength: KEY_BYTES });

test('the check is a nonzero u32 and the same for the same key and place', (t) => {
  fc.assert(
    fc.property(keyBytes, fc.nat(2 ** 48 - 1), fc.nat(65535), fc.nat(16 * 1024 * 1024), (bytes, sequence, segment, offset) => {
      const check = stagedKeyCheck(viewOf(bytes), 0, sequence, segment, offset);
      t.true(Number.isInteger(check) && check > 0 && check <= 0xffffffff);
      const moved = new Uint8Array(KEY_BYTES + 8);
      moved.set(bytes, 8);
      t.is(stagedKeyCheck(viewOf(moved), 8, sequence, segment, offset), check);
    }),
  );
});

test('every changed bit of the first 36 bytes changes the check, and the reserved word does not', (t) => {
  const bytes = Uint8Array.from({ length: KEY_BYTES }, (_, index) => index * 41);
  const view = viewOf(bytes);
  const check = stagedKeyCheck(view, 0, 1000, 2, 24);
  for (let bit = 0; bit < KEY_BYTES * 8; bit++) {
    bytes[bit >> 3]! ^= 1 << (bit & 7);
    t.is(stagedKeyCheck(view, 0, 1000, 2, 24) === check, bit >= 36 * 8, `bit ${bit}`);
    bytes[bit >> 3]! ^= 1 << (bit & 7);
  }
});

test('another sequence, segment or kset gives another check', (t) => {
  const view = viewOf(new Uint8Array(KEY_BYTES));
  const check = stagedKeyCheck(view, 0, 5, 6, 7 * 8);
  t.not(stagedKeyCheck(view, 0, 4, 6, 7 * 8), check);
  t.not(stagedKeyCheck(view, 0, 5 + 2 ** 32, 6, 7 * 8), check);
  t.not(stagedKeyCheck(view, 0, 5 + 2 ** 47, 6, 7 * 8), check);
  t.not(stagedKeyCheck(view, 0, 5, 5, 7 * 8), check);
  t.not(stagedKeyCheck(view, 0, 5, 6, 8 * 8), check);
});

test('checks of keys that differ a little are spread over all 32 bits', (t) => {
  const bytes = new Uint8Array(KEY_BYTES);
  const view = viewOf(bytes);
  const checks = new Set<number>();
  const setBits = new Array<number>(32).fill(0);
  const count = 20_000;
  for (let index = 0; index < count; index++) {
    view.setUint32(0, index * 512, true);
    view.setUint32(20, index * 512, true);
    const check = stagedKeyCheck(view, 0, 1 + (index >> 7), 1, (index >> 7) * 5144);
    checks.add(check);
    for (let bit = 0; bit < 32; bit++) setBits[bit]! += (check >>> bit) & 1;
  }
  // By chance 0.05 of 20,000 numbers of 32 bits meet another.
  t.true(checks.size >= count - 3, `${checks.size} different checks`);
  for (const [bit, set] of setBits.entries()) t.true(Math.abs(set / count - 0.5) < 0.02, `bit ${bit} is set in ${set} of ${count}`);
});
