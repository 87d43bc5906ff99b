import { readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { ExecutionContext } from 'ava';
import test from 'ava';
import {
  CACHE_INFO_OFFSETS,
  DIRTY_TAIL_OFFSETS,
  KEY_TAIL_OFFSETS,
  SEGMENT_BYTES,
  SEGMENTS_OFFSET,
  SEGMENT_DATA_OFFSET,
  SUPERBLOCK_OFFSET,
} from '../../src/media/layout.js';
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
import type { SmallCache } from './offline-support.js';

for (const expected of goldenExpectations) {
  test.serial(
    `recover gives the backing device of ${expected.name} its volume, twice in a row, and --dry-run changes nothing`,
    async (t) => {
      const { cachePath, backingPath } = golden(t, expected.name);
      const cacheHash = hashOf(cachePath);
      const dry = await pcache('--json', 'recover', cachePath, backingPath, '--dry-run');
      t.is(dry.stderr.replaceAll(/^\{"progress":.*\n/gm, ''), '');
      t.is(dry.status, 0);
      t.is(hashOf(cachePath), cacheHash);
      t.is(hashOf(backingPath), expected.backing_sha256);
      const isDirty = expected.backing_sha256 !== expected.volume_sha256;
      const [plan] = linesOf(dry);
      t.is(Number(plan?.bytes) > 0, isDirty);
      t.is(Number(plan?.ranges) > 0, isDirty);

      const first = await pcache('--json', 'recover', cachePath, backingPath);
      // On a machine that has much else to do it says how far it is.
      t.is(first.stderr.replaceAll(/^\{"progress":.*\n/gm, ''), '');
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
    t.like(linesOf(result)[0], {
      written_bytes: 4096,
      dirty_bytes: 4096,
      not_saved: [{ volume_offset: 0, volume_bytes: 4096, reason: 'damaged' }],
      cache_changed: false,
    });
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

/** Six flushed writes of one key each, 4 KiB at 0, 64 KiB, ..., the sixth over the second. */
function flushedWrites(t: ExecutionContext, { crash = false }: { crash?: boolean } = {}): SmallCache {
  const cache = smallCache(t);
  useVolume(
    cache,
    (volume) => {
      for (let number = 0; number < 6; number++) {
        volume.write((number === 5 ? 1 : number) * 65536, new Uint8Array(4096).fill(number + 1));
        volume.flush();
      }
      if (crash) volume.write(5 * 65536, new Uint8Array(4096).fill(7));
    },
    { crash },
  );
  return cache;
}

/** First byte of each of the six places. */
function placesOf({ backingPath }: SmallCache): number[] {
  const backing = readFileSync(backingPath);
  return [0, 1, 2, 3, 4, 5].map((place) => backing[place * 65536]!);
}

const KSET_BYTES = 64;
const LOG_AT = SEGMENTS_OFFSET + SEGMENT_DATA_OFFSET;

test('recover works without superblock, tails and records that follow from others, and leaves the cache as it is', async (t) => {
  const damages: [name: string, at: number, bytes: number][] = [
    ['superblock', SUPERBLOCK_OFFSET, 4096],
    ['key_tail', KEY_TAIL_OFFSETS[0], 32],
    ['both tails', KEY_TAIL_OFFSETS[0], 64],
    ['dirty_tail', DIRTY_TAIL_OFFSETS[0], 32],
    ['cache_info', CACHE_INFO_OFFSETS[0], 8192],
    ['gateway header', 0, 4096],
    ['segment', SEGMENTS_OFFSET, SEGMENT_DATA_OFFSET],
  ];
  const cache = flushedWrites(t);
  const whole = readFileSync(cache.cachePath).subarray(0, 65536);
  for (const [name, at, bytes] of damages) {
    overwrite(cache.cachePath, 0, whole);
    overwrite(cache.cachePath, at, new Uint8Array(bytes).fill(0xa5));
    truncateSync(cache.backingPath, 0);
    truncateSync(cache.backingPath, VOLUME_BYTES);
    const before = hashOf(cache.cachePath);
    const result = await pcache('recover', cache.cachePath, cache.backingPath);
    t.is(result.status, 0, `${name}: ${result.stderr}${result.stdout}`);
    t.deepEqual(placesOf(cache), [1, 6, 3, 4, 5, 0], name);
    // The first header copy alone is no reason to leave the cache alone: it can be opened.
    if (name !== 'gateway header') {
      t.regex(result.stdout, /\ndamage: [^\n]+\n\S+ has everything then, nothing is missing\.\n/, name);
      t.is(hashOf(cache.cachePath), before, name);
    }
  }
});

test('of a damaged log recover writes what stands before the damage, and names the rest', async (t) => {
  const cache = flushedWrites(t, { crash: true });
  flipByte(cache.cachePath, LOG_AT + 3 * KSET_BYTES + 30);
  const before = hashOf(cache.cachePath);
  const dry = await pcache('recover', cache.cachePath, cache.backingPath, '--dry-run');
  t.is(dry.status, 1);
  t.regex(dry.stdout, /: would write 12 KiB \(12288 bytes\) in 3 ranges to /);
  t.deepEqual(placesOf(cache), [0, 0, 0, 0, 0, 0]);
  const text = await pcache('recover', cache.cachePath, cache.backingPath);
  t.is(text.status, 1);
  t.regex(
    text.stdout,
    /\n12 KiB of the volume, in 3 ranges, could not be saved:\n {2}at 64 KiB, 4 KiB long \(bytes 65536 to 69631\): written behind/,
  );
  t.regex(text.stdout, /\nand 1 write at most that can't be read: /);
  t.regex(text.stdout, /\n--salvage writes those of them that can be read as well/);
  t.deepEqual(placesOf(cache), [1, 2, 3, 0, 0, 0]);
  t.is(hashOf(cache.cachePath), before);
});

test('recover says so if the last writes before a crash, which were staged, are damaged', async (t) => {
  const cache = smallCache(t);
  useVolume(
    cache,
    (volume) => {
      for (let number = 0; number < 4; number++) volume.write(number * 65536, new Uint8Array(4096).fill(number + 1));
    },
    { crash: true },
  );
  flipByte(cache.cachePath, LOG_AT + 24 + 40 + 3);
  const before = hashOf(cache.cachePath);
  const result = await pcache('recover', cache.cachePath, cache.backingPath);
  t.is(result.status, 1);
  t.regex(result.stdout, /\ndamage: of the staged kset \d+, key 1 is damaged[^\n]+: the last writes before the program died, /);
  t.deepEqual(placesOf(cache), [1, 0, 0, 0, 0, 0]);
  t.is(hashOf(cache.cachePath), before);
});

test('--salvage writes what is whole behind the damage too, in order, and says that it is no exact state', async (t) => {
  const cache = flushedWrites(t, { crash: true });
  flipByte(cache.cachePath, LOG_AT + 3 * KSET_BYTES + 30);
  flipByte(cache.cachePath, payloadPosition(cache.cachePath, 5));
  const before = hashOf(cache.cachePath);
  const dry = await pcache('--json', 'recover', cache.cachePath, cache.backingPath, '--salvage', '--dry-run');
  const notSaved = [{ volume_offset: 4 * 65536, volume_bytes: 4096, reason: 'damaged' }];
  t.like(linesOf(dry)[0], { bytes: 3 * 4096, salvage_bytes: 2 * 4096, not_saved: notSaved, unreadable_writes_max: 1, exact: false });
  t.deepEqual(placesOf(cache), [0, 0, 0, 0, 0, 0]);
  const result = await pcache('recover', cache.cachePath, cache.backingPath, '--salvage');
  t.is(result.status, 1);
  t.regex(result.stdout, / is then no exact state of the volume: later writes are there, and earlier ones are missing/);
  t.deepEqual(placesOf(cache), [1, 6, 3, 0, 0, 7]);
  t.is(hashOf(cache.cachePath), before);
});

test('recover refuses a cache whose tails are both lost, and the header that names a place for them too, says why, and changes nothing', async (t) => {
  const cache = flushedWrites(t);
  overwrite(cache.cachePath, KEY_TAIL_OFFSETS[0], new Uint8Array(64));
  overwrite(cache.cachePath, 0, new Uint8Array(4096));
  const before = [hashOf(cache.cachePath), hashOf(cache.backingPath)];
  isRefused(
    t,
    await pcache('recover', cache.cachePath, cache.backingPath),
    1,
    /key_tail and dirty_tail: both are lost: .*\nhint: the backing device/,
  );
  t.deepEqual([hashOf(cache.cachePath), hashOf(cache.backingPath)], before);
});

test('a cache that does not know its backing device any more is recovered to one that is vouched for', async (t) => {
  const cache = flushedWrites(t);
  overwrite(cache.cachePath, 0, new Uint8Array(4096).fill(0x5a));
  overwrite(cache.cachePath, 16, Buffer.from('x'));
  for (const at of [0, 2048, 0x1800]) overwrite(cache.cachePath, at + 8, Buffer.from('PCACHEGW'));
  overwrite(cache.cachePath, 0x1800 + 100, new Uint8Array(8).fill(0x5a));
  const before = hashOf(cache.cachePath);
  isRefused(t, await pcache('recover', cache.cachePath, cache.backingPath), 1, /gateway header: .*\nhint: .*--adopt/);
  const result = await pcache('recover', cache.cachePath, cache.backingPath, '--adopt');
  t.is(result.status, 0, result.stderr);
  t.deepEqual(placesOf(cache), [1, 6, 3, 4, 5, 0]);
  t.is(hashOf(cache.cachePath), before);
});

for (const name of ['mixed-dirty', 'gc-reuse']) {
  test.serial(
    `a damaged cache of the kernel (${name}) gives the backing device its volume all the same, and can be repaired`,
    async (t) => {
      const { cachePath, backingPath } = golden(t, name);
      const { volume_sha256: wanted } = goldenExpectations.find((each) => each.name === name)!;
      overwrite(cachePath, SUPERBLOCK_OFFSET, new Uint8Array(24));
      overwrite(cachePath, KEY_TAIL_OFFSETS[0], new Uint8Array(32));
      overwrite(cachePath, SEGMENTS_OFFSET + SEGMENT_BYTES, new Uint8Array(8192));
      const repaired = await pcache('--json', 'check', cachePath, '--repair', '--yes');
      t.is(repaired.status, 0, repaired.stderr);
      const [record] = linesOf(repaired);
      t.like(record, { repaired: true, given_up: null, check: { errors: 0 } });
      t.is((await pcache('check', cachePath, '--undo', String(record?.backup), '--yes')).status, 0);
      const damaged = hashOf(cachePath);
      const result = await pcache('recover', cachePath, backingPath);
      t.is(result.status, 0, result.stderr);
      t.is(hashOf(backingPath), wanted);
      t.is(hashOf(cachePath), damaged);
    },
  );
}
