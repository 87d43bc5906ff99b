// What a program sees when a device fails, when a thread fails, and what is left when the program dies.

import { fork, type ChildProcess } from 'node:child_process';
import { setTimeout as delay } from 'node:timers/promises';
import test from 'ava';
import { openCache, openVolume } from '../../src/index.js';
import { formatCache } from '../../src/cache/format.js';
import { errno } from '../../src/device/errno-codes.js';
import { openCacheDevice } from '../../src/device/mapped-cache-device.js';
import { CachedVolumeClient } from '../../src/library/cached-volume.js';
import type { Request } from '../../src/library/messages.js';
import { ThreadGroup } from '../../src/library/thread-group.js';
import { whyNoFuse } from '../fuse/memory-mount.js';
import { FaultMount } from '../support/fault-mount.js';
import { waitUntil, within } from '../support/mounted-commands.js';
import type { ChildMessage } from './library-child.js';
import { CACHE_BYTES, MIB, areAlike, filled, files, opened } from './library-support.js';

const noFuse = whyNoFuse();
const fuseTest = noFuse === undefined ? test.serial : test.skip;
const fuseTitle = (title: string): string => (noFuse === undefined ? title : `${title} (skipped: ${noFuse})`);
const child = new URL('./library-child.js', import.meta.url);

/** Makes a cache of a file that is there. */
function format(path: string): void {
  const device = openCacheDevice(path);
  formatCache(device, { dataCrc: false, gcPercent: 70, uuid: new Uint8Array(16).fill(1), nowMs: Date.now() });
  device.close();
}

function exitOf(process: ChildProcess): Promise<{ status: number | null; signal: string | null }> {
  return within(new Promise((resolve) => process.once('exit', (status, signal) => resolve({ status, signal }))), 'the child ends');
}

test.serial('a program that is killed loses nothing that was acknowledged', async (t) => {
  const paths = files(t);
  await (await opened(t, paths)).close();
  const acknowledged = new Map<number, number>();
  for (let round = 1; round <= 3; round++) {
    const program = fork(child, ['write', paths.cachePath, paths.backingPath, String(round)]);
    t.teardown(() => program.kill('SIGKILL'));
    program.on('message', ({ offset, value }: ChildMessage) => acknowledged.set(offset, value));
    const before = acknowledged.size;
    await waitUntil(() => acknowledged.size > before + 300, 'writes are acknowledged');
    const exited = exitOf(program);
    program.kill('SIGKILL');
    t.is((await exited).signal, 'SIGKILL');
    const volume = await openCache(paths);
    for (const [offset, value] of acknowledged) {
      const found = await volume.read(offset, 1000);
      // What was under way when it died may be there as well, but only newer.
      t.true(found[0]! >= value && areAlike(found, filled(1000, found[0]!)), `${found[0]} instead of ${value} at ${offset}`);
    }
    await volume.close();
  }
});

test.serial('an idle cache does not keep a program alive, a call that is under way does, and what was acknowledged is there', async (t) => {
  const paths = files(t);
  await (await opened(t, paths)).close();
  const program = fork(child, ['idle', paths.cachePath, paths.backingPath, '1'], { stdio: ['ignore', 'pipe', 'inherit', 'ipc'] });
  t.teardown(() => program.kill('SIGKILL'));
  let text = '';
  program.stdout!.on('data', (chunk: Buffer) => (text += chunk.toString()));
  t.deepEqual(await exitOf(program), { status: 0, signal: null });
  t.is(text, 'written\n');
  const volume = openVolume(paths);
  t.true(areAlike(volume.read(1, 5 * MIB), filled(5 * MIB, 1)));
  volume.close();
});

test.serial('process.exit with writeback under way ends the program, and loses nothing', async (t) => {
  const paths = files(t);
  await (await opened(t, paths)).close();
  const program = fork(child, ['exit', paths.cachePath, paths.backingPath, '1']);
  t.teardown(() => program.kill('SIGKILL'));
  t.deepEqual(await exitOf(program), { status: 3, signal: null });
  const volume = openVolume(paths);
  for (let mib = 0; mib < 60; mib++) t.true(areAlike(volume.read(mib * MIB, MIB), filled(MIB, mib + 1)), `at ${mib} MiB`);
  volume.close();
});

test.serial('when a thread fails, every call is rejected with internal, and the cache can be closed and opened again', async (t) => {
  const paths = files(t);
  const plan = { ...paths, readOnly: false, adopt: false, create: { sizeBytes: CACHE_BYTES } };
  const group = { current: undefined as ThreadGroup | undefined };
  const volume = await CachedVolumeClient.open(plan, undefined, () => (group.current = new ThreadGroup(plan)));
  await volume.write(0, filled(MIB, 1));
  // A request that no caller can make: a write without bytes.
  group.current!.request([{ id: -1, op: 'write', offset: 0, length: 512, slot: -1 } satisfies Request], []);
  const pending = Array.from({ length: 20 }, (_, i) => volume.write(i * 512, filled(512, 2)));
  for (const outcome of await Promise.allSettled(pending)) {
    t.is(outcome.status, 'rejected');
    t.like((outcome as PromiseRejectedResult).reason, { name: 'PcacheError', code: 'internal' });
  }
  await t.throwsAsync(volume.read(0, 1), { code: 'internal', message: /front thread failed/ });
  t.is(volume.stats().state, 'failed');
  await volume.close();
  const again = await opened(t, paths);
  t.true(areAlike(await again.read(20 * 512, 4096), filled(4096, 1)));
});

fuseTest(
  fuseTitle('a backing device that fails: what needs it is rejected with io, the rest goes on, and all is well when it is'),
  async (t) => {
    const device = await FaultMount.start(t, { sizeBytes: 64 * MIB });
    const volume = await opened(t, { ...files(t), backingPath: device.file });
    await device.set({ readErrno: errno.EIO, writeErrno: errno.EIO });
    await t.throwsAsync(volume.read(0, 4096), { name: 'PcacheError', code: 'io' });
    await t.throwsAsync(volume.write(100, filled(5, 1)), { code: 'io' });
    await volume.write(4096, filled(4096, 2));
    await volume.flush();
    await t.throwsAsync(volume.writeBackAll(), { code: 'io' });
    t.is(volume.stats().state, 'backing-error');
    t.like(volume.stats().lastError, { device: 'backing' });
    t.true(areAlike(await volume.read(4096, 4096), filled(4096, 2)));
    await device.heal();
    // It is tried again by itself.
    await waitUntil(() => volume.stats().state === 'open' && volume.dirtyBytes === 0, 'everything is written back');
    t.is(volume.stats().lastError, undefined);
    await volume.writeBackAll();
  },
);

fuseTest(
  fuseTitle('a full cache over a backing device without room: writes are rejected with no-space, and nothing is lost'),
  async (t) => {
    const device = await FaultMount.start(t, { sizeBytes: 256 * MIB });
    const paths = { ...files(t), backingPath: device.file };
    const volume = await opened(t, paths);
    await device.set({ writeErrno: errno.ENOSPC });
    const outcomes = await Promise.allSettled(Array.from({ length: 128 }, (_, i) => volume.write(i * MIB, filled(MIB, i + 1))));
    const rejected = outcomes.filter((outcome) => outcome.status === 'rejected');
    t.true(rejected.length > 20 && rejected.length < 100, `${rejected.length} rejected`);
    for (const { reason } of rejected) t.like(reason, { code: 'no-space' });
    await device.heal();
    await delay(0);
    await volume.close();
    const again = await opened(t, paths);
    for (const [i, { status }] of outcomes.entries()) {
      if (status === 'fulfilled') t.true(areAlike(await again.read(i * MIB, MIB), filled(MIB, i + 1)), `at ${i} MiB`);
    }
  },
);

fuseTest(fuseTitle('a cache device that fails: flushes are rejected with io from then on, and close says so and lets go'), async (t) => {
  const device = await FaultMount.start(t, { sizeBytes: CACHE_BYTES, isCached: true });
  format(device.file);
  const volume = await opened(t, { ...files(t), cachePath: device.file });
  await volume.write(0, filled(MIB, 1));
  await volume.flush();
  await device.set({ writeErrno: errno.EIO, fsyncErrno: errno.EIO });
  await volume.write(0, filled(MIB, 2));
  await t.throwsAsync(volume.flush(), { code: 'io' });
  await device.heal();
  await t.throwsAsync(volume.flush(), { code: 'io' });
  t.is(volume.stats().state, 'cache-error');
  t.true(areAlike(await volume.read(0, MIB), filled(MIB, 2)));
  await t.throwsAsync(volume.close(), { code: 'io' });
});
