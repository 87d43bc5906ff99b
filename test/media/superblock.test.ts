import test from 'ava';
import { pcacheCrc } from '../../src/media/crc32c.js';
import { decodeSuperblock, encodeSuperblock, superblockIsBlank } from '../../src/media/superblock.js';

/** As the kernel wrote it to a device of 512 MiB. */
const KERNEL = Uint8Array.from(
  Buffer.from(
    '42777f04' + // crc
      '00000000' + // flags
      'ef96c596fa5eb065' + // magic 0x65B05EFA96C596EF
      '1f000000' + // seg_num 31
      '00000000',
    'hex',
  ),
);

function changed(at: number, value: number): Uint8Array {
  const bytes = Uint8Array.from(KERNEL);
  const view = new DataView(bytes.buffer);
  view.setUint32(at, value, true);
  view.setUint32(0, pcacheCrc(bytes.subarray(4)), true);
  return bytes;
}

test("the kernel's superblock reads, and is written byte for byte the same", (t) => {
  t.deepEqual(decodeSuperblock(KERNEL, 0), { ok: true, value: { flags: 0, segmentCount: 31 } });
  const bytes = new Uint8Array(24).fill(0xee);
  encodeSuperblock(bytes, { flags: 0, segmentCount: 31 }, 0);
  t.deepEqual(bytes, KERNEL);
});

test('without an offset the superblock is at 0x1000', (t) => {
  const control = new Uint8Array(0x5000);
  encodeSuperblock(control, { flags: 0, segmentCount: 5 });
  t.true(control.subarray(0, 0x1000).every((byte) => byte === 0));
  t.deepEqual(decodeSuperblock(control), { ok: true, value: { flags: 0, segmentCount: 5 } });
});

test('a magic of 0 is what the kernel takes for a new device', (t) => {
  t.true(superblockIsBlank(new Uint8Array(24), 0));
  t.false(superblockIsBlank(KERNEL, 0));
  t.false(superblockIsBlank(new Uint8Array(23), 0));
  t.deepEqual(decodeSuperblock(new Uint8Array(24), 0), { ok: false, reason: 'no superblock' });
});

test('every changed bit of a superblock is noticed', (t) => {
  for (let bit = 0; bit < 24 * 8; bit++) {
    const bytes = Uint8Array.from(KERNEL);
    bytes[bit >> 3]! ^= 1 << (bit & 7);
    t.false(decodeSuperblock(bytes, 0).ok, `bit ${bit}`);
  }
});

test('every prefix of a superblock is refused', (t) => {
  for (let length = 0; length < 24; length++) t.false(decodeSuperblock(KERNEL.subarray(0, length), 0).ok);
});

test('a big-endian cache is refused as such, by its flag and by its magic', (t) => {
  const reason = 'a big-endian machine wrote the cache';
  t.deepEqual(decodeSuperblock(changed(4, 1), 0), { ok: false, reason });
  const swapped = Uint8Array.from(KERNEL);
  swapped.subarray(8, 16).reverse();
  t.deepEqual(decodeSuperblock(swapped, 0), { ok: false, reason });
});

test('a superblock of no segments, or of more than 1 TiB, is refused', (t) => {
  t.deepEqual(decodeSuperblock(changed(16, 0), 0), { ok: false, reason: 'superblock with no segments' });
  t.deepEqual(decodeSuperblock(changed(16, 65536), 0), { ok: true, value: { flags: 0, segmentCount: 65536 } });
  t.deepEqual(decodeSuperblock(changed(16, 65537), 0), { ok: false, reason: 'superblock with 65537 segments, more than 65536' });
  t.false(decodeSuperblock(changed(16, 0xffffffff), 0).ok);
});
