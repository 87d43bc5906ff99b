import { readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import { SEGMENTS_OFFSET, SEGMENT_DATA_OFFSET, SUPERBLOCK_OFFSET } from '../../src/media/layout.js';
import { goldenExpectations } from '../support/golden.js';
import {
  VOLUME_BYTES,
  flipByte,
  golden,
  hashOf,
  holdInAnotherProcess,
  isRefused,
  linesOf,
  overwrite,
  pcache,
  smallCache,
  useVolume,
} from './offline-support.js';

for (const expected of goldenExpectations) {
  test.serial(
    `recover gives the backing device of ${expected.name} its volume, twice in a row, and --dry-run changes nothing`,
    async (t) => {
      const { cachePath, backingPath } = golden(t, expected.name);
      const cacheHash = hashOf(cachePath);
      const dry = await pcache('--json', 'recover', cachePath, backingPath, '--dry-run');
      t.is(dry.stderr, '');
      t.is(dry.status, 0);
      t.is(hashOf(cachePath), cacheHash);
      t.is(hashOf(backingPath), expected.backing_sha256);
      const isDirty = expected.backing_sha256 !== expected.volume_sha256;
      const [plan] = linesOf(dry);
      t.is(Number(plan?.bytes) > 0, isDirty);
      t.is(Number(plan?.ranges) > 0, isDirty);

      const first = await pcache('--json', 'recover', cachePath, backingPath);
      t.is(first.stderr, '');
      t.is(first.status, 0);
      t.is(hashOf(backingPath), expected.volume_sha256);
      t.like(linesOf(first)[0], { dry_run: false, dirty_bytes: 0 });
      t.true(Number(linesOf(first)[0]?.written_bytes) >= Number(plan?.bytes));

      const after = hashOf(cachePath);
      const second = await pcache('--json', 'recover', cachePath, backingPath);
      t.is(second.status, 0);
      t.is(hashOf(backingPath), expected.volume_sha256);
      t.is(hashOf(cachePath), after);
      t.like(linesOf(second)[0], { written_bytes: 0, dirty_bytes: 0 });
    },
  );
}

test('recover takes keys that were staged when the program died', async (t) => {
  const cache = smallCache(t);
  const bytes = new Uint8Array(4096).fill(0xab);
  useVolume(
    cache,
    (volume) => {
      volume.write(4096, bytes);
      volume.flush();
      volume.write(6144, bytes);
      volume.write(1024 * 1024, bytes);
    },
    { crash: true },
  );
  const [plan] = linesOf(await pcache('--json', 'recover', cache.cachePath, cache.backingPath, '--dry-run'));
  t.like(plan, { bytes: 2048 + 2 * 4096, ranges: 2, damaged_bytes: 0 });
  const result = await pcache('recover', cache.cachePath, cache.backingPath);
  t.is(result.status, 0, result.stderr);
  const wanted = Buffer.alloc(VOLUME_BYTES);
  wanted.set(bytes, 4096);
  wanted.set(bytes, 6144);
  wanted.set(bytes, 1024 * 1024);
  t.true(readFileSync(cache.backingPath).equals(wanted));
});

test('recover writes all but what is damaged, says how much that is, and ends with status 1', async (t) => {
  const cache = smallCache(t);
  useVolume(cache, (volume) => {
    volume.write(0, new Uint8Array(4096).fill(1));
    volume.write(8192, new Uint8Array(4096).fill(2));
  });
  // The first data segment starts with the first payload; segment 0 is the log.
  flipByte(cache.cachePath, payloadPosition(cache.cachePath, 1));
  const dry = await pcache('--json', 'recover', cache.cachePath, cache.backingPath, '--dry-run');
  t.is(dry.status, 1);
  t.like(linesOf(dry)[0], { bytes: 4096, ranges: 1, damaged_bytes: 4096, damaged_ranges: 1 });
  for (const round of ['first', 'second']) {
    const result = await pcache('--json', 'recover', cache.cachePath, cache.backingPath);
    t.is(result.status, 1, round);
    t.like(linesOf(result)[0], { dirty_bytes: 4096 });
    t.regex(result.stderr, /pcache check names the damaged ranges/);
  }
  const backing = readFileSync(cache.backingPath);
  t.true(backing.subarray(0, 4096).every((byte) => byte === 0));
  t.true(backing.subarray(8192, 12288).every((byte) => byte === 2));
});

/** Where in the file the payload is that consists of `byte`. */
function payloadPosition(path: string, byte: number): number {
  const position = readFileSync(path).indexOf(Buffer.alloc(4096, byte), SEGMENTS_OFFSET);
  if (position < 0) throw new Error('no such payload');
  return position;
}

test('recover refuses cache and backing device in the wrong order, or the same', async (t) => {
  const { cachePath, backingPath } = smallCache(t);
  isRefused(t, await pcache('recover', backingPath, cachePath), 1, /backing\.img: not a cache, but .*cache\.pmem is one: wrong order/);
  isRefused(t, await pcache('recover', cachePath, cachePath), 2, /cache and backing device are the same/);
});

test('recover refuses files that are missing, and a cache in use', async (t) => {
  const { folder, cachePath, backingPath } = smallCache(t);
  isRefused(t, await pcache('recover', join(folder, 'none'), backingPath), 1, /none: no such file/);
  isRefused(t, await pcache('recover', cachePath, join(folder, 'none')), 1, /none: no such file/);
  await holdInAnotherProcess(t, cachePath);
  isRefused(t, await pcache('recover', cachePath, backingPath), 1, /cache\.pmem: in use by another pcache/);
});

test.serial("recover refuses a backing device that is too small for the kernel's keys, and changes nothing", async (t) => {
  const { cachePath, backingPath } = golden(t, 'dirty-basic');
  truncateSync(backingPath, 1024 * 1024);
  const before = [hashOf(cachePath), hashOf(backingPath)];
  const line = /the cache holds data up to byte \d+ of its volume, but this backing device has only 1048576 bytes/;
  isRefused(t, await pcache('recover', cachePath, backingPath), 1, line);
  t.deepEqual([hashOf(cachePath), hashOf(backingPath)], before);
});

test('recover refuses another backing device unless it is told to adopt it, and one of another size always', async (t) => {
  const cache = smallCache(t);
  useVolume(cache, (volume) => volume.write(0, new Uint8Array(512).fill(9)));
  const before = hashOf(cache.cachePath);
  const other = join(cache.folder, 'other.img');
  writeFileSync(other, '');
  truncateSync(other, VOLUME_BYTES);
  isRefused(t, await pcache('recover', cache.cachePath, other), 1, /belongs to another backing device .*\nhint: .*--adopt/);
  isRefused(t, await pcache('recover', cache.cachePath, other, '--dry-run'), 1, /belongs to another backing device/);
  t.is(hashOf(cache.cachePath), before);
  t.is((await pcache('recover', cache.cachePath, other, '--adopt')).status, 0);
  t.is(readFileSync(other)[0], 9);
  truncateSync(other, VOLUME_BYTES / 2);
  isRefused(t, await pcache('recover', cache.cachePath, other, '--adopt'), 1, /a backing device of 8388608 bytes, this one has 4194304/);
});

test('recover refuses a cache that lost its superblock or its log, and changes nothing', async (t) => {
  const cache = smallCache(t);
  useVolume(cache, (volume) => {
    volume.write(0, new Uint8Array(512).fill(1));
    volume.flush();
    volume.write(4096, new Uint8Array(512).fill(2));
    volume.flush();
  });
  const superblock = readFileSync(cache.cachePath).subarray(SUPERBLOCK_OFFSET, SUPERBLOCK_OFFSET + 24);
  overwrite(cache.cachePath, SUPERBLOCK_OFFSET, new Uint8Array(24));
  isRefused(t, await pcache('recover', cache.cachePath, cache.backingPath), 1, /the superblock is lost .*\nhint: pcache check/);
  overwrite(cache.cachePath, SUPERBLOCK_OFFSET, superblock);
  flipByte(cache.cachePath, SEGMENTS_OFFSET + SEGMENT_DATA_OFFSET + 30);
  const before = [hashOf(cache.cachePath), hashOf(cache.backingPath)];
  isRefused(t, await pcache('recover', cache.cachePath, cache.backingPath), 1, /the log is damaged in segment 0 at offset 0/);
  t.deepEqual([hashOf(cache.cachePath), hashOf(cache.backingPath)], before);
});
