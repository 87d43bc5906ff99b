// Has a file system carry out a request, for every transport alike. Invariant: it never throws: an exception becomes EIO for its request and is reported.

import { errno } from '../device/errno-codes.js';
import type { FileSystem } from './file-system.js';
import type { RequestSlot } from './request-slots.js';

/**
 * @param decodeError 0 or the -errno of a request that could not be decoded, which is its result then
 * @param onError an exception, and the operation it came from
 * @returns what the request's handler returned, PENDING included
 */
export function carryOut(
  fileSystem: FileSystem,
  slot: RequestSlot,
  decodeError: number,
  onError: (operation: string, error: unknown) => void,
): number {
  const row = slot.row;
  if (decodeError !== 0 || row === undefined) return decodeError;
  try {
    return row.handle(fileSystem, slot);
  } catch (error) {
    onError(row.name, error);
    slot.iovec.clear();
    return -errno.EIO;
  }
}
