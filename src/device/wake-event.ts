// An eventfd, to wake a thread that sleeps in the kernel on descriptors.

import { addressOf, close, eventfd, write } from './libc.js';
import { EFD_CLOEXEC } from './linux-constants.js';

/** A new event; the descriptor is valid in all threads of the process, until `closeWakeEvent`. */
export function createWakeEvent(): number {
  return eventfd(0, EFD_CLOEXEC);
}

export function closeWakeEvent(fd: number): void {
  close(fd);
}

/** An event as one thread sees it that wakes others. */
export class WakeEvent {
  readonly #fd: number;
  /** The count to write; a page, because V8 moves small arrays about. */
  readonly #one = new Uint8Array(4096);
  readonly #oneAddress: number;

  constructor(fd: number) {
    this.#fd = fd;
    this.#one[0] = 1;
    this.#oneAddress = addressOf(this.#one);
  }

  /** Makes the descriptor readable. Allocates nothing. */
  wake(): void {
    write(this.#fd, this.#oneAddress, 8);
  }
}
