// A backing device that fails while the cache is full: writers wait and are not failed, everything else goes on, the status says what is wrong,
// and when the device recovers so does the volume, by itself.

import type { ExecutionContext } from 'ava';
import { pattern } from '../fuse/conformance.js';
import { fioArguments, noFio } from '../support/fio.js';
import { runOk, digestOf, waitUntil } from '../support/mounted-commands.js';
import { CACHE_BYTES_MIN, MIB, mountTest, mounted } from '../support/mounted.js';
import { isRoot, smallTmpfs } from '../support/tmp.js';

const O_RDWR = 2;
const VOLUME_BYTES = 2 * CACHE_BYTES_MIN;
/** What the backing file may take before its file system is full; less than the cache. */
const ROOM_BYTES = 16 * MIB;

async function writeAll(t: ExecutionContext, workers: number): Promise<void> {
  const small = smallTmpfs(t, ROOM_BYTES);
  const gateway = await mounted(t, { volumeBytes: VOLUME_BYTES, backingFolder: small, mountOptions: `workers=${workers}` });
  const client = gateway.client();
  const first = pattern(MIB, 1);
  const fd = await client.call('open', gateway.volume, O_RDWR);
  await client.call('write', fd, 0, first);

  // Two writers that write more than cache and backing device can take. With asynchronous I/O, as loop devices and virtual machines use it: the kernel
  // lets no fsync through while a synchronous write of the same file is under way.
  const half = VOLUME_BYTES / 2;
  const writers = [MIB, half].map((offset) => {
    const job = { rw: 'write', bs: '1m', ioengine: 'libaio', direct: 1, iodepth: 8, offset, size: half - MIB, end_fsync: 1 };
    return gateway.startProgram('fio', fioArguments(gateway.volume, job));
  });
  // Full, and so for some time: not one more byte is written while the status is asked for twice.
  let written = -1;
  await waitUntil(async () => {
    const status = await gateway.status();
    const isStuck = status.state === 'backing-error' && status.cache_full_waits > 0 && status.write_bytes === written;
    written = status.write_bytes;
    return isStuck;
  }, 'the cache is full and the backing device fails');

  const stuck = await gateway.status();
  t.like(stuck, { state: 'backing-error', write_errors: 0, read_errors: 0, flush_errors: 0 });
  t.like(stuck.last_error, { device: 'backing' });
  t.regex(stuck.last_error!.message, /backing\.img.*(no space|ENOSPC)/i);
  t.true(stuck.last_error!.since_ms >= stuck.started_ms && stuck.last_error!.since_ms <= Date.now());
  t.regex(await gateway.ok('status', gateway.mountpoint), /\nerror +backing: .*\n/);
  const flush = await gateway.pcache('flush', gateway.mountpoint);
  t.is(flush.status, 1);
  t.regex(flush.stderr, /^pcache: flush: .*\nhint: Nothing is lost.*\n$/);
  t.deepEqual(
    writers.map((writer) => writer.ended),
    [false, false],
  );

  // What is in the cache is read, and what was written is made durable, while writers wait.
  t.true(Buffer.from(await client.call('read', fd, 0, MIB)).equals(first));
  await client.call('fsync', fd);
  t.true(Buffer.from(await client.call('read', fd, 0, MIB)).equals(first));

  await runOk('mount', ['-o', `remount,size=${2 * VOLUME_BYTES}`, small]);
  for (const writer of writers) t.is((await writer.finished(80_000)).status, 0);
  t.true(Buffer.from(await client.call('read', fd, 0, MIB)).equals(first));
  await client.call('close', fd);
  t.like(await gateway.status(), { last_error: null, write_errors: 0, read_errors: 0, flush_errors: 0 });
  const shown = await digestOf(gateway.volume, { direct: true });
  await gateway.umount('--flush');
  t.is(await digestOf(gateway.backing), shown);
  // The file system below can be unmounted only without it.
  await runOk('rm', [gateway.backing]);
}

for (const workers of [1, 4]) {
  mountTest(
    `writers wait for a full backing device, with ${workers} worker${workers === 1 ? '' : 's'}, until it takes data again`,
    isRoot ? noFio : 'needs root',
    (t) => writeAll(t, workers),
  );
}

mountTest('what a full backing device takes of a batch and can not keep is no progress', isRoot ? undefined : 'needs root', async (t) => {
  const small = smallTmpfs(t, ROOM_BYTES);
  const gateway = await mounted(t, { volumeBytes: VOLUME_BYTES, backingFolder: small });
  await gateway.ok('message', gateway.mountpoint, 'writeback', 'pause');
  const client = gateway.client();
  const fd = await client.call('open', gateway.volume, O_RDWR);
  // One batch: no flush in between.
  for (let at = 0; at < 24; at++) await client.call('write', fd, at * MIB, pattern(MIB, at));
  await client.call('close', fd);
  await gateway.ok('message', gateway.mountpoint, 'writeback', 'resume');
  await waitUntil(async () => (await gateway.status()).state === 'backing-error', 'the backing device fails');
  const seen = await gateway.status();
  // Some attempts more.
  await waitUntil(async () => {
    const status = await gateway.status();
    t.like(status, { state: 'backing-error', clean_in_s: null });
    if (status.writeback_bytes === 0) t.is(status.writeback_bytes_per_s, 0);
    return status.writeback_errors >= seen.writeback_errors + 3;
  }, 'it was tried again');
  const table = await gateway.ok('status', gateway.mountpoint);
  t.regex(table, /\ndirty +[^\n]*not on the backing device yet/);
  t.notRegex(table, /at this rate/);
  await runOk('mount', ['-o', `remount,size=${2 * VOLUME_BYTES}`, small]);
  await waitUntil(async () => (await gateway.status()).state === 'serving', 'the backing device works again');
  await gateway.umount('--flush');
  await runOk('rm', [gateway.backing]);
});
