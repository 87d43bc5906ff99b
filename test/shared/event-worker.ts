// Waits for the event in words 0 and 1: once, or as one side of a game of ping-pong through word 2.

import { parentPort, workerData } from 'node:worker_threads';
import { epoch, signal, wait } from '../../src/shared/event-word.js';

const { words, side, rounds } = workerData as { words: Int32Array; side: number; rounds: number };
const TIMEOUT_MS = 20_000;

if (rounds === 0) {
  parentPort?.postMessage(wait(words, 0, epoch(words, 0), TIMEOUT_MS));
} else {
  for (let turn = side; turn < rounds * 2; turn += 2) {
    for (;;) {
      const seen = epoch(words, 0);
      if (Atomics.load(words, 2) === turn) break;
      if (!wait(words, 0, seen, TIMEOUT_MS)) throw new Error(`turn ${turn}: a wake-up was missed`);
    }
    Atomics.store(words, 2, turn + 1);
    signal(words, 0);
  }
  parentPort?.postMessage(true);
}
