// The format's checksum: CRC-32C (Castagnoli) with the register started at 0x3B15A and *no* final inversion. A library's standard CRC-32C inverts
// the register at the start and at the end, hence the two `~` around it.
//
// @node-rs/crc32 takes a Uint8Array or a Buffer over any memory: an ordinary ArrayBuffer, a SharedArrayBuffer, and the external ArrayBuffers of a
// mapping (koffi.view); `test/media/crc32c.test.ts` checks the first two, the device's tests the third. It reads the bytes in place.

import { createRequire } from 'node:module';

// Not imported: see libc.ts.
const { crc32c } = createRequire(import.meta.url)('@node-rs/crc32') as typeof import('@node-rs/crc32');

/** Where the register starts (PCACHE_CRC_SEED of the kernel). */
export const CRC_SEED = 0x3b15a;

/** CRC of `bytes`, an unsigned 32-bit number. About 0.1 us plus 0.2 ns a byte. */
export function pcacheCrc(bytes: Uint8Array): number {
  return ~crc32c(bytes, ~CRC_SEED >>> 0) >>> 0;
}

/** CRC of bytes [start, end) of `bytes`. Makes one small view; the range must lie within `bytes`. */
export function pcacheCrcOfRange(bytes: Uint8Array, start: number, end: number): number {
  return pcacheCrc(start === 0 && end === bytes.byteLength ? bytes : bytes.subarray(start, end));
}
