// The thread of a task (task.ts): does it, says now and then how far it is, and ends; at an interrupt before it is done, by an error from the next call that
// tells how far it is, so that whatever the task undoes after a failure is undone then, too.

import { parentPort, workerData } from 'node:worker_threads';
import { PcacheError, messageOf } from '../errors.js';
import { TaskWord, type TaskMessage, type TaskStart } from './task.js';
import { tasks, type TaskContext } from './tasks.js';

/** Progress is told this often at most, but for a new phase. */
const TELL_INTERVAL_MS = 100;

const { name, argument, words: sharedWords } = workerData as TaskStart;
const words = new Int32Array(sharedWords);
let toldMs = -Infinity;
let toldPhase = '';

function say(message: TaskMessage): void {
  parentPort?.postMessage(message);
}

const context: TaskContext = {
  tell(phase, doneBytes, totalBytes) {
    if (Atomics.load(words, TaskWord.endAsked) !== 0) throw new Error(`${name}: interrupted`);
    const nowMs = performance.now();
    if (phase === toldPhase && nowMs - toldMs < TELL_INTERVAL_MS) return;
    toldMs = nowMs;
    toldPhase = phase;
    say({ type: 'progress', phase, doneBytes, totalBytes });
  },
  reached(next) {
    Atomics.store(words, TaskWord.stage, next);
  },
};

try {
  const task = tasks[name] as (argument: unknown, context: TaskContext) => unknown;
  say({ type: 'done', result: task(argument, context) });
} catch (error) {
  const known = error instanceof PcacheError ? error : undefined;
  say({ type: 'failed', error: { code: known?.code, message: messageOf(error), hint: known?.hint, errno: known?.errno } });
}
