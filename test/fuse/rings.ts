// Whether this machine can do FUSE over io_uring now.

import { readFileSync } from 'node:fs';
import { whyNoIoUring } from '../../src/device/io-uring.js';

const PARAMETER = '/sys/module/fuse/parameters/enable_uring';

/** Why not; undefined if it can. */
export function whyNoRings(): string | undefined {
  try {
    if (!readFileSync(PARAMETER, 'latin1').startsWith('Y')) return `no FUSE over io_uring: ${PARAMETER} is off`;
  } catch {
    return 'no FUSE over io_uring in this kernel';
  }
  return whyNoIoUring()?.message;
}
