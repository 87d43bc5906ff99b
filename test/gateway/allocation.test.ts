// What a queue worker allocates for a READ or a WRITE that it answers itself, from the request's arrival to its answer. Measured as what V8's young
// generation grew by over 100,000 requests, in a process where it is never collected meanwhile.
//
// Nothing is allocated where nothing is copied. A copy to or from the cache takes one number, its address there, which V8 allocates to pass it to C: 16 bytes,
// and no object. Anything more for each request, be it one more number, is over the limit.
//
// V8 decides anew in each process what it inlines, and a number that crosses a call that it did not inline is allocated (seen: 34 bytes a WRITE in one process
// of about ten). So further processes get a chance: what the code itself allocates, all of them do.

import { fork } from 'node:child_process';
import { mkdtempSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import { whyNoFuse } from '../fuse/memory-mount.js';
import { whyNoRings } from '../../src/fuse/ring-support.js';
import { memoryFolder, temporaryFolder } from '../support/tmp.js';
import type { AllocationResult, AllocationServerStart, AllocationTransport } from './allocation-server.js';

/** Of a number that does not fit into a word. */
const NUMBER_BYTES = 16;
/** For each request, on average: what looking at the heap allocates, and what code does before it is compiled. Less than the least there is to allocate. */
const SLACK_BYTES = 10;
const ANSWER_MS = 180_000;
const YOUNG_MIB = 256;
const PROCESSES = 4;
const OPERATIONS = ['READ', 'WRITE'];

function measure(start: AllocationServerStart): Promise<AllocationResult[]> {
  const flags = ['--expose-gc', `--min-semi-space-size=${YOUNG_MIB}`, `--max-semi-space-size=${YOUNG_MIB}`];
  const server = fork(new URL('./allocation-server.js', import.meta.url), {
    execArgv: flags,
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
  });
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => server.kill('SIGKILL'), ANSWER_MS);
    let results: AllocationResult[] | undefined;
    server.once('message', (message) => (results = message as AllocationResult[]));
    server.once('exit', (status, signal) => {
      clearTimeout(timer);
      if (results !== undefined) resolve(results);
      else reject(new Error(`allocation server: ended with ${signal ?? status} and without results`));
    });
    server.send(start);
  });
}

function isOverLimit(transport: AllocationTransport, { operation, requests, bytes }: AllocationResult): boolean {
  const isCopied = operation === 'WRITE' || transport === 'io-uring';
  return bytes > requests * ((isCopied ? NUMBER_BYTES : 0) + SLACK_BYTES);
}

function allocationTest(transport: AllocationTransport, skip: string | undefined): void {
  const title = `a queue worker on ${transport} allocates nothing for 100,000 reads and 100,000 writes but the address of what it copies`;
  if (skip !== undefined) {
    test.serial.skip(`${title} (${skip})`, (t) => t.pass());
    return;
  }
  test.serial(title, async (t) => {
    t.timeout(PROCESSES * ANSWER_MS);
    const parent = memoryFolder(t) ?? temporaryFolder(t);
    const within = new Set<string>();
    for (let attempt = 1; attempt <= PROCESSES && within.size < OPERATIONS.length; attempt++) {
      const results = await measure({ transport, folder: mkdtempSync(join(parent, 'process-')) });
      for (const { operation, requests, bytes } of results) t.log(`${operation}: ${bytes} bytes for ${requests} requests`);
      t.deepEqual([...new Set(results.map(({ operation }) => operation))].sort(), OPERATIONS);
      for (const result of results) if (!isOverLimit(transport, result)) within.add(result.operation);
    }
    t.deepEqual([...within].sort(), OPERATIONS, 'what no process did within the limit is missing');
  });
}

allocationTest('dev-fuse', undefined);
allocationTest('io-uring', whyNoFuse() ?? whyNoRings());
