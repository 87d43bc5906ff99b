// Every kind of damage at every kind of structure, a sample of it: `npm run torture` goes on with other seeds. PCACHE_SEED=N repeats a run,
// PCACHE_DAMAGES=N tries so many damages of each cache.

import test from 'ava';
import { CACHE_VARIANTS } from '../support/damage-cache.js';
import { DamageMatrix } from '../support/damage-matrix.js';

const SEED = Number(process.env.PCACHE_SEED ?? 1);
const TRIALS = Number(process.env.PCACHE_DAMAGES ?? 30);

for (const [index, variant] of CACHE_VARIANTS.entries()) {
  test(`${variant.name}, data CRC ${variant.dataCrc ? 'on' : 'off'}: damage anywhere is refused, found, or does not matter`, (t) => {
    const seed = SEED + index;
    const matrix = new DamageMatrix(variant, seed);
    const outcomes: Record<string, number> = {};
    const problems: string[] = [];
    for (let trial = 0; trial < TRIALS; trial++) {
      const { outcome, problem } = matrix.randomTrial();
      outcomes[outcome] = (outcomes[outcome] ?? 0) + 1;
      if (problem !== undefined) problems.push(problem);
    }
    t.log(`seed ${SEED}: ${JSON.stringify(outcomes)}`);
    t.deepEqual(problems, [], `seed ${SEED}`);
    // The line of the tails, which has no copy: a repair restores it unless a kernel used the cache.
    const isRepaired = matrix.loseAndRepairTails();
    if (variant.kernel === undefined) t.true(isRepaired, 'both tails lost');
  });
}

test('the matrix notices an engine that does not know how far the log has got', (t) => {
  const variant = CACHE_VARIANTS.find(({ name }) => name === 'log of several segments')!;
  const matrix = new DamageMatrix(variant, 1, { forgetDurablePlace: true });
  const headers = matrix.count('kset header, dirty');
  const trials = Array.from({ length: headers }, (_, index) => matrix.trial('kset header, dirty', index, '64 zeros', 0));
  const problems = trials.flatMap(({ problem }) => problem ?? []);
  t.log(problems.at(-1));
  t.true(problems.length > 0);
  t.true(problems.every((problem) => /is wrong: sectors/.test(problem)));
});
