// Runs worker files for the concurrency tests: each gets its data, posts one message, and ends. Bounded: whatever happens, no thread is left.

import { Worker } from 'node:worker_threads';

/** Starts a worker for each of `inputs` at once; resolves with their messages, in order. Rejects if one fails or `timeoutMs` pass. */
export async function runWorkers(file: URL, inputs: readonly unknown[], timeoutMs = 60_000): Promise<unknown[]> {
  const workers = inputs.map((workerData) => new Worker(file, { workerData }));
  let timer: NodeJS.Timeout | undefined;
  const tooLate = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`workers of ${file.pathname} did not end in ${timeoutMs} ms`)), timeoutMs);
  });
  try {
    return await Promise.race([tooLate, Promise.all(workers.map(messageOf))]);
  } finally {
    clearTimeout(timer);
    await Promise.all(workers.map((worker) => worker.terminate()));
  }
}

function messageOf(worker: Worker): Promise<unknown> {
  return new Promise((resolve, reject) => {
    worker.once('message', resolve);
    worker.once('error', reject);
    worker.once('exit', (code) => reject(new Error(`worker ended with ${code} and no message`)));
  });
}

/** Waits until a word has a value; the event loop goes on meanwhile. Rejects after `timeoutMs`. */
export async function wordBecomes(words: Int32Array, index: number, value: number, timeoutMs = 30_000): Promise<void> {
  const deadline = Date.now() + timeoutMs;
  while (Atomics.load(words, index) !== value) {
    if (Date.now() > deadline) throw new Error(`word ${index} is ${Atomics.load(words, index)}, not ${value}, after ${timeoutMs} ms`);
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
}
