// Payload for tests: bytes that tell writes apart. Made once, since a test writes the like of a gigabyte.

import { seededRandom } from '../../src/device/seeded-random.js';

const POOL_BYTES = 4 * 1024 * 1024;
const STEP_BYTES = 4;
let pool: Uint8Array | undefined;

function bytesOfPool(): Uint8Array {
  if (pool === undefined) {
    const words = new Uint32Array(POOL_BYTES / 4);
    const random = seededRandom(0x5eed);
    for (let at = 0; at < words.length; at++) words[at] = Math.floor(random() * 2 ** 32);
    pool = new Uint8Array(words.buffer);
  }
  return pool;
}

/** `length` bytes, 2 MiB at most, that differ for each of half a million values of `id`. Do not change them. */
export function payload(id: number, length: number): Uint8Array {
  const start = ((id * 7919) % (POOL_BYTES / 2 / STEP_BYTES)) * STEP_BYTES;
  return bytesOfPool().subarray(start, start + length);
}
