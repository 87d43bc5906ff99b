// A backing device whose system calls go wrong under a mounted gateway: its reads, its writes and flushes, and transfers that end short. Nothing is lost,
// what can be done is done, the status and the log say what is wrong, and all is well again when the device is.

import { join } from 'node:path';
import type { ExecutionContext } from 'ava';
import { errno } from '../../src/device/errno-codes.js';
import type { StatusSnapshot } from '../../src/gateway/status.js';
import { pattern } from '../fuse/conformance.js';
import { FaultMount } from '../support/fault-mount.js';
import { digestOf, waitUntil } from '../support/mounted-commands.js';
import { MIB, mountTest, mounted, type TestGateway } from '../support/mounted.js';

const O_RDWR = 2;
const VOLUME_BYTES = 64 * MIB;

interface Bench {
  readonly device: FaultMount;
  readonly gateway: TestGateway;
}

async function bench(t: ExecutionContext, workers: number): Promise<Bench> {
  const device = await FaultMount.start(t, { sizeBytes: VOLUME_BYTES });
  const gateway = await mounted(t, { volumeBytes: VOLUME_BYTES, backingFile: device.file, mountOptions: `workers=${workers}` });
  return { device, gateway };
}

/** Lines of the log that say something. */
function logLines(gateway: TestGateway, text: RegExp): string[] {
  return gateway
    .log()
    .split('\n')
    .filter((line) => text.test(line));
}

/** The end of every test here: what the volume was is what the device has. */
async function endsAlike(t: ExecutionContext, { device, gateway }: Bench): Promise<void> {
  const shown = await digestOf(gateway.volume, { direct: true });
  await gateway.umount('--flush');
  t.is(await digestOf(device.bytesFile), shown);
}

for (const workers of [1, 8]) {
  mountTest(
    `a backing device that can't be read: EIO for what is not cached, and no more than that (${workers} workers)`,
    undefined,
    async (t) => {
      const { device, gateway } = await bench(t, workers);
      const client = gateway.client();
      const fd = await client.call('open', gateway.volume, O_RDWR);
      await client.call('write', fd, 0, pattern(MIB, 1));
      await device.set({ readErrno: errno.EIO });
      for (let read = 0; read < 50; read++) t.is(await client.errnoOf('read', fd, 2 * MIB, 4096), 'EIO');
      // One part of it is cached, and the other not.
      t.is(await client.errnoOf('read', fd, MIB - 4096, 8192), 'EIO');
      // The rest of the sector is not to be had.
      t.is(await client.errnoOf('write', fd, 3 * MIB + 100, pattern(100, 2)), 'EIO');
      t.true(Buffer.from(await client.call('read', fd, 0, MIB)).equals(pattern(MIB, 1)));
      await client.call('write', fd, 4 * MIB, pattern(4096, 3));
      await client.call('fsync', fd);
      t.true(Buffer.from(await client.call('read', fd, 4 * MIB, 4096)).equals(pattern(4096, 3)));
      const status = await gateway.status();
      t.like(status, { read_errors: 51, write_errors: 1, flush_errors: 0 });
      t.regex(await gateway.ok('status', gateway.mountpoint), /\nreads .*51 errors\n/);
      // Four threads read, one writes; each says it once.
      const lines = logLines(gateway, /EIO/);
      t.true(lines.length >= 1 && lines.length <= 5, lines.join('\n'));

      await device.heal();
      t.deepEqual([...(await client.call('read', fd, 2 * MIB, 4096))], [...Buffer.alloc(4096)]);
      await client.call('write', fd, 3 * MIB + 100, pattern(100, 2));
      t.true(Buffer.from(await client.call('read', fd, 3 * MIB + 100, 100)).equals(pattern(100, 2)));
      t.is((await gateway.status()).read_errors, 51);
      await client.call('close', fd);
      await endsAlike(t, { device, gateway });
    },
  );
}

const failures = [
  { what: 'writes', fault: { writeErrno: errno.EIO }, text: /device: write of \d+ bytes at \d+: .*\(EIO\)/ },
  { what: 'flushes', fault: { fsyncErrno: errno.EIO }, text: /device: flush: .*\(EIO\)/ },
  { what: 'writes for want of space', fault: { roomBytes: 0 }, text: /device: write of \d+ bytes at \d+: .*\(ENOSPC\)/ },
] as const;
for (const { what, fault, text } of failures) {
  mountTest(
    `a backing device that fails ${what}: nothing is dropped, the status says so and since when, and it recovers by itself`,
    undefined,
    async (t) => {
      const { device, gateway } = await bench(t, 2);
      const client = gateway.client();
      const fd = await client.call('open', gateway.volume, O_RDWR);
      await device.set(fault);
      const beforeMs = Date.now();
      await client.call('write', fd, 0, pattern(MIB, 1));
      await client.call('fsync', fd);
      const isFailing = (status: StatusSnapshot): boolean => status.state === 'backing-error';
      await waitUntil(async () => isFailing(await gateway.status()), 'the status says that the backing device fails');
      await waitUntil(async () => (await gateway.status()).writeback_errors >= 3, 'it is tried again');
      const status = await gateway.status();
      t.like(status, { state: 'backing-error', read_errors: 0, write_errors: 0, flush_errors: 0 });
      t.true(status.dirty_bytes >= MIB);
      t.is(status.last_error?.device, 'backing');
      t.regex(status.last_error!.message, text);
      const sinceMs = status.last_error!.since_ms;
      t.true(sinceMs >= beforeMs && sinceMs <= Date.now());
      t.regex(await gateway.ok('status', gateway.mountpoint), /\nstate +backing-error, .*\nerror +backing: .*device: .*, for \d+/);
      const stats = JSON.parse(
        Buffer.from(await client.call('readFile', join(gateway.mountpoint, 'stats.json'))).toString(),
      ) as StatusSnapshot;
      t.deepEqual(stats.last_error, status.last_error);
      t.is(logLines(gateway, /writeback/).length, 1, gateway.log());
      const flush = await gateway.pcache('flush', gateway.mountpoint);
      t.is(flush.status, 1);
      t.regex(flush.stderr, /^pcache: flush: .*\nhint: Nothing is lost.*\n$/);
      // Everything else goes on.
      await client.call('write', fd, MIB, pattern(4096, 2));
      await client.call('fsync', fd);
      t.true(Buffer.from(await client.call('read', fd, 0, MIB)).equals(pattern(MIB, 1)));
      t.is((await gateway.status()).last_error!.since_ms, sinceMs, 'since the first failure');

      await device.heal();
      await waitUntil(async () => (await gateway.status()).dirty_bytes === 0, 'everything is written back');
      t.like(await gateway.status(), { state: 'serving', last_error: null });
      t.notRegex(await gateway.ok('status', gateway.mountpoint), /\nerror /);
      t.is(logLines(gateway, /writeback/).length, 1);
      t.is(logLines(gateway, /works again/).length, 1);
      await client.call('close', fd);
      await endsAlike(t, { device, gateway });
    },
  );
}

mountTest('transfers that end short are continued, to the last byte', undefined, async (t) => {
  const { device, gateway } = await bench(t, 2);
  const client = gateway.client();
  const fd = await client.call('open', gateway.volume, O_RDWR);
  const before = await device.set({ shortBytes: 16 * 512 + 100 });
  await client.call('write', fd, 0, pattern(MIB, 1));
  await client.call('fsync', fd);
  await waitUntil(async () => (await gateway.status()).dirty_bytes === 0, 'everything is written back');
  t.like(await gateway.status(), { writeback_errors: 0, last_error: null });
  t.true((await device.counts()).writes - before.writes >= MIB / 8192);
  // From the device, and not from the cache.
  t.true(Buffer.from(await client.call('read', fd, 2 * MIB, MIB)).equals(Buffer.alloc(MIB)));
  await client.call('write', fd, 5 * MIB + 10, pattern(20, 4));
  await client.call('close', fd);
  await gateway.umount('--flush');
  await gateway.ok('format', gateway.cache, '--force');
  await gateway.mount();
  const again = await client.call('open', gateway.volume, O_RDWR);
  t.true(Buffer.from(await client.call('read', again, 0, MIB)).equals(pattern(MIB, 1)));
  t.true(Buffer.from(await client.call('read', again, 5 * MIB + 10, 20)).equals(pattern(20, 4)));
  t.is((await gateway.status()).read_errors, 0);
  await client.call('close', again);
  await device.heal();
  await endsAlike(t, { device, gateway });
});

mountTest('a write of no bytes and a read that finds the end are errors, not loops', undefined, async (t) => {
  const { device, gateway } = await bench(t, 2);
  const client = gateway.client();
  const fd = await client.call('open', gateway.volume, O_RDWR);
  await client.call('write', fd, 0, pattern(MIB, 1));
  await client.call('fsync', fd);
  const before = await device.set({ shortBytes: 0 });
  await client.call('write', fd, 0, pattern(MIB, 2));
  await client.call('fsync', fd);
  await waitUntil(async () => (await gateway.status()).state === 'backing-error', 'the status says that the backing device fails');
  t.regex((await gateway.status()).last_error!.message, /the device ended early/);
  t.is(await client.errnoOf('read', fd, 2 * MIB, 4096), 'EIO');
  // Two calls for each attempt, the second because only a synchronous one tells how it ended; a loop would have made thousands by now.
  const { writes, reads } = await device.counts();
  const { writeback_errors: attempts } = await gateway.status();
  t.true(writes - before.writes <= 2 * (attempts + 1), `${writes - before.writes} writes for ${attempts} attempts`);
  t.true(reads - before.reads <= 2);
  // Parts of sectors are no progress either, as long as direct I/O can't go on from there.
  await device.set({ shortBytes: 100 });
  const failed = (await gateway.status()).writeback_errors;
  await waitUntil(async () => (await gateway.status()).writeback_errors > failed, 'it is tried again');
  await device.heal();
  await waitUntil(async () => (await gateway.status()).dirty_bytes === 0, 'everything is written back');
  await client.call('close', fd);
  await endsAlike(t, { device, gateway });
});
