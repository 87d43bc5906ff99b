// Where the data of a cache file ends. Behind that is a hole, or room that was allocated and never written, up to the end of the file: a file that was cut and
// made longer since looks so, and what was lost reads as zeros.
//
// To be asked before the file is mapped: a page of such a hole that is read through a mapping may count as data from then on. What is written through a mapping
// counts as data at once, durable or not (tried on ext4, XFS and tmpfs, with huge pages too).

import { PAGE_BYTES } from '../media/layout.js';
import { errno } from './errno-codes.js';
import { lseek } from './libc.js';
import { SEEK_DATA } from './linux-constants.js';

/**
 * Bytes of an open regular file of `sizeBytes` from its start to the end of its data, to the page; `sizeBytes` if there is data in the last one, or if the file
 * system can't tell. One system call then, some 30 otherwise.
 */
export function dataEndOf(fd: number, sizeBytes: number): number {
  // There is no data at or behind an offset from somewhere on: the place is found by halves.
  const isBehind = (offset: number): boolean => lseek(fd, offset, SEEK_DATA) === -errno.ENXIO;
  let behind = Math.ceil(sizeBytes / PAGE_BYTES);
  if (behind === 0 || !isBehind((behind - 1) * PAGE_BYTES)) return sizeBytes;
  let before = -1;
  behind--;
  while (behind - before > 1) {
    const middle = Math.floor((behind + before) / 2);
    if (isBehind(middle * PAGE_BYTES)) behind = middle;
    else before = middle;
  }
  return behind * PAGE_BYTES;
}
