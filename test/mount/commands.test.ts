// The commands that deal with a mounted volume, and the files beside it.

import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { listLoops } from '../../src/device/loop-device.js';
import type { StatusSnapshot } from '../../src/gateway/status.js';
import { pattern } from '../fuse/conformance.js';
import type { Client } from '../fuse/client.js';
import { TAKEN_AWAY, detachIfOver, noLoopDevices } from '../support/loop.js';
import { lacking, run, runOk, digestOf, waitUntil } from '../support/mounted-commands.js';
import { parseMetrics } from '../support/metrics-text.js';
import { MIB, mountTest, mounted, unmounted, type TestGateway } from '../support/mounted.js';
import { quietStatus } from '../support/quiet-status.js';

const O_RDWR = 2;
const VOLUME_BYTES = 32 * MIB;

async function write(gateway: TestGateway, user: Client, offset: number, bytes: Buffer): Promise<void> {
  const fd = await user.call('open', gateway.volume, O_RDWR);
  await user.call('write', fd, offset, bytes);
  await user.call('close', fd);
}

mountTest('stats.json, status --json and the metrics say the same', undefined, async (t) => {
  const gateway = await mounted(t, { volumeBytes: VOLUME_BYTES });
  const user = gateway.client();
  await write(gateway, user, 0, pattern(MIB, 1));
  await gateway.ok('flush', gateway.mountpoint);
  await quietStatus(gateway);
  const stats = JSON.parse((await user.call('readFile', join(gateway.mountpoint, 'stats.json'))).toString()) as StatusSnapshot;
  const status = await gateway.status();
  t.deepEqual(stats, status);
  t.like(status, { state: 'serving', transport: 'dev-fuse', mode: 'writeback', volume_bytes: VOLUME_BYTES, dirty_bytes: 0 });
  t.is(status.write_bytes, MIB);
  t.is(status.supervisor_pid, gateway.pids.supervisor);
  t.is(status.engine_pid, gateway.pids.engine);

  const metrics = Buffer.from(await user.call('readFile', join(gateway.mountpoint, 'metrics'))).toString();
  const { samples } = parseMetrics(metrics);
  t.is(samples.get('pcache_volume_bytes'), status.volume_bytes);
  t.is(samples.get('pcache_dirty_bytes'), 0);
  t.is(samples.get('pcache_segments_used'), status.segs_used);
});

mountTest('flush says how much it wrote, and what it wrote is on the backing file while the volume is served', undefined, async (t) => {
  const gateway = await mounted(t, { volumeBytes: VOLUME_BYTES });
  const user = gateway.client();
  await write(gateway, user, 12_345, pattern(2 * MIB, 2));
  const flushed = JSON.parse(await gateway.ok('--json', 'flush', gateway.mountpoint)) as { flushed_bytes: number };
  t.true(flushed.flushed_bytes >= 2 * MIB);
  t.is((await gateway.status()).dirty_bytes, 0);
  t.is(await digestOf(gateway.backing), await digestOf(gateway.volume, { direct: true }));
  t.regex(await gateway.ok('flush', gateway.mountpoint), /: nothing was dirty$/);
  const said = JSON.parse(await gateway.ok('--json', 'umount', gateway.mountpoint)) as Record<string, unknown>;
  t.is(said.dirty_bytes, 0);
});

mountTest('gc_percent set by message holds at once and at the next mount', undefined, async (t) => {
  const gateway = await mounted(t, { volumeBytes: VOLUME_BYTES });
  t.is((await gateway.status()).gc_percent, 70);
  await gateway.ok('message', gateway.mountpoint, 'gc_percent', '35');
  t.is((await gateway.status()).gc_percent, 35);
  t.is((await gateway.pcache('message', gateway.mountpoint, 'gc_percent', '91')).status, 2);
  await gateway.umount();
  t.is((JSON.parse(await gateway.ok('--json', 'status', gateway.cache)) as StatusSnapshot).gc_percent, 35);
  await gateway.mount();
  t.is((await gateway.status()).gc_percent, 35);
});

mountTest('status --dm is the line that dmsetup prints, mounted or not', undefined, async (t) => {
  const gateway = await mounted(t, { volumeBytes: VOLUME_BYTES });
  const line = new RegExp(`^0 ${VOLUME_BYTES / 512} pcache 0 5 5 \\d 70 1182 0:0 0:0 0:0$`);
  t.regex(await gateway.ok('status', '--dm', gateway.mountpoint), line);
  t.regex(await gateway.ok('status', '--dm', gateway.cache), line);
  await gateway.umount();
  t.regex(await gateway.ok('status', '--dm', gateway.cache), line);
});

mountTest('status lists every volume, and shows one of a cache as well as of a mount point', undefined, async (t) => {
  const gateway = await mounted(t, { volumeBytes: VOLUME_BYTES });
  t.regex(await gateway.ok('status'), new RegExp(`\n${gateway.mountpoint} +serving +32 MiB +0 B +${gateway.cache} +${gateway.backing}$`));
  t.is((JSON.parse(await gateway.ok('--json', 'status', gateway.cache)) as StatusSnapshot).mountpoint, gateway.mountpoint);
  await gateway.umount();
  t.is(await gateway.ok('status'), 'nothing is mounted');
});

mountTest('umount and mount of a dead mount name the loop device that it leaves, and how to be rid of it', noLoopDevices, async (t) => {
  const gateway = await mounted(t, { volumeBytes: 8 * MIB });
  const kill = async (): Promise<string> => {
    const device = await gateway.ok('loop', 'attach', gateway.mountpoint);
    t.teardown(() => detachIfOver(device, gateway.volume, TAKEN_AWAY));
    for (const pid of [gateway.pids.supervisor, gateway.pids.engine]) process.kill(pid, 'SIGKILL');
    await waitUntil(() => gateway.processes().length === 0, 'both are gone');
    return device;
  };
  // The words are the command: what they say to do is done, and that was all.
  const isNamed = async (device: string, stderr: string): Promise<void> => {
    const said = new RegExp(
      `${device} is still attached to the dead volume .*: unmount what is on it, then (losetup --detach (${device}))(?!\\d)`,
    );
    t.regex(stderr, said);
    t.is((await run('losetup', ['--detach', said.exec(stderr)![2]!])).status, 0);
    await waitUntil(() => listLoops().every((loop) => loop.device !== device), 'it is gone');
  };
  let device = await kill();
  const ended = await gateway.pcache('--json', 'umount', gateway.mountpoint);
  t.is(ended.status, 0);
  t.like(JSON.parse(ended.stdout), { stale: true, loop_devices: [device] });
  await isNamed(device, ended.stderr);
  await gateway.mount();
  device = await kill();
  const again = await gateway.pcache('--json', ...gateway.mountArguments);
  t.is(again.status, 0);
  await isNamed(device, again.stderr);
  await gateway.umount();
  t.deepEqual(gateway.leftovers(), []);
});

mountTest(
  'a loop device over the volume has its size and its bytes, discards and zeroes, and goes',
  noLoopDevices ?? lacking('blkdiscard', 'blockdev', 'fallocate'),
  async (t) => {
    const gateway = await mounted(t, { volumeBytes: VOLUME_BYTES });
    const user = gateway.client();
    await write(gateway, user, 0, pattern(4 * MIB, 3));
    const device = await gateway.ok('loop', 'attach', gateway.mountpoint);
    t.regex(device, /^\/dev\/loop\d+$/);
    t.is(await runOk('blockdev', ['--getsize64', device]), String(VOLUME_BYTES));
    t.is(await digestOf(device, { direct: true }), await digestOf(gateway.volume, { direct: true }));

    const expected = pattern(4 * MIB, 3);
    const zero = (offset: number, length: number): Buffer => expected.fill(0, offset, offset + length);
    await runOk('blkdiscard', ['-f', '-o', String(MIB), '-l', '65536', device]);
    zero(MIB, 65_536);
    await runOk('blkdiscard', ['-f', '-z', '-o', String(2 * MIB), '-l', '131072', device]);
    zero(2 * MIB, 131_072);
    await runOk('fallocate', ['-p', '-o', '5000', '-l', '70001', gateway.volume]);
    zero(5000, 70_001);
    await runOk('fallocate', ['-z', '-n', '-o', String(3 * MIB + 1), '-l', '999', gateway.volume]);
    zero(3 * MIB + 1, 999);
    const fd = await user.call('open', gateway.volume, O_RDWR);
    for (let at = 0; at < expected.length; at += MIB) {
      t.true(Buffer.from(await user.call('read', fd, at, MIB)).equals(expected.subarray(at, at + MIB)), `MiB ${at / MIB}`);
    }
    await user.call('close', fd);

    const busy = await gateway.pcache('umount', gateway.mountpoint);
    t.is(busy.status, 1);
    t.true(busy.stderr.includes(device));
    t.regex(await gateway.ok('loop', 'detach', gateway.mountpoint), new RegExp(`^${device} detached$`));
    t.is((await gateway.pcache('loop', 'detach', gateway.mountpoint)).status, 1);
    await gateway.umount('--flush');
    const volume = Buffer.concat([expected, Buffer.alloc(VOLUME_BYTES - expected.length)]);
    t.is(await digestOf(gateway.backing), createHash('blake2b512').update(volume).digest('hex'));
  },
);

mountTest('a volume mounted read-only shows what is dirty, refuses every change, and changes nothing', undefined, async (t) => {
  const gateway = await unmounted(t, { volumeBytes: VOLUME_BYTES, mountOptions: 'ro' });
  await gateway.ok('mount', gateway.cache, gateway.backing, gateway.mountpoint);
  const user = gateway.client();
  const bytes = pattern(300_000, 4);
  await write(gateway, user, 1000, bytes);
  await gateway.ok('umount', gateway.mountpoint);
  const before = [await digestOf(gateway.cache), await digestOf(gateway.backing)];

  await gateway.mount();
  t.is((await user.call('stat', gateway.volume)).mode & 0o222, 0);
  const fd = await user.call('open', gateway.volume, 0);
  t.true(Buffer.from(await user.call('read', fd, 1000, bytes.length)).equals(bytes));
  t.is((await user.call('read', fd, 16 * MIB, MIB)).length, MIB);
  await user.call('fsync', fd);
  t.is(await user.errnoOf('open', gateway.volume, O_RDWR), 'EROFS');
  t.is(await user.errnoOf('truncate', gateway.volume, 5), 'EROFS');
  await user.call('close', fd);
  t.true((await gateway.status()).read_only);
  for (const command of [
    ['flush', gateway.mountpoint],
    ['message', gateway.mountpoint, 'gc_percent', '10'],
  ]) {
    const { status, stderr } = await gateway.pcache(...command);
    t.is(status, 1);
    t.regex(stderr, /^pcache: .*: the volume is mounted read-only\n$/);
  }
  t.regex(await gateway.umount(), /of dirty data stay in/);
  t.deepEqual([await digestOf(gateway.cache), await digestOf(gateway.backing)], before);
});
