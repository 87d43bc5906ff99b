// Threads that take turns by a seed, and a crash wherever one can be told from another. PCACHE_SEED (a number) chooses other runs, PCACHE_CRASHES (crashes
// a run) longer ones; what fails names the seed of its run, which repeats it.

import test from 'ava';
import { simBugs } from '../support/sim-bugs.js';
import type { SimBug } from '../support/sim-bugs.js';
import { InterleavingSimulation } from '../support/sim-run.js';
import type { InterleavingOptions, InterleavingReport, Shape } from '../support/sim-run.js';

const firstSeed = Number(process.env.PCACHE_SEED ?? 1) * 1000;
const crashes = Number(process.env.PCACHE_CRASHES ?? 250);
const RUNS = 14;
/** Seeds in which a planted bug must be found, at most. */
const SEEDS_MAX = 30;

const simulation = new InterleavingSimulation();
test.after.always(() => simulation.stop());

test.serial('whatever is lost while several threads work, and again during replay, every promise holds', async (t) => {
  const reports: InterleavingReport[] = [];
  for (let run = 0; run < RUNS; run++) {
    const report = await simulation.run({ seed: firstSeed + run, crashes });
    reports.push(report);
    t.is(report.problem, undefined);
  }
  const sum = (name: 'crashes' | 'secondCrashes' | 'kills' | 'powerLosses' | 'steps' | 'writes' | 'reads' | 'faults' | 'fills'): number =>
    reports.reduce((total, report) => total + report[name], 0);
  t.log(
    `seeds from ${firstSeed}: ${sum('powerLosses')} losses of power, ${sum('kills')} deaths, ${sum('secondCrashes')} crashes during replay`,
  );
  t.log(`${sum('steps')} steps, ${sum('writes')} writes, ${sum('reads')} reads, ${sum('fills')} fills, ${sum('faults')} failed calls`);
  for (const name of ['secondCrashes', 'kills', 'powerLosses', 'writes', 'reads', 'fills'] as const) t.true(sum(name) > 0, name);
});

/** Log and data change segments all the time, readers are slow: what only users see needs few crashes. */
const tight: Partial<Shape> = { segments: 6, segmentKib: 12, windowKib: 24, users: 3, aligned: 100, looks: 0.1 };

for (const [name, shape] of [
  [
    'slow readers, segments reused all the time',
    { ...tight, stalls: 3000, stallMs: 20_000, writes: 45, reads: 50, flushes: 3, operations: 400 },
  ],
  ['a flush for each write', { ...tight, users: 2, writes: 50, reads: 0, flushes: 48, operations: 300 }],
] as const) {
  test.serial(`every promise holds in long lives: ${name}`, async (t) => {
    for (let run = 0; run < 2; run++) {
      t.is((await simulation.run({ seed: firstSeed + 500 + run, crashes, shape })).problem, undefined);
    }
  });
}

test.serial('a run is a function of its seed', async (t) => {
  const options = { seed: firstSeed + 600, crashes: 60 };
  t.deepEqual(await simulation.run(options), await simulation.run(options));
});

/** Where few shapes show a bug, that shape. */
const bugOptions: Partial<Record<SimBug, Omit<InterleavingOptions, 'seed' | 'crashes'>>> = {
  'a miss fills over a newer write': {
    shape: { ...tight, segments: 12, stalls: 1000, stallMs: 1000, writes: 30, reads: 65, flushes: 3, operations: 400 },
  },
  'a segment is reused under its readers': {
    shape: { ...tight, stalls: 3000, stallMs: 20_000, writes: 45, reads: 50, flushes: 3, operations: 400 },
  },
  'the subtree is not locked': { shape: { users: 3, windowKib: 24, hot: 90, looks: 0.1, writes: 60 } },
  'a persist that failed counts as done': { faults: 'cache' },
  'a stale kset is accepted': {
    shape: { ...tight, segments: 9, segmentKib: 32, flushes: 48, writes: 51, reads: 0, hot: 90, operations: 8, looks: 0.3 },
  },
  'a flush of the backing device that failed counts as done': { faults: 'backing' },
  'damaged payload is served': { dataCrc: true },
};

for (const bug of Object.keys(simBugs) as SimBug[]) {
  test.serial(`the simulation finds that ${bug} (promise ${simBugs[bug]})`, async (t) => {
    const options = { crashes: bug === 'a stale kset is accepted' ? 600 : 300, ...bugOptions[bug] };
    for (let seed = 1; seed <= SEEDS_MAX; seed++) {
      const { problem, crashes: tried } = await simulation.run({ seed, ...options, bug });
      if (problem === undefined) continue;
      t.log(problem.split('\n')[0]);
      t.is((await simulation.run({ seed, ...options, crashes: tried + 20 })).problem, undefined, 'without the bug');
      return;
    }
    t.fail(`not found in ${SEEDS_MAX} seeds`);
  });
}
