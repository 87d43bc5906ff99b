// The example scripts, run as their users run them: with `pcache` in the PATH. Each works in a temporary folder of its own below the test's, so what it leaves
// behind is seen, and taken away whatever happens.

import { execFileSync } from 'node:child_process';
import { chmodSync, mkdirSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import test, { type ExecutionContext } from 'ava';
import { listLoops } from '../src/device/loop-device.js';
import { readMounts } from '../src/fuse/mountinfo.js';
import { openVolume } from '../src/index.js';
import { whyNoFuse } from './fuse/memory-mount.js';
import { goldenExpectations, unpackGolden } from './support/golden.js';
import { detachBelow, noLoopDevices } from './support/loop.js';
import { Job, lacking, run, waitUntil, type CommandResult } from './support/mounted-commands.js';
import { repositoryRoot } from './support/paths.js';
import { temporaryFolder } from './support/tmp.js';

const SCRIPT_MS = 180_000;
const pcache = fileURLToPath(new URL('../bin/pcache.js', import.meta.url));
const library = fileURLToPath(new URL('../examples/library.js', import.meta.url));

interface Place {
  readonly env: NodeJS.ProcessEnv;
  /** Where the script makes its temporary folder. */
  readonly folder: string;
}

function place(t: ExecutionContext): Place {
  const base = temporaryFolder(t);
  const bin = join(base, 'bin');
  const folder = join(base, 'tmp');
  mkdirSync(bin);
  mkdirSync(folder);
  writeFileSync(join(bin, 'pcache'), `#!/bin/sh\nexec '${process.execPath}' '${pcache}' "$@"\n`);
  chmodSync(join(bin, 'pcache'), 0o755);
  t.teardown(() => takeAway(folder));
  const path = [bin, process.env.PATH, '/usr/sbin', '/sbin'].join(delimiter);
  return { env: { PATH: path, TMPDIR: folder, NO_COLOR: '1' }, folder };
}

const mountsBelow = (folder: string): string[] =>
  readMounts()
    .map(({ mountpoint }) => mountpoint)
    .filter((mountpoint) => mountpoint.startsWith(folder));

const loopsBelow = (folder: string): string[] =>
  listLoops()
    .filter(({ backingFile }) => backingFile.startsWith(folder))
    .map(({ device }) => device);

/** For a script that was killed. */
function takeAway(folder: string): void {
  const umount = (mountpoint: string): unknown => execFileSync('umount', ['-l', mountpoint], { timeout: 20_000 });
  for (const { mountpoint, source } of readMounts())
    if (mountpoint.startsWith(folder) && source.startsWith('/dev/loop')) umount(mountpoint);
  detachBelow(folder);
  for (const mountpoint of mountsBelow(folder).reverse()) umount(mountpoint);
}

function scriptPath(name: string): string {
  return join(repositoryRoot, 'examples', name);
}

async function runScript(t: ExecutionContext, shell: 'sh' | 'bash', name: string, args: readonly string[] = []): Promise<CommandResult> {
  t.timeout(SCRIPT_MS + 30_000);
  const { env, folder } = place(t);
  const result = await run(shell, [scriptPath(name), ...args], { env, timeoutMs: SCRIPT_MS });
  t.is(result.status, 0, `${result.stdout}\n${result.stderr}`);
  t.regex(result.stdout, /^done$/m);
  t.deepEqual({ files: readdirSync(folder), mounts: mountsBelow(folder), loops: loopsBelow(folder) }, { files: [], mounts: [], loops: [] });
  return result;
}

/** A test of a script, skipped with the reason in its title where the machine lacks something. */
function scriptTest(title: string, lacks: string | undefined, body: (t: ExecutionContext) => Promise<void>): void {
  if (lacks === undefined) test.serial(title, body);
  else test.skip(`${title} (skipped: ${lacks})`, body);
}

scriptTest('first-session goes through formatting, mounting, writing, checking and unmounting', whyNoFuse(), async (t) => {
  const { stdout } = await runScript(t, 'sh', 'first-session.sh');
  t.regex(stdout, /volume\.img/);
  t.regex(stdout, /no problems found/);
});

scriptTest('first-session, when it is interrupted, leaves nothing behind', whyNoFuse(), async (t) => {
  const { env, folder } = place(t);
  const job = new Job('sh', [scriptPath('first-session.sh')], { env });
  t.teardown(() => job.end());
  await waitUntil(() => mountsBelow(folder).length > 0, 'the script has mounted');
  job.child.kill('SIGTERM');
  t.is((await job.finished()).status, 130);
  t.deepEqual({ files: readdirSync(folder), mounts: mountsBelow(folder) }, { files: [], mounts: [] });
});

scriptTest(
  'vm-image serves the volume with qemu-nbd, and the image is what the guest made of it',
  whyNoFuse() ?? lacking('qemu-img', 'qemu-nbd', 'qemu-io'),
  async (t) => {
    const { stdout } = await runScript(t, 'bash', 'vm-image.sh');
    t.regex(stdout, /^Images are identical\.$/m);
  },
);

scriptTest(
  'database loses nothing when the engine is killed, and is sound on the slow disk alone',
  whyNoFuse() ?? noLoopDevices ?? lacking('sqlite3', 'mkfs.ext4', 'losetup', 'e2fsck'),
  async (t) => {
    const { stdout } = await runScript(t, 'bash', 'database.sh');
    t.is(stdout.match(/^ok$/gm)?.length, 2);
    t.is(stdout.match(/^300 rows, 316050 in all$/gm)?.length, 2);
  },
);

test.serial('inspect-kernel-cache shows a cache that the kernel wrote, gets its data out, and leaves the original alone', async (t) => {
  const golden = unpackGolden('mixed-dirty');
  t.teardown(() => golden.remove());
  const expected = goldenExpectations.find(({ name }) => name === 'mixed-dirty')!;
  const { stdout } = await runScript(t, 'sh', 'inspect-kernel-cache.sh', [golden.cachePath, golden.backingPath]);
  t.regex(stdout, new RegExp(`^keys +${expected.keys}: ${expected.clean_keys} clean`, 'm'));
  t.regex(stdout, /^gateway +no header: the kernel made this cache$/m);
  t.regex(stdout, /would write .* in \d+ ranges/);
  t.regex(stdout, /nothing to write/);
  t.true(stdout.includes(expected.volume_sha256));
  t.is((await run('sha256sum', [golden.backingPath])).stdout.split(' ')[0], expected.backing_sha256);
});

test.serial('the library example appends records, and the backing file alone has them', async (t) => {
  const folder = temporaryFolder(t);
  const [cache, backing] = [join(folder, 'cache.pmem'), join(folder, 'backing.img')];
  const { status, stdout, stderr } = await run(process.execPath, [library, cache, backing, '5000']);
  t.is(stderr, '');
  t.is(status, 0);
  t.regex(
    stdout,
    /^5000 records are durable\nthe last of them: record 4999 \n5000 writes, 5 flushes; .*\n0 bytes are in the cache alone\n$/,
  );
  const found = readFileSync(backing);
  for (let record = 0; record < 5000; record++) {
    t.is(found.toString('latin1', record * 1000, (record + 1) * 1000), `record ${record} `.padEnd(1000, '.'));
  }
});

test.serial('the library example, when it is interrupted, has what it says is durable', async (t) => {
  const folder = temporaryFolder(t);
  const [cache, backing] = [join(folder, 'cache.pmem'), join(folder, 'backing.img')];
  const job = new Job(process.execPath, [library, cache, backing, '260000']);
  t.teardown(() => job.end());
  await waitUntil(() => hasRecords(backing), 'records are written back');
  job.child.kill('SIGINT');
  const { status, stdout } = await job.finished(60_000);
  t.is(status, 0);
  const durable = Number(/^(\d+) records are durable \(interrupted\)$/m.exec(stdout)?.[1]);
  t.true(durable >= 0 && durable < 260_000);
  const volume = openVolume({ cachePath: cache, backingPath: backing });
  try {
    for (let record = 0; record < durable; record++) {
      t.is(Buffer.from(volume.read(record * 1000, 1000)).toString('latin1'), `record ${record} `.padEnd(1000, '.'));
    }
  } finally {
    volume.close();
  }
});

function hasRecords(path: string): boolean {
  try {
    return readFileSync(path).toString('latin1', 0, 8) === 'record 0';
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return false;
    throw error;
  }
}

test.serial('the library example says in one line what is wrong', async (t) => {
  const folder = temporaryFolder(t);
  const [cache, backing] = [join(folder, 'cache.pmem'), join(folder, 'backing.img')];
  t.is((await run(process.execPath, [library, cache])).status, 2);
  writeFileSync(cache, 'not a cache');
  const { status, stderr } = await run(process.execPath, [library, cache, backing]);
  t.is(status, 1);
  t.regex(stderr, /^library: [^\n]+\n$/);
  t.is(readFileSync(cache, 'utf8'), 'not a cache');
});
