// A FUSE session seen from outside, through the file system fusectl: the last resort when its server hangs. Invariant: nothing here touches
// the mount itself.

import { existsSync, writeFileSync } from 'node:fs';
import { mount } from '../device/libc.js';
import { systemErrorFrom } from '../device/system-error.js';
import { PcacheError } from '../errors.js';
import { mountAt, mountNamed, type MountEntry } from './mountinfo.js';

const FUSECTL = '/sys/fs/fuse/connections';

/** Number of the session mounted at a path; undefined if no FUSE file system is. */
export function connectionNumber(mountpoint: string): number | undefined {
  return numberOf(mountAt(mountpoint));
}

/** As `connectionNumber`, of a path that is canonical already, which wakes no automounter (see `mountNamed`). */
export function connectionNamed(canonical: string): number | undefined {
  return numberOf(mountNamed(canonical));
}

function numberOf(entry: MountEntry | undefined): number | undefined {
  return entry?.type.startsWith('fuse') === true ? entry.deviceMinor : undefined;
}

/**
 * Ends a session at once: every request in it fails with ECONNABORTED, its workers return 'aborted', and the mount point answers ENOTCONN until it is unmounted.
 * Mounts fusectl if it isn't and this is root. Throws PcacheError `not-found` if there is no such session, `permission`.
 */
export function abortConnection(number: number): void {
  const directory = `${FUSECTL}/${number}`;
  if (!existsSync(directory) && mountAt(FUSECTL) === undefined && process.geteuid?.() === 0) {
    mount('fusectl', FUSECTL, 'fusectl', 0, '');
  }
  if (!existsSync(directory)) throw new PcacheError('not-found', `FUSE connection ${number}: no such connection`);
  try {
    writeFileSync(`${directory}/abort`, '1');
  } catch (error) {
    throw systemErrorFrom(`${directory}/abort`, error);
  }
}
