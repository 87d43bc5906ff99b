// The program of an engine process, of which the parts are loaded in the order in which they are needed: first the threads' own programs, in the
// threads and beside everything else, then the engine.

import { availableParallelism } from 'node:os';
import type { EngineOutline, EngineProgram } from './engine.js';
import { ParkedThreads } from './parked-threads.js';
import { threadKinds } from './thread-kinds.js';

/** `threads` is where data threads come from. */
export function threadedEngine(threads = new ParkedThreads()): EngineProgram {
  return {
    prepare: (outline) => prepare(threads, outline),
    start: async (options) => {
      const { startThreadedEngine } = await import('./engine-threads.js');
      return startThreadedEngine(options, threads);
    },
  };
}

async function prepare(threads: ParkedThreads, { workers, readOnly, transport, isAwaited }: EngineOutline): Promise<void> {
  const cores = availableParallelism();
  // No more than will be taken, see `planQueues`; if that are more, they are made when they are.
  const queues = { 'dev-fuse': workers, 'io-uring': Math.min(workers, cores), libfuse: 0 }[transport];
  const queuesFirst = transport === 'io-uring' ? queues : Math.min(queues, 1);
  const kinds = threadKinds({ queues, queuesFirst, readOnly });
  if (isAwaited) {
    // What a first read needs, and nothing beside it.
    const neededCount = queuesFirst + 1;
    await Promise.all([threads.park(kinds.slice(0, neededCount), cores), import('./engine-threads.js')]);
    await threads.park(kinds.slice(neededCount));
  } else {
    // A spare keeps no more than one core busy, whose user is the engine that works.
    await threads.park(kinds);
    await import('./engine-threads.js');
  }
}
