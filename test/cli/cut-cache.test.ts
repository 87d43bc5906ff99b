// A cache file that was cut, and one that was made longer after that: what is lost is named and never taken for zeros, and what is left can be written back.

import { copyFileSync, readFileSync, truncateSync } from 'node:fs';
import type { ExecutionContext } from 'ava';
import test from 'ava';
import { CACHE_BYTES_MIN, SEGMENTS_OFFSET, SEGMENT_BYTES } from '../../src/media/layout.js';
import { openVolume } from '../../src/library/sync-volume.js';
import { checkMount } from '../../src/gateway/mount-checks.js';
import { hashOf, isRefused, linesOf, pcache, smallCache, useVolume, type SmallCache } from './offline-support.js';

const MIB = 1024 * 1024;
const PASSES = 5;
const LAST_SEGMENT = SEGMENTS_OFFSET + 4 * SEGMENT_BYTES;

/** The volume is written over and over, until its payload is in the last segment; each MiB of the last pass has a byte of its own. */
function cacheFullOfData(t: ExecutionContext, dataCrc = false): SmallCache {
  const cache = smallCache(t, { dataCrc });
  useVolume(cache, (volume) => {
    for (let pass = 0; pass < PASSES; pass++) {
      for (let number = 0; number < 8; number++) volume.write(number * MIB, new Uint8Array(MIB).fill(pass * 16 + number + 1));
    }
    volume.flush();
  });
  return cache;
}

const lastByteOf = (number: number): number => (PASSES - 1) * 16 + number + 1;

function payloadPosition(path: string, number: number): number {
  return readFileSync(path).indexOf(Buffer.alloc(MIB, lastByteOf(number)), SEGMENTS_OFFSET);
}

/** MiB of the volume that are wholly those of the last pass on the backing device. */
function newestOn(path: string): number[] {
  const bytes = readFileSync(path);
  return [0, 1, 2, 3, 4, 5, 6, 7].filter((number) => {
    return bytes.subarray(number * MIB, (number + 1) * MIB).equals(Buffer.alloc(MIB, lastByteOf(number)));
  });
}

/** By its supervisor and its engine. */
function openedAsByMount({ cachePath, backingPath }: SmallCache): void {
  openVolume({ cachePath, backingPath }).close();
}

interface Record {
  findings: { severity: string; code: string; volume_offset?: number; volume_bytes?: number }[];
  next: string[];
  affected_bytes: number;
}

async function checkOf(path: string): Promise<Record & { status: number | null }> {
  const result = await pcache('--json', 'check', path);
  return { ...(linesOf(result)[0] as unknown as Record), status: result.status };
}

/** `cut`: MiB of the volume that are lost, the rest being there. */
async function isRecoveredBut(t: ExecutionContext, cache: SmallCache, lost: readonly number[]): Promise<void> {
  const { cachePath, backingPath } = cache;
  const { status, findings, next, affected_bytes: affected } = await checkOf(cachePath);
  t.is(status, 1);
  t.is(affected, lost.length * MIB);
  t.true(findings.some(({ severity, code }) => severity === 'error' && code === 'device-size'));
  const named = findings.filter(({ severity, code }) => severity === 'error' && code === 'data-lost');
  t.deepEqual(
    named.map(({ volume_offset: offset, volume_bytes: bytes }) => [offset, bytes]),
    [[lost[0]! * MIB, lost.length * MIB]],
  );
  t.false(next.join('\n').includes('truncate'), next.join('\n'));
  t.regex(next.at(-1)!, /^pcache recover \S+ BACKING writes everything but the ranges named above to the backing device/);
  const before = hashOf(cachePath);
  const dry = await pcache('--json', 'recover', cachePath, backingPath, '--dry-run');
  t.is(dry.status, 1, dry.stderr);
  const range = { volume_offset: lost[0]! * MIB, volume_bytes: lost.length * MIB, reason: 'damaged' };
  t.like(linesOf(dry)[0], { not_saved: [range] });
  const done = await pcache('--json', 'recover', cachePath, backingPath, '--salvage');
  t.is(done.status, 1, done.stderr);
  t.like(linesOf(done)[0], { not_saved: [range], cache_changed: false });
  t.deepEqual(
    newestOn(backingPath),
    [0, 1, 2, 3, 4, 5, 6, 7].filter((number) => !lost.includes(number)),
  );
  const start = lost[0]! * MIB;
  const end = start + lost.length * MIB;
  // What it was, or what an earlier write in the cache made of it.
  t.false(readFileSync(backingPath).subarray(start, end).includes(0), 'no zeros for what is lost');
  t.is(hashOf(cachePath), before);
}

test('of a cache that was cut recover writes what is left, and names the rest as check does', async (t) => {
  const cache = cacheFullOfData(t);
  const position = payloadPosition(cache.cachePath, 5);
  t.true(position > LAST_SEGMENT);
  truncateSync(cache.cachePath, position + MIB + 5000);
  const mountpoint = cache.folder;
  t.throws(() => checkMount(cache.cachePath, cache.backingPath, mountpoint, 'dev-fuse'), {
    code: 'damaged',
    message: /: it was cut short$/,
  });
  await isRecoveredBut(t, cache, [6, 7]);
});

test('a cache that was cut and made longer since is refused as it is, after any number of looks', async (t) => {
  const cache = cacheFullOfData(t);
  const { cachePath } = cache;
  truncateSync(cachePath, payloadPosition(cachePath, 5) + MIB + 5000);
  truncateSync(cachePath, CACHE_BYTES_MIN);
  for (let look = 0; look < 2; look++) {
    t.throws(() => openedAsByMount(cache), {
      code: 'damaged',
      message: /^keys of the log refer to \d+ bytes at the end of the file that were never written: it was cut and made longer since$/,
    });
    t.is((await pcache('status', cachePath)).status, 0);
    const repair = await pcache('check', cachePath, '--repair', '--yes');
    t.is(repair.status, 1);
    t.regex(repair.stdout, /^\S+: can not be repaired safely, so nothing is changed\n/);
  }
  await isRecoveredBut(t, cache, [6, 7]);
});

test('segments that were cut off and came back as zeros are not repaired to zeros', async (t) => {
  const cache = cacheFullOfData(t);
  const { cachePath } = cache;
  // Less than a cache needs.
  truncateSync(cachePath, LAST_SEGMENT - MIB);
  const short = await checkOf(cachePath);
  t.is(short.affected_bytes, 8 * MIB);
  truncateSync(cachePath, CACHE_BYTES_MIN);
  t.throws(() => openedAsByMount(cache), {
    code: 'damaged',
    message: /^nothing of the file was ever written from byte \d+ on: /,
  });
  t.regex((await pcache('check', cachePath, '--repair', '--yes')).stdout, /^\S+: can not be repaired safely/);
  isRefused(t, await pcache('format', cachePath), 1, /holds a cache that can't be read/);
  await isRecoveredBut(t, cache, [0, 1, 2, 3, 4, 5, 6, 7]);
});

test('with data CRC what was cut off is found as damaged data, and a mount needs no look at the file', async (t) => {
  const cache = cacheFullOfData(t, true);
  const { cachePath } = cache;
  truncateSync(cachePath, payloadPosition(cachePath, 5) + MIB + 5000);
  truncateSync(cachePath, CACHE_BYTES_MIN);
  const { status, findings, affected_bytes: affected } = await checkOf(cachePath);
  t.is(status, 1);
  t.is(affected, 2 * MIB);
  t.deepEqual([...new Set(findings.filter(({ severity }) => severity === 'error').map(({ code }) => code))], ['data-crc']);
  useVolume(cache, (volume) => {
    t.is(volume.read(5 * MIB, 1)[0], lastByteOf(5));
    t.throws(() => volume.read(7 * MIB, 512), { code: 'corrupt-data' });
  });
});

test('what was never written at the end is no matter where no key refers to it', async (t) => {
  const cache = smallCache(t, { dataCrc: false });
  useVolume(cache, (volume) => volume.write(0, new Uint8Array(MIB).fill(1)), { crash: true });
  const copy = `${cache.cachePath}.copy`;
  copyFileSync(cache.cachePath, copy);
  for (const path of [cache.cachePath, copy]) {
    t.is((await pcache('check', path)).status, 0);
    useVolume({ ...cache, cachePath: path }, (volume) => t.is(volume.read(0, 1)[0], 1), { crash: true });
  }
});
