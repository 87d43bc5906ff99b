// A data thread that does what it is told by a word of shared memory, between two rounds of its loop: each loop looks at a word that tells it to stop, and
// this looks at its own word at the same time. Nothing else of the thread is changed.

import { workerData } from 'node:worker_threads';
import { GatewayWord } from '../../src/gateway/gateway-shared.js';
import { FAULT_KINDS, FAULT_MESSAGE, exhaustMemory } from './faults.js';

const { file, fault } = workerData as { file: string; fault: Int32Array<SharedArrayBuffer> };
const load = Atomics.load as (array: Int32Array, index: number) => number;

/** The words that loops look at: the queue's is an array of its own, see QueueOptions. */
function isLoopWord(array: Int32Array, index: number): boolean {
  return (array.length === 1 && array !== fault) || (array.length === GatewayWord.count && index <= GatewayWord.stopLog);
}

(Atomics as { load: typeof load }).load = (array, index) => {
  const kind = load(fault, 0);
  if (kind !== 0 && isLoopWord(array, index)) {
    fault[0] = 0;
    if (FAULT_KINDS[kind - 1] === 'exhausts') exhaustMemory();
    throw new Error(FAULT_MESSAGE);
  }
  return load(array, index);
};

await import(file);
