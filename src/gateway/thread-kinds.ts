// The data threads that an engine has, in the order in which its users need them. Imports nothing, so that an engine that is wanted soon can have its
// threads load their programs before it has loaded its own.

import type { ThreadKind } from './parked-threads.js';

/** At most: one is enough if it can have many reads under way. */
export const MISS_WORKERS = 4;

export interface DataThreadKind extends ThreadKind {
  readonly role: 'queue' | 'miss' | 'log' | 'write' | 'background';
  /** Among those of the same role. */
  readonly index: number;
}

const queueKind = (index: number): DataThreadKind => ({ role: 'queue', index, name: `queue ${index}`, file: './queue-worker.js' });
export const missKind = (index: number): DataThreadKind => ({ role: 'miss', index, name: `miss ${index}`, file: './miss-worker.js' });
const LOG_KIND: DataThreadKind = { role: 'log', index: 0, name: 'log', file: './log-worker.js' };
const WRITE_KIND: DataThreadKind = { role: 'write', index: 0, name: 'write', file: './write-worker.js' };
const BACKGROUND_KIND: DataThreadKind = { role: 'background', index: 0, name: 'background', file: './background-worker.js' };

export interface ThreadCounts {
  /** Threads that take requests. */
  readonly queues: number;
  /** As many of these are to be there before the volume counts as readable: one takes all requests of a descriptor, but rings serve together. */
  readonly queuesFirst: number;
  readonly readOnly: boolean;
}

/**
 * What is read first of a volume is in the cache or below it, so a queue worker and a miss worker come first; then what answers flushes, what takes more
 * requests at a time, and what makes room.
 */
export function threadKinds({ queues, queuesFirst, readOnly }: ThreadCounts): DataThreadKind[] {
  const takers = Array.from({ length: queues }, (_, index) => queueKind(index));
  return [
    ...takers.slice(0, queuesFirst),
    missKind(0),
    LOG_KIND,
    ...takers.slice(queuesFirst),
    WRITE_KIND,
    ...(readOnly ? [] : [BACKGROUND_KIND]),
  ];
}
