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

/** Reads that miss, and read ahead, beside a collector that never rests. */
const missing: Partial<Shape> = {
  segments: 16,
  segmentKib: 12,
  windowKib: 24,
  gcPercent: 0,
  users: 3,
  aligned: 100,
  looks: 0.1,
  stalls: 1000,
  stallMs: 100,
  writes: 15,
  reads: 75,
  flushes: 3,
  operations: 400,
  ranges: 100,
  fine: 100,
};

/** Readers that sleep for long where they pin. */
const pinning: Partial<Shape> = {
  ...missing,
  segments: 6,
  looks: 0.02,
  stalls: 300,
  stallMs: 20_000,
  writes: 45,
  reads: 50,
  operations: 1000,
  fine: 30,
};

/** Crashes of a long life: fewer where few are looked at, since there is more life between them. */
const lookedAt = ({ looks = 1, operations = 0 }: Partial<Shape>): number =>
  Math.ceil(crashes * (operations > 400 || looks < 0.1 ? 0.2 : 1));

for (const [name, shape] of [
  [
    'slow readers, segments reused all the time',
    { ...tight, stalls: 3000, stallMs: 20_000, writes: 45, reads: 50, flushes: 3, operations: 400 },
  ],
  ['misses and read-ahead while all is collected', missing],
  ['misses, and parts of sectors', { ...missing, aligned: 40, writes: 35, reads: 55 }],
  ['readers that sleep where they pin', pinning],
  ['a flush for each write', { ...tight, users: 2, writes: 50, reads: 0, flushes: 48, operations: 300 }],
] as const) {
  test.serial(`every promise holds in long lives: ${name}`, async (t) => {
    for (let run = 0; run < 2; run++) {
      t.is((await simulation.run({ seed: firstSeed + 500 + run, crashes: lookedAt(shape), shape })).problem, undefined);
    }
  });
}

test.serial('a run is a function of its seed', async (t) => {
  const options = { seed: firstSeed + 600, crashes: 60 };
  t.deepEqual(await simulation.run(options), await simulation.run(options));
});

/** Where few shapes show a bug, that shape. */
const bugOptions: Partial<Record<SimBug, Omit<InterleavingOptions, 'seed' | 'crashes'> & { crashes?: number }>> = {
  'a miss fills over a newer write': {
    shape: { ...tight, segments: 12, stalls: 1000, stallMs: 1000, writes: 30, reads: 65, flushes: 3, operations: 400 },
  },
  'a segment is reused under its readers': {
    shape: { ...tight, stalls: 3000, stallMs: 20_000, writes: 45, reads: 50, flushes: 3, operations: 400 },
  },
  'a read leaves placeholders where it found data that is freed just then': { shape: missing, faults: 'none', crashes: 100 },
  'a fill does not look again at what is left of its placeholder': { shape: missing, faults: 'none', crashes: 100 },
  'a read lets go of its segments before it has copied them': { shape: pinning, faults: 'none', crashes: 40 },
  'a segment is pinned without a look at its generation': { shape: pinning, faults: 'none', crashes: 40 },
  'a segment is pinned after the look at its generation': { shape: pinning, faults: 'none', crashes: 40 },
  'part of a sector is written over a newer write': { shape: { users: 3, windowKib: 24, hot: 90, aligned: 20, looks: 0.1, writes: 80 } },
  'the subtree is not locked': { shape: { users: 3, windowKib: 24, hot: 90, looks: 0.1, writes: 60 } },
  'a persist that failed counts as done': { faults: 'cache' },
  'a stale kset is accepted': {
    crashes: 600,
    shape: { ...tight, segments: 9, segmentKib: 32, flushes: 48, writes: 51, reads: 0, hot: 90, operations: 8, looks: 0.3 },
  },
  'a flush of the backing device that failed counts as done': { faults: 'backing' },
  'damaged payload is served': { dataCrc: true },
};

for (const bug of Object.keys(simBugs) as SimBug[]) {
  test.serial(`the simulation finds that ${bug} (promise ${simBugs[bug]})`, async (t) => {
    const options = { crashes: 300, ...bugOptions[bug] };
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
