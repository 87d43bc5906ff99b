// Files that a gateway uses and that have lost their name: deleted, or replaced by another, while it was mounted; the gateway goes on with what it has
// open, and all of that is gone when it ends. Or renamed: then that is where the data is.
//
// Invariant: says nothing unless it is sure: of other users' processes, and of processes in another mount namespace nothing is known. A file that has its name is not asked for anything: its file system may hang.

import { readdirSync, readlinkSync, statSync, type Stats } from 'node:fs';
import { join } from 'node:path';
import type { RuntimeEntry } from './runtime-files.js';

export interface LostFile {
  readonly role: 'cache' | 'backing';
  /** The name that it had. */
  readonly path: string;
  /** Where its bytes can still be read while the gateway runs. */
  readonly rescuePath: string;
}

/** Which of the entry's two files are without a name. `proc` is another root than /proc in tests. */
export function lostFilesOf(entry: Pick<RuntimeEntry, 'cache' | 'backing' | 'supervisor_pid'>, proc = '/proc'): LostFile[] {
  const own = join(proc, String(entry.supervisor_pid));
  if (!isInNamespaceOf(own, proc)) return [];
  const held = (attempt(() => readdirSync(join(own, 'fd'))) ?? []).flatMap((name) => {
    const path = join(own, 'fd', name);
    const target = attempt(() => readlinkSync(path));
    return target === undefined ? [] : [{ path, target }];
  });
  return (['cache', 'backing'] as const).flatMap((role) => {
    const path = entry[role];
    const deleted = held.find(({ target }) => target === `${path} (deleted)`);
    // Only now the files themselves are asked: a file system that hangs must not hang whoever wants to know the state of things.
    if (deleted === undefined || attempt(() => statSync(deleted.path))?.isFile() !== true) return [];
    const there = attempt(() => statSync(path));
    const isHeld =
      there !== undefined &&
      held.some((each) =>
        isSame(
          attempt(() => statSync(each.path)),
          there,
        ),
      );
    return isHeld ? [] : [{ role, path, rescuePath: deleted.path }];
  });
}

/** The name that a file of the entry has now: another than the entry's if it was renamed since it was mounted. */
export function presentName(
  entry: Pick<RuntimeEntry, 'cache' | 'backing' | 'supervisor_pid' | 'cache_fd' | 'backing_fd'>,
  role: LostFile['role'],
  proc = '/proc',
): string {
  const own = join(proc, String(entry.supervisor_pid));
  const fd = entry[`${role}_fd`];
  // An entry may say anything.
  if (!Number.isSafeInteger(fd) || !isInNamespaceOf(own, proc)) return entry[role];
  const name = attempt(() => readlinkSync(join(own, 'fd', String(fd))));
  return name?.startsWith('/') !== true || name.endsWith(' (deleted)') ? entry[role] : name;
}

/** The same for messages: with the name that it was mounted by if that is another. */
export function presentNameText(entry: Parameters<typeof presentName>[0], role: LostFile['role']): string {
  const name = presentName(entry, role);
  return name === entry[role] ? name : `${name} (was ${entry[role]})`;
}

/** How a backing file without a name is saved, and used afterwards: commands, one after another. */
export function rescueHint(path: string, { rescuePath }: LostFile, cache: string, uid = process.getuid?.()): string {
  const unmount = uid === 0 ? 'umount' : 'fusermount3 -u';
  const commands = [`pcache flush ${path}`, `cp --sparse=always ${rescuePath} COPY`, `${unmount} ${path}`].join(' && ');
  return `End its users, then: ${commands} (not pcache umount). Next time: pcache mount ${cache} COPY ${path} -o adopt`;
}

/** One line about it, for people. */
export function lostFileText({ path }: LostFile): string {
  return `${path}: deleted or replaced while it was mounted; its bytes are gone when the volume is unmounted`;
}

function isInNamespaceOf(process: string, proc: string): boolean {
  const namespace = attempt(() => readlinkSync(join(process, 'ns/mnt')));
  return namespace !== undefined && namespace === attempt(() => readlinkSync(join(proc, 'self/ns/mnt')));
}

function isSame(held: Stats | undefined, there: Stats): boolean {
  return held !== undefined && held.dev === there.dev && held.ino === there.ino;
}

function attempt<T>(look: () => T): T | undefined {
  try {
    return look();
  } catch {
    // Gone, or not this user's to look at: nothing is known then.
    return undefined;
  }
}
