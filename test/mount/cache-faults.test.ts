// A cache device that can't make something durable: msync of the mapped cache fails, as it does on a disk with bad sectors. No flush succeeds from then
// on, whatever the device says later; reads and writes go on; and nothing is built on what may not be there.

import { closeSync, openSync, readFileSync, readSync } from 'node:fs';
import { join } from 'node:path';
import type { ExecutionContext } from 'ava';
import { errno } from '../../src/device/errno-codes.js';
import type { StatusSnapshot } from '../../src/gateway/status.js';
import { pattern } from '../fuse/conformance.js';
import { FaultMount } from '../support/fault-mount.js';
import { fioArguments, noFio } from '../support/fio.js';
import { run, waitUntil } from '../support/mounted-commands.js';
import { CACHE_BYTES_MIN, MIB, mountTest, mounted, type TestGateway } from '../support/mounted.js';

const O_RDWR = 2;
const VOLUME_BYTES = 2 * CACHE_BYTES_MIN;

interface Bench {
  readonly device: FaultMount;
  readonly gateway: TestGateway;
}

async function bench(t: ExecutionContext, workers: number): Promise<Bench> {
  const device = await FaultMount.start(t, { sizeBytes: CACHE_BYTES_MIN, isCached: true });
  const gateway = await mounted(t, { volumeBytes: VOLUME_BYTES, cacheFile: device.file, mountOptions: `workers=${workers}` });
  return { device, gateway };
}

function backingBytes(gateway: TestGateway, offset: number, length: number): Buffer {
  const bytes = Buffer.alloc(length);
  const fd = openSync(gateway.backing, 'r');
  readSync(fd, bytes, 0, length, offset);
  closeSync(fd);
  return bytes;
}

for (const workers of [1, 8]) {
  mountTest(
    `a cache device that fails: no flush succeeds until the volume is mounted again, and all else goes on (${workers} workers)`,
    noFio,
    async (t) => {
      const { device, gateway } = await bench(t, workers);
      const client = gateway.client();
      const fd = await client.call('open', gateway.volume, O_RDWR);
      await client.call('writeAligned', fd, 0, pattern(MIB, 1));
      await client.call('fsync', fd);
      await waitUntil(async () => (await gateway.status()).dirty_bytes === 0, 'it is written back');

      await device.set({ writeErrno: errno.EIO });
      await client.call('writeAligned', fd, MIB, pattern(MIB, 2));
      t.is(await client.errnoOf('fsync', fd), 'EIO');
      // The device works again, and the kernel has told of the failure: it has nothing more to say.
      await device.heal();
      for (let flush = 0; flush < 5; flush++) t.is(await client.errnoOf('fsync', fd), 'EIO');
      const status = await gateway.status();
      t.like(status, { state: 'cache-error', last_error: { device: 'cache' }, read_errors: 0, write_errors: 0 });
      t.regex(status.last_error!.message, /sync of \d+ bytes at \d+: .*\(EIO\)/);
      t.regex(await gateway.ok('status', gateway.mountpoint), /\nstate +cache-error, .*\nerror +cache: .*\(EIO\), for \d+/);
      const stats = JSON.parse(
        Buffer.from(await client.call('readFile', join(gateway.mountpoint, 'stats.json'))).toString(),
      ) as StatusSnapshot;
      t.deepEqual(stats.last_error, status.last_error);
      t.is(gateway.log().match(/cache device/g)?.length, 1, gateway.log());

      // Reads and writes go on; what is not durable does not go past the cache.
      await client.call('writeAligned', fd, 2 * MIB, pattern(MIB, 3));
      for (let index = 0; index < 3; index++) {
        t.true(Buffer.from(await client.call('read', fd, index * MIB, MIB)).equals(pattern(MIB, index + 1)));
      }
      t.true(Buffer.from(await client.call('read', fd, 8 * MIB, 4096)).equals(Buffer.alloc(4096)));
      const flush = await gateway.pcache('flush', gateway.mountpoint);
      t.is(flush.status, 1);
      t.regex(flush.stderr, /^pcache: flush: .*sync of .*\(EIO\)\n/);
      t.is((await gateway.pcache('message', gateway.mountpoint, 'gc_percent', '50')).status, 1);

      // Room will not come: who needs it is told, and does not wait for ever.
      const filler = { rw: 'write', bs: '1m', ioengine: 'libaio', direct: 1, iodepth: 4, offset: 16 * MIB, size: CACHE_BYTES_MIN };
      const filling = await run('fio', fioArguments(gateway.volume, filler));
      t.not(filling.status, 0);
      t.regex(filling.stdout + filling.stderr, /Input\/output error|;5;/);
      t.true(Buffer.from(await client.call('read', fd, MIB, MIB)).equals(pattern(MIB, 2)));
      t.true(backingBytes(gateway, 0, MIB).equals(pattern(MIB, 1)));
      t.true(backingBytes(gateway, MIB, 2 * MIB).equals(Buffer.alloc(2 * MIB)), 'nothing more was written back');
      t.is((await gateway.status()).dirty_bytes >= 2 * MIB, true);
      await client.call('close', fd);
      const umount = await gateway.pcache('umount', gateway.mountpoint);
      t.is(umount.status, 1);
      t.regex(umount.stderr, /^pcache: .*sync of .*\(EIO\)\n/);
      t.false(gateway.isMounted);

      await gateway.mount();
      const again = await client.call('open', gateway.volume, O_RDWR);
      t.like(await gateway.status(), { state: 'serving', last_error: null });
      for (let index = 0; index < 3; index++) {
        t.true(Buffer.from(await client.call('read', again, index * MIB, MIB)).equals(pattern(MIB, index + 1)));
      }
      await client.call('writeAligned', again, 3 * MIB, pattern(MIB, 4));
      await client.call('fsync', again);
      // What the kernel gave up to write is on the device now, and not only in the page cache; or it was written back, and its segment is in other use by now.
      const onDevice = readFileSync(device.bytesFile);
      for (let index = 1; index < 4; index++) {
        const at = onDevice.indexOf(pattern(4096, index + 1));
        const isOnDevice = at >= 0 && onDevice.subarray(at, at + MIB).equals(pattern(MIB, index + 1));
        t.true(isOnDevice || backingBytes(gateway, index * MIB, MIB).equals(pattern(MIB, index + 1)), `write ${index} is durable`);
      }
      await client.call('close', again);
      await gateway.umount('--flush');
      for (let index = 0; index < 4; index++) t.true(backingBytes(gateway, index * MIB, MIB).equals(pattern(MIB, index + 1)));
    },
  );
}
