// Loop devices over a volume: one at a time, who uses them, and what becomes of them when the supervisor or the mount is gone. Real file systems, as root.

import { mkdirSync } from 'node:fs';
import { basename, join } from 'node:path';
import type { ExecutionContext } from 'ava';
import { listLoops } from '../../src/device/loop-device.js';
import { loopsOver } from '../../src/gateway/loop-use.js';
import { TAKEN_AWAY, detachIfOver, detachOwn, noLoopDevices } from '../support/loop.js';
import { fileSystemKinds, whyNoFileSystem } from '../support/mounted-loop.js';
import { run, runOk, waitUntil } from '../support/mounted-commands.js';
import { MIB, mountTest, mounted, type TestGateway } from '../support/mounted.js';

const noExt4 = whyNoFileSystem(fileSystemKinds.find(({ name }) => name === 'ext4')!);

interface Disk {
  readonly gateway: TestGateway;
  readonly device: string;
  /** Where the file system on it is mounted. */
  readonly place: string;
}

function isAttached(device: string): boolean {
  return listLoops().some((loop) => loop.device === device);
}

/** A volume, a loop device over it, and a mounted file system on that. All is taken away at the end of the test, however far it came. */
async function withFileSystem(t: ExecutionContext): Promise<Disk> {
  const gateway = await mounted(t, { volumeBytes: 32 * MIB });
  const device = await gateway.ok('loop', 'attach', gateway.mountpoint);
  const place = join(gateway.folder, 'fs');
  t.teardown(async () => {
    await run('umount', ['-l', place]);
    detachIfOver(device, gateway.volume, TAKEN_AWAY);
  });
  mkdirSync(place);
  await runOk('mkfs.ext4', ['-q', '-E', 'nodiscard', device]);
  await runOk('mount', [device, place]);
  return { gateway, device, place };
}

mountTest('a loop device in use is not detached: loop detach and umount fail, and say where it is mounted', noExt4, async (t) => {
  const { gateway, device, place } = await withFileSystem(t);
  const unmounting = await gateway.pcache('umount', gateway.mountpoint);
  t.is(unmounting.status, 1);
  t.true(unmounting.stderr.includes(`${gateway.mountpoint} is in use by ${device}, which is mounted on ${place}\n`), unmounting.stderr);

  const detaching = await gateway.pcache('--json', 'loop', 'detach', gateway.mountpoint);
  t.is(detaching.status, 1);
  t.deepEqual(JSON.parse(detaching.stdout), {
    mountpoint: gateway.mountpoint,
    devices: [{ device, state: 'deferred', used_by: [`mounted on ${place}`] }],
  });
  t.like(JSON.parse(detaching.stderr), { error: { code: 'busy', message: `loop detach: ${device} is in use: mounted on ${place}` } });
  t.regex(detaching.stderr, /detached by itself when its last user is gone/);
  t.true(isAttached(device));
  // As it was told.
  await runOk('umount', [place]);
  await waitUntil(() => !isAttached(device), 'the device is gone');
  await gateway.umount();
});

mountTest('of loop attaches at the same moment one succeeds at most, and what the others attached is gone', noLoopDevices, async (t) => {
  const gateway = await mounted(t, { volumeBytes: 8 * MIB });
  t.teardown(() => loopsOver(gateway.mountpoint).forEach(detachOwn));
  const attempts = await Promise.all(Array.from({ length: 4 }, () => gateway.pcache('loop', 'attach', gateway.mountpoint)));
  const attached = attempts.filter(({ status }) => status === 0).map(({ stdout }) => stdout.trim());
  const left = loopsOver(gateway.mountpoint).map(({ device }) => device);
  t.deepEqual(left, attached);
  t.true(attached.length <= 1, attached.join(', '));
  for (const { status, stderr } of attempts)
    if (status !== 0) t.regex(stderr, /^pcache: loop attach: .*: attached already: \/dev\/loop\d+/m);
  if (left.length > 0) await gateway.ok('loop', 'detach', gateway.mountpoint);
  await gateway.umount();
});

mountTest('a second loop device over a volume is refused, and the first one named', noExt4, async (t) => {
  const { gateway, device, place } = await withFileSystem(t);
  const { status, stdout, stderr } = await gateway.pcache('loop', 'attach', gateway.mountpoint);
  t.deepEqual([status, stdout], [1, '']);
  t.true(stderr.includes(`${gateway.mountpoint}: attached already: ${device}, which is mounted on ${place}\n`), stderr);
  await runOk('umount', [place]);
  t.is(await gateway.ok('loop', 'detach', device), `${device} detached`);
  t.regex(await gateway.ok('loop', 'attach', gateway.mountpoint), /^\/dev\/loop\d+$/);
  await gateway.ok('loop', 'detach', gateway.mountpoint);
  await gateway.umount();
});

mountTest(
  'a loop device that is over something else is not detached, and one that is over nothing is said to be',
  noLoopDevices,
  async (t) => {
    const gateway = await mounted(t, { volumeBytes: 8 * MIB });
    const other = await runOk('losetup', ['--find', '--show', '--read-only', gateway.backing]);
    t.teardown(() => detachIfOver(other, gateway.backing));
    const refused = await gateway.pcache('loop', 'detach', other);
    t.is(refused.status, 1);
    t.true(refused.stderr.startsWith(`pcache: ${other}: not over a pcache volume but over ${gateway.backing}\n`), refused.stderr);
    t.true(isAttached(other));
    await runOk('losetup', ['--detach', other]);
    t.regex((await gateway.pcache('loop', 'detach', '/dev/loop999999')).stderr, /^pcache: \/dev\/loop999999: nothing is attached\n/);
    await gateway.umount();
  },
);

mountTest(
  'the supervisor killed under a loop device: the dead mount stays, and every command says which device is over it',
  noExt4,
  async (t) => {
    const { gateway, device, place } = await withFileSystem(t);
    process.kill(gateway.pids.supervisor, 'SIGKILL');
    await waitUntil(() => gateway.processes().length === 0, 'the engine is gone');
    t.true(gateway.isMounted);
    t.regex(gateway.log(), /the dead mount stays/);
    t.regex(await gateway.ok('status'), /dead: pcache umount cleans up/);
    const status = await gateway.pcache('status', gateway.mountpoint);
    t.is(status.status, 1);
    t.true(status.stderr.includes(`unmount what is on ${device}, which is mounted on ${place}; pcache loop detach`), status.stderr);
    await runOk('umount', [place]);
    t.is(await gateway.ok('loop', 'detach', gateway.mountpoint), `${device} detached`);
    t.regex(await gateway.ok('umount', gateway.mountpoint), /the daemon was dead already; its mount is cleaned up\nits log is /);
    t.deepEqual(gateway.leftovers(), [basename(gateway.ownLog)]);
    // The engine had closed the log.
    t.true((JSON.parse(await gateway.ok('--json', 'status', gateway.cache)) as { closed_in_order: boolean }).closed_in_order);
    await gateway.mount();
    await gateway.umount();
  },
);

mountTest(
  'a loop device whose volume was taken away is named where nothing is mounted any more, and goes by its name',
  noExt4,
  async (t) => {
    const { gateway, device, place } = await withFileSystem(t);
    process.kill(gateway.pids.supervisor, 'SIGKILL');
    await waitUntil(() => gateway.processes().length === 0, 'the engine is gone');
    await gateway.ok('umount', gateway.mountpoint);
    const commands = [
      ['status', gateway.mountpoint],
      ['umount', gateway.mountpoint],
      ['loop', 'detach', gateway.mountpoint],
    ];
    for (const command of commands) {
      const { status, stderr } = await gateway.pcache(...command);
      t.is(status, 1);
      t.regex(stderr, /: not a mounted pcache volume/);
      t.true(stderr.includes(`${device}, which is mounted on ${place}`) && stderr.includes(`pcache loop detach ${device}`), stderr);
    }
    await runOk('umount', [place]);
    t.is(await gateway.ok('loop', 'detach', device), `${device} detached`);
    t.false((await gateway.pcache('status', gateway.mountpoint)).stderr.includes(device));
  },
);
