// Who is told when requests come and go, to know how long they take.

import type { RequestSlot } from './request-slots.js';

export interface RequestTimer {
  /** Whether the request that came last is timed, and its answer not written yet. */
  readonly isTiming: boolean;
  /** A request was taken off the kernel's queue. `answered` follows, or its file system hands it on, before the next comes. */
  arrive(): void;
  /** The answer to the request that came last was written. */
  answered(slot: RequestSlot): void;
}
