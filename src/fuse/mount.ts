// Mounting and unmounting. Two ways to the same session descriptor: mount(2) for root, the set-user-id helper fusermount3 for everybody else.
// Invariants: a failed mount leaves nothing behind; no function here looks at the mounted file system itself, so none can hang on one
// whose server is gone; every error says what the user can do.

import { spawnSync } from 'node:child_process';
import { closeSync } from 'node:fs';
import { errno } from '../device/errno-codes.js';
import { receiveFileDescriptor } from '../device/descriptor-passing.js';
import { mount, socketpair, umount2 } from '../device/libc.js';
import {
  AF_UNIX,
  MNT_DETACH,
  MNT_FORCE,
  MS_NODEV,
  MS_NOSUID,
  MS_RDONLY,
  SOCK_CLOEXEC,
  SOCK_STREAM,
  UMOUNT_NOFOLLOW,
} from '../device/linux-constants.js';
import { errnoOf, systemErrorFrom } from '../device/system-error.js';
import { PcacheError, messageOf } from '../errors.js';
import { abortConnection, connectionNamed } from './connection.js';
import { canonicalPath, mountAt } from './mountinfo.js';
import { MOUNT_SUBTYPE, checkMountpoint } from './mountpoint.js';
import { openDevFuse } from './session.js';

export { MOUNT_SUBTYPE, checkMountpoint } from './mountpoint.js';

const FUSERMOUNT = 'fusermount3';
/** How long fusermount3 may take; it makes one system call. */
const FUSERMOUNT_TIMEOUT_MS = 20_000;

export interface MountRequest {
  /** An existing, empty directory, or, for `kind` 'file', an existing regular file, which shows the volume while it is mounted. */
  readonly mountpoint: string;
  readonly kind: 'directory' | 'file';
  /** What findmnt shows as the source. */
  readonly fsName: string;
  readonly readOnly?: boolean;
  /** Let users other than the one who mounts in; who is not root needs `user_allow_other` in /etc/fuse.conf. */
  readonly allowOther?: boolean;
  /** Most bytes of one READ. */
  readonly maxReadBytes?: number;
}

/**
 * Mounts and returns the session's descriptor (close-on-exec; a child gets it through `stdio`). The kernel's INIT request waits in it: call
 * `negotiate` next. The mount lives until it is unmounted or the last copy of the descriptor is closed.
 * Throws PcacheError `not-found`, `permission`, `busy` (already a mount, not empty), `usage` (wrong kind), `unsupported` (no way to mount).
 */
export function mountFuse(request: MountRequest): number {
  const mountpoint = checkMountpoint(request.mountpoint, request.kind);
  return process.geteuid?.() === 0 ? mountAsRoot(request, mountpoint) : mountWithHelper(request, mountpoint);
}

function mountAsRoot(request: MountRequest, mountpoint: string): number {
  const fd = openDevFuse();
  const flags = MS_NOSUID | MS_NODEV | (request.readOnly === true ? MS_RDONLY : 0);
  const data = [
    `fd=${fd}`,
    `rootmode=${request.kind === 'file' ? '100000' : '40000'}`,
    `user_id=${process.getuid!()}`,
    `group_id=${process.getgid!()}`,
    'default_permissions',
    ...(request.allowOther === true ? ['allow_other'] : []),
    ...(request.maxReadBytes === undefined ? [] : [`max_read=${request.maxReadBytes}`]),
  ].join(',');
  try {
    mount(request.fsName, mountpoint, `fuse.${MOUNT_SUBTYPE}`, flags, data);
    return fd;
  } catch (error) {
    closeSync(fd);
    const number = errnoOf(error);
    if (number === errno.EPERM) {
      throw new PcacheError('permission', `${mountpoint}: mounting is not permitted`, {
        cause: error,
        errno: number,
        hint: 'A container needs the capability SYS_ADMIN to mount.',
      });
    }
    if (number === errno.ENODEV) {
      throw new PcacheError('unsupported', `${mountpoint}: this kernel has no FUSE`, {
        cause: error,
        errno: number,
        hint: 'Load it with `modprobe fuse`.',
      });
    }
    throw systemErrorFrom(`${mountpoint}: mount`, error);
  }
}

function mountWithHelper(request: MountRequest, mountpoint: string): number {
  // Tells the two reasons that fusermount3 itself can't tell well.
  closeSync(openDevFuse());
  const [ours, theirs] = socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC);
  try {
    const options = [
      `fsname=${escapeOption(request.fsName)}`,
      `subtype=${MOUNT_SUBTYPE}`,
      'nosuid',
      'nodev',
      'default_permissions',
      ...(request.readOnly === true ? ['ro'] : []),
      ...(request.allowOther === true ? ['allow_other'] : []),
      ...(request.maxReadBytes === undefined ? [] : [`max_read=${request.maxReadBytes}`]),
    ].join(',');
    // The helper finds the socket under this number, which is its place in `stdio`.
    const env = { ...process.env, _FUSE_COMMFD: '3' };
    const result = spawnSync(FUSERMOUNT, ['-o', options, '--', mountpoint], {
      stdio: ['ignore', 'ignore', 'pipe', theirs],
      env,
      encoding: 'utf8',
      timeout: FUSERMOUNT_TIMEOUT_MS,
    });
    if (result.error !== undefined) throw helperError(result.error, mountpoint);
    if (result.status !== 0) throw helperRefusal(result.stderr, mountpoint);
    return receiveFileDescriptor(ours);
  } finally {
    closeSync(ours);
    closeSync(theirs);
  }
}

/** fusermount3 splits its options at commas; a backslash protects one. */
function escapeOption(value: string): string {
  return value.replaceAll(/[\\,]/g, String.raw`\$&`);
}

function helperError(error: Error, mountpoint: string): Error {
  if (errnoOf(error) === errno.ENOENT) {
    return new PcacheError('unsupported', `${mountpoint}: no root and no ${FUSERMOUNT}`, {
      cause: error,
      errno: errno.ENOENT,
      hint: 'Install the package fuse3, or run as root.',
    });
  }
  return systemErrorFrom(`${mountpoint}: ${FUSERMOUNT}`, error);
}

function helperRefusal(stderr: string, mountpoint: string): PcacheError {
  const reason =
    stderr
      .trim()
      .split('\n')
      .at(-1)
      ?.replace(/^fusermount3: (?:mount failed: )?/, '') ?? '';
  if (reason.includes('user_allow_other')) {
    return new PcacheError('permission', `${mountpoint}: allow_other is not allowed to users`, {
      hint: 'Put the line user_allow_other into /etc/fuse.conf, or mount without allow_other.',
    });
  }
  const permission = /permission|permitted|not owner|no write access/i.test(reason);
  return new PcacheError(permission ? 'permission' : 'io', `${mountpoint}: ${FUSERMOUNT}: ${reason === '' ? 'failed' : reason}`);
}

/**
 * Unmounts.
 * @param lazy take it out of sight at once, and end it when its last user goes; the answer is then always 'done'
 * @returns 'busy' if somebody uses it (see who-uses.ts)
 * Throws PcacheError `not-found` if nothing is mounted there, `permission` if it is another user's.
 */
export function unmountFuse(mountpoint: string, { lazy = false }: { lazy?: boolean } = {}): 'done' | 'busy' {
  const canonical = canonicalPath(mountpoint);
  if (mountAt(canonical) === undefined) throw new PcacheError('not-found', `${mountpoint}: not a mount point`, { errno: errno.EINVAL });
  return process.geteuid?.() === 0 ? unmountAsRoot(canonical, lazy) : unmountWithHelper(canonical, lazy);
}

/**
 * Ends every call that waits on the mount with an error, whatever its user's state, then takes the mount away, in use or not. What the server has answered stays
 * answered. For whoever is root, or has mounted it. `path`: what the user calls `mountpoint`, which is canonical.
 * Throws PcacheError as `unmountFuse`, or `permission` or `unsupported` if the calls can't be ended.
 */
export function unmountByForce(path: string, mountpoint: string): void {
  const connection = connectionNamed(mountpoint);
  if (connection === undefined) throw new PcacheError('not-found', `${path}: not a mount point`, { errno: errno.EINVAL });
  try {
    abortConnection(connection);
  } catch (error) {
    // Where fusectl can't be had: umount(2) can do it too, but only as root.
    if (process.geteuid?.() !== 0) {
      throw new PcacheError('unsupported', `${path}: the calls that wait can't be ended: ${messageOf(error)}`, {
        cause: error,
        hint: `Is /sys/fs/fuse/connections mounted? Root can do it all the same: pcache umount ${path} --force`,
      });
    }
    umount2(mountpoint, UMOUNT_NOFOLLOW | MNT_FORCE | MNT_DETACH);
    return;
  }
  // The gateway sees that its connection has ended, and takes the mount away as well.
  if (connectionNamed(mountpoint) !== connection) return;
  try {
    unmountFuse(mountpoint, { lazy: true });
  } catch (error) {
    if (connectionNamed(mountpoint) === connection) throw error;
  }
}

function unmountAsRoot(mountpoint: string, lazy: boolean): 'done' | 'busy' {
  try {
    umount2(mountpoint, UMOUNT_NOFOLLOW | (lazy ? MNT_DETACH : 0));
    return 'done';
  } catch (error) {
    if (errnoOf(error) === errno.EBUSY) return 'busy';
    throw systemErrorFrom(`${mountpoint}: unmount`, error);
  }
}

function unmountWithHelper(mountpoint: string, lazy: boolean): 'done' | 'busy' {
  const result = spawnSync(FUSERMOUNT, ['-u', ...(lazy ? ['-z'] : []), '--', mountpoint], {
    stdio: ['ignore', 'ignore', 'pipe'],
    encoding: 'utf8',
    timeout: FUSERMOUNT_TIMEOUT_MS,
  });
  if (result.error !== undefined) throw helperError(result.error, mountpoint);
  if (result.status === 0) return 'done';
  if (/busy/i.test(result.stderr)) return 'busy';
  throw helperRefusal(result.stderr, mountpoint);
}
