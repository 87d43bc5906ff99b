// Loss of power and death of the process, at every kind of moment. PCACHE_SEED (a number) chooses other runs, PCACHE_CRASHES more of them.

import test from 'ava';
import type { BackingDevice, CacheDevice } from '../../src/device/device.js';
import { CACHE_CTRL_OFFSET, PAGE_BYTES, SEGMENT_BYTES, SEGMENT_DATA_OFFSET, SEGMENTS_OFFSET } from '../../src/media/layout.js';
import { simulateCrashes } from '../support/model-crash.js';
import type { CrashOptions } from '../support/model-crash.js';
import { layerOver, layerOverBacking } from '../support/model-rig.js';

const seed = Number(process.env.PCACHE_SEED ?? 1);
const crashes = Number(process.env.PCACHE_CRASHES ?? 250);

const variants: readonly [string, Omit<CrashOptions, 'seed' | 'crashes'>][] = [
  ['one writer', {}],
  ['three writers', { writers: 3 }],
  ['data CRC on', { dataCrc: true, writers: 2 }],
];

for (const [index, [name, options]] of variants.entries()) {
  test(`whatever is lost, the volume is a prefix of the writes, and the backing device one flush and the interval after it (${name})`, (t) => {
    const report = simulateCrashes({ seed: seed * 1000 + index, crashes, ...options });
    t.log(`seed ${seed}:`, JSON.stringify(report));
    t.is(report.problem, undefined);
  });
}

/** A cache device that does not make durable what `isLost` says, and tells nobody. */
function losing(isLost: (deviceOffset: number, lengthBytes: number) => boolean): (device: CacheDevice) => CacheDevice {
  return (device) =>
    layerOver(device, {
      persist(offset, length) {
        if (!isLost(offset, length)) device.persist(offset, length);
      },
    });
}

/** Place in a segment's data; below 0 in its records. */
function placeInData(deviceOffset: number): number {
  return ((deviceOffset - SEGMENTS_OFFSET) % SEGMENT_BYTES) - SEGMENT_DATA_OFFSET;
}

/** Payload is made of sectors, ksets are not. */
function isPayload(offset: number, length: number): boolean {
  return offset >= SEGMENTS_OFFSET && placeInData(offset) >= 0 && placeInData(offset) % 512 === 0 && length % 512 === 0;
}

const plantedBugs: readonly [string, Omit<CrashOptions, 'seed' | 'crashes'>][] = [
  ['payload is not made durable', { deviceLayer: losing(isPayload) }],
  [
    'ksets are not made durable',
    { deviceLayer: losing((offset, length) => offset >= SEGMENTS_OFFSET && placeInData(offset) >= 0 && !isPayload(offset, length)) },
  ],
  [
    'the tails are not made durable',
    { deviceLayer: losing((offset, length) => offset < CACHE_CTRL_OFFSET + PAGE_BYTES && offset + length > CACHE_CTRL_OFFSET) },
  ],
  ['the header names a place before it is durable', { deviceLayer: placeFirst }],
  ['the backing device forgets to flush', { backingLayer: (device) => layerOverBacking(device, { flush: () => undefined }) }],
  ['the backing device loses every tenth write', { backingLayer: losingWrites }],
];

/** Ksets become durable only after the header that names their end. */
function placeFirst(device: CacheDevice): CacheDevice {
  const late: (readonly [number, number])[] = [];
  return layerOver(device, {
    persist(offset, length) {
      if (offset >= SEGMENTS_OFFSET && placeInData(offset) >= 0 && !isPayload(offset, length)) {
        late.push([offset, length]);
        return;
      }
      device.persist(offset, length);
      if (offset < PAGE_BYTES) for (const [at, bytes] of late.splice(0)) device.persist(at, bytes);
    },
  });
}

function losingWrites(device: BackingDevice): BackingDevice {
  let count = 0;
  return layerOverBacking(device, {
    write(offset, source, sourceOffset, length) {
      if (++count % 10 !== 0) device.write(offset, source, sourceOffset, length);
    },
  });
}

for (const [name, options] of plantedBugs) {
  test(`the simulation notices that ${name}`, (t) => {
    const report = simulateCrashes({ seed: 1, crashes: 60, ...options });
    t.log(JSON.stringify(report));
    t.not(report.problem, undefined);
  });
}

test('the simulation finds nothing in the run that the planted bugs were found in', (t) => {
  t.is(simulateCrashes({ seed: 1, crashes: 60 }).problem, undefined);
});
