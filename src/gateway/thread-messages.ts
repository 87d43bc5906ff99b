// What the data threads and the engine's main thread tell each other. No data passes this way: only start, end and errors.
//
// A data thread is started in two steps. First it loads its program, which takes most of the time, and parks; then it is told what to work on, and goes.
// Between the two may lie a moment (an engine that starts) or days (a spare engine), see parked-threads.ts. In between it may be asked to help replay the log.

import { parentPort, receiveMessageOnPort, workerData } from 'node:worker_threads';
import { helpReplay } from '../cache/replay-helper.js';
import type { ReplayJob } from '../cache/replay-helper.js';
import { attachCacheDevice } from '../device/mapped-cache-device.js';
import type { CacheDeviceHandle } from '../device/mapped-cache-device.js';
import type { QueueEnd } from '../fuse/dev-fuse-transport.js';
import { messageOf } from '../errors.js';
import { OTHER_BUILD, programBuild } from './program-build.js';

export type ThreadMessage =
  /** The thread has loaded its program and waits for what it is to work on. */
  | { readonly type: 'parked' }
  /** The thread has attached to everything and starts its loop. */
  | { readonly type: 'ready' }
  /** Worth a line in the log; the thread goes on. */
  | { readonly type: 'note'; readonly level: 'info' | 'warn' | 'error'; readonly text: string }
  /** The thread's loop has come to its end; `queueEnd` for queue workers. */
  | { readonly type: 'ended'; readonly queueEnd?: QueueEnd };

/** In place of what a thread is to work on: help to replay a log, and go on waiting. */
export interface HelpOrder {
  readonly help: ReplayJob;
  readonly cacheDevice: CacheDeviceHandle;
}

/** A thread's workerData. */
export interface ThreadGate {
  /** How many messages the thread was sent, each of which is there before it is counted; the last is what it is to work on. */
  readonly gate: Int32Array<SharedArrayBuffer>;
  /** That of the program that starts it; undefined: of this build for sure. */
  readonly build?: string;
}

export function tellMain(message: ThreadMessage): void {
  parentPort!.postMessage(message);
}

export function noteError(what: string, error: unknown): void {
  tellMain({ type: 'note', level: 'error', text: `${what}: ${messageOf(error)}` });
}

/**
 * Parks the calling thread until it is told what to work on, and returns that; the starter and the entry file agree on its type. Called once, first of
 * all. The wait has no bound, since a spare engine waits for as long as nothing goes wrong; it ends with the process. Throws if another build started it.
 */
export function threadStart(): unknown {
  const { gate, build = programBuild } = workerData as ThreadGate;
  if (build !== programBuild) throw new Error(OTHER_BUILD);
  tellMain({ type: 'parked' });
  for (let taken = 0; ; taken++) {
    while (Atomics.load(gate, 0) === taken) Atomics.wait(gate, 0, taken);
    const { message } = receiveMessageOnPort(parentPort!) as { message: HelpOrder | object };
    if (!('help' in message)) return message;
    helpReplay(message.help, () => attachCacheDevice(message.cacheDevice));
  }
}
