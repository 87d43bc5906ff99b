// Memory whose address is a multiple of the page size, which direct I/O wants: without it every transfer would be copied once more.

import { addressOf } from '../device/libc.js';
import { PAGE_BYTES } from '../media/layout.js';

/** A buffer of zeros. It stays where it is: the memory of an ArrayBuffer never moves. */
export function alignedBuffer(lengthBytes: number): Uint8Array {
  const memory = new Uint8Array(lengthBytes + PAGE_BYTES);
  const start = (PAGE_BYTES - (addressOf(memory) % PAGE_BYTES)) % PAGE_BYTES;
  return memory.subarray(start, start + lengthBytes);
}
