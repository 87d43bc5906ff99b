// Threads that take turns by a seed, crashed at every persist: ever new seeds, over all kinds of runs.

import { InterleavingSimulation } from '../support/sim-run.js';
import type { Shape } from '../support/sim-run.js';
import type { Part } from './part.js';

/** Seeds of one run; the next run's begin behind them. */
const SEEDS_PER_RUN = 1_000_000;
/** One simulated volume: about a second. */
const CRASHES_PER_VOLUME = 300;

/** Every other run is as its seed says. */
const shapes: readonly Partial<Shape>[] = [
  { segments: 6, segmentKib: 12, windowKib: 24, users: 3, stalls: 3000, stallMs: 20_000, operations: 400, looks: 0.1 },
  { segmentKib: 12, writes: 50, flushes: 45, operations: 300, looks: 0.2 },
  { users: 3, operations: 8, flushes: 40, writes: 50 },
  {
    segments: 16,
    segmentKib: 12,
    windowKib: 24,
    gcPercent: 0,
    users: 3,
    looks: 0.5,
    writes: 20,
    reads: 70,
    operations: 200,
    ranges: 100,
    fine: 100,
  },
];

export const interleavingPart: Part = {
  name: 'interleaved threads',
  unit: 'crashes',
  triesMax: 10_000_000,
  lacks: undefined,
  async run(limits, tally) {
    const total = { volumes: 0, 'losses of power': 0, 'deaths of the process': 0, 'during replay': 0, steps: 0, writes: 0, reads: 0 };
    tally.details = total;
    const simulation = new InterleavingSimulation();
    try {
      while (await limits.goesOn()) {
        const step = total.volumes;
        const shape = step % 2 === 0 ? undefined : shapes[Math.floor(step / 2) % shapes.length];
        const report = await simulation.run({
          seed: limits.seed * SEEDS_PER_RUN + step,
          crashes: CRASHES_PER_VOLUME,
          ...(shape === undefined ? {} : { shape }),
        });
        total.volumes++;
        total['losses of power'] += report.powerLosses;
        total['deaths of the process'] += report.kills;
        total['during replay'] += report.secondCrashes;
        total.steps += report.steps;
        total.writes += report.writes;
        total.reads += report.reads;
        tally.tried += report.crashes;
        if (report.problem !== undefined) tally.problem = `${shape === undefined ? 'any shape' : JSON.stringify(shape)}: ${report.problem}`;
      }
    } finally {
      await simulation.stop();
    }
  },
};
