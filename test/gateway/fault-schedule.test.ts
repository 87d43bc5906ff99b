// Random schedules of faults under a volume, a short form of the torture run's; and that they can find something.

import test from 'ava';
import type { BackingDevice } from '../../src/device/device.js';
import { BackingLayer } from '../support/fault-layers.js';
import { runFaultSchedule, type FaultScheduleOptions } from '../support/fault-schedule.js';

const SCHEDULES = 8;
const firstSeed = Number(process.env.PCACHE_SEED ?? 1);

for (const writers of [1, 8]) {
  test(`whatever goes wrong with the backing device and for how long, nothing is lost (${writers} writer${writers === 1 ? '' : 's'})`, (t) => {
    let faults = 0;
    let failedCalls = 0;
    for (let run = 0; run < SCHEDULES; run++) {
      const report = runFaultSchedule({ seed: firstSeed + run, writers, dataCrc: run % 2 === 1 });
      t.is(report.problem, undefined);
      faults += report.faults;
      failedCalls += report.failedCalls;
    }
    t.log(`${faults} faults, ${failedCalls} failed calls`);
    t.true(faults > 5 * SCHEDULES && failedCalls > 5 * SCHEDULES);
  });
}

/** Runs until one finds something. */
function findsSomething(plant: NonNullable<FaultScheduleOptions['plant']>): boolean {
  for (let seed = 1; seed <= 40; seed++) if (runFaultSchedule({ seed, writers: 2, plant }).problem !== undefined) return true;
  return false;
}

test('the schedules notice a gateway that does not look at the result of a flush', (t) => {
  class Careless extends BackingLayer {
    override flush(): void {
      try {
        super.flush();
      } catch {
        // What is planted here: a device that is gone has lost what was not flushed.
      }
    }
  }
  t.true(findsSomething((device: BackingDevice) => new Careless(device)));
});

test('the schedules notice a gateway that does not look at the result of a write', (t) => {
  class Careless extends BackingLayer {
    override write(offsetBytes: number, source: Uint8Array, sourceOffset: number, lengthBytes: number): void {
      try {
        super.write(offsetBytes, source, sourceOffset, lengthBytes);
      } catch {
        // What is planted here.
      }
    }
  }
  t.true(findsSomething((device: BackingDevice) => new Careless(device)));
});
