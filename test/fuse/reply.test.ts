// Answers, byte for byte.

import test from 'ava';
import { ReplyBuilder, REPLY_BYTES_MAX, type FileAttributes } from '../../src/fuse/reply.js';
import { IOVEC_BYTES, IOVEC_ENTRIES_MAX, ReplyIovec } from '../../src/fuse/reply-iovec.js';

const attributes: FileAttributes = {
  nodeid: 2,
  sizeBytes: 2 ** 44 + 512,
  mode: 0o100600,
  linkCount: 1,
  uid: 1000,
  gid: 100,
  storageBytes: 2 ** 44 + 1,
  blockSizeBytes: 4096,
  atimeMs: 1_700_000_000_250,
  mtimeMs: -500,
  ctimeMs: 0,
};

function builder(listingBytes = 4096): { reply: ReplyBuilder; bytes: Buffer; listing: Buffer } {
  const bytes = Buffer.alloc(REPLY_BYTES_MAX, 0xee);
  const listing = Buffer.alloc(listingBytes, 0xee);
  return { reply: new ReplyBuilder(bytes, listing), bytes, listing };
}

/** u64 and u32 fields in a row, as the structure has them. */
function fields(bytes: Buffer, format: string, offset = 0): number[] {
  const values: number[] = [];
  for (const letter of format) {
    values.push(letter === 'Q' ? Number(bytes.readBigInt64LE(offset)) : bytes.readUInt32LE(offset));
    offset += letter === 'Q' ? 8 : 4;
  }
  return values;
}

const ATTR_FIELDS = 'QQQQQQIIIIIIIIII';
const ATTR_VALUES = [2, 2 ** 44 + 512, 2 ** 35 + 1, 1_700_000_000, -1, 0, 250_000_000, 500_000_000, 0, 0o100600, 1, 1000, 100, 0, 4096, 0];

test('LOOKUP is answered with node id, time limits and attributes', (t) => {
  const { reply, bytes } = builder();
  t.is(reply.entry(attributes, 1.5), 128);
  t.deepEqual(fields(bytes, `QQQQII${ATTR_FIELDS}`), [2, 0, 1, 1, 500_000_000, 500_000_000, ...ATTR_VALUES]);
});

test('GETATTR is answered with a time limit and attributes', (t) => {
  const { reply, bytes } = builder();
  t.is(reply.attributes(attributes, 3600), 104);
  t.deepEqual(fields(bytes, `QII${ATTR_FIELDS}`), [3600, 0, 0, ...ATTR_VALUES]);
});

test('OPEN, WRITE, STATFS and LSEEK are answered', (t) => {
  const { reply, bytes } = builder();
  t.is(reply.opened(2 ** 40 + 3, 0x41), 16);
  t.deepEqual(fields(bytes, 'QII'), [2 ** 40 + 3, 0x41, 0]);
  t.is(reply.written(1 << 20), 8);
  t.deepEqual(fields(bytes, 'II'), [1 << 20, 0]);
  t.is(reply.sought(2 ** 44 - 1), 8);
  t.deepEqual(fields(bytes, 'Q'), [2 ** 44 - 1]);
  t.is(reply.statfs({ blockSizeBytes: 4096, blocks: 2 ** 32, freeBlocks: 5, files: 3, nameBytesMax: 255 }), 80);
  t.deepEqual(fields(bytes, 'QQQQQIIIIIIIIII'), [2 ** 32, 5, 5, 3, 0, 4096, 255, 4096, 0, 0, 0, 0, 0, 0, 0]);
});

test('a directory listing holds whole entries, padded to 8 bytes, up to the size asked for', (t) => {
  const { reply, listing } = builder();
  reply.beginListing(24 + 8 + 24 + 16 + 31, false);
  t.true(reply.addEntry('a', attributes, 1, 0));
  t.true(reply.addEntry('volume.img', attributes, 2, 0));
  t.false(reply.addEntry('b', attributes, 3, 0));
  t.is(reply.endListing(), 72);
  t.deepEqual(fields(listing, 'QQII'), [2, 1, 1, 8]);
  t.deepEqual(fields(listing, 'QQII', 32), [2, 2, 10, 8]);
  t.is(listing.toString('utf8', 24, 32), 'a\0\0\0\0\0\0\0');
  t.is(listing.toString('utf8', 56, 72), 'volume.img\0\0\0\0\0\0');
  t.is(listing[72], 0xee);
});

test('a listing with attributes puts before each entry what LOOKUP would answer', (t) => {
  const { reply, bytes, listing } = builder();
  reply.beginListing(4096, true);
  t.true(reply.addEntry('ä', attributes, 9, 2));
  t.is(reply.endListing(), 160);
  reply.entry(attributes, 2);
  t.deepEqual(listing.subarray(0, 128), bytes);
  t.deepEqual(fields(listing, 'QQII', 128), [2, 9, 2, 8]);
});

test('a listing never exceeds the memory there is for it', (t) => {
  const { reply } = builder(40);
  reply.beginListing(1 << 20, false);
  t.true(reply.addEntry('a', attributes, 1, 0));
  t.false(reply.addEntry('b', attributes, 2, 0));
  t.is(reply.endListing(), 32);
});

test('a scatter list has the header first, merges neighbours, and says no when it is full', (t) => {
  const words = new Uint32Array(IOVEC_BYTES / 4);
  const iovec = new ReplyIovec(words, 0x1000, 0x7f12_3456_7000);
  iovec.setHeaderBytes(16);
  t.true(iovec.add(0x7f00_0000_1000, 512));
  t.true(iovec.add(0x7f00_0000_1200, 512));
  t.true(iovec.add(0x7f00_0000_2000, 0));
  t.true(iovec.add(0x7f00_0000_3000, 1));
  t.is(iovec.count, 3);
  t.is(iovec.dataBytes, 1025);
  t.deepEqual([...words.subarray(0, 12)], [0x3456_7000, 0x7f12, 16, 0, 0x1000, 0x7f00, 1024, 0, 0x3000, 0x7f00, 1, 0]);
  t.is(iovec.dataAddress(1), 0x7f00_0000_3000);
  t.is(iovec.dataLength(0), 1024);
  for (let i = iovec.count; i < IOVEC_ENTRIES_MAX; i++) t.true(iovec.add(i * 4096, 1));
  t.false(iovec.add(1, 1));
  t.is(iovec.dataBytes, 1025 + IOVEC_ENTRIES_MAX - 3);
  iovec.clear();
  t.is(iovec.count, 1);
  t.is(iovec.dataBytes, 0);
  t.true(iovec.add(5, 5));
});
