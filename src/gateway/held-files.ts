// Files that a gateway uses and that have lost their name: deleted, or replaced by another, while it was mounted. The gateway goes on with what it has
// open, and all of that is gone when it ends.
//
// Invariant: says nothing unless it is sure: of other users' processes, of processes in another mount namespace, and of a file that was
// only renamed nothing is known. A file that has its name is not asked for anything: its file system may hang.

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
  const namespace = attempt(() => readlinkSync(join(own, 'ns/mnt')));
  if (namespace === undefined || namespace !== attempt(() => readlinkSync(join(proc, 'self/ns/mnt')))) return [];
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

/** One line about it, for people. */
export function lostFileText({ path }: LostFile): string {
  return `${path}: deleted or replaced while it was mounted; its bytes are gone when the volume is unmounted`;
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
