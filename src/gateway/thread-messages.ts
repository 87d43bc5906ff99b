// What the data threads and the engine's main thread tell each other. No data passes this way: only start, end and errors.
//
// A data thread is started in two steps. First it loads its program, which takes most of the time, and parks; then it is told what to work on, and goes.
// Between the two may lie a moment (an engine that starts) or days (a spare engine), see parked-threads.ts.

import { parentPort, receiveMessageOnPort, workerData } from 'node:worker_threads';
import type { QueueEnd } from '../fuse/dev-fuse-transport.js';
import { messageOf } from '../errors.js';

export type ThreadMessage =
  /** The thread has loaded its program and waits for what it is to work on. */
  | { readonly type: 'parked' }
  /** The thread has attached to everything and starts its loop. */
  | { readonly type: 'ready' }
  /** Worth a line in the log; the thread goes on. */
  | { readonly type: 'note'; readonly level: 'info' | 'warn' | 'error'; readonly text: string }
  /** The thread's loop has come to its end; `queueEnd` for queue workers. */
  | { readonly type: 'ended'; readonly queueEnd?: QueueEnd };

/** A thread's workerData: what it is to work on comes as a message, before word 0 becomes 1. */
export interface ThreadGate {
  readonly gate: Int32Array<SharedArrayBuffer>;
}

export function tellMain(message: ThreadMessage): void {
  parentPort!.postMessage(message);
}

export function noteError(what: string, error: unknown): void {
  tellMain({ type: 'note', level: 'error', text: `${what}: ${messageOf(error)}` });
}

/**
 * Parks the calling thread until it is told what to work on, and returns that; the starter and the entry file agree on its type. Called once, first of
 * all. The wait has no bound, since a spare engine waits for as long as nothing goes wrong; it ends with the process.
 */
export function threadStart(): unknown {
  const { gate } = workerData as ThreadGate;
  tellMain({ type: 'parked' });
  while (Atomics.load(gate, 0) === 0) Atomics.wait(gate, 0, 0);
  return (receiveMessageOnPort(parentPort!) as { message: unknown }).message;
}
