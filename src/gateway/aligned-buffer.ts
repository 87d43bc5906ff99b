// Memory whose address is a multiple of the page size, which direct I/O wants: without it every transfer would be copied once more.

import { addressOf, mmap, view } from '../device/libc.js';
import { MAP_ANONYMOUS, MAP_PRIVATE, PROT_READ, PROT_WRITE } from '../device/linux-constants.js';
import { PAGE_BYTES } from '../media/layout.js';

/** A buffer of zeros. It stays where it is: the memory of an ArrayBuffer never moves. */
export function alignedBuffer(lengthBytes: number): Uint8Array {
  const memory = new Uint8Array(lengthBytes + PAGE_BYTES);
  const start = (PAGE_BYTES - (addressOf(memory) % PAGE_BYTES)) % PAGE_BYTES;
  return memory.subarray(start, start + lengthBytes);
}

/**
 * The same, for as long as the process lives: also when the thread that made it dies of an error while the kernel reads into it. For those who make a
 * few and use them again and again.
 */
export function lastingBuffer(lengthBytes: number): Uint8Array {
  return new Uint8Array(view(mmap(lengthBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), lengthBytes));
}
