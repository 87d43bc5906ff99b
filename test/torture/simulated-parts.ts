// The parts that need nothing from the machine: crashes of a simulated volume, random commands against a flat array, and damaged media.
// Each step has a seed of its own, counted up from the seed of the run.

import fc from 'fast-check';
import { simulateCrashes, type CrashOptions } from '../support/model-crash.js';
import { MIB } from '../support/model-rig.js';
import { commands, runCommands, type ModelOptions } from '../support/model-volume.js';
import { DamageTrial } from './damage-trial.js';
import type { Part } from './part.js';

/** Seeds of one run; the next run's begin behind them. */
const SEEDS_PER_RUN = 1_000_000;
/** One simulated volume crashes so often: it takes about a second, after which an interrupt is noticed. */
const CRASHES_PER_VOLUME = 40;
/** So many damages of one cache before the next is made. */
const DAMAGES_PER_CACHE = 100;

function seedOf(runSeed: number, step: number): number {
  return runSeed * SEEDS_PER_RUN + step;
}

const crashVariants: readonly (readonly [string, Omit<CrashOptions, 'seed' | 'crashes'>])[] = [
  ['one writer', {}],
  ['three writers', { writers: 3 }],
  ['data CRC on', { dataCrc: true, writers: 2 }],
  ['large writes', { writeBytesMax: 128 * 1024 }],
  ['large writes, data CRC on', { dataCrc: true, writeBytesMax: 128 * 1024, writers: 3 }],
];

export const crashPart: Part = {
  name: 'simulated crashes',
  unit: 'crashes',
  triesMax: 10_000_000,
  lacks: undefined,
  async run(limits, tally) {
    const total = { volumes: 0, 'losses of power': 0, 'deaths of the process': 0, 'while opening': 0, writes: 0 };
    tally.details = total;
    while (await limits.goesOn()) {
      const [name, options] = crashVariants[total.volumes % crashVariants.length]!;
      const report = simulateCrashes({ seed: seedOf(limits.seed, total.volumes), crashes: CRASHES_PER_VOLUME, ...options });
      total.volumes++;
      total['losses of power'] += report.powerLosses;
      total['deaths of the process'] += report.kills;
      total['while opening'] += report.openCrashes;
      total.writes += report.writes;
      tally.tried += report.powerLosses + report.kills;
      if (report.problem !== undefined) tally.problem = `${name}: ${report.problem}`;
    }
  },
};

const TIB = 2 ** 40;
const volumes: readonly (readonly [string, ModelOptions])[] = [
  ['smaller than the cache', { cacheBytes: 96 * MIB, volumeBytes: 3 * MIB + 512, dataCrc: false, writers: 1 }],
  ['three writers', { cacheBytes: 112 * MIB, volumeBytes: 9 * MIB, dataCrc: false, writers: 3 }],
  ['data CRC on', { cacheBytes: 128 * MIB, volumeBytes: 5 * MIB, dataCrc: true, writers: 3 }],
  ['of one sector', { cacheBytes: 96 * MIB, volumeBytes: 512, dataCrc: true, writers: 2 }],
  [
    'of 16 TiB',
    {
      cacheBytes: 128 * MIB,
      volumeBytes: 16 * TIB,
      dataCrc: false,
      writers: 3,
      windows: [
        { start: 0, length: MIB },
        { start: 8 * TIB - MIB / 2, length: MIB },
        { start: 16 * TIB - MIB, length: MIB },
      ],
    },
  ],
];

export const modelPart: Part = {
  name: 'model runs',
  unit: 'commands',
  triesMax: 10_000_000,
  lacks: undefined,
  async run(limits, tally) {
    const total = { runs: 0 };
    tally.details = total;
    while (await limits.goesOn()) {
      const [name, options] = volumes[total.runs % volumes.length]!;
      const seed = seedOf(limits.seed, total.runs);
      const list = fc.sample(commands, { seed, numRuns: 1 })[0]!;
      try {
        runCommands(options, list);
      } catch (error) {
        tally.problem = `a volume ${name}, seed ${seed}: ${error instanceof Error ? error.message : String(error)}`;
      }
      total.runs++;
      tally.tried += list.length;
    }
  },
};

export const damagePart: Part = {
  name: 'damaged media',
  unit: 'damages',
  triesMax: 10_000_000,
  lacks: undefined,
  async run(limits, tally) {
    const total = { caches: 0, places: 0, refused: 0, 'opened and read': 0 };
    tally.details = total;
    let trial: DamageTrial | undefined;
    while (await limits.goesOn()) {
      if (trial === undefined || tally.tried % DAMAGES_PER_CACHE === 0) {
        trial = new DamageTrial(seedOf(limits.seed, total.caches));
        total.caches++;
      }
      const outcome = trial.damage();
      tally.tried++;
      total.places += outcome.places;
      if (outcome.isOpened) total['opened and read']++;
      else total.refused++;
      if (outcome.problem !== undefined) {
        tally.problem = `cache of seed ${seedOf(limits.seed, total.caches - 1)}, damage ${tally.tried}: ${outcome.problem}`;
      }
    }
  },
};
