// A backing device that was used without its cache: the next mount says so and changes nothing, instead of mixing old data with new. And no mount after our
// own use of it is refused, whatever was written.

import { closeSync, fsyncSync, openSync, readFileSync, statSync, utimesSync, writeSync } from 'node:fs';
import type { ExecutionContext } from 'ava';
import { openCacheDevice } from '../../src/device/mapped-cache-device.js';
import { readGatewayHeader } from '../../src/media/gateway-header.js';
import { readTail, writeTail } from '../../src/media/tails.js';
import { pattern } from '../fuse/conformance.js';
import { attachedLoop, noLoopDevices } from '../support/loop.js';
import { MIB, TestGateway, mountTest, mounted, unmounted } from '../support/mounted.js';

const VOLUME_BYTES = 16 * MIB;

async function write(gateway: TestGateway, offset: number, bytes: Buffer): Promise<void> {
  const client = gateway.client();
  const fd = await client.call('open', gateway.volume, 2);
  await client.call('write', fd, offset, bytes);
  await client.call('close', fd);
}

/** Somebody else writes to the backing device, past the cache. */
function writeElsewhere(path: string, offset: number, bytes: Uint8Array): void {
  const fd = openSync(path, 'r+');
  writeSync(fd, bytes, 0, bytes.length, offset);
  fsyncSync(fd);
  closeSync(fd);
}

function hasPrint({ cache }: TestGateway): boolean {
  const header = readGatewayHeader(readFileSync(cache));
  if (!header.ok) throw new Error(header.reason);
  return header.value.backingPrint !== undefined;
}

/** Mounted and written to, closed in order. */
async function closedCache(t: ExecutionContext, { flushed }: { flushed: boolean }): Promise<TestGateway> {
  const gateway = await mounted(t, { volumeBytes: VOLUME_BYTES });
  await gateway.ok('message', gateway.mountpoint, 'writeback', 'pause');
  await write(gateway, 8192, pattern(MIB, 1));
  await gateway.umount(...(flushed ? ['--flush'] : []));
  return gateway;
}

/** No command of those that would use the data does, and nothing is changed. */
async function refused(t: ExecutionContext, gateway: TestGateway, says: RegExp, hint: RegExp, backing = gateway.backing): Promise<void> {
  const before = readFileSync(gateway.cache);
  for (const options of [[], ['-o', 'ro']]) {
    const { status, stderr } = await gateway.pcache('mount', gateway.cache, backing, gateway.mountpoint, ...options);
    t.is(status, 1);
    t.regex(stderr, /^pcache: \S+cache.pmem: the backing device was written to after the cache was closed: [^\n]+\nhint: [^\n]+\n$/);
    t.regex(stderr, says);
    t.regex(stderr, hint);
    t.false(gateway.isMounted);
  }
  t.true(readFileSync(gateway.cache).equals(before), 'the cache is as it was');
}

const FLUSHED_HINT = /\nhint: Nothing is dirty, so pcache format /;
const DIRTY_HINT = /\nhint: \d+ bytes that only the cache has .*-o adopt.*pcache format --force/;

mountTest('a backing file that was written to without its clean cache is refused, and the cache can be emptied', undefined, async (t) => {
  const gateway = await closedCache(t, { flushed: true });
  writeElsewhere(gateway.backing, 0, pattern(4096, 2));
  await refused(t, gateway, /its first 256 KiB are not what they were then/, FLUSHED_HINT);
  const { status, stdout } = await gateway.pcache('check', gateway.cache, '--backing', gateway.backing);
  t.is(status, 1);
  t.regex(stdout, /backing device: it was written to after the cache was closed: /);
  // The backing device has everything, and more.
  t.regex(await gateway.ok('recover', gateway.cache, gateway.backing), /nothing was dirty/);
  await gateway.ok('format', gateway.cache, '--size', String(statSync(gateway.cache).size));
  await gateway.mount();
  await gateway.umount();
});

mountTest(
  'a backing file that was written to without its dirty cache is refused by mount and recover, and taken with adopt',
  undefined,
  async (t) => {
    const gateway = await closedCache(t, { flushed: false });
    // Behind what the print is of: only the time tells.
    writeElsewhere(gateway.backing, 8 * MIB, pattern(4096, 2));
    await refused(t, gateway, /it was last changed at 2\S+Z, not at 2\S+Z as then/, DIRTY_HINT);
    const before = readFileSync(gateway.backing);
    for (const options of [[], ['--dry-run']]) {
      const { status, stderr } = await gateway.pcache('recover', gateway.cache, gateway.backing, ...options);
      t.is(status, 1);
      t.regex(stderr, /^pcache: \S+: the backing device was written to after [^\n]+\nhint: [^\n]+--adopt[^\n]+\n$/);
    }
    t.true(readFileSync(gateway.backing).equals(before), 'the backing device is as it was');
    await gateway.ok(...gateway.mountArguments, '-o', 'adopt');
    await gateway.umount('--flush');
    t.true(
      readFileSync(gateway.backing)
        .subarray(8192, 8192 + MIB)
        .equals(pattern(MIB, 1)),
    );
    // Our own writes are no change: adopted once is enough.
    await gateway.mount();
    await gateway.umount();
  },
);

mountTest(
  'a backing file of which only the time was set is refused, and taken with adopt; recover with --adopt writes to it',
  undefined,
  async (t) => {
    const gateway = await closedCache(t, { flushed: false });
    utimesSync(gateway.backing, 1_600_000_000, 1_600_000_000);
    await refused(t, gateway, /it was last changed at 2020-09-13T12:26:40\.000000000Z, not at/, DIRTY_HINT);
    await gateway.ok('recover', gateway.cache, gateway.backing, '--adopt');
    t.true(
      readFileSync(gateway.backing)
        .subarray(8192, 8192 + MIB)
        .equals(pattern(MIB, 1)),
    );
    t.true(hasPrint(gateway));
    await gateway.mount();
    await gateway.umount();
  },
);

mountTest('mounts with writes in between are never refused', undefined, async (t) => {
  const gateway = await unmounted(t, { volumeBytes: VOLUME_BYTES });
  for (let count = 0; count < 6; count++) {
    await gateway.mount();
    await write(gateway, (count % 16) * MIB, pattern(MIB / 2, count));
    await gateway.umount(...(count % 3 === 0 ? ['--flush'] : []));
    t.true(hasPrint(gateway));
  }
  t.regex(await gateway.ok('recover', gateway.cache, gateway.backing), /written to|nothing was dirty/);
  await gateway.mount();
  await gateway.umount();
});

mountTest('after a crash there is nothing to compare, and the mount is not refused', undefined, async (t) => {
  const gateway = await closedCache(t, { flushed: false });
  await gateway.mount();
  t.false(hasPrint(gateway));
  for (const pid of [gateway.pids.supervisor, gateway.pids.engine]) process.kill(pid, 'SIGKILL');
  await gateway.pcache('umount', gateway.mountpoint);
  writeElsewhere(gateway.backing, 0, pattern(4096, 2));
  await gateway.mount();
  await gateway.umount();
  t.true(hasPrint(gateway));
});

mountTest('a cache whose tails the kernel has stored since is not refused', undefined, async (t) => {
  const gateway = await closedCache(t, { flushed: true });
  writeElsewhere(gateway.backing, 0, pattern(4096, 2));
  const device = openCacheDevice(gateway.cache);
  const control = device.control.bytes;
  const tail = readTail(control, 'dirty_tail', device.segmentCount);
  if (!tail.ok) throw new Error(tail.reason);
  writeTail(control, 'dirty_tail', tail.value, tail);
  device.close();
  await gateway.mount();
  t.false(hasPrint(gateway));
  await gateway.umount();
  t.true(hasPrint(gateway));
});

mountTest('of a block device the start is compared, and a file that is used as one is recognised', noLoopDevices, async (t) => {
  const gateway = await closedCache(t, { flushed: true });
  const loop = attachedLoop(t, gateway.backing);
  await gateway.ok('mount', gateway.cache, loop, gateway.mountpoint);
  await write(gateway, 0, pattern(MIB, 3));
  await gateway.ok('umount', gateway.mountpoint, '--flush');
  await gateway.ok('mount', gateway.cache, loop, gateway.mountpoint);
  await gateway.ok('umount', gateway.mountpoint);
  writeElsewhere(loop, 128 * 1024, pattern(4096, 2));
  await refused(t, gateway, /its first 256 KiB are not what they were then/, FLUSHED_HINT, loop);
  await gateway.ok('mount', gateway.cache, loop, gateway.mountpoint, '-o', 'adopt');
  await gateway.ok('umount', gateway.mountpoint);
});
