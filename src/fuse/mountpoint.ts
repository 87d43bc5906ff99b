// What a mount point must be. Asks the kernel's tables and the file system it lies in, never what is mounted there; and calls nothing for which the C
// library would have to be loaded, so that a command line finds a mistake soon.

import { accessSync, constants, lstatSync, readdirSync } from 'node:fs';
import { errno } from '../device/errno-codes.js';
import { systemErrorFrom } from '../device/system-error.js';
import { PcacheError } from '../errors.js';
import { canonicalPath, mountAt } from './mountinfo.js';

/** The type that findmnt and /proc/mounts show: `fuse.pcache`. */
export const MOUNT_SUBTYPE = 'pcache';

/**
 * Says what is wrong with a mount point before anything else is done. @returns its path without symbolic links
 * Throws PcacheError `not-found`, `permission`, `busy` (already a mount, not empty), `usage` (wrong kind).
 */
export function checkMountpoint(path: string, kind: 'directory' | 'file'): string {
  let real: string;
  try {
    real = canonicalPath(path);
    const mounted = mountAt(real);
    // What an automounter has there is the place for this mount.
    if (mounted !== undefined && mounted.type !== 'autofs') {
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
