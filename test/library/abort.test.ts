// Aborting calls of an open cache: what the caller hears, and what has become of the call.

import { getEventListeners } from 'node:events';
import test from 'ava';
import { PcacheError, openCache } from '../../src/index.js';
import { whyNoFuse } from '../fuse/memory-mount.js';
import { FaultMount } from '../support/fault-mount.js';
import { waitUntil } from '../support/mounted-commands.js';
import { MIB, areAlike, filled, files, integers, opened } from './library-support.js';

const noFuse = whyNoFuse();
const fuseTest = noFuse === undefined ? test.serial : test.skip;
const fuseTitle = (title: string): string => (noFuse === undefined ? title : `${title} (skipped: ${noFuse})`);

async function reasonOf(promise: Promise<unknown>): Promise<unknown> {
  return await promise.then(
    () => 'fulfilled',
    (error: unknown) => error,
  );
}

test.serial('an aborted call is rejected with the reason of the signal', async (t) => {
  const volume = await opened(t, files(t));
  const reason = new Error('enough');
  const signal = AbortSignal.abort(reason);
  for (const call of [
    volume.read(0, 1, { signal }),
    volume.write(0, filled(1, 1), { signal }),
    volume.discard(0, 1, { signal }),
    volume.flush({ signal }),
    volume.writeBackAll({ signal }),
  ]) {
    t.is(await reasonOf(call), reason);
  }
  const controller = new AbortController();
  const calls = [volume.read(0, 1, { signal: controller.signal }), volume.write(0, filled(1, 1), { signal: controller.signal })];
  controller.abort(reason);
  t.deepEqual(await Promise.all(calls.map(reasonOf)), [reason, reason]);
});

test.serial('a write that no thread had begun never happens', async (t) => {
  const volume = await opened(t, files(t));
  const controller = new AbortController();
  const write = volume.write(0, filled(4096, 1), { signal: controller.signal });
  controller.abort();
  t.is(((await reasonOf(write)) as Error).name, 'AbortError');
  await volume.write(8192, filled(1, 1));
  t.is((await volume.read(0, 1))[0], 0);
  t.is(volume.stats().counters.writes, 1);
});

test.serial('an aborted write is whole, or not there, or its first sectors are; and later writes win', async (t) => {
  const volume = await opened(t, files(t));
  const next = integers(11);
  let abortedCount = 0;
  for (let round = 0; round < 120; round++) {
    const offset = next(200 * MIB);
    const length = 1 + next(2 * MIB);
    await volume.write(offset, filled(length, 1));
    const controller = new AbortController();
    const write = volume.write(offset, filled(length, 2), { signal: controller.signal });
    if (round % 3 > 0) await new Promise((resolve) => setImmediate(resolve));
    controller.abort();
    if ((await reasonOf(write)) === 'fulfilled') continue;
    abortedCount++;
    if (round % 2 === 0) {
      await volume.write(offset, filled(length, 3));
      t.true(areAlike(await volume.read(offset, length), filled(length, 3)));
    } else {
      const found = await volume.read(offset, length);
      const end = found.indexOf(1) < 0 ? length : found.indexOf(1);
      t.true(end === 0 || end === length || (offset + end) % 512 === 0);
      t.true(areAlike(found, filled(length, 1).fill(2, 0, end)), `${length} at ${offset}`);
    }
  }
  t.true(abortedCount > 10);
});

test.serial('a signal that is used for many calls has one listener, and is left without', async (t) => {
  const volume = await opened(t, files(t));
  const { signal } = new AbortController();
  const calls = Promise.all(Array.from({ length: 5000 }, (_, i) => volume.write(i * 512, filled(512, 1), { signal })));
  t.is(getEventListeners(signal, 'abort').length, 1);
  await calls;
  t.is(getEventListeners(signal, 'abort').length, 0);
});

test.serial('opening can be aborted, and lets go of the devices', async (t) => {
  const paths = files(t);
  t.is(await reasonOf(openCache({ ...paths, signal: AbortSignal.abort('no') })), 'no');
  await (await opened(t, paths)).close();
  const controller = new AbortController();
  const opening = openCache({ ...paths, signal: controller.signal });
  controller.abort('changed my mind');
  t.is(await reasonOf(opening), 'changed my mind');
  await waitUntil(async () => {
    const outcome = await openCache(paths).catch((error: unknown) => (error as PcacheError).code);
    if (typeof outcome === 'string') return false;
    await outcome.close();
    return true;
  }, 'the devices are free again');
  t.pass();
});

fuseTest(fuseTitle('hits and writes go on while the backing device hangs, and calls that wait for it can be aborted'), async (t) => {
  const device = await FaultMount.start(t, { sizeBytes: 64 * MIB });
  const volume = await opened(t, { ...files(t), backingPath: device.file });
  await volume.write(0, filled(MIB, 1));
  await volume.writeBackAll();
  await device.set({ hangs: 1 });
  const controller = new AbortController();
  const { signal } = controller;
  const missed = [volume.read(32 * MIB, 4096, { signal }), volume.read(40 * MIB, 4096, { signal })];
  const kept = volume.read(48 * MIB, 4096);
  const part = volume.write(50 * MIB + 1, filled(1, 7));
  await waitUntil(async () => (await device.counts()).hanging > 0, 'a read hangs');
  t.true(areAlike(await volume.read(0, MIB), filled(MIB, 1)));
  controller.abort();
  t.deepEqual(
    (await Promise.all(missed.map(reasonOf))).map((error) => (error as Error).name),
    ['AbortError', 'AbortError'],
  );
  const closing = volume.close({ signal: AbortSignal.timeout(50) });
  t.is(((await reasonOf(closing)) as Error).name, 'TimeoutError');
  await device.heal();
  t.true(areAlike(await kept, filled(4096, 0)));
  await part;
  await volume.close();
});

fuseTest(fuseTitle('a write that waits for room can be aborted, and goes on when there is some'), async (t) => {
  const device = await FaultMount.start(t, { sizeBytes: 256 * MIB });
  const volume = await opened(t, { ...files(t), backingPath: device.file });
  await device.set({ delayMs: 20 });
  const controller = new AbortController();
  const outcomes = await Promise.all(
    Array.from({ length: 160 }, async (_, i) => {
      const outcome = await reasonOf(volume.write(i * MIB, filled(MIB, i + 1), i < 80 ? {} : { signal: controller.signal }));
      if (i === 60) controller.abort();
      return outcome;
    }),
  );
  t.deepEqual([...new Set(outcomes.slice(0, 80))], ['fulfilled']);
  t.true(outcomes.slice(80).some((outcome) => outcome !== 'fulfilled'));
  await device.heal();
  for (const [i, outcome] of outcomes.entries()) {
    if (outcome === 'fulfilled') t.true(areAlike(await volume.read(i * MIB, MIB), filled(MIB, i + 1)), `at ${i} MiB`);
  }
});
