// The table of mounts as the kernel tells it (/proc/self/mountinfo, proc(5)). Reading it touches no file system, so it can't hang on a mount
// whose server is gone. Invariant: paths are compared as the kernel prints them, absolute and without symbolic links.

import { readFileSync, realpathSync } from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';

export interface MountEntry {
  /** Minor number of st_dev; for FUSE, the number of the connection in fusectl. */
  readonly deviceMinor: number;
  readonly deviceMajor: number;
  readonly mountpoint: string;
  /** For example `fuse.pcache`. */
  readonly type: string;
  /** For example the fsname given to mount. */
  readonly source: string;
  readonly readOnly: boolean;
}

/** All mounts of this process's mount namespace, in the order they were made; of several at one path the last is the one in sight. */
export function readMounts(): MountEntry[] {
  return parseMountinfo(readFileSync('/proc/self/mountinfo', 'utf8'));
}

/** Lines that have not the form of the manual are left out. */
export function parseMountinfo(text: string): MountEntry[] {
  const mounts: MountEntry[] = [];
  for (const line of text.split('\n')) {
    const match = /^\d+ \d+ (\d+):(\d+) \S+ (\S+) (\S+) (?:\S+ )*?- (\S+) (\S*) ?/.exec(line);
    if (match === null) continue;
    const [, major, minor, mountpoint, options, type, source] = match;
    mounts.push({
      deviceMajor: Number(major),
      deviceMinor: Number(minor),
      mountpoint: unescape(mountpoint!),
      type: type!,
      source: unescape(source!),
      readOnly: options!.split(',').includes('ro'),
    });
  }
  return mounts;
}

/** The mount in sight at a path; undefined if it is no mount point. Only directories above the path are looked up. */
export function mountAt(path: string, mounts: readonly MountEntry[] = readMounts()): MountEntry | undefined {
  const canonical = canonicalPath(path);
  return mounts.findLast((mount) => mount.mountpoint === canonical);
}

/** A path without symbolic links in the directories above it; its last part is not looked at. Throws Node's error if a directory is missing. */
export function canonicalPath(path: string): string {
  const absolute = resolve(path);
  return absolute === '/' ? absolute : join(realpathSync(dirname(absolute)), basename(absolute));
}

/** The kernel writes space, tab, newline and backslash as three octal digits. */
function unescape(text: string): string {
  return text.replaceAll(/\\([0-7]{3})/g, (_, digits: string) => String.fromCharCode(Number.parseInt(digits, 8)));
}
