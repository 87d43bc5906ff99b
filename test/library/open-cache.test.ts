// `openCache` as a program uses it: what it reads and writes, in which order, with which errors.

import { readFileSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import test from 'ava';
import { PcacheError, createCache, openCache, openVolume } from '../../src/index.js';
import type { PcacheErrorCode } from '../../src/index.js';
import { CACHE_BYTES, MIB, areAlike, filled, files, integers, opened } from './library-support.js';

async function rejects(t: { is(a: unknown, b: unknown): unknown }, promise: Promise<unknown>, code: PcacheErrorCode): Promise<void> {
  const outcome = await promise.then(
    () => 'fulfilled',
    (error: unknown) => (error instanceof PcacheError ? error.code : error),
  );
  t.is(outcome, code);
}

test.serial('what is written is read back, in every alignment', async (t) => {
  const volume = await opened(t, files(t));
  for (const [offset, length] of [
    [0, 512],
    [4096, 4096],
    [1, 1],
    [511, 2],
    [1000, 100_000],
    [4 * MIB - 700, 1401],
    [100 * MIB + 3, 3 * MIB],
    [256 * MIB - 5, 5],
  ] as const) {
    const bytes = filled(length, (offset % 250) + 1);
    await volume.write(offset, bytes);
    t.true(areAlike(await volume.read(offset, length), bytes), `${length} at ${offset}`);
  }
  t.deepEqual([...(await volume.read(0, 0))], []);
  await volume.write(9, new Uint8Array(0));
});

test.serial('random reads and writes, many at a time and over three times what the cache holds, agree with plain memory', async (t) => {
  const paths = files(t);
  const volume = await opened(t, paths);
  const model = Buffer.alloc(volume.sizeBytes);
  const next = integers(7);
  for (let round = 0; round < 60; round++) {
    const ranges = Array.from({ length: 12 }, (_, lane) => {
      // Each lane has a part of the volume of its own, so that it is known what a read sees.
      const length = next(4) === 0 ? 1 + next(2 * MIB) : 512 * (1 + next(256));
      const start = lane * 20 * MIB;
      const offset = start + (next(2) === 0 ? next(18 * MIB) : 512 * next(36_000));
      return { offset, length, isWrite: next(3) > 0, value: 1 + next(255) };
    });
    await Promise.all(
      ranges.map(async ({ offset, length, isWrite, value }) => {
        if (isWrite) {
          model.fill(value, offset, offset + length);
          await volume.write(offset, filled(length, value));
        } else {
          t.true(areAlike(await volume.read(offset, length), model.subarray(offset, offset + length)), `${length} at ${offset}`);
        }
      }),
    );
  }
  for (let offset = 0; offset < model.length; offset += 8 * MIB) {
    t.true(areAlike(await volume.read(offset, 8 * MIB), model.subarray(offset, offset + 8 * MIB)), `at ${offset}`);
  }
  t.true(volume.stats().counters.gc_segments > 0, 'the cache was too small for all of it');
  await volume.writeBackAll();
  t.is(volume.dirtyBytes, 0);
  t.true(areAlike(readFileSync(paths.backingPath), model));
});

test.serial('calls about the same bytes take effect in the order in which they are made', async (t) => {
  const volume = await opened(t, files(t));
  const next = integers(3);
  const model = Buffer.alloc(16 * MIB);
  const calls: Promise<unknown>[] = [];
  // Nothing is waited for: aligned writes go one way, parts of sectors whose rest is not cached another.
  for (let call = 0; call < 600; call++) {
    const isAligned = next(2) === 0;
    const offset = isAligned ? 512 * next(20_000) : next(10 * MIB);
    const length = isAligned ? 512 * (1 + next(100)) : 1 + next(50_000);
    model.fill(call % 251, offset, offset + length);
    calls.push(volume.write(offset, filled(length, call % 251)));
    if (call % 7 === 0) {
      const expected = Buffer.from(model.subarray(offset, offset + length));
      calls.push(volume.read(offset, length).then((bytes) => t.is(bytes.length, expected.length)));
    }
    if (call % 50 === 0) {
      model.fill(0, offset, offset + 5000);
      calls.push(volume.discard(offset, 5000), volume.flush());
    }
  }
  await Promise.all(calls);
  t.true(areAlike(await volume.read(0, model.length), model));
});

test.serial('memory that was given to write may be used again at once', async (t) => {
  const volume = await opened(t, files(t));
  const memory = Buffer.from('as it was at the call');
  const written = volume.write(10, memory);
  memory.fill(0);
  await written;
  t.is(Buffer.from(await volume.read(10, memory.length)).toString(), 'as it was at the call');
});

test.serial('shared memory can be written, and what is read is the reader alone', async (t) => {
  const volume = await opened(t, files(t));
  const shared = new Uint8Array(new SharedArrayBuffer(8192)).subarray(100, 5000);
  shared.fill(9);
  await volume.write(77, shared);
  const one = await volume.read(77, 4900);
  t.true(areAlike(one, shared));
  one.fill(1);
  t.true(areAlike(await volume.read(77, 4900), shared));
});

test.serial('a discarded range reads as zeros, also after the cache was closed and opened again', async (t) => {
  const paths = files(t);
  const volume = await opened(t, paths);
  await volume.write(0, filled(20 * MIB, 5));
  await volume.discard(1000, 9 * MIB + 1);
  const expected = filled(20 * MIB, 5).fill(0, 1000, 1000 + 9 * MIB + 1);
  t.true(areAlike(await volume.read(0, 20 * MIB), expected));
  await volume.close();
  t.true(areAlike(await (await opened(t, paths)).read(0, 20 * MIB), expected));
});

test.serial('what is written over and over again is dirty once at most', async (t) => {
  const volume = await opened(t, files(t, 64 * MIB));
  for (let round = 1; round <= 16; round++) await volume.write(0, filled(MIB, round));
  // Writing back goes on meanwhile; there is no more than this.
  t.true(volume.dirtyBytes <= MIB && volume.stats().dirtyBytes <= MIB, `${volume.dirtyBytes}`);
  await volume.write(4 * MIB, filled(512, 1));
  await volume.writeBackAll();
  t.is(volume.dirtyBytes, 0);
});

test.serial('after writeBackAll the backing file alone has everything', async (t) => {
  const paths = files(t, 64 * MIB);
  const volume = await opened(t, paths);
  await volume.write(12_345, filled(3 * MIB, 8));
  await volume.writeBackAll();
  t.is(volume.dirtyBytes, 0);
  t.true(areAlike(readFileSync(paths.backingPath).subarray(12_345, 12_345 + 3 * MIB), filled(3 * MIB, 8)));
});

test.serial('stats count what was done', async (t) => {
  const volume = await opened(t, files(t));
  await volume.write(0, filled(4096, 1));
  await volume.read(0, 4096);
  await volume.read(MIB, 4096);
  await volume.flush();
  const stats = volume.stats();
  t.like(stats, { state: 'open', lastError: undefined, sizeBytes: 256 * MIB, segments: 5, gcPercent: 70, dataCrc: false, readOnly: false });
  t.like(stats.counters, { reads: 2, read_hits: 1, read_misses: 1, writes: 1, write_bytes: 4096, flushes: 1 });
  t.true(stats.cachedBytes >= 4096 && stats.segmentsUsed >= 2);
});

test.serial('wrong arguments are rejected with usage, and change nothing', async (t) => {
  const paths = files(t, MIB);
  const volume = await opened(t, paths);
  for (const [offset, length] of [
    [-1, 1],
    [0.5, 1],
    [0, -1],
    [0, 1.5],
    [MIB, 1],
    [MIB - 1, 2],
    [NaN, 1],
    [0, Infinity],
  ] as const) {
    await rejects(t, volume.read(offset, length), 'usage');
    await rejects(t, volume.discard(offset, length), 'usage');
  }
  await rejects(t, volume.write(MIB - 1, filled(2, 1)), 'usage');
  await rejects(t, volume.write(0, 'text' as unknown as Uint8Array), 'usage');
  await rejects(t, openCache({ ...paths, cachePath: '' }), 'usage');
  t.is(volume.stats().counters.writes, 0);
});

test.serial('what can not be opened is refused with the code that says why, and left alone', async (t) => {
  const paths = files(t);
  await rejects(t, openCache(paths), 'not-found');
  await rejects(t, openCache({ ...paths, create: { sizeBytes: MIB } }), 'too-small');
  await rejects(t, openCache({ ...paths, create: { sizeBytes: CACHE_BYTES, gcPercent: 91 } }), 'usage');
  const missing = { ...paths, backingPath: `${paths.backingPath}.missing` };
  await rejects(t, openCache({ ...missing, create: { sizeBytes: CACHE_BYTES } }), 'not-found');
  t.throws(() => statSync(paths.cachePath), { code: 'ENOENT' });
  writeFileSync(paths.cachePath, Buffer.alloc(CACHE_BYTES, 1));
  await rejects(t, openCache({ ...paths, create: { sizeBytes: CACHE_BYTES } }), 'not-a-cache');
  t.true(readFileSync(paths.cachePath).every((byte) => byte === 1));
});

test.serial('a cache is locked while it is open, and free again when close returns', async (t) => {
  const paths = files(t);
  const volume = await opened(t, paths);
  await rejects(t, openCache(paths), 'in-use');
  t.throws(() => openVolume(paths), { code: 'in-use' });
  await volume.close();
  const again = openVolume(paths);
  again.close();
});

test.serial('another backing file is refused, and one of the same size is accepted with adopt', async (t) => {
  const paths = files(t, 64 * MIB);
  await (await opened(t, paths)).close();
  const other = files(t, 64 * MIB).backingPath;
  await rejects(t, openCache({ ...paths, backingPath: other }), 'mismatch');
  await (await opened(t, paths, { backingPath: other, adopt: true })).close();
  truncateSync(other, 65 * MIB);
  await rejects(t, openCache({ ...paths, backingPath: other, adopt: true }), 'mismatch');
});

test.serial('a read-only cache is read, and refuses every change', async (t) => {
  const paths = files(t);
  const writer = await opened(t, paths);
  await writer.write(5, filled(5000, 3));
  await writer.close();
  const before = readFileSync(paths.cachePath);
  const volume = await opened(t, paths, { readOnly: true });
  t.true(areAlike(await volume.read(5, 5000), filled(5000, 3)));
  t.true(areAlike(await volume.read(100 * MIB, 5000), filled(5000, 0)));
  for (const change of [volume.write(0, filled(1, 1)), volume.discard(0, 1), volume.flush(), volume.writeBackAll()])
    await rejects(t, change, 'permission');
  await volume.close();
  t.true(areAlike(readFileSync(paths.cachePath), before));
});

test.serial('close waits for what was called before, may be called again, and everything after it is rejected', async (t) => {
  const paths = files(t);
  const volume = await opened(t, paths);
  const written = Promise.all(Array.from({ length: 50 }, (_, i) => volume.write(i * MIB + 1, filled(1000, i + 1))));
  const closing = volume.close();
  await rejects(t, volume.read(0, 1), 'closed');
  await Promise.all([closing, volume.close()]);
  await written;
  await rejects(t, volume.flush(), 'closed');
  t.is(volume.stats().state, 'closed');
  const again = await opened(t, paths);
  for (let i = 0; i < 50; i++) t.is((await again.read(i * MIB + 1000, 1))[0], i + 1);
});

test.serial('await using closes', async (t) => {
  const paths = files(t);
  {
    await using volume = await openCache({ ...paths, create: { sizeBytes: CACHE_BYTES, dataCrc: true } });
    await volume.write(0, filled(1, 1));
    t.true(volume.stats().dataCrc);
  }
  const again = openVolume(paths);
  t.is(again.read(0, 1)[0], 1);
  again.close();
});

test.serial('a cache that createCache made can be opened, and both interfaces see the same volume', async (t) => {
  const paths = files(t);
  createCache(paths.cachePath, CACHE_BYTES, { gcPercent: 50 });
  const volume = openVolume(paths);
  volume.write(3, filled(100_000, 4));
  volume.close();
  const cache = await opened(t, paths);
  t.true(areAlike(await cache.read(3, 100_000), filled(100_000, 4)));
  t.is(cache.stats().gcPercent, 50);
});

test.serial('several caches can be open in one program', async (t) => {
  const volumes = await Promise.all([opened(t, files(t)), opened(t, files(t))]);
  await Promise.all(volumes.map((volume, i) => volume.write(0, filled(4096, i + 1))));
  for (const [i, volume] of volumes.entries()) t.is((await volume.read(4095, 1))[0], i + 1);
});
