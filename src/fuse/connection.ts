// A FUSE session seen from outside, through the file system fusectl: the last resort when its server hangs. Invariant: nothing here touches
// the mount itself.

import { closeSync, existsSync, openSync, writeSync } from 'node:fs';
import { mount } from '../device/libc.js';
import { attempt } from '../device/device-file.js';
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
  abortAfter(number, () => undefined);
}

/**
 * The same after an action, which may end the session: its number may be another's by then, which is left alone (fs/fuse/control.c: what was opened of a
 * session that is gone does nothing). Throws as `abortConnection`, before the action.
 */
export function abortAfter(number: number, action: () => void): void {
  const fd = openAbort(number);
  try {
    action();
    attempt(abortFile(number), () => writeSync(fd, '1'));
  } finally {
    closeSync(fd);
  }
}

function openAbort(number: number): number {
  const directory = `${FUSECTL}/${number}`;
  if (!existsSync(directory) && mountAt(FUSECTL) === undefined && process.geteuid?.() === 0) {
    mount('fusectl', FUSECTL, 'fusectl', 0, '');
  }
  if (!existsSync(directory)) throw new PcacheError('not-found', `FUSE connection ${number}: no such connection`);
  return attempt(abortFile(number), () => openSync(abortFile(number), 'w'));
}

function abortFile(number: number): string {
  return `${FUSECTL}/${number}/abort`;
}
