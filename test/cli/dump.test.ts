import { readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import type { InlineVolume } from '../../src/gateway/inline-volume.js';
import { PRINT_BYTES_MAX, recordsCrc } from '../../src/media/backing-print.js';
import { pcacheCrc } from '../../src/media/crc32c.js';
import { SEGMENTS_OFFSET, SEGMENT_BYTES, SUPERBLOCK_OFFSET } from '../../src/media/layout.js';
import { goldenExpectations } from '../support/golden.js';
import { temporaryFolder } from '../support/tmp.js';
import {
  flipByte,
  golden,
  hashOf,
  holdInAnotherProcess,
  isRefused,
  linesOf,
  overwrite,
  pcache,
  pcachePiped,
  smallCache,
  useVolume,
} from './offline-support.js';

for (const expected of goldenExpectations) {
  test.serial(`dump --json of the kernel's ${expected.name} says what expected.json says`, async (t) => {
    const { cachePath } = golden(t, expected.name);
    const result = await pcache('dump', cachePath, '--json');
    t.is(result.stderr, '');
    t.is(result.status, 0);
    const [record, ...more] = linesOf(result);
    t.deepEqual(more, []);
    const { superblock, cache_info, key_tail, dirty_tail, key_head, ksets, last_ksets, keys, clean_keys, generations } = expected;
    t.like(record, { superblock, cache_info, key_tail, dirty_tail, key_head, ksets, last_ksets, keys, clean_keys, problems: [] });
    t.deepEqual(record?.generations, generations);
  });
}

test.serial('dump prints each segment, kset and key if asked, all of them through a pipe', async (t) => {
  const { cachePath } = golden(t, 'mixed-dirty');
  const records = linesOf(await pcache('--json', 'dump', cachePath, '--segments', '--ksets', '--keys'));
  const count = (kind: string): number => records.filter(({ record }) => record === kind).length;
  t.deepEqual([count('cache'), count('segment'), count('kset'), count('key')], [1, 31, 105, 2042]);
  t.is(records.filter(({ record, clean }) => record === 'key' && clean === true).length, 287);
  const bySegment = records.filter(({ record }) => record === 'segment').map(({ keys }) => Number(keys));
  t.is(
    bySegment.reduce((sum, keys) => sum + keys, 0),
    2042,
  );
  const text = await pcache('dump', cachePath, '--segments', '--ksets', '--keys');
  t.is(text.stdout.split('\n').filter((line) => line.startsWith('key ')).length, 2042);
});

test.serial('a reader who goes away ends dump without a word', async (t) => {
  const { cachePath } = golden(t, 'log-wrap');
  const result = await pcachePiped(['dump', cachePath, '--keys'], 'head -1');
  t.regex(result.stdout, /^cache [^\n]+\n$/);
  t.is(result.stderr, 'status 0\n');
});

test('dump shows keys that are staged, and changes nothing', async (t) => {
  const cache = smallCache(t);
  useVolume(
    cache,
    (volume) => {
      volume.write(0, new Uint8Array(4096).fill(1));
      volume.flush();
      volume.write(8192, new Uint8Array(512).fill(2));
      volume.write(12288, new Uint8Array(512).fill(3));
    },
    { crash: true },
  );
  const before = hashOf(cache.cachePath);
  const [record] = linesOf(await pcache('--json', 'dump', cache.cachePath));
  t.like(record, { keys: 1, ksets: 1, staged_keys: 2, dirty_key_bytes: 4096, problems: [] });
  t.like(record?.gateway_header, { state: 'open', volume_bytes: 8 * 1024 * 1024, uuid: '05050505-0505-0505-0505-050505050505' });
  t.is(hashOf(cache.cachePath), before);
});

test('dump shows the print of the backing device that a close leaves, and that there is none while the cache is open', async (t) => {
  const cache = smallCache(t);
  const write = (volume: InlineVolume): void => volume.write(0, new Uint8Array(4096).fill(1));
  useVolume(cache, write);
  const { mtimeNs } = statSync(cache.backingPath, { bigint: true });
  const expected = {
    bytes: PRINT_BYTES_MAX,
    crc: pcacheCrc(readFileSync(cache.backingPath).subarray(0, PRINT_BYTES_MAX)),
    seconds: Number(mtimeNs / 1_000_000_000n),
    nanoseconds: Number(mtimeNs % 1_000_000_000n),
    records_crc: recordsCrc(readFileSync(cache.cachePath).subarray(0, SEGMENTS_OFFSET)),
  };
  const [record] = linesOf(await pcache('--json', 'dump', cache.cachePath));
  t.deepEqual((record?.gateway_header as Record<string, unknown>).backing_print, expected);
  const { stdout } = await pcache('dump', cache.cachePath);
  const line =
    /^print +of the backing device at the close: crc 0x([0-9a-f]{8}) of its first 262144 bytes, last changed at (\S+); records crc 0x([0-9a-f]{8})$/m;
  const [, crc, changed, records] = line.exec(stdout) ?? [];
  t.deepEqual(
    [crc, records].map((text) => Number.parseInt(text ?? '', 16)),
    [expected.crc, expected.records_crc],
  );
  t.is(changed, new Date(expected.seconds * 1000).toISOString().replace('000Z', `${String(expected.nanoseconds).padStart(9, '0')}Z`));

  useVolume(cache, write, { crash: true });
  t.like(linesOf(await pcache('--json', 'dump', cache.cachePath))[0]?.gateway_header, { state: 'open', backing_print: null });
  t.regex((await pcache('dump', cache.cachePath)).stdout, /^print +none of the backing device$/m);
});

test('dump of damaged media prints what can be read, names the rest, and ends with status 1', async (t) => {
  const cache = smallCache(t);
  useVolume(cache, (volume) => volume.write(0, new Uint8Array(4096).fill(1)));
  overwrite(cache.cachePath, SUPERBLOCK_OFFSET, new Uint8Array(4096));
  for (const copy of [0, 1]) flipByte(cache.cachePath, SEGMENTS_OFFSET + 2 * SEGMENT_BYTES + copy * 4096 + 9);
  const result = await pcache('--json', 'dump', cache.cachePath, '--segments');
  t.is(result.status, 1);
  const [record, ...segments] = linesOf(result);
  t.like(record, {
    superblock: null,
    keys: 1,
    problems: ['superblock: no superblock', 'segment chain: segment 2, place 2: no valid copy of segment_info'],
  });
  t.is(segments.length, 5);
  t.is(result.stderr.split('\n').filter((line) => line.startsWith('{"warning":')).length, 2);
});

test('dump of a cache in use is refused, and works with --live', async (t) => {
  const { cachePath } = smallCache(t);
  const pid = await holdInAnotherProcess(t, cachePath);
  isRefused(t, await pcache('dump', cachePath), 1, new RegExp(`cache\\.pmem: in use by another pcache \\(pid ${pid}\\)`));
  const live = await pcache('--json', 'dump', cachePath, '--live', '--keys', '--ksets');
  t.is(live.status, 0);
  t.like(linesOf(live)[0], { keys: 0, problems: [] });
});

test('dump of what is no cache says so', async (t) => {
  const folder = temporaryFolder(t);
  const path = join(folder, 'file');
  isRefused(t, await pcache('dump', path), 1, /file: no such file or directory/);
  writeFileSync(path, 'short');
  isRefused(t, await pcache('dump', path), 1, /file: 5 B: a cache needs 96 MiB or more/);
  const { cachePath } = smallCache(t);
  overwrite(cachePath, 0, new Uint8Array(SEGMENTS_OFFSET));
  isRefused(t, await pcache('dump', cachePath), 1, /cache\.pmem: not a cache: no superblock/);
});
