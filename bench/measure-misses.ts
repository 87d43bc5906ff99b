// Hits and misses side by side, over a backing device that takes 20 ms for every read: a null image that sleeps.

import { Gateway, lacksTransport, type Transport } from './gateway.js';
import { MIB, type FioFigures } from './fio.js';
import { fio } from './grid.js';
import { pause } from './command.js';
import type { Measure, MeasureSetting } from './measure.js';
import { buildNullImage, startNullImage } from './null-image.js';
import { median } from './statistics.js';

const READ_DELAY_US = 20_000;
const MISSES = 32;
const DEVICE_THREADS = 128;
const CACHE_BYTES = 512 * MIB;
const HEAD_START_MS = 300;
const HIT_BYTES = 64 * MIB;
/** Each part of a measurement has a place of its own, so that nothing is there already. */
const PLACE_BYTES = 1024 * MIB;
const VOLUME_BYTES = 4 * PLACE_BYTES;

export async function measureMisses(setting: MeasureSetting): Promise<Measure[]> {
  const transports: readonly Transport[] = setting.isQuick ? ['dev-fuse'] : ['dev-fuse', 'io-uring'];
  const measures: Measure[] = [];
  for (const transport of transports) if (lacksTransport(transport) === undefined) measures.push(...(await measureOn(setting, transport)));
  return measures;
}

async function measureOn(setting: MeasureSetting, transport: Transport): Promise<Measure[]> {
  const { workspace, isQuick, rounds } = setting;
  const seconds = isQuick ? 0.5 : 3;
  const program = await buildNullImage(workspace);
  const image = { name: `slow-${transport}`, sizeBytes: VOLUME_BYTES, threads: DEVICE_THREADS, readDelayUs: READ_DELAY_US };
  const backing = await startNullImage(workspace, program, image);
  const gateway = await Gateway.create(workspace, {
    name: `misses-${transport}`,
    cacheBytes: CACHE_BYTES,
    volumeBytes: VOLUME_BYTES,
    cacheOn: 'memory',
    dataCrc: false,
    transport,
    backing,
  });
  await gateway.mount();
  await fio(setting, gateway.volume, { rw: 'write', blockBytes: MIB, depth: 1, jobs: 1, sizeBytes: HIT_BYTES });
  await gateway.settle();
  const hits = (): Promise<FioFigures> =>
    fio(setting, gateway.volume, { rw: 'randread', blockBytes: 4096, depth: 1, jobs: 1, sizeBytes: HIT_BYTES, seconds });
  const misses = (place: number, depth: number, forSeconds: number): Promise<FioFigures> =>
    fio(setting, gateway.volume, {
      rw: 'randread',
      blockBytes: 4096,
      depth,
      jobs: 1,
      offsetBytes: place * PLACE_BYTES,
      sizeBytes: PLACE_BYTES,
      seconds: forSeconds,
    });
  // What the device can do: it is not to be what is measured.
  const deviceJob = { rw: 'randread', blockBytes: 4096, depth: MISSES, jobs: 1, sizeBytes: PLACE_BYTES, seconds } as const;
  const device = await fio(setting, backing, deviceJob);
  const one = await misses(1, 1, seconds);
  const many = await misses(2, MISSES, seconds);
  const pairs: { alone: number; disturbed: number }[] = [];
  for (let i = 0; i < (isQuick ? 2 : rounds); i++) {
    const alone = await hits();
    // The misses begin before the hits and end after them.
    const meanwhile = misses(3, MISSES, seconds + 1);
    await pause(HEAD_START_MS, workspace.signal);
    const [disturbed] = await Promise.all([hits(), meanwhile]);
    pairs.push({ alone: alone.p99LatencyUs, disturbed: disturbed.p99LatencyUs });
  }
  return [
    {
      id: 'hits-beside-misses',
      transport,
      title: '99th percentile of hits, 32 misses in flight against none',
      value: median(pairs.map(({ alone, disturbed }) => disturbed / alone)),
      unit: 'x',
      wanted: { bound: 'at most', value: 2 },
      details: {
        alone_p99_us: median(pairs.map(({ alone }) => alone)),
        beside_misses_p99_us: median(pairs.map(({ disturbed }) => disturbed)),
        device_read_us: READ_DELAY_US,
        rounds: pairs.length,
      },
    },
    {
      id: 'many-misses',
      transport,
      title: 'time of a miss, 32 in flight against one',
      value: many.meanLatencyUs / one.meanLatencyUs,
      unit: 'x',
      wanted: { bound: 'at most', value: 1.5 },
      details: { one_us: one.meanLatencyUs, of_32_us: many.meanLatencyUs, device_of_32_us: device.meanLatencyUs },
    },
  ];
}
