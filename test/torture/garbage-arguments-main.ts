// A process that tries command lines until one goes wrong: `node garbage-arguments-main.js SEED RUNS`. Exit status 1, and what was wrong on
// stderr, if anything was.

import type { ExecutionContext } from 'ava';
import fc from 'fast-check';
import { argumentLists, enterFolder, faultOf, stateOf } from '../cli/argument-lists.js';
import { runMain } from '../cli/run-main.js';

async function main(seed: number, numRuns: number): Promise<string | undefined> {
  const teardowns: (() => unknown)[] = [];
  try {
    // All that the folder's makers want of a test is to be called when it is over.
    const folder = enterFolder({ teardown: (step: () => unknown) => void teardowns.push(step) } as unknown as ExecutionContext);
    const before = stateOf(folder);
    const property = fc.asyncProperty(argumentLists, async (args) => {
      const ended = await runMain(args);
      const fault = faultOf(ended, args);
      if (fault !== undefined) throw new Error(`${fault}: ${JSON.stringify(ended).slice(0, 1000)}`);
      if (stateOf(folder) !== before) throw new Error('changed the folder');
    });
    const result = await fc.check(property, { seed, numRuns });
    return result.failed ? `${JSON.stringify(result.counterexample)}: ${String(result.errorInstance)}` : undefined;
  } finally {
    for (const step of teardowns.reverse()) await step();
  }
}

const problem = await main(Number(process.argv[2]), Number(process.argv[3]));
if (problem !== undefined) {
  process.stderr.write(`${problem}\n`);
  process.exitCode = 1;
}
