// Pages of 2 MiB under the mapping of a tmpfs file, where there are pages of 4 KiB: a first touch of a page, then, costs one fault for 512, and a process
// that dies gives its mapping back at once. Measured here with 512 MiB: the first fill 15 GB/s instead of 2.3, munmap 0.2 ms instead of 21 to 36.
//
// The kernel gathers the pages of a file for whoever asks with MADV_COLLAPSE (Linux 6.1), whatever the settings of transparent huge pages are but "deny";
// they stay gathered in the file, for every later mapping too, if it starts at a multiple of 2 MiB. The content is what it was, and others may use it
// meanwhile: they wait for a moment. Where the kernel can't, all stays as it was.

import { madvise, mmap, mmapAt, munmap } from './libc.js';
import { MADV_COLLAPSE, MADV_POPULATE_WRITE, MAP_ANONYMOUS, MAP_FIXED, MAP_NORESERVE, MAP_PRIVATE, PROT_NONE } from './linux-constants.js';
import { errnoOf } from './system-error.js';

export const HUGE_PAGE_BYTES = 2 * 1024 * 1024;
/** Memory is short, or in pieces, if so many in a row can't be had. */
const FAILURES_MAX = 8;

/** Maps a file like `mmap`, at a multiple of 2 MiB. */
export function mmapForHugePages(lengthBytes: number, protection: number, flags: number, fd: number): number {
  const reservedBytes = lengthBytes + HUGE_PAGE_BYTES;
  const reserved = mmap(reservedBytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  const address = Math.ceil(reserved / HUGE_PAGE_BYTES) * HUGE_PAGE_BYTES;
  try {
    mmapAt(address, lengthBytes, protection, flags | MAP_FIXED, fd, 0);
  } catch (error) {
    munmap(reserved, reservedBytes);
    throw error;
  }
  const end = Math.ceil((address + lengthBytes) / 4096) * 4096;
  if (address > reserved) munmap(reserved, address - reserved);
  if (reserved + reservedBytes > end) munmap(end, reserved + reservedBytes - end);
  return address;
}

/** Gathers a mapping's memory into huge pages, one at a time. The mapping must outlive the last `step`. */
export class HugePageGatherer {
  readonly #start: number;
  readonly #end: number;
  #next: number;
  #failures = 0;

  /** A writable, shared mapping of a tmpfs file, made by `mmapForHugePages`. What lies after its last 2 MiB is left alone. */
  constructor(address: number, lengthBytes: number) {
    this.#start = address;
    this.#next = address;
    this.#end = address + Math.floor(lengthBytes / HUGE_PAGE_BYTES) * HUGE_PAGE_BYTES;
  }

  /** Bytes that are done, and all. */
  get progress(): { doneBytes: number; totalBytes: number } {
    return { doneBytes: Math.min(this.#next, this.#end) - this.#start, totalBytes: this.#end - this.#start };
  }

  /**
   * Gathers the next page: about 1.4 ms, next to nothing where it is a huge one already. Returns whether there is more to do; false too when the system
   * can't, for lack of memory, or at all.
   */
  step(): boolean {
    if (this.#next >= this.#end) return false;
    try {
      // What was allocated and never stored to is made of zeros first: gathering does it, too, but in four times the time.
      madvise(this.#next, HUGE_PAGE_BYTES, MADV_POPULATE_WRITE);
      madvise(this.#next, HUGE_PAGE_BYTES, MADV_COLLAPSE);
      this.#failures = 0;
    } catch (error) {
      if (errnoOf(error) === undefined) throw error;
      if (++this.#failures >= FAILURES_MAX) this.#next = this.#end;
    }
    this.#next += HUGE_PAGE_BYTES;
    return this.#next < this.#end;
  }
}
