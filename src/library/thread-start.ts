// How a thread of an open cache comes to its work, and what it tells the caller's thread.

import { parentPort, workerData } from 'node:worker_threads';
import type { MessagePort } from 'node:worker_threads';
import { plainError } from './messages.js';
import type { Answer, ThreadData, ThreadMessage } from './messages.js';
import type { PcacheError } from '../errors.js';
import { LibraryThread, LibraryWord, waitForMessage } from './thread-shared.js';
import type { OpenedShared } from './thread-shared.js';

/** The port to the caller's thread. */
export const toCaller: MessagePort = parentPort!;
export const threadData = workerData as ThreadData;

export function tellCaller(message: ThreadMessage, transfer: ArrayBuffer[] = []): void {
  toCaller.postMessage(message, transfer);
}

/** The program of a thread, from start to end. */
export function runThread(program: () => void): void {
  const { threadWords, inbox, toMiss, toBackground, toLog } = threadData;
  try {
    program();
  } finally {
    // Open ports would keep the thread alive.
    for (const port of [...inbox, toMiss, toBackground, toLog]) port?.close();
    Atomics.sub(threadWords.words, LibraryWord.running, 1);
    Atomics.notify(threadWords.words, LibraryWord.running);
  }
}

/**
 * The program of a thread that works on what the front thread has opened. `serve` returns when it is told to stop, with what went wrong at the end; nothing of
 * it is under way then.
 */
export function runServingThread(head: number, counterSlice: number, serve: (thread: LibraryThread) => PcacheError | undefined): void {
  runThread(() => {
    const { threadWords } = threadData;
    const opened = waitForMessage(toCaller, threadWords.words, LibraryWord.start) as OpenedShared | undefined;
    let error: PcacheError | undefined;
    if (opened !== undefined) {
      const thread = new LibraryThread(threadWords, opened, head, counterSlice);
      error = serve(thread);
      thread.backing.close();
    }
    tellCaller({ type: 'ended', ...(error === undefined ? {} : { error: plainError(error) }) });
  });
}

/** Bytes of reads that are cheaper to copy once more than to hand over: memory that is handed over is mapped and unmapped by both threads. */
const COPIED_BYTES_MAX = 16 * 1024;

/** Gathers answers, since a message costs more than what is in it. */
export class Answers {
  #answers: Answer[] = [];
  #transfer: ArrayBuffer[] = [];

  add(answer: Answer): void {
    this.#answers.push(answer);
    if (answer.bytes !== undefined && answer.bytes.length > COPIED_BYTES_MAX) this.#transfer.push(answer.bytes.buffer);
  }

  get count(): number {
    return this.#answers.length;
  }

  send(): void {
    if (this.#answers.length === 0) return;
    tellCaller({ type: 'answers', answers: this.#answers }, this.#transfer);
    this.#answers = [];
    this.#transfer = [];
  }
}
