import test from 'ava';
import { PcacheError } from '../../src/errors.js';
import { seededRandom } from '../../src/device/seeded-random.js';
import { SimulatedCacheDevice, SimulatedCrash } from '../../src/device/simulated-cache-device.js';
import { SEGMENTS_OFFSET, SEGMENT_BYTES } from '../../src/media/layout.js';
import type { PhysicalSegmentId } from '../../src/media/layout.js';

const id = (number: number): PhysicalSegmentId => number as PhysicalSegmentId;
const always = (value: number) => (): number => value;
const PAGE = 4096;

test('what was persisted survives every crash, what was stored after it may not', (t) => {
  for (let seed = 0; seed < 15; seed++) {
    for (const unit of [64, PAGE] as const) {
      const device = new SimulatedCacheDevice();
      const { bytes } = device.segment(id(3));
      bytes.fill(1, 0, 3 * PAGE);
      device.persist(SEGMENTS_OFFSET + 3 * SEGMENT_BYTES, 3 * PAGE);
      bytes.fill(2, PAGE, 2 * PAGE);
      device.crash(seededRandom(seed), unit);
      const uniform = (from: number, to: number): boolean => new Set(bytes.subarray(from, to)).size === 1;
      t.true(uniform(0, PAGE) && bytes[0] === 1);
      t.true(uniform(2 * PAGE, 3 * PAGE) && bytes[2 * PAGE] === 1);
      const lines = Array.from({ length: PAGE / 64 }, (_, line) => PAGE + line * 64);
      t.true(
        lines.every((line) => uniform(line, line + 64) && (bytes[line] === 1 || bytes[line] === 2)),
        'a line is old or new, never both',
      );
    }
  }
});

test('a crash can lose, keep or tear a page, and mixes lines only when it tears', (t) => {
  const outcome = (random: () => number, unit: 64 | 4096): Set<number> => {
    const device = new SimulatedCacheDevice();
    const { bytes } = device.segment(id(0));
    bytes.fill(9, 0, PAGE);
    device.crash(random, unit);
    return new Set(bytes.subarray(0, PAGE));
  };
  t.deepEqual([...outcome(always(0), PAGE)], [0]);
  t.deepEqual([...outcome(always(0.5), PAGE)], [9]);
  t.is(outcome(seededRandom(1), 64).size, 2);
  const fates = new Set<string>();
  for (let seed = 0; seed < 40; seed++) fates.add([...outcome(seededRandom(seed), PAGE)].sort().join());
  t.deepEqual([...fates].sort(), ['0', '0,9', '9']);
});

test('units are decided one by one, in any order', (t) => {
  let lostEarlierKeptLater = 0;
  for (let seed = 0; seed < 50; seed++) {
    const device = new SimulatedCacheDevice();
    const { bytes } = device.control;
    bytes[0] = 1;
    bytes[PAGE] = 1;
    device.crash(seededRandom(seed));
    if (bytes[0] === 0 && bytes[PAGE] === 1) lostEarlierKeptLater++;
  }
  t.true(lostEarlierKeptLater > 0);
});

test('the outcome of a crash is durable: another crash changes nothing', (t) => {
  const device = new SimulatedCacheDevice();
  const { bytes } = device.segment(id(1));
  for (let i = 0; i < 50 * PAGE; i++) bytes[i] = i * 31;
  device.crash(seededRandom(5), 64);
  const after = bytes.slice();
  device.crash(seededRandom(6), 64);
  t.is(Buffer.compare(bytes, after), 0);
});

test('the same seed gives the same crash', (t) => {
  const run = (): Uint8Array => {
    const device = new SimulatedCacheDevice();
    for (const segment of [4, 0]) device.segment(id(segment)).bytes.fill(7, 100, 30_000);
    device.crash(seededRandom(77), 64);
    return Buffer.concat([device.segment(id(0)).bytes.subarray(0, 40_000), device.segment(id(4)).bytes.subarray(0, 40_000)]);
  };
  t.deepEqual(run(), run());
});

test('persist makes exactly the range durable, across the ends of segments and of the control area', (t) => {
  const device = new SimulatedCacheDevice();
  const [first, second] = [device.segment(id(0)).bytes, device.segment(id(1)).bytes];
  device.control.bytes.fill(1);
  first.fill(1);
  second.fill(1, 0, 200);
  device.persist(SEGMENTS_OFFSET - 64, 64 + SEGMENT_BYTES + 64);
  device.crash(always(0));
  t.is(device.control.bytes.indexOf(1), SEGMENTS_OFFSET - 64);
  t.is(first.indexOf(0), -1);
  t.is(second.indexOf(0), 64);
});

test('the death of the process loses nothing and makes nothing durable', (t) => {
  const device = new SimulatedCacheDevice();
  device.control.bytes[0] = 5;
  device.close();
  t.is(t.throws(() => device.persist(0, 1), { instanceOf: PcacheError }).code, 'closed');
  t.is(t.throws(() => device.segment(id(0)), { instanceOf: PcacheError }).code, 'closed');
  device.killProcess();
  t.is(device.control.bytes[0], 5);
  device.crash(always(0));
  t.is(device.control.bytes[0], 0);
});

test('memory that is durable by itself loses nothing in a crash', (t) => {
  const device = new SimulatedCacheDevice({ persistence: 'memory' });
  device.control.bytes[0] = 5;
  device.crash(always(0));
  t.is(device.control.bytes[0], 5);
});

test('a hook can end the program or fail the device at any persist, which then does nothing', (t) => {
  const device = new SimulatedCacheDevice();
  const seen: number[][] = [];
  device.onPersist = (n, offset, length) => {
    seen.push([n, offset, length]);
    if (n === 2) throw new SimulatedCrash();
  };
  device.control.bytes[0] = 1;
  device.persist(0, 1);
  device.control.bytes[0] = 2;
  t.throws(() => device.persist(0, 64), { instanceOf: SimulatedCrash });
  device.crash(always(0));
  t.is(device.control.bytes[0], 1);
  t.deepEqual(seen, [
    [1, 0, 1],
    [2, 0, 64],
  ]);
  t.is(device.persists, 2);
});

test('a fork crashes without its original', (t) => {
  const device = new SimulatedCacheDevice();
  device.control.bytes[0] = 1;
  device.persist(0, 1);
  device.control.bytes[0] = 2;
  device.segment(id(2)).bytes[0] = 3;
  const copy = device.fork();
  t.is(copy.control.bytes[0], 2);
  copy.crash(always(0));
  t.is(copy.control.bytes[0], 1);
  t.is(copy.segment(id(2)).bytes[0], 0);
  t.is(device.control.bytes[0], 2);
  t.is(device.segment(id(2)).bytes[0], 3);
});

test('damage stays through crashes', (t) => {
  const device = new SimulatedCacheDevice();
  device.corrupt(seededRandom(3), SEGMENTS_OFFSET + SEGMENT_BYTES + 512, 512);
  device.crash(always(0));
  const { bytes } = device.segment(id(1));
  const bad = bytes.findIndex((byte) => byte !== 0);
  t.true(bad >= 512 && bad < 1024);
});

test('a device of 1 TiB takes memory for the segments that were asked for only', (t) => {
  const device = new SimulatedCacheDevice({ sizeBytes: 1024 ** 4 });
  t.is(device.segmentCount, 65535);
  device.segment(id(65534)).bytes[0] = 1;
  device.segment(id(7)).bytes[0] = 1;
  device.persist(SEGMENTS_OFFSET, 1024 ** 4 - SEGMENT_BYTES);
  t.deepEqual(device.touchedSegments, [id(7), id(65534)]);
  t.is(device.addressOf(), 0);
  for (const wrong of [-1, 65535, 0.5]) t.throws(() => device.segment(id(wrong)), { instanceOf: RangeError });
  t.throws(() => device.persist(0, 1024 ** 4 + 1), { instanceOf: RangeError });
});
