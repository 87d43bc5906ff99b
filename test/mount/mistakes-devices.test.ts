// Devices that are not what they were: grown, shrunk, replaced, detached, deleted while in use, in use under another name, copied, or on another
// host. One line that says what it is, nothing changed, and nothing lost without a word.

import {
  chmodSync,
  closeSync,
  copyFileSync,
  ftruncateSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import type { ExecutionContext } from 'ava';
import { pattern } from '../fuse/conformance.js';
import { attachedLoop, noLoopDevices } from '../support/loop.js';
import { lacking, run, runOk, waitUntil, type CommandResult } from '../support/mounted-commands.js';
import { MIB, PCACHE, TestGateway, killIfAlive, mountTest, mounted, unmounted } from '../support/mounted.js';
import { isRoot } from '../support/tmp.js';

const VOLUME_BYTES = 16 * MIB;
const OTHER_BOOT = '11111111-2222-4333-8444-555555555555';

async function write(gateway: TestGateway, offset: number, bytes: Buffer, { flushed = false } = {}): Promise<void> {
  const client = gateway.client();
  const fd = await client.call('open', gateway.volume, 2);
  await client.call('write', fd, offset, bytes);
  if (flushed) await client.call('fsync', fd);
  await client.call('close', fd);
}

/** A file of so many bytes, all zeros; what was there is deleted, so that its inode number is free for the new one. */
function freshFile(path: string, sizeBytes: number): string {
  rmSync(path, { force: true });
  const fd = openSync(path, 'w');
  ftruncateSync(fd, sizeBytes);
  closeSync(fd);
  return path;
}

/** Calls `mount`, `recover` and `recover --dry-run`, and `check`, each of which must say `says`, on one line and perhaps a hint, and change nothing. */
async function refused(t: ExecutionContext, gateway: TestGateway, backing: string, says: RegExp, checkSays = says): Promise<void> {
  const before = readFileSync(gateway.cache);
  const { mtimeMs } = statSync(backing, { throwIfNoEntry: false }) ?? { mtimeMs: 0 };
  const commands = [
    ['mount', gateway.cache, backing, gateway.mountpoint],
    ['recover', gateway.cache, backing],
    ['recover', gateway.cache, backing, '--dry-run'],
    ['check', gateway.cache, '--backing', backing],
  ];
  for (const args of commands) {
    const { status, stdout, stderr } = await gateway.pcache(...args);
    const what = args.join(' ');
    t.is(status, 1, what);
    t.regex(args[0] === 'check' && stdout !== '' ? stdout : stderr, args[0] === 'check' ? checkSays : says, what);
    if (args[0] !== 'check') t.regex(stderr, /^pcache: [^\n]+\n(hint: [^\n]+\n)?$/, what);
    t.deepEqual(withoutLoops(gateway.leftovers()), [], what);
  }
  t.true(readFileSync(gateway.cache).equals(before), 'the cache is as it was');
  t.is((statSync(backing, { throwIfNoEntry: false }) ?? { mtimeMs: 0 }).mtimeMs, mtimeMs, 'the backing device is as it was');
}

/** The test's own loop devices go by themselves. */
function withoutLoops(leftovers: readonly string[]): string[] {
  return leftovers.filter((each) => !each.startsWith('/dev/loop'));
}

async function dirtyCache(t: ExecutionContext): Promise<TestGateway> {
  const gateway = await mounted(t, { volumeBytes: VOLUME_BYTES });
  await write(gateway, 8192, pattern(MIB, 1));
  await gateway.umount();
  return gateway;
}

for (const state of ['dirty', 'flushed'] as const) {
  mountTest(
    `a backing file that grew or shrank is refused with a ${state} cache, and taken when it has its size again`,
    undefined,
    async (t) => {
      const gateway = await mounted(t, { volumeBytes: VOLUME_BYTES });
      await write(gateway, 8192, pattern(MIB, 1));
      await gateway.umount(...(state === 'flushed' ? ['--flush'] : []));
      for (const bytes of state === 'dirty' ? [VOLUME_BYTES + 512, VOLUME_BYTES / 2] : [4 * VOLUME_BYTES]) {
        truncateSync(gateway.backing, bytes);
        await refused(t, gateway, gateway.backing, new RegExp(`${VOLUME_BYTES} bytes, this one has ${bytes}`));
        truncateSync(gateway.backing, VOLUME_BYTES);
      }
      // It was changed meanwhile, as far as can be told.
      const { status, stderr } = await gateway.pcache(...gateway.mountArguments);
      t.is(status, 1);
      t.regex(stderr, /written to after the cache was closed: it was last changed at /);
      await gateway.ok(...gateway.mountArguments, '-o', 'adopt');
      await gateway.umount('--flush');
      t.true(
        readFileSync(gateway.backing)
          .subarray(8192, 8192 + MIB)
          .equals(pattern(MIB, 1)),
      );
    },
  );
}

mountTest('a backing file that is missing is missed by its name, and taken when it is back', undefined, async (t) => {
  const gateway = await dirtyCache(t);
  renameSync(gateway.backing, `${gateway.backing}.away`);
  await refused(t, gateway, gateway.backing, /^pcache: \S+backing.img: no such file or directory \(ENOENT\)\n$/);
  renameSync(`${gateway.backing}.away`, gateway.backing);
  await gateway.ok('recover', gateway.cache, gateway.backing);
  t.true(
    readFileSync(gateway.backing)
      .subarray(8192, 8192 + MIB)
      .equals(pattern(MIB, 1)),
  );
});

mountTest(
  'a copy in place of the backing file, or a new file in its place, is refused; another name of it is taken',
  undefined,
  async (t) => {
    const gateway = await dirtyCache(t);
    const [kept, name] = [`${gateway.backing}.kept`, `${gateway.backing}.name`];
    renameSync(gateway.backing, kept);
    copyFileSync(kept, gateway.backing);
    await refused(t, gateway, gateway.backing, /belongs to another (backing device|one) \(file:/);
    rmSync(gateway.backing);
    renameSync(kept, gateway.backing);
    await runOk('ln', ['-s', gateway.backing, name]);
    await gateway.ok('mount', gateway.cache, name, gateway.mountpoint);
    await gateway.umount();
    // ext4 gives the number of a deleted inode to the next file.
    freshFile(gateway.backing, VOLUME_BYTES);
    await refused(t, gateway, gateway.backing, /belongs to another (backing device|one) \(file:/);
  },
);

mountTest(
  'a loop device is known by its file: resized, detached or over another file it is refused',
  noLoopDevices ?? lacking('losetup'),
  async (t) => {
    const gateway = await unmounted(t, { volumeBytes: VOLUME_BYTES });
    const other = freshFile(join(gateway.folder, 'other.img'), VOLUME_BYTES);
    const loop = attachedLoop(t, gateway.backing);
    await gateway.ok('mount', gateway.cache, loop, gateway.mountpoint);
    await write(gateway, 8192, pattern(MIB, 1));
    await gateway.ok('umount', gateway.mountpoint);

    truncateSync(gateway.backing, 2 * VOLUME_BYTES);
    await runOk('losetup', ['-c', loop]);
    await refused(t, gateway, loop, new RegExp(`${VOLUME_BYTES} bytes, this one has ${2 * VOLUME_BYTES}`));
    truncateSync(gateway.backing, VOLUME_BYTES);

    await runOk('losetup', ['-d', loop]);
    await refused(t, gateway, loop, /a block device of 0 bytes: nothing is attached/);
    await runOk('losetup', [loop, other]);
    await refused(t, gateway, loop, /belongs to another (backing device|one) \(loop-of:file:/);
    await runOk('losetup', ['-d', loop]);
    await runOk('losetup', ['-r', loop, gateway.backing]);
    const result = await gateway.pcache('mount', gateway.cache, loop, gateway.mountpoint);
    t.is(result.stderr, `pcache: ${loop}: a read-only device: it can't be opened for writing\nhint: Mount it with -o ro to read only.\n`);
    await runOk('losetup', ['-d', loop]);
    await runOk('losetup', [loop, gateway.backing]);

    const second = attachedLoop(t, gateway.backing);
    await gateway.ok('mount', gateway.cache, second, gateway.mountpoint);
    await gateway.ok('umount', gateway.mountpoint, '--flush');
    t.true(
      readFileSync(gateway.backing)
        .subarray(8192, 8192 + MIB)
        .equals(pattern(MIB, 1)),
    );
  },
);

mountTest(
  'cache and backing file are in use under all of their names: loop devices over them, and the files below',
  noLoopDevices,
  async (t) => {
    const gateway = await unmounted(t, { volumeBytes: VOLUME_BYTES });
    const second = await unmounted(t, { volumeBytes: VOLUME_BYTES });
    const [cacheLoop, backingLoop] = [attachedLoop(t, gateway.cache), attachedLoop(t, gateway.backing)];
    const [cacheLoop2, backingLoop2] = [attachedLoop(t, gateway.cache), attachedLoop(t, gateway.backing)];
    await gateway.ok('mount', cacheLoop, backingLoop, gateway.mountpoint);
    for (const [cache, backing, used] of [
      [gateway.cache, second.backing, gateway.cache],
      [cacheLoop2, second.backing, cacheLoop2],
      [second.cache, gateway.backing, gateway.backing],
      [second.cache, backingLoop2, backingLoop2],
    ] as const) {
      for (const args of [
        ['mount', cache, backing, second.mountpoint],
        ['recover', cache, backing],
      ]) {
        const { status, stderr } = await gateway.pcache(...args);
        t.is(status, 1, args.join(' '));
        t.regex(stderr, new RegExp(`^pcache: ${used}: in use: ${cache === second.cache ? backingLoop : cacheLoop} over `), args.join(' '));
      }
    }
    t.is((await gateway.status()).state, 'serving');
    await gateway.ok('umount', gateway.mountpoint);
    // And from the other side.
    await gateway.mount();
    for (const [cache, backing, used] of [
      [cacheLoop, second.backing, cacheLoop],
      [second.cache, backingLoop, backingLoop],
    ] as const) {
      const { status, stderr } = await gateway.pcache('mount', cache, backing, second.mountpoint);
      t.is(status, 1);
      t.regex(stderr, new RegExp(`^pcache: ${used}: in use: what is below it, \\S+, is in use itself\n`));
    }
    await gateway.ok('umount', gateway.mountpoint);
  },
);

mountTest('a refused device of another mount is named with its mount point', undefined, async (t) => {
  const gateway = await mounted(t, { volumeBytes: VOLUME_BYTES });
  const other = join(gateway.folder, 'other');
  await runOk('mkdir', [other]);
  const { status, stderr } = await gateway.pcache('mount', gateway.cache, gateway.backing, other);
  t.is(status, 1);
  t.regex(stderr, /^pcache: \S+: in use by another pcache \(pid \d+\)\nhint: It is in use for \S+\/mnt; pcache umount \S+\/mnt first\.\n$/);
});

mountTest(
  'a cache file that was replaced while mounted is noticed, and umount refuses to lose what is dirty in it',
  undefined,
  async (t) => {
    const gateway = await mounted(t, { volumeBytes: VOLUME_BYTES });
    t.is((await gateway.pcache('status', gateway.mountpoint)).stderr, '');
    await write(gateway, 8192, pattern(MIB, 1));
    copyFileSync(gateway.cache, `${gateway.cache}.copy`);
    renameSync(`${gateway.cache}.copy`, gateway.cache);
    t.regex(
      (await gateway.pcache('status', gateway.mountpoint)).stderr,
      /^pcache: warning: \S+cache.pmem: deleted or replaced while it was mounted; [^\n]+\n$/,
    );
    const refusal = await gateway.pcache('umount', gateway.mountpoint);
    if ((await gateway.status()).dirty_bytes > 0) {
      t.is(refusal.status, 1);
      t.regex(
        refusal.stderr,
        /^pcache: umount: \S+: [^\n]+ of dirty data would be lost: [^\n]+\nhint: pcache umount \S+ --flush [^\n]+\n$/,
      );
    }
    await gateway.umount('--flush');
    t.true(
      readFileSync(gateway.backing)
        .subarray(8192, 8192 + MIB)
        .equals(pattern(MIB, 1)),
    );
  },
);

mountTest(
  'a backing file that was deleted while mounted is noticed, and can be saved before the volume is unmounted',
  undefined,
  async (t) => {
    const gateway = await mounted(t, { volumeBytes: VOLUME_BYTES });
    await write(gateway, 8192, pattern(MIB, 1));
    rmSync(gateway.backing);
    await gateway.ok('flush', gateway.mountpoint);
    let hint = '';
    for (const options of [[], ['--flush']]) {
      const { status, stderr } = await gateway.pcache('umount', gateway.mountpoint, ...options);
      t.is(status, 1);
      t.regex(
        stderr,
        /^pcache: umount: \S+: all that was written back would be lost: \S+backing.img: [^\n]+\nhint: End its users, then: [^\n]+\n$/,
      );
      hint = stderr;
    }
    // Word for word, with what is not flushed yet.
    await write(gateway, 2 * MIB, pattern(MIB, 2));
    const copy = join(gateway.folder, 'copy.img');
    const [, save, mount] = /then: (.*) \(not pcache umount\)\. Next time: (.*)/.exec(hint)!;
    const env = { PCACHE_RUNTIME_DIR: gateway.runtimeDirectory };
    const shell = (commands: string): Promise<CommandResult> =>
      run('sh', ['-c', commands.replaceAll('pcache ', `'${process.execPath}' '${PCACHE}' `).replaceAll('COPY', copy)], { env });
    t.like(await shell(save!), { status: 0 });
    await waitUntil(() => gateway.leftovers().length === 0, 'the gateway ends');
    t.like(await shell(mount!), { status: 0 });
    await gateway.ok('umount', gateway.mountpoint, '--flush');
    const bytes = readFileSync(copy);
    t.true(bytes.subarray(8192, 8192 + MIB).equals(pattern(MIB, 1)));
    t.true(bytes.subarray(2 * MIB, 3 * MIB).equals(pattern(MIB, 2)));
  },
);

mountTest('a backing file that can only be read is mounted read-only as the hint says', undefined, async (t) => {
  const gateway = await unmounted(t, { volumeBytes: VOLUME_BYTES });
  if (isRoot) {
    // Root may write to a file whatever its mode is, but not to an immutable one.
    const { status } = await run('chattr', ['+i', gateway.backing]);
    if (status !== 0) {
      t.log('skipped: the file system of /tmp has no immutable files, or there is no chattr');
      t.pass();
      return;
    }
    t.teardown(() => run('chattr', ['-i', gateway.backing]));
  } else {
    chmodSync(gateway.backing, 0o444);
  }
  const { status, stderr } = await gateway.pcache(...gateway.mountArguments);
  t.is(status, 1);
  t.regex(stderr, /^pcache: \S+backing.img: [^\n]+: it can't be opened for writing\nhint: Mount it with -o ro to read only\.\n$/);
  await gateway.ok(...gateway.mountArguments, '-o', 'ro');
  t.like(await gateway.status(), { read_only: true });
  await gateway.ok('umount', gateway.mountpoint);
});

mountTest('a backing file that is renamed while mounted is told by the name that it has at the end', undefined, async (t) => {
  const gateway = await mounted(t, { volumeBytes: VOLUME_BYTES });
  await write(gateway, 8192, pattern(MIB, 1));
  const renamed = join(gateway.folder, 'renamed.img');
  renameSync(gateway.backing, renamed);
  const status = await gateway.pcache('status', gateway.mountpoint);
  t.regex(status.stderr, /^pcache: warning: \S+backing.img: renamed while it was mounted; it is \S+renamed.img now\n$/);
  const said = await gateway.ok('umount', gateway.mountpoint, '--flush');
  t.regex(said, /; everything is on (\S+)renamed.img \(was \1backing.img\)\s*$/);
  t.true(
    readFileSync(renamed)
      .subarray(8192, 8192 + MIB)
      .equals(pattern(MIB, 1)),
  );
});

/** `pcache ARGUMENTS` on what is another host to it: one with another boot id. */
function elsewhere(gateway: TestGateway, ...args: string[]): Promise<CommandResult> {
  const bootId = join(gateway.folder, 'boot-id');
  writeFileSync(bootId, `${OTHER_BOOT}\n`);
  const script = 'mount --bind "$1" /proc/sys/kernel/random/boot_id && shift && exec "$@"';
  const command = ['-m', 'sh', '-c', script, 'sh', bootId, process.execPath, PCACHE, ...args];
  return run('unshare', command, { env: { PCACHE_RUNTIME_DIR: gateway.runtimeDirectory } });
}

/** Kills both processes of a gateway when a write was flushed and another one is only staged. */
async function crashedWithStagedKeys(t: ExecutionContext): Promise<TestGateway> {
  for (let attempt = 1; ; attempt++) {
    const gateway = await mounted(t, { volumeBytes: VOLUME_BYTES });
    await write(gateway, 0, pattern(MIB, 1), { flushed: true });
    await write(gateway, 4 * MIB, pattern(MIB, 2));
    for (const pid of [gateway.pids.supervisor, gateway.pids.engine]) killIfAlive(pid);
    await waitUntil(() => gateway.processes().length === 0, 'both are gone');
    await gateway.ok('umount', gateway.mountpoint);
    if (/acknowledged keys wait in memory/.test(await gateway.ok('check', gateway.cache))) return gateway;
    // On a slow machine the kset was closed before, a second after it was opened.
    t.true(attempt < 10, 'keys are staged when the gateway is killed');
  }
}

const noOtherBoot = isRoot ? lacking('unshare') : 'needs root';

mountTest('a cache that crashed and was copied to another host has what was flushed there, and all of it here', noOtherBoot, async (t) => {
  const gateway = await crashedWithStagedKeys(t);
  const copies = { cache: join(gateway.folder, 'copy.pmem'), backing: join(gateway.folder, 'copy.img') };
  copyFileSync(gateway.cache, copies.cache);
  copyFileSync(gateway.backing, copies.backing);

  const check = await elsewhere(gateway, 'check', copies.cache);
  t.is(check.status, 0);
  t.regex(check.stdout, /keys had not been flushed when the machine was restarted: they are not part of the cache/);
  t.like(JSON.parse((await elsewhere(gateway, '--json', 'status', copies.cache)).stdout), { state: 'idle', closed_in_order: false });
  // It is not the file that the cache belongs to, though the same data.
  const refusal = await elsewhere(gateway, 'recover', copies.cache, copies.backing);
  t.is(refusal.status, 1);
  t.regex(refusal.stderr, /belongs to another backing device .*\nhint: If this is the same data in another place, add --adopt\.\n/);
  t.is((await elsewhere(gateway, 'recover', copies.cache, copies.backing, '--adopt')).status, 0);
  const there = readFileSync(copies.backing);
  t.true(there.subarray(0, MIB).equals(pattern(MIB, 1)), 'flushed');
  t.true(there.subarray(4 * MIB, 5 * MIB).equals(Buffer.alloc(MIB)), 'not flushed');
  // The other host has closed its log: what was staged does not come back when the copy is here again.
  await gateway.ok('recover', copies.cache, copies.backing);
  t.true(
    readFileSync(copies.backing)
      .subarray(4 * MIB, 5 * MIB)
      .equals(Buffer.alloc(MIB)),
  );

  await gateway.ok('recover', gateway.cache, gateway.backing);
  const here = readFileSync(gateway.backing);
  t.true(here.subarray(0, MIB).equals(pattern(MIB, 1)));
  t.true(here.subarray(4 * MIB, 5 * MIB).equals(pattern(MIB, 2)), 'acknowledged');
});

mountTest('a crashed cache and its copy can not serve one backing file at the same time', undefined, async (t) => {
  const gateway = await crashedWithStagedKeys(t);
  const copy = join(gateway.folder, 'copy.pmem');
  const other = join(gateway.folder, 'other');
  await runOk('mkdir', [other]);
  copyFileSync(gateway.cache, copy);
  await gateway.mount();
  const { status, stderr } = await gateway.pcache('mount', copy, gateway.backing, other);
  t.is(status, 1);
  t.regex(stderr, /^pcache: \S+backing.img: in use by another pcache/);
  await gateway.umount('--flush');
  t.true(
    readFileSync(gateway.backing)
      .subarray(4 * MIB, 5 * MIB)
      .equals(pattern(MIB, 2)),
  );
});

mountTest('what is left of a cache in memory after a restart of the machine is no cache, and says so', undefined, async (t) => {
  const gateway = await dirtyCache(t);
  const says = /^pcache: \S+cache.pmem: (not a cache: no superblock|no such file or directory \(ENOENT\))\n/;
  const sizeBytes = statSync(gateway.cache).size;
  rmSync(gateway.cache);
  const commands = [
    ['mount', gateway.cache, gateway.backing, gateway.mountpoint],
    ['recover', gateway.cache, gateway.backing],
    ['check', gateway.cache],
  ];
  for (const recreate of [false, true]) {
    if (recreate) freshFile(gateway.cache, sizeBytes);
    for (const args of commands) {
      const { status, stderr } = await gateway.pcache(...args);
      t.is(status, 1);
      t.regex(stderr, says);
    }
  }
  t.true(readFileSync(gateway.cache).equals(Buffer.alloc(sizeBytes)), 'a blank file stays blank');
});
