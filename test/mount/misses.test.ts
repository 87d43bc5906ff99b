// Reads that need the backing device, of a mounted volume whose device hangs or counts as told: they do not wait for each other, nor hits for them, nothing is
// read twice that need not be, and who reads in order has it read ahead.

import { execFile } from 'node:child_process';
import type { ExecutionContext } from 'ava';
import { errno } from '../../src/device/errno-codes.js';
import { whyNoIoUring } from '../../src/device/io-uring.js';
import { pattern } from '../fuse/conformance.js';
import { FaultMount } from '../support/fault-mount.js';
import { waitUntil } from '../support/mounted-commands.js';
import { isRoot } from '../support/tmp.js';
import { MIB, mountTest, mounted, type OtherSupervisor, type TestGateway } from '../support/mounted.js';

const VOLUME_BYTES = 64 * MIB;
/** Large enough to have room for what is read ahead. */
const CACHE_BYTES = 256 * MIB;
const READ_BYTES = 4096;
/** Threads of the fault server: so many requests can hang. */
const HANGING_MAX = 12;
const noRing = whyNoIoUring()?.message;
const withoutIoUring: OtherSupervisor = { main: new URL('./no-io-uring-supervisor-main.js', import.meta.url) };

interface Bench {
  readonly device: FaultMount;
  readonly gateway: TestGateway;
}

/** A volume whose every 4 KiB begin with their number, and whose first MiB is cached. */
async function bench(t: ExecutionContext, other?: OtherSupervisor): Promise<Bench> {
  const device = await FaultMount.start(t, { sizeBytes: VOLUME_BYTES });
  const options = { volumeBytes: VOLUME_BYTES, cacheBytes: CACHE_BYTES, backingFile: device.file, mountOptions: 'workers=2' };
  const gateway = await mounted(t, options, other === undefined ? undefined : () => other);
  return { device, gateway };
}

/** Reads in a process of its own, past the page cache. Resolves to the bytes; rejects if it fails, or takes 20 s. */
function readApart(gateway: TestGateway, place: number, count = 1): Promise<Buffer> {
  const values = [`if=${gateway.volume}`, `bs=${READ_BYTES}`, `skip=${place}`, `count=${count}`, 'iflag=direct', 'status=none'];
  return new Promise((resolve, reject) => {
    execFile('dd', values, { encoding: 'buffer', timeout: 20_000, maxBuffer: 64 * MIB }, (error, stdout) => {
      if (error === null) resolve(stdout);
      else reject(new Error(error.message));
    });
  });
}

const isHanging = (device: FaultMount, wanted: number) => async (): Promise<boolean> => (await device.counts()).hanging >= wanted;

/** Some places far from each other. */
const places = (count: number): number[] => Array.from({ length: count }, (_, i) => 1024 + i * 512);

mountTest('many misses are with the device at the same time, and hits do not wait for them', noRing, async (t) => {
  const { device, gateway } = await bench(t);
  const client = gateway.client();
  const fd = await client.call('open', gateway.volume, 2);
  await client.call('write', fd, 0, pattern(MIB, 1));
  await device.set({ hangs: 1 });
  const reads = places(HANGING_MAX + 8).map((place) => readApart(gateway, place));
  await waitUntil(isHanging(device, HANGING_MAX), 'the device has many reads under way');
  for (let read = 0; read < 50; read++) {
    t.true(Buffer.from(await client.call('read', fd, read * 4096, 4096)).equals(pattern(MIB, 1).subarray(read * 4096, (read + 1) * 4096)));
  }
  await device.heal();
  for (const bytes of await Promise.all(reads)) t.true(bytes.equals(Buffer.alloc(READ_BYTES)));
  await client.call('close', fd);
  t.like(await gateway.status(), { read_errors: 0, read_misses: HANGING_MAX + 8 });
});

mountTest('misses on a range that is being read wait for it, and it is read once', noRing, async (t) => {
  const { device, gateway } = await bench(t);
  const before = (await device.set({ hangs: 1 })).reads;
  const reads = Array.from({ length: 8 }, () => readApart(gateway, 2048, 1));
  await waitUntil(isHanging(device, 1), 'the device has the read under way');
  // The others have come to the engine when it says so, or never do: then they read what is cached.
  await device.heal();
  await Promise.all(reads);
  t.is((await device.counts()).reads - before, 1);
  t.like(await gateway.status(), { reads: 8, read_misses: 1, read_hits: 7 });
});

mountTest('those who waited for a range that fails ask for it themselves', noRing, async (t) => {
  const { device, gateway } = await bench(t);
  await device.set({ hangs: 1, readErrno: errno.EIO });
  const reads = Array.from({ length: 4 }, () => readApart(gateway, 2048, 1));
  await waitUntil(isHanging(device, 1), 'the device has the read under way');
  await device.set({ hangs: 0 });
  for (const outcome of await Promise.allSettled(reads)) t.is(outcome.status, 'rejected');
  t.like(await gateway.status(), { reads: 0, read_errors: 4 });
  await device.heal();
  t.true((await readApart(gateway, 2048, 1)).equals(Buffer.alloc(READ_BYTES)));
});

mountTest('who reads in order has it read ahead, to the end of the volume and not beyond', noRing, async (t) => {
  const { device, gateway } = await bench(t);
  const client = gateway.client();
  const fd = await client.call('open', gateway.volume, 2);
  // Written by another way than the cache, so that it is there to be missed.
  await client.call('write', fd, VOLUME_BYTES - 2 * MIB, pattern(2 * MIB, 5).subarray(0, MIB));
  await client.call('write', fd, VOLUME_BYTES - MIB, pattern(2 * MIB, 5).subarray(MIB));
  await client.call('close', fd);
  await gateway.umount('--flush');
  await gateway.ok('format', gateway.cache, '--force');
  await gateway.mount();
  const before = (await device.counts()).reads;
  const bytes = await readApart(gateway, (VOLUME_BYTES - 2 * MIB) / READ_BYTES, (2 * MIB) / READ_BYTES);
  t.true(bytes.equals(pattern(2 * MIB, 5)));
  const { read_ahead_bytes, reads, read_errors, fill_bytes } = await gateway.status();
  t.deepEqual({ reads, read_errors, fill_bytes }, { reads: (2 * MIB) / READ_BYTES, read_errors: 0, fill_bytes: 2 * MIB });
  t.true(read_ahead_bytes > MIB, `${read_ahead_bytes} bytes were read ahead`);
  const asked = (await device.counts()).reads - before;
  t.true(asked < 64, `${asked} reads of the device`);
});

mountTest('scattered reads have nothing read ahead', noRing, async (t) => {
  const { device, gateway } = await bench(t);
  const before = (await device.counts()).reads;
  for (const place of places(8)) await readApart(gateway, place);
  t.is((await device.counts()).reads - before, 8);
  t.is((await gateway.status()).read_ahead_bytes, 0);
});

mountTest(
  'where io_uring is forbidden, four threads read, one miss each, and all else is as always',
  isRoot ? undefined : 'needs root',
  async (t) => {
    const { device, gateway } = await bench(t, withoutIoUring);
    const before = (await device.set({ hangs: 1 })).reads;
    const reads = places(10).map((place) => readApart(gateway, place));
    await waitUntil(isHanging(device, 4), 'four reads are under way');
    // None of the others comes while these are.
    for (let look = 0; look < 10; look++) t.is((await device.counts()).hanging, 4);
    await device.heal();
    for (const bytes of await Promise.all(reads)) t.true(bytes.equals(Buffer.alloc(READ_BYTES)));
    t.is((await device.counts()).reads - before, 10);
    const client = gateway.client();
    const fd = await client.call('open', gateway.volume, 2);
    await client.call('write', fd, 8 * MIB + 100, pattern(1000, 3));
    t.true(Buffer.from(await client.call('read', fd, 8 * MIB + 100, 1000)).equals(pattern(1000, 3)));
    await device.set({ readErrno: errno.EIO });
    t.is(await client.errnoOf('read', fd, 50 * MIB, 4096), 'EIO');
    await device.heal();
    await client.call('close', fd);
    t.like(await gateway.status(), { read_errors: 1, state: 'serving' });
    await gateway.umount('--flush');
  },
);

mountTest('the engine ends in order while many misses are under way, after they were answered', noRing, async (t) => {
  const { device, gateway } = await bench(t);
  await device.set({ delayMs: 300 });
  const reads = places(10).map((place) => readApart(gateway, place));
  await waitUntil(async () => (await device.counts()).reads > 0, 'the device is asked');
  for (const bytes of await Promise.all(reads)) t.is(bytes.length, READ_BYTES);
  await device.heal();
  await gateway.umount('--flush');
  t.notRegex(gateway.log(), /died/);
});
