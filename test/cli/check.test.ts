import { readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import { CACHE_BYTES_MIN, DIRTY_TAIL_OFFSETS, SEGMENTS_OFFSET } from '../../src/media/layout.js';
import {
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

interface FindingRecord {
  severity: string;
  code: string;
  place: string;
  message: string;
  volume_offset?: number;
  volume_bytes?: number;
}

async function findingsOf(...args: string[]): Promise<{ status: number | null; findings: FindingRecord[] }> {
  const result = await pcache('--json', 'check', ...args);
  return { status: result.status, findings: linesOf(result)[0]?.findings as FindingRecord[] };
}

test.serial("check finds nothing wrong with the kernel's largest log", async (t) => {
  const { cachePath, backingPath } = golden(t, 'log-wrap');
  const before = hashOf(cachePath);
  const result = await pcache('check', cachePath, '--backing', backingPath);
  t.is(result.status, 0);
  t.regex(result.stdout, /no problems found \(3484 ksets, 442678 keys, /);
  t.is(hashOf(cachePath), before);
});

/** 4 KiB at 0 on the backing device, 4 KiB at 64 KiB in the cache alone. */
function usedCache(cache: SmallCache): void {
  useVolume(cache, (volume) => {
    volume.write(0, new Uint8Array(4096).fill(1));
    volume.writeBackAll();
    volume.write(65536, new Uint8Array(4096).fill(2));
  });
}

function payloadPosition(path: string, byte: number): number {
  return readFileSync(path).indexOf(Buffer.alloc(4096, byte), SEGMENTS_OFFSET);
}

test('check names damaged bytes of the volume, and whether the backing device has them', async (t) => {
  const cache = smallCache(t);
  usedCache(cache);
  t.deepEqual(await findingsOf(cache.cachePath, '--backing', cache.backingPath), { status: 0, findings: [] });
  flipByte(cache.cachePath, payloadPosition(cache.cachePath, 1) + 4000);
  const copy = await findingsOf(cache.cachePath);
  t.is(copy.status, 0, 'nothing is lost, and nothing needs to be done');
  t.regex((await pcache('check', cache.cachePath)).stdout, /\nnext: nothing needs to be done: the cache can be used\n$/);
  t.like(copy.findings, [{ severity: 'warning', code: 'data-crc', place: 'volume', volume_offset: 0, volume_bytes: 4096 }]);
  flipByte(cache.cachePath, payloadPosition(cache.cachePath, 2));
  const only = await findingsOf(cache.cachePath);
  t.like(only.findings[1], { severity: 'error', code: 'data-crc', volume_offset: 65536, volume_bytes: 4096 });
  const text = await pcache('check', cache.cachePath);
  t.is(text.status, 1);
  const lines = text.stdout.split('\n');
  const copy0 =
    "warning  volume at 0 B, 4 KiB long (bytes 0 to 4095): the cache's copy is damaged; the backing device has the data: nothing is lost";
  t.is(lines[0], copy0);
  t.regex(lines[1]!, /^error {4}volume at 64 KiB, 4 KiB long \(bytes 65536 to 69631\): damaged, and this is the only copy: /);
  t.regex(lines[2]!, /: 1 error, 1 warning; 4 KiB of the volume in 1 range concerned \([^)]+\)$/);
  t.regex(lines[3]!, /^next: everything but the ranges named above can be mounted, or written back with pcache recover/);
  t.is(lines.length, 5);
});

test('check reports a bad copy of a record, and then both', async (t) => {
  const cache = smallCache(t);
  usedCache(cache);
  flipByte(cache.cachePath, DIRTY_TAIL_OFFSETS[0] + 9);
  const one = await findingsOf(cache.cachePath);
  t.is(one.status, 1);
  t.like(one.findings, [{ severity: 'warning', code: 'record-copy', place: 'dirty_tail copy 0' }]);
  flipByte(cache.cachePath, DIRTY_TAIL_OFFSETS[1] + 9);
  const both = await findingsOf(cache.cachePath);
  t.like(both.findings, [{ severity: 'error', code: 'tail', place: 'dirty_tail' }]);
});

test('check says if the cache belongs to another backing device', async (t) => {
  const cache = smallCache(t);
  usedCache(cache);
  const other = join(cache.folder, 'other.img');
  writeFileSync(other, '');
  truncateSync(other, 4 * 1024 * 1024);
  const { status, findings } = await findingsOf(cache.cachePath, '--backing', other);
  t.is(status, 1);
  t.deepEqual(
    findings.map(({ severity, code }) => [severity, code]),
    [
      ['error', 'binding'],
      ['error', 'binding'],
    ],
  );
  t.regex(findings[0]!.message, /belongs to one of 8388608 bytes, this one has 4194304/);
});

test('check of the wrong files is one line', async (t) => {
  const { folder, cachePath, backingPath } = smallCache(t);
  isRefused(t, await pcache('check', join(folder, 'none')), 1, /none: no such file/);
  isRefused(
    t,
    await pcache('check', backingPath, '--backing', cachePath),
    1,
    /backing\.img: not a cache, but .*cache\.pmem is one: wrong order/,
  );
  isRefused(t, await pcache('check', backingPath), 1, /backing\.img: 8 MiB: a cache needs 96 MiB or more/);
  await holdInAnotherProcess(t, cachePath);
  isRefused(t, await pcache('check', cachePath), 1, /in use by another pcache/);
});

test('check of a device without anything of a cache says that it is none', async (t) => {
  const { folder, cachePath } = smallCache(t);
  overwrite(cachePath, 0, new Uint8Array(SEGMENTS_OFFSET));
  const says =
    /cache\.pmem: not a cache: no superblock\nhint: [^\n]* not empty: there is something at byte 20480\. pcache format takes it with --force only\.\n/;
  isRefused(t, await pcache('check', cachePath), 1, says);
  const empty = join(folder, 'empty');
  writeFileSync(empty, '');
  truncateSync(empty, CACHE_BYTES_MIN);
  isRefused(t, await pcache('check', empty), 1, /empty: not a cache: no superblock\nhint: pcache format makes one\.\n/);
});
