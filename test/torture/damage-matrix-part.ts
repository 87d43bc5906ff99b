// Every kind of damage at every kind of structure, on every kind of cache, with ever new seeds.

import { CACHE_VARIANTS } from '../support/damage-cache.js';
import { DamageMatrix } from '../support/damage-matrix.js';
import type { TrialOutcome } from '../support/damage-matrix.js';
import type { Part } from './part.js';

/** Making a cache takes as long as some of these. */
const TRIALS_PER_CACHE = 100;
const SEEDS_PER_RUN = 1_000_000;

export const damageMatrixPart: Part = {
  name: 'damage matrix',
  unit: 'damages',
  triesMax: 10_000_000,
  lacks: undefined,
  async run(limits, tally) {
    const caches = { caches: 0 };
    const outcomes: Record<TrialOutcome, number> = { unchanged: 0, refused: 0, served: 0, 'served with errors': 0 };
    let matrix: DamageMatrix | undefined;
    let seed = 0;
    while (await limits.goesOn()) {
      if (matrix === undefined || tally.tried % TRIALS_PER_CACHE === 0) {
        seed = limits.seed * SEEDS_PER_RUN + caches.caches;
        matrix = new DamageMatrix(CACHE_VARIANTS[caches.caches % CACHE_VARIANTS.length]!, seed);
        caches.caches++;
      }
      const { outcome, problem } = matrix.randomTrial();
      tally.tried++;
      outcomes[outcome]++;
      tally.details = { ...caches, ...outcomes };
      if (problem !== undefined) tally.problem = `matrix of seed ${seed}, damage ${tally.tried}: ${problem}`;
    }
  },
};
