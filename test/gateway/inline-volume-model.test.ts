// A volume against a flat array of bytes: random commands, shrunk by fast-check when they fail. A failure prints seed and path;
// PCACHE_SEED chooses other runs, PCACHE_RUNS more of them.

import test from 'ava';
import fc from 'fast-check';
import { commands, runCommands, VolumeModel } from '../support/model-volume.js';
import type { Command, ModelOptions } from '../support/model-volume.js';
import { layerOverBacking, MIB } from '../support/model-rig.js';
import { seededRandom } from '../../src/device/seeded-random.js';

const seed = Number(process.env.PCACHE_SEED ?? 1);
const runs = Number(process.env.PCACHE_RUNS ?? 25);
const TIB = 1024 ** 4;

function check(options: ModelOptions, numRuns: number): void {
  const property = fc.property(commands, (list) => runCommands(options, list));
  // A run that is slow on a busy machine is cut short, but not before some runs were made.
  fc.assert(property, { seed, numRuns, interruptAfterTimeLimit: 20_000, endOnFailure: false });
}

const volumes: readonly [string, number, ModelOptions][] = [
  ['of one sector', 1, { cacheBytes: 96 * MIB, volumeBytes: 512, dataCrc: false, writers: 1 }],
  ['of 4 MiB less a sector, with data CRC', 1, { cacheBytes: 96 * MIB, volumeBytes: 4 * MIB - 512, dataCrc: true, writers: 2 }],
  [
    'of an odd number of sectors, with three writers',
    1,
    { cacheBytes: 128 * MIB, volumeBytes: 9 * MIB + 7 * 512, dataCrc: false, writers: 3 },
  ],
  [
    'of 16 TiB, at its start, at a 4 MiB line and at its end',
    0.5,
    {
      cacheBytes: 96 * MIB,
      volumeBytes: 16 * TIB,
      dataCrc: false,
      writers: 1,
      windows: [
        { start: 0, length: MIB },
        { start: 5 * TIB + 3 * MIB, length: 2 * MIB },
        { start: 16 * TIB - MIB, length: MIB },
      ],
    },
  ],
];

for (const [name, share, options] of volumes) {
  test(`a volume ${name} is what a flat array would be`, (t) => {
    t.notThrows(() => check(options, Math.ceil(runs * share)));
  });
}

/** Random commands, so many that the cache fills several times over: too long for shrinking. */
function workHard(options: ModelOptions, totalBytes: number, smallest: number, largest: number): void {
  const random = seededRandom(seed);
  const model = new VolumeModel(options);
  for (let written = 0; written < totalBytes;) {
    const length = smallest + Math.floor(random() ** 2 * (largest - smallest));
    const command: Command = {
      kind: random() < 0.9 ? 'write' : 'read',
      writer: Math.floor(random() * 3),
      at: random(),
      length,
      isAligned: random() < 0.9,
    };
    model.run(command);
    if (command.kind === 'write') written += length;
    if (random() < 0.02) model.run({ kind: 'flush' });
    if (random() < 0.004) model.run({ kind: 'kill' });
    if (random() < 0.004) model.run({ kind: 'reopen' });
    if (random() < 0.004) model.run({ kind: 'errors-on' });
    if (random() < 0.05) model.run({ kind: 'errors-off' });
  }
  model.finish();
}

test('a volume larger than the cache is what a flat array would be, when the cache fills again and again', (t) => {
  t.log(`seed ${seed}`);
  t.notThrows(() => workHard({ cacheBytes: 96 * MIB, volumeBytes: 160 * MIB, dataCrc: false, writers: 1 }, 300 * MIB, 512, 2 * MIB));
});

test('a volume smaller than the cache is what a flat array would be, when it is overwritten again and again by three writers with data CRC', (t) => {
  t.log(`seed ${seed}`);
  t.notThrows(() =>
    workHard({ cacheBytes: 160 * MIB, volumeBytes: 24 * MIB + 512, dataCrc: true, writers: 3 }, 300 * MIB, 512, 512 * 1024),
  );
});

test('the model notices a backing device that loses a write', (t) => {
  let count = 0;
  const options: ModelOptions = {
    cacheBytes: 96 * MIB,
    volumeBytes: MIB,
    dataCrc: false,
    writers: 1,
    backingLayer: (device) =>
      layerOverBacking(device, {
        write(offset, source, sourceOffset, length) {
          if (++count % 3 !== 0) device.write(offset, source, sourceOffset, length);
        },
      }),
  };
  const property = fc.property(commands, (list) => {
    count = 0;
    runCommands(options, list);
  });
  const result = fc.check(property, { seed, numRuns: 20, endOnFailure: true });
  t.true(result.failed);
});
