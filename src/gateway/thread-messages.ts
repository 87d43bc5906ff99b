// What the data threads tell the engine's main thread. No data passes this way: only start, end and errors.

import { parentPort, workerData } from 'node:worker_threads';
import type { QueueEnd } from '../fuse/dev-fuse-transport.js';
import { messageOf } from '../errors.js';

export type ThreadMessage =
  /** The thread has attached to everything and starts its loop. */
  | { readonly type: 'ready' }
  /** Worth a line in the log; the thread goes on. */
  | { readonly type: 'note'; readonly level: 'info' | 'warn' | 'error'; readonly text: string }
  /** The thread's loop has come to its end; `queueEnd` for queue workers. */
  | { readonly type: 'ended'; readonly queueEnd?: QueueEnd };

export function tellMain(message: ThreadMessage): void {
  parentPort!.postMessage(message);
}

export function noteError(what: string, error: unknown): void {
  tellMain({ type: 'note', level: 'error', text: `${what}: ${messageOf(error)}` });
}

/** What this thread was started with; its starter and its entry file agree on the type. */
export function threadStart(): unknown {
  return workerData;
}
