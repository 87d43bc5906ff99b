// Adds to a plain word under the mutex in word 0, by `lock`, and by `tryLock` every third time if told so.

import { parentPort, workerData } from 'node:worker_threads';
import { lock, tryLock, unlock } from '../../src/shared/mutex.js';

const { words, rounds, trying } = workerData as { words: Int32Array; rounds: number; trying: boolean };
for (let round = 0; round < rounds; round++) {
  if (!trying || round % 3 !== 0 || !tryLock(words, 0)) lock(words, 0);
  // Two words that only the mutex keeps equal.
  words[16]! += 1;
  words[17]! += 1;
  if (words[16] !== words[17]) throw new Error('two threads were inside the mutex');
  unlock(words, 0);
}
parentPort?.postMessage('done');
