// What a flush that did not fail has come to, from the status before it and after it. Pure.

import type { StatusSnapshot } from './status.js';

export interface FlushOutcome {
  /** Bytes of the volume that were dirty when it began and are not any more, 0 or more. */
  readonly writtenBytes: number;
  /** Damaged data, which can't be written back, stays dirty in the cache. */
  readonly isDamaged: boolean;
}

/** @param dirtyBytes bytes of the volume that were dirty when the flush began @param after the status at its end */
export function flushOutcome(dirtyBytes: number, after: Pick<StatusSnapshot, 'dirty_bytes' | 'corrupt_keys'>): FlushOutcome {
  const isDamaged = after.corrupt_keys > 0 && after.dirty_bytes > 0;
  // What was written meanwhile is dirty again, and was not there before: all of what was has been written.
  return { isDamaged, writtenBytes: isDamaged ? Math.max(0, dirtyBytes - after.dirty_bytes) : dirtyBytes };
}
