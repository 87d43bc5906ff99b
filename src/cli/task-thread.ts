// The thread of a task (task.ts): does it, says now and then how far it is, and ends.

import { parentPort, workerData } from 'node:worker_threads';
import { PcacheError, messageOf } from '../errors.js';
import type { TaskMessage, TaskStart } from './task.js';
import { tasks, type TaskContext } from './tasks.js';

/** Progress is told this often at most, but for a new phase. */
const TELL_INTERVAL_MS = 100;

const { name, argument, stage } = workerData as TaskStart;
const stageWord = new Int32Array(stage);
let toldMs = -Infinity;
let toldPhase = '';

function say(message: TaskMessage): void {
  parentPort?.postMessage(message);
}

const context: TaskContext = {
  tell(phase, doneBytes, totalBytes) {
    const nowMs = performance.now();
    if (phase === toldPhase && nowMs - toldMs < TELL_INTERVAL_MS) return;
    toldMs = nowMs;
    toldPhase = phase;
    say({ type: 'progress', phase, doneBytes, totalBytes });
  },
  reached(next) {
    Atomics.store(stageWord, 0, next);
  },
};

try {
  const task = tasks[name] as (argument: unknown, context: TaskContext) => unknown;
  say({ type: 'done', result: task(argument, context) });
} catch (error) {
  const known = error instanceof PcacheError ? error : undefined;
  say({ type: 'failed', error: { code: known?.code, message: messageOf(error), hint: known?.hint, errno: known?.errno } });
}
