// A backing device that becomes shorter while it is mounted: somebody truncates the file, or shrinks the volume that it is. What was there is gone, nobody
// knows what it was, and growing it again brings zeros. It is noticed, nothing is written back that would hide it, and nobody is told that all is well.

import { readFileSync, statSync, truncateSync } from 'node:fs';
import type { ExecutionContext } from 'ava';
import { pattern } from '../fuse/conformance.js';
import { attachedLoop, noLoopDevices } from '../support/loop.js';
import { lacking, runOk, waitUntil } from '../support/mounted-commands.js';
import { MIB, TestGateway, mountTest, mounted, unmounted } from '../support/mounted.js';

const VOLUME_BYTES = 16 * MIB;
const CUT_BYTES = 5 * MIB;
const SAYS = `became ${VOLUME_BYTES - CUT_BYTES} bytes shorter than the volume: it was cut while in use`;

async function write(gateway: TestGateway, offset: number, bytes: Buffer): Promise<void> {
  const client = gateway.client();
  const fd = await client.call('open', gateway.volume, 2);
  await client.call('write', fd, offset, bytes);
  await client.call('close', fd);
}

async function noticed(gateway: TestGateway): Promise<void> {
  await waitUntil(async () => (await gateway.status()).state === 'backing-error', 'the cut is noticed');
}

/** The end of the file, which is written to last, so that a write there would give it its length back. */
async function dirtyAndCut(t: ExecutionContext): Promise<TestGateway> {
  const gateway = await mounted(t, { volumeBytes: VOLUME_BYTES });
  await gateway.ok('message', gateway.mountpoint, 'writeback', 'pause');
  await write(gateway, VOLUME_BYTES - MIB, pattern(MIB, 1));
  truncateSync(gateway.backing, CUT_BYTES);
  return gateway;
}

mountTest(
  'a backing file that is cut while mounted is an error until the mount ends, and nothing more is written to it',
  undefined,
  async (t) => {
    const gateway = await dirtyAndCut(t);
    await noticed(gateway);
    await gateway.ok('message', gateway.mountpoint, 'writeback', 'resume');
    t.like(await gateway.status(), { dirty_bytes: MIB, clean_in_s: null, writeback_bytes: 0 });
    t.regex(await gateway.ok('status', gateway.mountpoint), new RegExp(`\\nerror +backing: \\S+backing\\.img ${SAYS}`));
    for (const [command, what] of [
      [['flush', gateway.mountpoint], 'flush: \\S+'],
      [['umount', gateway.mountpoint, '--flush'], 'umount: \\S+: not unmounted'],
    ] as const) {
      const { status, stdout, stderr } = await gateway.pcache(...command);
      t.deepEqual([status, stdout], [1, '']);
      t.regex(
        stderr,
        new RegExp(`^pcache: ${what}: 1 MiB of dirty data stay in \\S+: \\S+backing\\.img ${SAYS}\\nhint: [^\\n]+--adopt[^\\n]+\\n$`),
      );
    }
    t.is(statSync(gateway.backing).size, CUT_BYTES, 'it was not lengthened');

    // Zeros are not what was there.
    truncateSync(gateway.backing, VOLUME_BYTES);
    const flush = await gateway.pcache('flush', gateway.mountpoint);
    t.is(flush.status, 1);
    t.like(await gateway.status(), { state: 'backing-error', dirty_bytes: MIB });
    t.true(
      readFileSync(gateway.backing)
        .subarray(CUT_BYTES)
        .every((byte) => byte === 0),
      'nothing was written',
    );
    const umount = await gateway.pcache('umount', gateway.mountpoint);
    t.is(umount.status, 0);
    t.regex(umount.stdout, /unmounted; 1 MiB of dirty data stay in /);
    t.regex(umount.stderr, new RegExp(`^pcache: warning: \\S+ ${SAYS}\\n$`));

    for (const command of [
      ['mount', gateway.cache, gateway.backing, gateway.mountpoint],
      ['recover', gateway.cache, gateway.backing],
    ]) {
      const { status, stderr } = await gateway.pcache(...command);
      t.is(status, 1);
      t.regex(
        stderr,
        /^pcache: \S+: the backing device was cut while it was in use, [^\n]+\nhint: Bring its content back [^\n]+adopt[^\n]+\n$/,
      );
    }
    const check = await gateway.pcache('check', gateway.cache, '--backing', gateway.backing);
    t.is(check.status, 1);
    t.regex(check.stdout, /backing device: it was cut while it was in use, /);
    t.regex(await gateway.ok('dump', gateway.cache), /\nprint +none: the backing device was cut while it was in use$/m);
    await gateway.ok('recover', gateway.cache, gateway.backing, '--adopt');
    t.true(
      readFileSync(gateway.backing)
        .subarray(VOLUME_BYTES - MIB)
        .equals(pattern(MIB, 1)),
    );
    await gateway.mount();
    await gateway.umount('--flush');
  },
);

mountTest('a cut that is still there at the end is the size at the next mount, which refuses it', undefined, async (t) => {
  const gateway = await dirtyAndCut(t);
  await noticed(gateway);
  await gateway.ok('umount', gateway.mountpoint);
  const { status, stderr } = await gateway.pcache('mount', gateway.cache, gateway.backing, gateway.mountpoint, '-o', 'adopt');
  t.is(status, 1);
  t.regex(stderr, new RegExp(`${VOLUME_BYTES} bytes, this one has ${CUT_BYTES}`));
  t.is(statSync(gateway.backing).size, CUT_BYTES);
});

for (const command of ['flush', 'umount --flush', 'umount'] as const) {
  mountTest(`a cut just before pcache ${command}, with nothing dirty, is noticed by it`, undefined, async (t) => {
    const gateway = await mounted(t, { volumeBytes: VOLUME_BYTES });
    await write(gateway, 0, pattern(MIB, 1));
    await gateway.ok('flush', gateway.mountpoint);
    truncateSync(gateway.backing, CUT_BYTES);
    const [name, ...options] = command.split(' ');
    const { status, stdout, stderr } = await gateway.pcache(name!, gateway.mountpoint, ...options);
    t.is(status, command === 'umount' ? 0 : 1);
    t.regex(stderr, new RegExp(SAYS));
    t.notRegex(stdout, /everything is on/);
    if (command !== 'umount') await gateway.ok('umount', gateway.mountpoint);
  });
}

mountTest('that a backing file was cut outlives the engine, and a read-only mount notices it too', undefined, async (t) => {
  const gateway = await dirtyAndCut(t);
  await noticed(gateway);
  truncateSync(gateway.backing, VOLUME_BYTES);
  // As long as a change may take to be told to the supervisor.
  const errorMs = (await gateway.status()).last_error!.since_ms;
  await waitUntil(() => Date.now() - errorMs > 2500, 'it was told');
  process.kill(gateway.pids.engine, 'SIGKILL');
  await waitUntil(
    async () => (await gateway.pcache('status', gateway.mountpoint)).status === 0 && (await gateway.status()).engine_restarts === 1,
    'another engine',
  );
  await noticed(gateway);
  t.regex((await gateway.status()).last_error!.message, new RegExp(SAYS));
  await gateway.ok('umount', gateway.mountpoint);

  await gateway.ok(...gateway.mountArguments, '-o', 'adopt,ro');
  truncateSync(gateway.backing, CUT_BYTES);
  await noticed(gateway);
  await gateway.ok('umount', gateway.mountpoint);
});

mountTest('a block device that shrinks is noticed as a file is', noLoopDevices ?? lacking('losetup'), async (t) => {
  const gateway = await unmounted(t, { volumeBytes: VOLUME_BYTES });
  const loop = attachedLoop(t, gateway.backing);
  await gateway.ok('mount', gateway.cache, loop, gateway.mountpoint);
  truncateSync(gateway.backing, CUT_BYTES);
  await runOk('losetup', ['-c', loop]);
  await noticed(gateway);
  truncateSync(gateway.backing, VOLUME_BYTES);
  await runOk('losetup', ['-c', loop]);
  t.is((await gateway.pcache('umount', gateway.mountpoint, '--flush')).status, 1);
  await gateway.ok('umount', gateway.mountpoint);
  const { status, stderr } = await gateway.pcache('mount', gateway.cache, loop, gateway.mountpoint);
  t.is(status, 1);
  t.regex(stderr, /the backing device was cut while it was in use/);
  await gateway.ok('mount', gateway.cache, loop, gateway.mountpoint, '-o', 'adopt');
  await gateway.ok('umount', gateway.mountpoint);
});
