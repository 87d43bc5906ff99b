// Work that may take long and would hold up everything if it were done in the main thread: it runs in a thread of its own (task-thread.ts), while the main
// thread shows how far it is and hears an interrupt.
//
// Invariants:
// - The devices stay open until the thread is gone: it works on the main thread's mappings and descriptors.
// - At an interrupt the thread is ended before it is said where things stand, so that what is said stays true.

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
  /** One word, see `TaskContext.reached`. */
  readonly stage: SharedArrayBuffer;
}

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
  /** Where things stand at an interrupt, when the thread is gone: one line. `stage` is the last that the task said it had reached, 0 before. */
  readonly interrupted: (stage: number) => string;
}

/** Runs a task. `argument` and result are copied, but for shared memory. Throws what the task throws, if that is a PcacheError. */
export async function runTask<N extends TaskName>(
  name: N,
  argument: TaskArgument<N>,
  { output, interrupted }: TaskWatch,
): Promise<TaskResult<N>> {
  const stage = new Int32Array(new SharedArrayBuffer(4));
  const workerData: TaskStart = { name, argument, stage: stage.buffer };
  const worker = new Worker(new URL('./task-thread.js', import.meta.url), { name, workerData });
  const progress = new PhaseProgress(output);
  let isInterrupted = false;
  const ignoreInterrupts = onInterrupt(output, async () => {
    isInterrupted = true;
    progress.stop();
    await worker.terminate();
    return interrupted(Atomics.load(stage, 0));
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
