// A user who is not root, with files and a mount point of their own. Run by root as `nobody` in a mount namespace in which /dev/fuse is open to
// everybody, as it is on a desktop; the namespace and the mounts in it go with its last process. (Run by a user, all other tests of mounts are this test.)

import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import type { ExecutionContext } from 'ava';
import { Job, lacking, runOk, digestOf, waitUntil } from '../support/mounted-commands.js';
import { MIB, PCACHE, mountTest, mounted, type OtherUser, type TestGateway } from '../support/mounted.js';
import { isRoot } from '../support/tmp.js';

const USER = 'nobody';
const VOLUME_BYTES = 16 * MIB;
const NAMESPACE_SCRIPT =
  'mount -t tmpfs none /mnt && mknod -m 666 /mnt/fuse c 10 229 && mount --bind /mnt/fuse /dev/fuse && echo ready && exec sleep 120';

function whyNot(): string | undefined {
  if (!isRoot) return 'needs root, to become another user';
  const missing = lacking('runuser', 'fusermount3', 'unshare', 'nsenter');
  if (missing !== undefined) return missing;
  const args = ['-u', USER, '--', process.execPath, PCACHE, '--version'];
  return spawnSync('runuser', args, { stdio: 'ignore', timeout: 20_000 }).status === 0 ? undefined : `${USER} cannot run this build`;
}

interface UserGateway {
  readonly gateway: TestGateway;
  /** Runs a command as the user. Rejects if it fails. @returns its output */
  readonly asUser: (...command: string[]) => Promise<string>;
  readonly isMounted: () => boolean;
}

async function mountedAsUser(t: ExecutionContext): Promise<UserGateway> {
  const holder = new Job('unshare', ['-m', 'sh', '-c', NAMESPACE_SCRIPT]);
  t.teardown(() => holder.end());
  await waitUntil(() => holder.ended || holder.stdout.includes('ready'), 'a mount namespace');
  const pid = String(holder.child.pid!);
  const as: OtherUser = { name: USER, prefix: ['nsenter', '-t', pid, '-m', 'runuser', '-u', USER, '--'] };
  const gateway = await mounted(t, { volumeBytes: VOLUME_BYTES, as });
  const [program, ...args] = as.prefix;
  return {
    gateway,
    asUser: (...command) => runOk(program, [...args, ...command]),
    isMounted: () => readFileSync(`/proc/${pid}/mountinfo`, 'utf8').includes(` ${gateway.mountpoint} `),
  };
}

mountTest('a user who is not root formats, mounts, writes, flushes and unmounts', whyNot(), async (t) => {
  const { gateway, asUser, isMounted } = await mountedAsUser(t);
  t.true(isMounted());
  const script = 'dd if=/dev/urandom of="$0" bs=100k count=20 seek=3 conv=notrunc,fsync status=none && b2sum < "$0"';
  const shown = (await asUser('sh', '-c', script, gateway.volume)).split(' ')[0];
  const status = await gateway.status();
  t.is(status.state, 'serving');
  t.is(status.write_errors, 0);
  const uid = spawnSync('id', ['-u', USER], { encoding: 'utf8' }).stdout.trim();
  t.is(await asUser('stat', '-c', '%u %a %s', gateway.volume), `${uid} 600 ${VOLUME_BYTES}`);
  const loop = await gateway.pcache('loop', 'attach', gateway.mountpoint);
  t.is(loop.status, 1);
  t.regex(loop.stderr, /^pcache: .*permission denied.*\n/);
  t.regex(await gateway.umount('--flush'), /everything is on/);
  t.false(isMounted());
  t.is(await digestOf(gateway.backing), shown!);
});

mountTest('a mount of a user who is not root is cleaned up after kill -9, and ended by SIGTERM', whyNot(), async (t) => {
  const { gateway, isMounted } = await mountedAsUser(t);
  process.kill(gateway.pids.supervisor, 'SIGKILL');
  process.kill(gateway.pids.engine, 'SIGKILL');
  await waitUntil(() => gateway.processes().length === 0, 'both are gone');
  t.regex(await gateway.ok('umount', gateway.mountpoint), /the daemon was dead already/);
  t.false(isMounted());
  await gateway.mount();
  process.kill(gateway.pids.supervisor, 'SIGTERM');
  await waitUntil(() => gateway.leftovers().length === 0 && !isMounted(), 'mount, processes and runtime files are gone');
});
