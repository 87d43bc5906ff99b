// A mount of a user who is not root, for tests run by root: as `nobody`, in a mount namespace in which /dev/fuse is open to everybody, as it is on a
// desktop; the namespace and the mounts in it go with its last process.

import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import type { ExecutionContext } from 'ava';
import { Job, lacking, runOk, waitUntil } from './mounted-commands.js';
import { MIB, PCACHE, mounted, type OtherUser, type TestGateway } from './mounted.js';
import { isRoot } from './tmp.js';

export const USER = 'nobody';
export const USER_VOLUME_BYTES = 16 * MIB;
const NAMESPACE_SCRIPT =
  'mount -t tmpfs none /mnt && mknod -m 666 /mnt/fuse c 10 229 && mount --bind /mnt/fuse /dev/fuse && echo ready && exec sleep 120';

/** Why there can be none; undefined if there can. */
export function whyNoOtherUser(): string | undefined {
  if (!isRoot) return 'needs root, to become another user';
  const missing = lacking('runuser', 'fusermount3', 'unshare', 'nsenter');
  if (missing !== undefined) return missing;
  const args = ['-u', USER, '--', process.execPath, PCACHE, '--version'];
  return spawnSync('runuser', args, { stdio: 'ignore', timeout: 20_000 }).status === 0 ? undefined : `${USER} cannot run this build`;
}

export interface UserGateway {
  readonly gateway: TestGateway;
  /** What makes a command run as the user, in the namespace, when put in front of it. */
  readonly prefix: OtherUser['prefix'];
  /** Runs a command as the user. Rejects if it fails. @returns its output */
  readonly asUser: (...command: string[]) => Promise<string>;
  readonly isMounted: () => boolean;
}

export async function mountedAsUser(t: ExecutionContext): Promise<UserGateway> {
  const holder = new Job('unshare', ['-m', 'sh', '-c', NAMESPACE_SCRIPT]);
  t.teardown(() => holder.end());
  await waitUntil(() => holder.ended || holder.stdout.includes('ready'), 'a mount namespace');
  const pid = String(holder.child.pid!);
  const as: OtherUser = { name: USER, prefix: ['nsenter', '-t', pid, '-m', 'runuser', '-u', USER, '--'] };
  const gateway = await mounted(t, { volumeBytes: USER_VOLUME_BYTES, as });
  const [program, ...args] = as.prefix;
  return {
    gateway,
    prefix: as.prefix,
    asUser: (...command) => runOk(program, [...args, ...command]),
    isMounted: () => readFileSync(`/proc/${pid}/mountinfo`, 'utf8').includes(` ${gateway.mountpoint} `),
  };
}
