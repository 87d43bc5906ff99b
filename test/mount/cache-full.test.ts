// The cache is full because the backing device gives no answer: writers wait, in order of arrival, and nobody else does.

import { readFileSync } from 'node:fs';
import type { ExecutionContext } from 'ava';
import { connectionNumber } from '../../src/fuse/connection.js';
import { pattern } from '../fuse/conformance.js';
import { FaultMount } from '../support/fault-mount.js';
import { fioArguments, noFio } from '../support/fio.js';
import { digestOf, waitUntil } from '../support/mounted-commands.js';
import { CACHE_BYTES_MIN, MIB, mountTest, mounted, type TestGateway } from '../support/mounted.js';

const O_RDWR = 2;
const VOLUME_BYTES = 2 * CACHE_BYTES_MIN;
/** A sector that the writers of the last part all write, one after the other. */
const CONTESTED = VOLUME_BYTES - MIB;
const IN_ORDER = 6;

/** Until not one more byte is written, and somebody waits. */
async function waitUntilFull(gateway: TestGateway, state: string): Promise<void> {
  let written = -1;
  await waitUntil(async () => {
    const status = await gateway.status();
    const isStuck = status.state === state && status.cache_full_waits > 0 && status.write_bytes === written;
    written = status.write_bytes;
    return isStuck;
  }, `the cache is full, and the state ${state}`);
}

/** Requests that the gateway has not answered. */
function unanswered(gateway: TestGateway): number {
  return Number(readFileSync(`/sys/fs/fuse/connections/${connectionNumber(gateway.mountpoint)!}/waiting`, 'utf8'));
}

async function writersWait(t: ExecutionContext, workers: number): Promise<void> {
  const device = await FaultMount.start(t, { sizeBytes: VOLUME_BYTES });
  const gateway = await mounted(t, { volumeBytes: VOLUME_BYTES, backingFile: device.file, mountOptions: `workers=${workers}` });
  const client = gateway.client();
  const fd = await client.call('open', gateway.volume, O_RDWR);
  await client.call('write', fd, 0, pattern(MIB, 1));
  await device.set({ hangs: 1 });
  // With asynchronous I/O, as loop devices and virtual machines use it: the kernel lets no fsync through while a synchronous write is under way.
  const writer = { ioengine: 'libaio', direct: 1, rw: 'write' };
  const filler = { ...writer, bs: '1m', iodepth: 8, offset: MIB, size: 96 * MIB, end_fsync: 1 };
  const filling = gateway.startProgram('fio', fioArguments(gateway.volume, filler));
  await waitUntilFull(gateway, 'cache-full');
  t.like(await gateway.status(), { last_error: null, write_errors: 0, read_errors: 0 });

  // Each begins to wait before the next is started.
  const inOrder = [];
  for (let index = 1; index <= IN_ORDER; index++) {
    const before = unanswered(gateway);
    const job = { ...writer, bs: 4096, offset: CONTESTED, size: 4096, buffer_pattern: `0x${index.toString(16).padStart(2, '0')}` };
    inOrder.push(gateway.startProgram('fio', fioArguments(gateway.volume, job)));
    await waitUntil(() => unanswered(gateway) > before, 'one more writer waits');
  }
  // More readers of what is not cached than there are threads for them.
  const readers = [];
  for (let index = 0; index < 6; index++) {
    const before = unanswered(gateway);
    const job = { ...writer, rw: 'read', bs: 4096, offset: VOLUME_BYTES - 2 * MIB + index * 65_536, size: 4096 };
    readers.push(gateway.startProgram('fio', fioArguments(gateway.volume, job)));
    await waitUntil(() => unanswered(gateway) > before, 'one more reader waits');
  }

  // All these wait, and nobody else.
  for (let round = 0; round < 3; round++) {
    t.true(Buffer.from(await client.call('read', fd, 0, MIB)).equals(pattern(MIB, 1)));
    await client.call('fsync', fd);
    t.is((await client.call('fstat', fd)).sizeBytes, VOLUME_BYTES);
  }
  t.regex(await gateway.ok('status', gateway.mountpoint), /\nstate +cache-full/);
  for (const job of [filling, ...inOrder, ...readers]) t.false(job.ended);

  await device.heal();
  for (const job of [filling, ...inOrder, ...readers]) t.is((await job.finished(60_000)).status, 0);
  t.deepEqual(
    [...(await client.call('read', fd, CONTESTED, 4096))],
    new Array<number>(4096).fill(IN_ORDER),
    'the last to come was the last to write',
  );
  t.like(await gateway.status(), { last_error: null, write_errors: 0, read_errors: 0, flush_errors: 0 });
  await client.call('close', fd);
  const shown = await digestOf(gateway.volume, { direct: true });
  await gateway.umount('--flush');
  t.is(await digestOf(device.bytesFile), shown);
}

for (const workers of [1, 8]) {
  mountTest(`writers wait for a device that gives no answer, in order of arrival, and nobody else does (${workers} workers)`, noFio, (t) =>
    writersWait(t, workers),
  );
}

mountTest('an unmount while the backing device gives no answer waits for it, and loses nothing', undefined, async (t) => {
  const device = await FaultMount.start(t, { sizeBytes: VOLUME_BYTES });
  const gateway = await mounted(t, { volumeBytes: VOLUME_BYTES, backingFile: device.file });
  const client = gateway.client();
  const fd = await client.call('open', gateway.volume, O_RDWR);
  await device.set({ hangs: 1 });
  // In whole sectors: a part of one would need the rest from the device.
  await client.call('writeAligned', fd, 0, pattern(MIB, 1));
  await client.call('fsync', fd);
  await waitUntil(async () => (await device.counts()).hanging > 0, 'writeback waits for the device');
  await client.call('close', fd);
  const unmounting = gateway.start('umount', gateway.mountpoint);
  await waitUntil(() => !gateway.isMounted, 'it is unmounted');
  t.false(unmounting.ended);
  await device.heal();
  t.is((await unmounting.finished()).status, 0);
  t.deepEqual(gateway.leftovers(), []);
  await gateway.mount();
  const again = await client.call('open', gateway.volume, O_RDWR);
  t.true(Buffer.from(await client.call('read', again, 0, MIB)).equals(pattern(MIB, 1)));
  await client.call('close', again);
});
