// A cache that changes hands between this gateway and a model of the kernel's dm-pcache, whoever crashes.

import { KernelTurns } from '../support/kernel-turns.js';
import type { Part } from './part.js';

const SEEDS_PER_RUN = 1_000_000;
const TURNS = 4;

export const kernelTurnsPart: Part = {
  name: 'kernel in between',
  unit: 'crashes',
  triesMax: 10_000_000,
  lacks: undefined,
  async run(limits, tally) {
    const total = { caches: 0, turns: 0 };
    tally.details = total;
    while (await limits.goesOn()) {
      // A failure names its seed.
      const turns = new KernelTurns(limits.seed * SEEDS_PER_RUN + total.caches);
      turns.run(TURNS);
      total.caches++;
      total.turns += TURNS;
      tally.tried += turns.crashes;
    }
  },
};
