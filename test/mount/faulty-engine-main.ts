// The engine process of `pcache mount`, with a way to plant faults into its threads (see faults.ts).

import { readFileSync } from 'node:fs';
import { Worker } from 'node:worker_threads';
import { runEngineProcess } from '../../src/gateway/engine-process.js';
import { ParkedThreads, closedGate, parkedThread } from '../../src/gateway/parked-threads.js';
import { threadedEngine } from '../../src/gateway/threaded-engine.js';
import { FAULT_KINDS, FAULT_MESSAGE, THREAD_HEAP_MB, exhaustMemory, type FaultKind } from './faults.js';

const gateway = new URL('../../src/gateway/', import.meta.url);
const faults = new Map<string, Int32Array>();

/** The word that tells a thread to fail, which may be wanted before the thread is there. */
function faultOf(name: string): Int32Array {
  let fault = faults.get(name);
  if (fault === undefined) faults.set(name, (fault = new Int32Array(new SharedArrayBuffer(4))));
  return fault;
}

process.on('SIGUSR2', () => {
  const [, thread, kind] = /^(.*) (\w+)\n$/.exec(readFileSync(process.env.PCACHE_FAULT_FILE!, 'utf8'))!;
  if (thread !== 'main') faultOf(thread!)[0] = FAULT_KINDS.indexOf(kind as FaultKind) + 1;
  else if (kind === 'exhausts') exhaustMemory();
  else if (kind === 'rejects') void Promise.reject(new Error(FAULT_MESSAGE));
  else throw new Error(FAULT_MESSAGE);
});

const program = threadedEngine(
  new ParkedThreads(({ name, file }) => {
    const gate = closedGate();
    const workerData = { gate, fault: faultOf(name), file: new URL(file, gateway).href };
    const resourceLimits = { maxOldGenerationSizeMb: THREAD_HEAP_MB };
    return parkedThread(new Worker(new URL('./faulty-thread.js', import.meta.url), { name, workerData, resourceLimits }), gate);
  }),
);
runEngineProcess(program);
