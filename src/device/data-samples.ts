// Whether a file or block device holds anything, by samples: what a look at all of it would take minutes to say of a large one. Finding nothing is
// no proof that there is nothing.
//
// Reads with pread, not through a mapping: a hole of a file stays a hole, on tmpfs too.

import { closeSync, constants, openSync, readSync } from 'node:fs';
import { SEGMENTS_OFFSET } from '../media/layout.js';
import { allZero } from '../media/u64.js';
import { attempt } from './device-file.js';
import { errno } from './errno-codes.js';
import { lseek } from './libc.js';
import { SEEK_DATA, SEEK_END } from './linux-constants.js';

/** Looked at in full, at the start and at the end. */
const ENDS_BYTES = 1024 * 1024;
/** Of each sample in between; at the start of a segment these are its records and the first of its data. */
const SAMPLE_BYTES = 16 * 1024;
const SAMPLES_MAX = 4096;
const STEP_BYTES_MIN = 1024 * 1024;

/**
 * Offset of the first byte found that is not zero, in the first MiB, in the last, and in 16 KiB at each of up to 4096 places between, of which those on a
 * device of up to 64 GiB include the start of each segment of a cache; `undefined` if there is none. Throws what fs.read throws.
 */
export function findDataBySamples(fd: number): number | undefined {
  const sizeBytes = lseek(fd, 0, SEEK_END);
  const buffer = Buffer.alloc(ENDS_BYTES);
  for (const { offset, lengthBytes } of samplesOf(sizeBytes)) {
    const data = lseek(fd, offset, SEEK_DATA);
    // Nothing but a hole from here to the end. (-EINVAL: it can't tell.)
    if (data === -errno.ENXIO) return undefined;
    if (data >= offset + lengthBytes) continue;
    const read = readSync(fd, buffer, 0, lengthBytes, offset);
    const sample = buffer.subarray(0, read);
    if (!allZero(sample, 0, read)) return offset + sample.findIndex((byte) => byte !== 0);
  }
  return undefined;
}

/** The same, of a file or block device that is not open. Throws PcacheError. */
export function findDataIn(path: string): number | undefined {
  return attempt(path, () => {
    const fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
    try {
      return findDataBySamples(fd);
    } finally {
      closeSync(fd);
    }
  });
}

/** In the order of their offsets. */
function* samplesOf(sizeBytes: number): Iterable<{ offset: number; lengthBytes: number }> {
  const end = Math.max(0, sizeBytes - ENDS_BYTES);
  yield { offset: 0, lengthBytes: Math.min(ENDS_BYTES, sizeBytes) };
  // Powers of two, so that the places of segments are among them, or they among the places of segments.
  let stepBytes = STEP_BYTES_MIN;
  while (sizeBytes / stepBytes > SAMPLES_MAX) stepBytes *= 2;
  for (let offset = SEGMENTS_OFFSET + stepBytes; offset < end; offset += stepBytes) yield { offset, lengthBytes: SAMPLE_BYTES };
  if (end > 0) yield { offset: end, lengthBytes: sizeBytes - end };
}
