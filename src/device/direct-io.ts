// Whether a backing device can be read and written past the page cache, and what such I/O must be aligned to. Asked of the kernel, then tried.

import * as fs from 'node:fs';
import type { DeviceFile } from './device-file.js';
import { errno } from './errno-codes.js';
import { directIoAlignment, fcntl, ioctl, mmap, munmap, pread } from './libc.js';
import { BLKSSZGET, F_SETFL, MAP_ANONYMOUS, MAP_PRIVATE, PROT_READ, PROT_WRITE } from './linux-constants.js';
import { PAGE_BYTES } from '../media/layout.js';

export interface IoAlignment {
  /** O_DIRECT is on. */
  readonly direct: boolean;
  /** Power of two that offsets and lengths must be multiples of; 1 for buffered I/O. */
  readonly offsetBytes: number;
  /** Power of two that addresses must be multiples of; 1 for buffered I/O. */
  readonly memoryBytes: number;
}

export const BUFFERED: IoAlignment = { direct: false, offsetBytes: 1, memoryBytes: 1 };

/**
 * Turns O_DIRECT on for `file.fd` if the device takes it and its size is a multiple of the alignment (else its last bytes could not be
 * reached), and returns what is in force. O_DIRECT belongs to the open file description: whoever inherits the descriptor has it too.
 */
export function enableDirectIo(file: DeviceFile): IoAlignment {
  const said = directIoAlignment(file.fd);
  if (said?.offsetBytes === 0) return BUFFERED;
  try {
    fcntl(file.fd, F_SETFL, fs.constants.O_DIRECT);
  } catch {
    // EINVAL: the file system has no direct I/O. Buffered I/O is right for any other reason too.
    return BUFFERED;
  }
  for (const offsetBytes of candidatesOf(file, said?.offsetBytes)) {
    if (file.sizeBytes % offsetBytes === 0 && readsAt(file.fd, offsetBytes)) {
      return { direct: true, offsetBytes, memoryBytes: Math.min(said?.memoryBytes ?? offsetBytes, PAGE_BYTES) };
    }
  }
  fcntl(file.fd, F_SETFL, 0);
  return BUFFERED;
}

function candidatesOf(file: DeviceFile, saidBytes: number | undefined): number[] {
  if (saidBytes !== undefined) return saidBytes <= PAGE_BYTES ? [Math.max(saidBytes, 512)] : [];
  if (file.kind === 'block') {
    const sector = new Int32Array(1);
    ioctl(file.fd, BLKSSZGET, sector);
    return [sector[0]!];
  }
  return [512, 4096];
}

/** False if the kernel refuses a direct read of this size at this alignment. Another failure of the device is none of ours. */
function readsAt(fd: number, alignmentBytes: number): boolean {
  // Not on a page boundary, so that the address is as little aligned as it will be.
  const address = mmap(2 * PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  const result = pread(fd, address + (alignmentBytes % PAGE_BYTES), alignmentBytes, 0);
  munmap(address, 2 * PAGE_BYTES);
  return result !== -errno.EINVAL;
}
