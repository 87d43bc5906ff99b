import { existsSync, readdirSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import { CACHE_BYTES_MIN, SEGMENTS_OFFSET, SEGMENT_BYTES, SUPERBLOCK_OFFSET } from '../../src/media/layout.js';
import { isRoot, smallTmpfs, temporaryFolder } from '../support/tmp.js';
import { hashOf, holdInAnotherProcess, isRefused, linesOf, overwrite, pcache, smallCache, useVolume } from './offline-support.js';

const MIB = 1024 * 1024;

test('format creates a cache that check finds nothing wrong with', async (t) => {
  const path = join(temporaryFolder(t), 'cache.pmem');
  const made = await pcache('--json', 'format', path, '--size', '100M', '--data-crc', '--gc-percent', '30');
  t.is(made.status, 0);
  const [record] = linesOf(made);
  t.like(record, { cache: path, size_bytes: 100 * MIB, segments: 6, data_crc: true, gc_percent: 30 });
  t.regex(String(record?.uuid), /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/);
  // That the kernel takes no cache so small is for who moves it there.
  t.notRegex(made.stderr, /warning/);
  t.is(statSync(path).mode & 0o777, 0o600);
  const [dumped] = linesOf(await pcache('--json', 'dump', path));
  t.like(dumped?.cache_info, { n_segs: 6, data_crc: true, gc_percent: 30, mode: 'writeback', initialised: true });
  t.like(dumped?.gateway_header, { uuid: record?.uuid, state: 'clean', volume_bytes: 0 });
  const checked = await pcache('--json', 'check', path);
  t.is(checked.status, 0);
  t.deepEqual(linesOf(checked)[0]?.findings, []);
});

test('format says in one line what it made, and nothing with --quiet', async (t) => {
  const folder = temporaryFolder(t);
  const loud = await pcache('format', join(folder, 'a'), '--size', '96M');
  t.regex(loud.stdout, /^[^\n]*\/a: an empty cache of 96 MiB, 5 segments, data CRC off, gc_percent 70, uuid [^\n]+\n$/);
  const quiet = await pcache('--quiet', 'format', join(folder, 'b'), '--size', '96M');
  t.deepEqual(quiet, { status: 0, stdout: '', stderr: '' });
});

test('format fills an empty file, and needs a size for it', async (t) => {
  const path = join(temporaryFolder(t), 'empty');
  writeFileSync(path, '');
  isRefused(t, await pcache('format', path), 1, /empty: is empty, and no --size is given/);
  t.is(statSync(path).size, 0);
  t.is((await pcache('format', path, '--size', '96M')).status, 0);
  t.is((await pcache('check', path)).status, 0);
});

test('what is wrong with the arguments is one line, and no file is made', async (t) => {
  const folder = temporaryFolder(t);
  const path = join(folder, 'new');
  isRefused(t, await pcache('format', path), 1, /new: does not exist, and no --size is given/);
  isRefused(t, await pcache('format', path, '--size', '95M'), 2, /--size 95M: a cache needs 96M or more/);
  isRefused(t, await pcache('format', path, '--size', '2T'), 2, /--size 2T: a cache has 1T at most/);
  isRefused(t, await pcache('format', path, '--size', '100000001'), 2, /100000001 bytes are not a multiple of 512/);
  isRefused(t, await pcache('format', path, '--size', 'large'), 2, /--size 'large': not a size/);
  isRefused(t, await pcache('format', path, '--size', '96M', '--gc-percent', '91'), 2, /--gc-percent 91/);
  isRefused(t, await pcache('format', join(folder, 'none', 'new'), '--size', '96M'), 1, /new: no such file or directory/);
  isRefused(t, await pcache('format', folder, '--size', '96M'), 1, /is a directory/);
  t.deepEqual(readdirSync(folder), []);
});

test('format does it again over a clean cache, and not to another size', async (t) => {
  const cache = smallCache(t);
  useVolume(cache, (volume) => {
    volume.write(0, new Uint8Array(4096).fill(1));
    volume.writeBackAll();
  });
  isRefused(t, await pcache('format', cache.cachePath, '--size', '200M'), 2, /exists with 96 MiB; --size is for new files/);
  t.is((await pcache('format', cache.cachePath, '--size', '96M')).status, 0);
  t.like(linesOf(await pcache('--json', 'dump', cache.cachePath))[0], { keys: 0, ksets: 0 });
});

test('format leaves a cache with dirty data alone, flushed or only staged, unless it is forced', async (t) => {
  for (const crash of [false, true]) {
    const cache = smallCache(t);
    useVolume(cache, (volume) => volume.write(0, new Uint8Array(4096).fill(1)), { crash });
    const before = hashOf(cache.cachePath);
    const refusal = /holds a cache with 4 KiB of dirty data, which would be lost\nhint: pcache recover/;
    isRefused(t, await pcache('format', cache.cachePath), 1, refusal);
    t.is(hashOf(cache.cachePath), before);
    t.is((await pcache('format', cache.cachePath, '--force')).status, 0);
    t.like(linesOf(await pcache('--json', 'dump', cache.cachePath))[0], { keys: 0, staged_keys: 0, gateway_header: { state: 'clean' } });
  }
});

test('format leaves a damaged cache alone, since nobody knows what it holds', async (t) => {
  const cache = smallCache(t);
  useVolume(cache, (volume) => volume.write(0, new Uint8Array(4096).fill(1)));
  overwrite(cache.cachePath, SUPERBLOCK_OFFSET, new Uint8Array(24));
  const before = hashOf(cache.cachePath);
  isRefused(t, await pcache('format', cache.cachePath), 1, /holds a cache that can't be read, so it may have dirty data/);
  t.is(hashOf(cache.cachePath), before);
});

test('format leaves a cache with dirty data alone whose start is lost, as far as its samples see one', async (t) => {
  const cache = smallCache(t);
  useVolume(cache, (volume) => volume.write(0, new Uint8Array(MIB).fill(1)));
  overwrite(cache.cachePath, 0, new Uint8Array(4 * MIB));
  const before = hashOf(cache.cachePath);
  isRefused(t, await pcache('format', cache.cachePath), 1, /holds data that is not a cache \(at byte \d+\), which would be lost/);
  t.is(hashOf(cache.cachePath), before);
});

test('format leaves what is not a cache alone, says what it looks like, and gives a sparse file no blocks', async (t) => {
  const path = join(temporaryFolder(t), 'other');
  const kinds: [position: number, bytes: string, what: RegExp][] = [
    [0x438, '\x53\xef', /what looks like an ext2, ext3 or ext4 file system/],
    [0, 'XFSB', /what looks like an XFS file system/],
    [512, 'EFI PART', /what looks like a partition table/],
    [MIB - 1, 'x', /data that is not a cache \(at byte 1048575\)/],
    [SEGMENTS_OFFSET + 3 * MIB + 16383, 'x', /data that is not a cache \(at byte 3182591\)/],
    [SEGMENTS_OFFSET + 4 * SEGMENT_BYTES, 'x', /data that is not a cache \(at byte 67129344\)/],
    [CACHE_BYTES_MIN - 1, 'x', /data that is not a cache \(at byte 100663295\)/],
  ];
  for (const [position, bytes, what] of kinds) {
    writeFileSync(path, '');
    truncateSync(path, CACHE_BYTES_MIN);
    overwrite(path, position, Buffer.from(bytes, 'latin1'));
    const { blocks } = statSync(path);
    isRefused(t, await pcache('format', path), 1, what);
    t.is(statSync(path).blocks, blocks);
  }
  t.is((await pcache('format', path, '--force')).status, 0);
});

test('format takes an existing file of zeros, and refuses one that is too small', async (t) => {
  const path = join(temporaryFolder(t), 'zeros');
  writeFileSync(path, '');
  truncateSync(path, CACHE_BYTES_MIN - 512);
  isRefused(t, await pcache('format', path), 1, /96\.0 MiB \(100662784 bytes\): a cache needs 96 MiB or more/);
  truncateSync(path, SEGMENTS_OFFSET + 6 * SEGMENT_BYTES);
  t.is((await pcache('format', path)).status, 0);
  t.like(linesOf(await pcache('--json', 'dump', path))[0], { superblock: { flags: 0, seg_num: 6 } });
});

test('format refuses a cache in use, even if it is forced', async (t) => {
  const { cachePath } = smallCache(t);
  await holdInAnotherProcess(t, cachePath);
  isRefused(t, await pcache('format', cachePath, '--force'), 1, /in use by another pcache/);
});

const fullDisk = isRoot ? test : test.skip;
fullDisk(
  `format on a full disk is one line, and leaves no file${isRoot ? '' : ' (skipped: needs root to mount a small tmpfs)'}`,
  async (t) => {
    const folder = smallTmpfs(t, 64 * MIB);
    const path = join(folder, 'cache.pmem');
    isRefused(t, await pcache('format', path, '--size', '96M'), 1, /cache\.pmem: [\d.]+ MiB more are needed: no space left on device/);
    t.false(existsSync(path));
    writeFileSync(path, '');
    isRefused(t, await pcache('format', path, '--size', '96M'), 1, /no space left on device/);
    t.is(statSync(path).size, 0);
  },
);
