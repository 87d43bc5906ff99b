// The layers of faults by themselves: each does what it says, and nothing while it is off.

import test from 'ava';
import type { BackingDevice } from '../../src/device/device.js';
import { errno } from '../../src/device/errno-codes.js';
import { seededRandom } from '../../src/device/seeded-random.js';
import { SimulatedBackingDevice } from '../../src/device/simulated-backing-device.js';
import { SimulatedCacheDevice } from '../../src/device/simulated-cache-device.js';
import { PAGE_BYTES } from '../../src/media/layout.js';
import {
  BackingLayer,
  DelayLayer,
  ErrorLayer,
  FullLayer,
  GoneLayer,
  LostFlushLayer,
  ShortLayer,
  failingCache,
} from '../support/fault-layers.js';

const SIZE_BYTES = 1024 * 1024;

function bytesOf(value: number, sectors = 4): Uint8Array {
  return new Uint8Array(sectors * 512).fill(value);
}

function readAt(device: BackingDevice, offset: number, sectors = 4): Uint8Array {
  const target = new Uint8Array(sectors * 512);
  device.read(offset, target, 0, target.length);
  return target;
}

test('a stack of layers that are off is the device below', (t) => {
  const device = new SimulatedBackingDevice({ sizeBytes: SIZE_BYTES, identity: 'below' });
  const random = seededRandom(1);
  const layers = [
    (below: BackingDevice) => new BackingLayer(below),
    (below: BackingDevice) => new ErrorLayer(below, random),
    (below: BackingDevice) => new DelayLayer(below, () => undefined),
    (below: BackingDevice) => new ShortLayer(below, random),
    (below: BackingDevice) => new LostFlushLayer(below),
    (below: BackingDevice) => new FullLayer(below),
    (below: BackingDevice) => new GoneLayer(below),
  ];
  const stack = layers.reduce<BackingDevice>((below, layer) => layer(below), device);
  t.like(stack, { sizeBytes: SIZE_BYTES, readOnly: false, identity: 'below' });
  t.true(stack.isHole(0, 512));
  stack.write(512, bytesOf(7), 0, 2048);
  stack.flush();
  device.crash(() => 0);
  t.deepEqual(readAt(stack, 512), bytesOf(7));
  t.false(stack.isHole(0, 512));
  stack.close();
  t.throws(() => readAt(stack, 0), { code: 'closed' });
});

test('an error fails the kinds of calls it is told to, before or after they take effect', (t) => {
  const device = new SimulatedBackingDevice({ sizeBytes: SIZE_BYTES });
  const layer = new ErrorLayer(device);
  layer.kinds = new Set(['write']);
  t.throws(() => layer.write(0, bytesOf(1), 0, 2048), { code: 'io', message: /write.*EIO/ });
  t.deepEqual(readAt(layer, 0), bytesOf(0));
  layer.after = true;
  layer.number = errno.ENOSPC;
  t.throws(() => layer.write(0, bytesOf(1), 0, 2048), { code: 'no-space' });
  t.deepEqual(readAt(layer, 0), bytesOf(1));
  layer.flush();
  layer.kinds = new Set(['read', 'flush']);
  layer.number = errno.EIO;
  t.throws(() => layer.flush(), { code: 'io' });
  t.throws(() => readAt(layer, 0), { code: 'io' });
  t.is(layer.failed, 4);
});

test('errors with a probability are the same for the same seed', (t) => {
  const run = (seed: number): string => {
    const layer = new ErrorLayer(new SimulatedBackingDevice({ sizeBytes: SIZE_BYTES }), seededRandom(seed));
    layer.kinds = new Set(['flush']);
    layer.probability = 0.5;
    return Array.from({ length: 40 }, () => {
      try {
        layer.flush();
        return 'y';
      } catch {
        return 'n';
      }
    }).join('');
  };
  t.is(run(5), run(5));
  t.not(run(5), run(6));
  t.regex(run(5), /y.*n|n.*y/);
});

test('a delay lets time pass, and then the call is made', (t) => {
  let nowMs = 0;
  const layer = new DelayLayer(new SimulatedBackingDevice({ sizeBytes: SIZE_BYTES }), (ms) => (nowMs += ms));
  layer.delayMs = 70;
  layer.write(0, bytesOf(1), 0, 2048);
  t.deepEqual(readAt(layer, 0), bytesOf(1));
  layer.flush();
  t.is(nowMs, 210);
});

test('a short transfer does the first part of the call, and fails', (t) => {
  const layer = new ShortLayer(new SimulatedBackingDevice({ sizeBytes: SIZE_BYTES }), () => 0.5);
  layer.probability = 0.6;
  t.throws(() => layer.write(0, bytesOf(1), 0, 2048), { code: 'io', message: /early end/ });
  layer.probability = 0;
  t.deepEqual(readAt(layer, 0), Uint8Array.from([...bytesOf(1, 2), ...bytesOf(0, 2)]));
  t.is(layer.cut, 1);
});

test('a lost flush is reported as done, and only loss of power shows that it was not', (t) => {
  const device = new SimulatedBackingDevice({ sizeBytes: SIZE_BYTES });
  const layer = new LostFlushLayer(device);
  layer.write(0, bytesOf(1), 0, 2048);
  layer.active = true;
  layer.flush();
  t.is(layer.lost, 1);
  t.deepEqual(readAt(layer, 0), bytesOf(1));
  device.crash(() => 0);
  t.deepEqual(readAt(layer, 0), bytesOf(0));
});

test('a full device takes what goes where something is already, and nothing else until there is room', (t) => {
  const device = new SimulatedBackingDevice({ sizeBytes: SIZE_BYTES });
  const layer = new FullLayer(device);
  layer.write(0, bytesOf(1), 0, 2048);
  layer.roomBytes = 1000;
  layer.write(0, bytesOf(2), 0, 2048);
  t.throws(() => layer.write(512 * 1024, bytesOf(3), 0, 2048), { code: 'no-space', message: /ENOSPC/ });
  layer.roomBytes = 3000;
  layer.write(512 * 1024, bytesOf(3), 0, 2048);
  t.is(layer.roomBytes, 952);
  t.deepEqual([readAt(layer, 0), readAt(layer, 512 * 1024)], [bytesOf(2), bytesOf(3)]);
  t.is(layer.refused, 1);
});

test('a device that is gone fails every call, and when it is back it has what it was not made to lose', (t) => {
  const device = new SimulatedBackingDevice({ sizeBytes: SIZE_BYTES });
  const layer = new GoneLayer(device);
  layer.write(0, bytesOf(1), 0, 2048);
  layer.flush();
  layer.write(0, bytesOf(2), 0, 2048);
  layer.leave(() => device.crash(() => 0));
  t.throws(() => layer.write(0, bytesOf(3), 0, 2048), { code: 'io', message: /ENXIO/ });
  t.throws(() => readAt(layer, 0), { code: 'io' });
  t.throws(() => layer.flush(), { code: 'io' });
  t.false(layer.isHole(512 * 1024, 512));
  layer.comeBack();
  t.deepEqual(readAt(layer, 0), bytesOf(1));
  t.is(layer.missed, 3);
});

test('a cache device that failed to persist a page does not make it durable later, unless it was stored again', (t) => {
  const device = new SimulatedCacheDevice();
  const faults = failingCache(device);
  const { bytes } = faults.device.control;
  bytes[0] = 1;
  bytes[PAGE_BYTES] = 1;
  faults.failNext = 1;
  t.throws(() => faults.device.persist(0, 2 * PAGE_BYTES), { code: 'io', message: /EIO/ });
  bytes[PAGE_BYTES] = 2;
  faults.device.persist(0, 2 * PAGE_BYTES);
  t.is(faults.droppedPages(), 1);
  t.is(bytes[0], 1);
  device.crash(() => 0);
  t.deepEqual([bytes[0], bytes[PAGE_BYTES]], [0, 2]);
});

test('a cache device whose failure stays fails every later persist', (t) => {
  const faults = failingCache(new SimulatedCacheDevice(), { stays: true });
  faults.device.persist(0, 512);
  faults.failNext = 1;
  for (let call = 0; call < 3; call++) t.throws(() => faults.device.persist(0, 512), { code: 'io' });
  t.is(faults.failed, 3);
});
