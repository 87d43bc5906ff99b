// Random schedules of faults of the backing device: errors, delays, short transfers, lost flushes, no room, gone and back, with deaths of the process
// among them. Each schedule has a seed of its own, counted up from the seed of the run.

import { runFaultSchedule } from '../support/fault-schedule.js';
import type { Part } from './part.js';

/** Seeds of one run; the next run's begin behind them. */
const SEEDS_PER_RUN = 1_000_000;
const WRITERS = [1, 2, 8] as const;

export const faultPart: Part = {
  name: 'backing faults',
  unit: 'faults',
  triesMax: 10_000_000,
  lacks: undefined,
  async run(limits, tally) {
    const total = { schedules: 0, 'failed calls': 0, 'requests refused': 0, 'deaths of the process': 0 };
    tally.details = total;
    while (await limits.goesOn()) {
      const report = runFaultSchedule({
        seed: limits.seed * SEEDS_PER_RUN + total.schedules,
        writers: WRITERS[total.schedules % WRITERS.length]!,
        dataCrc: total.schedules % 2 === 1,
      });
      total.schedules++;
      total['failed calls'] += report.failedCalls;
      total['requests refused'] += report.refused;
      total['deaths of the process'] += report.deaths;
      tally.tried += report.faults;
      if (report.problem !== undefined) tally.problem = report.problem;
    }
  },
};
