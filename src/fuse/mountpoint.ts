// What a mount point must be. Asks the kernel's tables and the file system it lies in, never what is mounted there; and calls nothing for which the C
// library would have to be loaded, so that a command line finds a mistake soon.

import { accessSync, constants, lstatSync, readdirSync } from 'node:fs';
import { errno } from '../device/errno-codes.js';
import { systemErrorFrom } from '../device/system-error.js';
import { PcacheError } from '../errors.js';
import { canonicalPath, mountAt, readMounts, type MountEntry } from './mountinfo.js';

/** The type that findmnt and /proc/mounts show: `fuse.pcache`. */
export const MOUNT_SUBTYPE = 'pcache';

/** The mount that a path is on, or is. */
function mountHolding(canonical: string): MountEntry | undefined {
  const holds = ({ mountpoint }: MountEntry): boolean => `${canonical}/`.startsWith(mountpoint === '/' ? '/' : `${mountpoint}/`);
  const found = readMounts().filter(holds);
  const longest = Math.max(...found.map(({ mountpoint }) => mountpoint.length));
  return found.findLast(({ mountpoint }) => mountpoint.length === longest);
}

/**
 * Says what is wrong with a mount point before anything else is done. @returns its path without symbolic links
 * Throws PcacheError `not-found`, `permission`, `busy` (already a mount, not empty), `usage` (wrong kind), `unsupported` (an automounter's).
 */
export function checkMountpoint(path: string, kind: 'directory' | 'file'): string {
  let real: string;
  try {
    real = canonicalPath(path);
    const mounted = mountAt(real);
    if (mountHolding(real)?.type === 'autofs') {
      // The kernel lets the automounter's own process group alone mount there, and a gateway has one of its own: it would wait for itself.
      throw new PcacheError('unsupported', `${path}: an automounter can't mount a pcache volume`, {
        hint: 'Serve it with pcache@NAME.service, or mount it without automounter.',
      });
    }
    if (mounted !== undefined) {
      throw new PcacheError('busy', `${path}: already a mount point (${mounted.type})`, {
        errno: errno.EBUSY,
        ...(mounted.type.startsWith('fuse')
          ? { hint: `Unmount it first: ${mounted.type === `fuse.${MOUNT_SUBTYPE}` ? 'pcache umount' : 'umount'} ${path}` }
          : {}),
      });
    }
    const stat = lstatSync(real);
    if (kind === 'file') {
      if (!stat.isFile()) throw new PcacheError('usage', `${path}: not a regular file`);
    } else if (!stat.isDirectory()) {
      throw new PcacheError('usage', `${path}: not a directory`, { errno: errno.ENOTDIR });
    } else if (readdirSync(real).length > 0) {
      throw new PcacheError('busy', `${path}: the directory is not empty`, {
        errno: errno.ENOTEMPTY,
        hint: 'Mount on an empty directory.',
      });
    }
    accessSync(real, constants.W_OK);
  } catch (error) {
    if (error instanceof PcacheError) throw error;
    throw systemErrorFrom(path, error);
  }
  return real;
}
