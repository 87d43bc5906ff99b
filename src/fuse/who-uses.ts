// Who keeps a mount busy. Invariants: only /proc and /sys are read, never the mount itself; what can't be read (another user's process, one
// that ended meanwhile) is left out, so an empty answer means "nobody that can be seen".

import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { canonicalPath } from './mountinfo.js';

export type MountUser =
  | {
      readonly kind: 'process';
      readonly pid: number;
      readonly command: string;
      readonly how: 'open file' | 'working directory' | 'root' | 'mapping';
    }
  | { readonly kind: 'loop device'; readonly device: string };

/**
 * Finds the processes and loop devices that use a mount; each process once.
 * @param exceptPids processes that don't count, such as the mount's own server
 */
export function whoUses(mountpoint: string, exceptPids: readonly number[] = []): MountUser[] {
  const path = canonicalPath(mountpoint);
  const inside = (target: string | undefined): boolean =>
    target !== undefined && (target === path || target === `${path} (deleted)` || target.startsWith(path === '/' ? '/' : `${path}/`));
  const users: MountUser[] = [];
  for (const name of namesIn('/sys/block')) {
    if (name.startsWith('loop') && inside(textOf(`/sys/block/${name}/loop/backing_file`)?.trimEnd())) {
      users.push({ kind: 'loop device', device: `/dev/${name}` });
    }
  }
  for (const name of namesIn('/proc')) {
    const pid = Number(name);
    if (!Number.isInteger(pid) || exceptPids.includes(pid)) continue;
    const how = howProcessUses(`/proc/${name}`, inside);
    if (how !== undefined) users.push({ kind: 'process', pid, command: textOf(`/proc/${name}/comm`)?.trimEnd() ?? '?', how });
  }
  return users;
}

/** One user in words, for messages. */
export function describeMountUser(user: MountUser): string {
  return user.kind === 'process' ? `process ${user.pid} (${user.command}: ${user.how})` : user.device;
}

function howProcessUses(
  directory: string,
  inside: (target: string | undefined) => boolean,
): Extract<MountUser, { kind: 'process' }>['how'] | undefined {
  if (inside(targetOf(`${directory}/cwd`))) return 'working directory';
  if (inside(targetOf(`${directory}/root`))) return 'root';
  if (namesIn(`${directory}/fd`).some((fd) => inside(targetOf(`${directory}/fd/${fd}`)))) return 'open file';
  const maps = textOf(`${directory}/maps`) ?? '';
  return maps.split('\n').some((line) => inside(/^(?:\S+ +){5}(\/.*)$/.exec(line)?.[1])) ? 'mapping' : undefined;
}

function namesIn(directory: string): string[] {
  return orNothing(() => readdirSync(directory)) ?? [];
}
function targetOf(link: string): string | undefined {
  return orNothing(() => readlinkSync(link));
}
function textOf(file: string): string | undefined {
  return orNothing(() => readFileSync(file, 'utf8'));
}

/** A process may end, or be another user's, at any moment between two looks at it; then there is nothing to say about it. */
function orNothing<T>(look: () => T): T | undefined {
  try {
    return look();
  } catch (error) {
    if (error instanceof Error && 'code' in error) return undefined;
    throw error;
  }
}
