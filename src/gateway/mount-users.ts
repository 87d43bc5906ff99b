// Who keeps a mount busy, in the words of messages.

import { whoUses, type MountUser } from '../fuse/who-uses.js';
import { loopWithUses } from './loop-use.js';

/** `fio (1234)`, `/dev/loop0, which is mounted on /mnt`; those whose pids are named don't count. Empty if nobody can be seen. */
export function mountUsers(mountpoint: string, exceptPids: readonly number[]): string[] {
  return whoUses(mountpoint, exceptPids).map(nameOfUser);
}

/** `fio (1234), /dev/loop0`, or what to say if nobody can be seen. */
export function listUsers(users: readonly string[]): string {
  if (users.length === 0) return 'somebody who cannot be seen from here';
  return users.join(users.some((user) => user.includes(', ')) ? '; ' : ', ');
}

function nameOfUser(user: MountUser): string {
  return user.kind === 'process' ? `${user.command} (${user.pid})` : loopWithUses(user.device);
}
