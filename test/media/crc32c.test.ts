import test from 'ava';
import fc from 'fast-check';
import { CRC_SEED, pcacheCrc, pcacheCrcOfRange } from '../../src/media/crc32c.js';

/** CRC-32C bit by bit, straight from its definition: register started at the seed, polynomial reflected, no final inversion. */
function bitwiseCrc(bytes: Uint8Array): number {
  let register = 0x3b15a;
  for (const byte of bytes) {
    register ^= byte;
    for (let bit = 0; bit < 8; bit++) register = (register >>> 1) ^ ((register & 1) === 0 ? 0 : 0x82f63b78);
  }
  return register >>> 0;
}

test('the CRC is the one of the definition', (t) => {
  fc.assert(fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => t.is(pcacheCrc(bytes), bitwiseCrc(bytes))));
});

test('the CRC of nothing is the seed', (t) => {
  t.is(pcacheCrc(new Uint8Array(0)), CRC_SEED);
});

test('the CRC is the one the kernel stored in a superblock', (t) => {
  // flags 0, magic, seg_num 31, padding; the kernel's CRC of it was 0x047F7742.
  t.is(pcacheCrc(Buffer.from('00000000ef96c596fa5eb0651f00000000000000', 'hex')), 0x047f7742);
});

test('the CRC of bytes in shared memory and of part of a buffer is the same as of a copy', (t) => {
  const shared = new Uint8Array(new SharedArrayBuffer(64));
  for (const index of shared.keys()) shared[index] = index * 37;
  const copy = Uint8Array.from(shared);
  t.is(pcacheCrc(shared), bitwiseCrc(copy));
  t.is(pcacheCrc(shared.subarray(3, 40)), bitwiseCrc(copy.subarray(3, 40)));
  t.is(pcacheCrcOfRange(shared, 3, 40), bitwiseCrc(copy.subarray(3, 40)));
  t.is(pcacheCrcOfRange(copy, 0, 64), bitwiseCrc(copy));
});
