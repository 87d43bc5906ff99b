// Making sure that every byte of a cache file has its place on the disk. A store to a hole of a mapped file on a full disk is a SIGBUS, which
// no program can answer in order; so a full disk has to be an error before the first store.
//
// The content of the file never changes here, and a disk with obviously too little room is refused before anything is allocated.

import * as fs from 'node:fs';
import { PcacheError } from '../errors.js';
import { formatSize } from '../media/size-text.js';
import { errno } from './errno-codes.js';
import { fallocate, lseek } from './libc.js';
import { SEEK_DATA, SEEK_HOLE } from './linux-constants.js';
import { errnoOf, systemErrorFrom } from './system-error.js';

const ZEROS_BYTES = 1024 * 1024;
/** Allocated at a time: so much takes a tmpfs a fraction of a second, and anything else next to nothing. */
const STEP_BYTES = 512 * 1024 * 1024;

export type OnAllocated = (doneBytes: number, totalBytes: number) => void;

/**
 * Allocates bytes 0 to `sizeBytes` of an open regular file of at least that size. `fresh`: the file was just created and holds nothing, so that on a file
 * system without fallocate all of it may be written. Throws PcacheError `no-space`.
 */
export function preallocate(path: string, fd: number, sizeBytes: number, fresh: boolean, onAllocated: OnAllocated = () => undefined): void {
  const stat = fs.fstatSync(fd);
  const missingBytes = sizeBytes - stat.blocks * 512;
  if (missingBytes <= 0) return;
  requireFreeSpace(path, missingBytes);
  try {
    if (allocate(fd, sizeBytes, onAllocated)) return;
    const onWritten = (doneBytes: number): void => onAllocated(doneBytes, sizeBytes);
    if (fresh) writeZeros(fd, 0, sizeBytes, onWritten);
    else fillHoles(fd, sizeBytes, onWritten);
    fs.fdatasyncSync(fd);
  } catch (error) {
    const number = errnoOf(error);
    if (number === errno.ENOSPC || number === errno.EDQUOT) throw noSpace(path, missingBytes, number, error);
    throw systemErrorFrom(`${path}: allocate ${sizeBytes} bytes`, error);
  }
}

function noSpace(path: string, missingBytes: number, number: number, cause?: unknown): PcacheError {
  const why = number === errno.EDQUOT ? 'disk quota exceeded' : 'no space left on device';
  const hint = 'Choose a smaller --size, or make room.';
  return new PcacheError('no-space', `${path}: ${formatSize(missingBytes)} more are needed: ${why}`, { errno: number, hint, cause });
}

function requireFreeSpace(path: string, missingBytes: number): void {
  // Free for root, a part of which others can't have; then fallocate finds out. 0 blocks: a tmpfs without a limit.
  const { blocks, bfree, bsize } = fs.statfsSync(path);
  if (blocks > 0 && bfree * bsize < missingBytes) throw noSpace(path, missingBytes, errno.ENOSPC);
}

/** False if the file system has no fallocate. */
function allocate(fd: number, sizeBytes: number, onAllocated: OnAllocated): boolean {
  for (let position = 0; position < sizeBytes;) {
    const end = Math.min(sizeBytes, position + STEP_BYTES);
    try {
      fallocate(fd, 0, position, end - position);
      position = end;
      onAllocated(position, sizeBytes);
    } catch (error) {
      const number = errnoOf(error);
      if (number === errno.EOPNOTSUPP || number === errno.ENOSYS) return false;
      // tmpfs starts over when a signal comes in between.
      if (number !== errno.EINTR) throw error;
    }
  }
  return true;
}

/** Writes zeros where the file has holes. A file system that can't tell reports none; then nothing more can be done. */
function fillHoles(fd: number, sizeBytes: number, onWritten: (doneBytes: number) => void): void {
  let position = 0;
  while (position < sizeBytes) {
    const hole = lseek(fd, position, SEEK_HOLE);
    if (hole < 0 || hole >= sizeBytes) return;
    const data = lseek(fd, hole, SEEK_DATA);
    const end = data < 0 ? sizeBytes : Math.min(data, sizeBytes);
    writeZeros(fd, hole, end, onWritten);
    position = end;
  }
}

function writeZeros(fd: number, from: number, to: number, onWritten: (doneBytes: number) => void): void {
  const zeros = Buffer.alloc(ZEROS_BYTES);
  for (let position = from; position < to;) {
    position += fs.writeSync(fd, zeros, 0, Math.min(ZEROS_BYTES, to - position), position);
    onWritten(position);
  }
}
