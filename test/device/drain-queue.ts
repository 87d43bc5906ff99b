// Takes all that a queue has in flight, for the tests of queues.

import type { BackingQueue } from '../../src/device/backing-queue.js';
import type { PcacheError } from '../../src/errors.js';

/** What all in flight completed with, by token; each must complete once. */
export function drain(queue: BackingQueue): Map<number, PcacheError | undefined> {
  const outcomes = new Map<number, PcacheError | undefined>();
  while (queue.inFlight > 0) {
    queue.wait(1);
    while (queue.next()) {
      if (outcomes.has(queue.completedToken)) throw new Error(`token ${queue.completedToken} completed twice`);
      outcomes.set(queue.completedToken, queue.completedError);
    }
  }
  return outcomes;
}
