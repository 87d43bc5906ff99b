// The errno that the kernel, and through it the user, is told for an error of ours.

import { errno } from '../device/errno-codes.js';
import { PcacheError } from '../errors.js';

/** Positive. Everything that can go wrong with the volume's data is EIO, as it would be from a disk. */
export function errnoFor(error: unknown): number {
  if (error instanceof PcacheError && error.code === 'permission') return errno.EROFS;
  return errno.EIO;
}
