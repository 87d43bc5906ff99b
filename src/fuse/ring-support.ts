// Whether FUSE over io_uring can be used here, and if not, what to do about it.

import { readFileSync } from 'node:fs';
import { errno } from '../device/errno-codes.js';
import { whyNoIoUring } from '../device/io-uring.js';
import { errnoOf } from '../device/system-error.js';

const PARAMETER = '/sys/module/fuse/parameters/enable_uring';

/** One line; undefined if it can. What the kernel then offers is seen only in INIT. */
export function whyNoRings(): string | undefined {
  let isEnabled: boolean;
  try {
    isEnabled = readFileSync(PARAMETER, 'latin1').startsWith('Y');
  } catch {
    return 'this kernel has no FUSE over io_uring (Linux 6.14 has)';
  }
  if (!isEnabled) return `FUSE over io_uring is off; root turns it on with: echo Y > ${PARAMETER}`;
  const error = whyNoIoUring();
  if (error === undefined) return undefined;
  const number = errnoOf(error);
  if (number === errno.EPERM || number === errno.EACCES) return 'io_uring is forbidden (sysctl kernel.io_uring_disabled, or a container)';
  if (number === errno.ENOSYS) return 'this kernel has no io_uring';
  return error.message;
}
