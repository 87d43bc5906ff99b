// How many threads take requests from the kernel, and what each of them serves.

import { ringQueueCount } from '../fuse/io-uring-transport.js';
import { SLOT_COUNT_DEFAULT } from '../fuse/request-slots.js';
import type { EngineOptions } from './engine.js';
import type { RingStart } from './queue-worker.js';

/** Threads that take requests from the kernel: with rings, one for each, and one for what stays on the descriptor. */
export interface QueuePlan {
  readonly threads: number;
  readonly rings: readonly RingStart[];
  readonly slots: number;
}

/** Requests in hand at a time in one of the kernel's queues: more than the misses that a hit should not have to wait for. */
const RING_DEPTH_MAX = 64;
/** Of the request slots, those that are for the descriptor beside the rings. */
const DESCRIPTOR_SLOTS = 16;
const RING_SLOTS_MAX = 2048;

export function planQueues({ fuseFds, session, options }: EngineOptions): QueuePlan {
  if (fuseFds.length === 0) return { threads: 1, rings: [], slots: SLOT_COUNT_DEFAULT };
  if (session?.overIoUring !== true) return { threads: Math.max(1, options.workers), rings: [], slots: SLOT_COUNT_DEFAULT };
  const queues = ringQueueCount();
  const depth = Math.max(1, Math.min(RING_DEPTH_MAX, Math.floor(RING_SLOTS_MAX / queues)));
  const rings = Array.from({ length: Math.min(options.workers, queues) }, (_, number, count = Math.min(options.workers, queues)) => {
    return { number, depth, queues: Array.from({ length: Math.ceil((queues - number) / count) }, (__, i) => number + i * count) };
  });
  return { threads: rings.length + 1, rings, slots: queues * depth + DESCRIPTOR_SLOTS };
}
