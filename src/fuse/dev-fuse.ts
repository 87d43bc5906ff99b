// The device through which FUSE is spoken, and what to say when it can't be used. Loads no C library, so that a command line finds that out soon.

import { errno } from '../device/errno-codes.js';
import { errnoOf, systemErrorFrom } from '../device/system-error.js';
import { PcacheError } from '../errors.js';

export const DEV_FUSE = '/dev/fuse';

/** What opening or trying the device has thrown, as PcacheError `not-found` or `permission` with a hint; errors of other kinds as systemErrorFrom makes them. */
export function devFuseError(error: unknown): Error {
  const number = errnoOf(error);
  if (number === errno.ENOENT || number === errno.ENODEV || number === errno.ENXIO) {
    return new PcacheError('not-found', `${DEV_FUSE}: no such device: this kernel has no FUSE`, {
      cause: error,
      errno: number,
      hint: 'Load it with `modprobe fuse`; in a container, pass the device in with --device /dev/fuse.',
    });
  }
  if (number === errno.EACCES || number === errno.EPERM) {
    return new PcacheError('permission', `${DEV_FUSE}: permission denied`, {
      cause: error,
      errno: number,
      hint: `Run as root, or let this user read and write it (\`ls -l ${DEV_FUSE}\`; most systems give it mode 666); in a container, pass it in with --device ${DEV_FUSE}.`,
    });
  }
  return systemErrorFrom(DEV_FUSE, error);
}
