// Where the data of a cache file ends. Behind that is a hole, or room that was allocated and never written, up to the end of the file: a file that was cut and
// made longer since looks so, and what was lost reads as zeros.
//
// To be asked before the file is mapped: a page of such a hole that is read through a mapping may count as data from then on. What is written through a mapping
// counts as data at once, durable or not (tried on ext4, XFS and tmpfs, with huge pages too).
//
// Only of file systems that are known to make holes of nothing but what was never written. OpenZFS makes them of zeros that were, and behind NFS there may
// be such a one.

import { PAGE_BYTES } from '../media/layout.js';
import { errno } from './errno-codes.js';
import { fileSystemOf, lseek } from './libc.js';
import { BTRFS_SUPER_MAGIC, EXT4_SUPER_MAGIC, F2FS_SUPER_MAGIC, SEEK_DATA, TMPFS_MAGIC, XFS_SUPER_MAGIC } from './linux-constants.js';

/** As statfs(2) has them (linux/magic.h). */
const TELLS_HOLES: ReadonlySet<number> = new Set([EXT4_SUPER_MAGIC, XFS_SUPER_MAGIC, BTRFS_SUPER_MAGIC, F2FS_SUPER_MAGIC, TMPFS_MAGIC]);

/**
 * Bytes of an open regular file of `sizeBytes` from its start to the end of its data, to the page; `sizeBytes` if there is data in the last one, or if the file
 * system is not known to tell. A system call or two then, some 30 otherwise.
 */
export function dataEndOf(fd: number, sizeBytes: number): number {
  if (!TELLS_HOLES.has(fileSystemOf(fd).type)) return sizeBytes;
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
