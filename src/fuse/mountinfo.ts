// The table of mounts as the kernel tells it (/proc/self/mountinfo, proc(5)). Reading it touches no file system, so it can't hang on a mount
// whose server is gone. Invariant: paths are compared as the kernel prints them, absolute and without symbolic links.

import { lstatSync, readFileSync, readlinkSync, realpathSync } from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import { errno } from '../device/errno-codes.js';
import { systemError } from '../device/system-error.js';

/** As many symbolic links as the kernel follows. */
const LINKS_MAX = 40;

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

/**
 * As `mountAt`, of a path that is canonical already. Looks at the table and at nothing else: a mere look at a path where an automounter waits (autofs) is a
 * demand to mount there again, and one by the gateway that was just unmounted would wait for a mount that waits for its end.
 */
export function mountNamed(canonical: string): MountEntry | undefined {
  return topMountAt(canonical, readMounts());
}

/** The mount in sight at a path; undefined if it is no mount point. */
export function mountAt(path: string): MountEntry | undefined {
  const mounts = readMounts();
  return topMountAt(canonicalPathAmong(path, mounts), mounts);
}

/**
 * An absolute path without symbolic links. What is mounted at the path itself is not looked at (only the directories above it are), so this
 * can't hang on a mount point. Throws Node's error if a directory above is missing.
 */
export function canonicalPath(path: string): string {
  return canonicalPathAmong(path, readMounts());
}

function topMountAt(canonical: string, mounts: readonly MountEntry[]): MountEntry | undefined {
  return mounts.findLast((mount) => mount.mountpoint === canonical);
}

function canonicalPathAmong(path: string, mounts: readonly MountEntry[]): string {
  let absolute = resolve(path);
  for (let links = 0; links < LINKS_MAX; links++) {
    if (absolute === '/') return absolute;
    const canonical = join(realpathSync(dirname(absolute)), basename(absolute));
    if (topMountAt(canonical, mounts) !== undefined || lstatSync(canonical, { throwIfNoEntry: false })?.isSymbolicLink() !== true)
      return canonical;
    absolute = resolve(dirname(canonical), readlinkSync(canonical));
  }
  throw systemError(path, errno.ELOOP);
}

/** The kernel writes space, tab, newline and backslash as three octal digits. */
function unescape(text: string): string {
  return text.replaceAll(/\\([0-7]{3})/g, (_, digits: string) => String.fromCharCode(Number.parseInt(digits, 8)));
}
