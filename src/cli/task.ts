// Work that may take long and would hold up everything if it were done in the main thread: it runs in a thread of its own (task-thread.ts), while the main
// thread shows how far it is and hears an interrupt.
//
// Invariants:
// - The devices stay open until the thread is gone: it works on the main thread's mappings and descriptors.
// - An interrupt asks the thread to end, which it does at the next of its steps, so that it has undone what it undoes, and what is said then stays true. It
//   is never terminated: a thread that is ended in the middle of a native call can take the process with it, and leave a core instead of a word.

import { setTimeout as delay } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import { PcacheError } from '../errors.js';
import type { PcacheErrorCode } from '../errors.js';
import type { Output } from './output.js';
import { PhaseProgress, onInterrupt } from './progress.js';
import type { Tasks } from './tasks.js';

type TaskName = keyof Tasks;
export type TaskArgument<N extends TaskName> = Parameters<Tasks[N]>[0];
export type TaskResult<N extends TaskName> = Awaited<ReturnType<Tasks[N]>>;

/** What the thread is given. */
export interface TaskStart {
  readonly name: TaskName;
  readonly argument: unknown;
  /** See TaskWord. */
  readonly words: SharedArrayBuffer;
}

/** What thread and main thread share. */
export const TaskWord = {
  /** See `TaskContext.reached`. */
  stage: 0,
  /** 1: the thread is to end. */
  endAsked: 1,
} as const;
const TASK_WORDS = 2;

/** A step of a task takes tenths of a second, but a device that fails may hold one up for as long as it likes. */
const END_TIMEOUT_MS = 10_000;

/** What it says: any number of the first, then one of the others. */
export type TaskMessage =
  | { readonly type: 'progress'; readonly phase: string; readonly doneBytes: number; readonly totalBytes: number }
  | { readonly type: 'done'; readonly result: unknown }
  | { readonly type: 'failed'; readonly error: TaskError };

export interface TaskError {
  /** Undefined: no PcacheError. */
  readonly code: PcacheErrorCode | undefined;
  readonly message: string;
  readonly hint: string | undefined;
  readonly errno: number | undefined;
}

export interface TaskWatch {
  readonly output: Output;
  /**
   * Where things stand at an interrupt: one line. `stage` is the last that the task said it had reached, 0 before. `hasEnded`: the thread is gone; otherwise
   * it still works, and ends with the process, which is the next thing to happen.
   */
  readonly interrupted: (stage: number, hasEnded: boolean) => string;
}

/** Runs a task. `argument` and result are copied, but for shared memory. Throws what the task throws, if that is a PcacheError. */
export async function runTask<N extends TaskName>(
  name: N,
  argument: TaskArgument<N>,
  { output, interrupted }: TaskWatch,
): Promise<TaskResult<N>> {
  const words = new Int32Array(new SharedArrayBuffer(TASK_WORDS * 4));
  const workerData: TaskStart = { name, argument, words: words.buffer };
  const worker = new Worker(new URL('./task-thread.js', import.meta.url), { name, workerData });
  const gone = new Promise<true>((resolve) => worker.once('exit', () => resolve(true)));
  const progress = new PhaseProgress(output);
  let isInterrupted = false;
  const ignoreInterrupts = onInterrupt(output, async () => {
    isInterrupted = true;
    progress.stop();
    Atomics.store(words, TaskWord.endAsked, 1);
    const hasEnded = await Promise.race([gone, delay(END_TIMEOUT_MS, false)]);
    return interrupted(Atomics.load(words, TaskWord.stage), hasEnded);
  });
  try {
    return await new Promise<TaskResult<N>>((resolve, reject) => {
      let outcome: () => void = () => reject(new PcacheError('internal', `${name}: its thread ended without a result`));
      worker.on('message', (message: TaskMessage) => {
        if (isInterrupted) return;
        if (message.type === 'progress') progress.update(message.phase, message.doneBytes, message.totalBytes);
        else if (message.type === 'done') outcome = () => resolve(message.result as TaskResult<N>);
        else outcome = () => reject(errorOf(message.error));
      });
      worker.on('error', (error) => (outcome = () => reject(error)));
      worker.on('exit', () => {
        // After an interrupt nothing goes on but the end of the process.
        if (!isInterrupted) outcome();
      });
    });
  } finally {
    progress.stop();
    ignoreInterrupts();
  }
}

function errorOf({ code, message, hint, errno }: TaskError): Error {
  if (code === undefined) return new Error(message);
  return new PcacheError(code, message, { ...(hint === undefined ? {} : { hint }), ...(errno === undefined ? {} : { errno }) });
}
