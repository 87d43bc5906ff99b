import test from 'ava';
import fc from 'fast-check';
import type { CacheKey } from '../../src/media/cache-key.js';
import { BATCH_INDEX_MAX, KSET_BARRIER, encodeKset, encodeLastKset, ksetFlagsHigh, ksetFlagsLow } from '../../src/media/kset.js';
import type { CacheSegId, SegmentOffset, VolumeOffset } from '../../src/media/layout.js';
import { SEGMENT_BYTES, SEGMENT_DATA_BYTES, SEGMENT_DATA_OFFSET } from '../../src/media/layout.js';
import type { LogPosition } from '../../src/media/log-position.js';
import type { LogSource, LogWalkOptions, SegmentData } from '../../src/media/log-walk.js';
import { logBytesFrom } from '../../src/media/log-length.js';
import { logWalkOptions, walkLog } from '../../src/media/log-walk.js';
import { tailStamp } from '../../src/media/tails.js';
import { viewOf } from '../../src/media/u64.js';

const at = (cacheSegId: number, segOff: number): LogPosition => ({ cacheSegId: cacheSegId as CacheSegId, segOff: segOff as SegmentOffset });
const START = at(0, 0);

interface Kset {
  readonly keys?: number;
  readonly sequence?: number;
  readonly batchIndex?: number;
  readonly marks?: number;
}

/** Segments in memory, with a pen that writes ksets one behind the other. */
class MemoryLog implements LogSource {
  readonly segmentCount: number;
  readonly #segments = new Map<number, SegmentData>();
  position = START;
  #nextKey = 0;

  constructor(segmentCount = 4) {
    this.segmentCount = segmentCount;
  }

  data(cacheSegId: CacheSegId): SegmentData {
    if (cacheSegId >= this.segmentCount) throw new Error(`asked for segment ${cacheSegId}`);
    let data = this.#segments.get(cacheSegId);
    if (data === undefined) {
      const bytes = new Uint8Array(SEGMENT_BYTES);
      data = { bytes, view: viewOf(bytes), base: SEGMENT_DATA_OFFSET };
      this.#segments.set(cacheSegId, data);
    }
    return data;
  }

  put(position: LogPosition, bytes: Uint8Array): void {
    const data = this.data(position.cacheSegId);
    data.bytes.set(bytes, data.base + position.segOff);
  }

  /** Appends a kset; returns where. Its keys are numbered through. */
  kset({ keys = 1, sequence = 0, batchIndex = 0, marks = 0 }: Kset = {}): LogPosition {
    const position = this.position;
    const content = Array.from({ length: keys }, (): CacheKey => {
      const number = this.#nextKey++;
      return {
        off: (number * 512) as VolumeOffset,
        len: 512,
        flags: 0,
        cacheSegId: 3 as CacheSegId,
        cacheSegOff: 0 as SegmentOffset,
        segGen: 0,
        dataCrc: 0,
        reserved: 0,
      };
    });
    const bytes = encodeKset(content, { sequence, batchIndex, marks });
    this.put(position, bytes);
    this.position = at(position.cacheSegId, position.segOff + bytes.byteLength);
    return position;
  }

  last(next: number, sequence = 0, batchIndex = 0): LogPosition {
    const position = this.position;
    this.put(position, encodeLastKset(next as CacheSegId, { sequence, batchIndex }));
    this.position = at(next, 0);
    return position;
  }

  /** Changes a bit of the kset's CRC. */
  damage(position: LogPosition): void {
    const { bytes, base } = this.data(position.cacheSegId);
    bytes[base + position.segOff]! ^= 1;
  }
}

/** The parts of a walk's result that most tests look at. */
function outcome(log: LogSource, options: LogWalkOptions = {}, start = START) {
  const { end, ksets, keys, ending, damage } = walkLog(log, start, options);
  return { end, ksets, keys, ending, damage };
}

test('an empty log ends where it starts', (t) => {
  t.deepEqual(walkLog(new MemoryLog(), at(2, 64)), {
    end: at(2, 64),
    ksets: 0,
    lastKsets: 0,
    keys: 0,
    lastSequence: 0,
    segments: [2],
    ending: 'end',
    damage: undefined,
    endsWith: 'no kset magic',
    dirtyTailPassed: true,
  });
});

test('the visitor sees every kset and every key once, in order', (t) => {
  const log = new MemoryLog();
  log.kset({ keys: 3, sequence: 10, marks: KSET_BARRIER });
  log.kset({ keys: 128, sequence: 11, batchIndex: 1 });
  log.last(2, 12);
  log.kset({ keys: 2, sequence: 14 });
  const ksets: unknown[] = [];
  const keys: number[] = [];
  const result = walkLog(
    log,
    START,
    {},
    {
      onKset: ({ cacheSegId, segOff, ordinal, header }) => {
        ksets.push([cacheSegId, segOff, ordinal, header.keyNum, header.sequence, header.isLast, header.isBarrier]);
      },
      onKey: (key, kset, index) => {
        if (index === 0) t.is(Number(kset.segOff), [0, 144][kset.ordinal] ?? 0);
        keys.push(key.off / 512);
      },
    },
  );
  t.deepEqual(ksets, [
    [0, 0, 0, 3, 10, false, true],
    [0, 144, 1, 128, 11, false, false],
    [0, 144 + 5144, 2, 0, 12, true, false],
    [2, 0, 3, 2, 14, false, false],
  ]);
  t.deepEqual(keys, [...Array(133).keys()]);
  t.deepEqual(
    [result.end, result.ksets, result.lastKsets, result.keys, result.lastSequence, result.segments, result.ending],
    [at(2, 104), 3, 1, 133, 14, [0, 2], 'end'],
  );
});

test('a walk can start at any kset', (t) => {
  const log = new MemoryLog();
  log.kset({ sequence: 5 });
  const second = log.kset({ keys: 2, sequence: 6 });
  t.deepEqual(outcome(log, {}, second), { end: log.position, ksets: 1, keys: 2, ending: 'end', damage: undefined });
});

test('a walk that is told to start where no kset can be says so', (t) => {
  const log = new MemoryLog();
  t.is(walkLog(log, at(4, 0)).damage, "the log can't start there: segment 4 is not one of the 4 of the cache");
  t.is(walkLog(log, at(0, 12)).damage, "the log can't start there: offset 12 is not a multiple of 8");
  t.is(walkLog(log, at(0, SEGMENT_DATA_BYTES)).damage, `the log can't start there: offset ${SEGMENT_DATA_BYTES} leaves no room for a kset`);
});

test('a segment can be filled to its last byte with ksets and a LAST', (t) => {
  const log = new MemoryLog();
  // As many full ksets as fit, one with the keys that still fit, then LAST.
  const full = Math.floor((SEGMENT_DATA_BYTES - 24) / 5144);
  const rest = SEGMENT_DATA_BYTES - 24 - full * 5144;
  const keys = Math.floor((rest - 24) / 40);
  for (let index = 0; index < full; index++) log.kset({ keys: 128 });
  log.kset({ keys });
  t.true(SEGMENT_DATA_BYTES - log.position.segOff >= 24);
  log.last(1);
  log.kset();
  t.deepEqual(outcome(log), { end: at(1, 64), ksets: full + 2, keys: full * 128 + keys + 1, ending: 'end', damage: undefined });
});

test('a kset whose sequence is not above those before it is stale, and ends the log', (t) => {
  for (const stale of [7, 6, 1]) {
    const log = new MemoryLog();
    log.kset({ sequence: 7 });
    const end = log.kset({ sequence: stale });
    const result = walkLog(log, START);
    t.deepEqual([result.end, result.ksets, result.ending], [end, 1, 'end']);
    t.is(result.endsWith, `a stale kset: its sequence ${stale} is not above 7`);
  }
});

test('a LAST kset that is stale ends the log too', (t) => {
  const log = new MemoryLog();
  log.kset({ sequence: 7 });
  const end = log.last(1, 3);
  log.kset({ sequence: 8 });
  t.deepEqual(outcome(log).end, end);
});

test('ksets that the kernel wrote between are accepted, and sequences may jump', (t) => {
  const log = new MemoryLog();
  log.kset({ sequence: 7 });
  log.kset();
  log.kset();
  log.kset({ sequence: 1000 });
  const stale = log.kset({ sequence: 900 });
  t.deepEqual(outcome(log), { end: stale, ksets: 4, keys: 4, ending: 'end', damage: undefined });
});

test('a walk that knows the sequence before its start refuses what is not above it', (t) => {
  const log = new MemoryLog();
  log.kset({ sequence: 7 });
  t.is(outcome(log, { lastSequence: 6 }).ksets, 1);
  t.is(outcome(log, { lastSequence: 7 }).ksets, 0);
});

test('a dirty tail at a kset, at the end, at a LAST or in a later segment is passed', (t) => {
  const log = new MemoryLog();
  const places = [log.kset(), log.kset(), log.last(1), log.kset(), log.position];
  for (const dirtyTail of places) {
    const result = walkLog(log, START, { dirtyTail });
    t.deepEqual([result.ending, result.dirtyTailPassed], ['end', true]);
  }
});

test('a log that ends before the dirty tail, or jumps over it, is damaged', (t) => {
  const log = new MemoryLog();
  const first = log.kset();
  const second = log.kset();
  for (const dirtyTail of [at(0, 8), at(0, log.position.segOff + 64), at(1, 0)]) {
    const result = walkLog(log, START, { dirtyTail });
    t.deepEqual(
      [result.ending, result.dirtyTailPassed, result.damage],
      ['damaged', false, 'the log ends before dirty_tail (no kset magic)'],
    );
  }
  log.damage(first);
  const result = walkLog(log, START, { dirtyTail: second });
  t.deepEqual([result.ending, result.end, result.damage], ['damaged', first, 'the log ends before dirty_tail (bad CRC)']);
});

test('a log that leads back into itself or out of the cache is damaged', (t) => {
  const self = new MemoryLog();
  self.kset();
  self.last(0);
  t.is(outcome(self).damage, 'a LAST kset leads back to segment 0 of the log');
  const loop = new MemoryLog();
  loop.kset();
  loop.last(2);
  loop.last(1);
  loop.last(2);
  t.is(outcome(loop).damage, 'a LAST kset leads back to segment 2 of the log');
  const out = new MemoryLog();
  out.last(4);
  t.is(outcome(out).damage, 'a LAST kset leads to segment 4, which is not in the cache');
});

test('a bad kset before one that was written when it was durable is damage', (t) => {
  const log = new MemoryLog();
  log.kset({ sequence: 100 });
  const bad = log.kset({ sequence: 101 });
  log.kset({ sequence: 102 });
  log.damage(bad);
  t.deepEqual(outcome(log), {
    end: bad,
    ksets: 1,
    keys: 1,
    ending: 'damaged',
    damage: 'a kset is missing (bad CRC): the later kset 102 at 128 was written when it was durable',
  });
});

test('a bad kset of whose loss only a LAST kset tells is damage', (t) => {
  const log = new MemoryLog();
  log.kset({ sequence: 100 });
  const bad = log.kset({ sequence: 101 });
  log.last(1, 102);
  log.damage(bad);
  t.is(outcome(log).damage, 'a kset is missing (bad CRC): the later kset 102 at 128 was written when it was durable');
});

test('a kset that was perhaps not yet durable when later ones were written may be missing: loss of power does that', (t) => {
  for (let missing = 0; missing < 3; missing++) {
    const log = new MemoryLog();
    log.kset({ sequence: 100 });
    const batch = [0, 1, 2, 3].map((batchIndex) => log.kset({ sequence: 101 + batchIndex, batchIndex }));
    log.damage(batch[missing]!);
    t.deepEqual(outcome(log), { end: batch[missing]!, ksets: 1 + missing, keys: 1 + missing, ending: 'end', damage: undefined });
  }
});

test('the first kset of a later batch proves that all of the earlier one was durable', (t) => {
  const log = new MemoryLog();
  const batch = [0, 1, 2, 3].map((batchIndex) => log.kset({ sequence: 101 + batchIndex, batchIndex }));
  log.kset({ sequence: 105, batchIndex: 0 });
  for (const bad of batch.slice(1).reverse()) {
    log.damage(bad);
    t.is(outcome(log).ending, 'damaged');
  }
});

test('a jump of the sequence at an open of the cache proves nothing', (t) => {
  const log = new MemoryLog();
  log.kset({ sequence: 100 });
  // Opened again: the sequences go on at 65,536. The first two ksets go out together; loss of power takes the first.
  const lost = log.kset({ sequence: 65536, batchIndex: 0 });
  log.kset({ sequence: 65537, batchIndex: 1 });
  log.damage(lost);
  t.is(outcome(log).ending, 'end');
});

test('a kset far behind the end proves a loss even if it counts ksets that were perhaps not durable', (t) => {
  const build = (batchIndex: number): MemoryLog => {
    const log = new MemoryLog();
    log.kset({ sequence: 1 });
    const bad = log.kset({ keys: 128, sequence: 2, batchIndex: BATCH_INDEX_MAX });
    log.kset({ keys: 128, sequence: 3, batchIndex: BATCH_INDEX_MAX });
    // 10,288 bytes behind the end: two ksets or more lie between.
    log.kset({ sequence: 4, batchIndex });
    log.damage(bad);
    log.damage(at(0, bad.segOff + 5144));
    return log;
  };
  t.is(outcome(build(0)).ending, 'damaged');
  t.is(outcome(build(1)).ending, 'damaged');
  t.is(outcome(build(2)).ending, 'end');
});

test('batch index 63 proves nothing, however far away', (t) => {
  const log = new MemoryLog();
  log.kset({ sequence: 1 });
  const end = log.position;
  log.position = at(0, 64 * 5144 * 2);
  log.kset({ sequence: 1000, batchIndex: BATCH_INDEX_MAX });
  t.deepEqual(outcome(log).end, end);
  t.is(outcome(log).ending, 'end');
  log.kset({ sequence: 1001, batchIndex: BATCH_INDEX_MAX - 1 });
  t.is(outcome(log).ending, 'damaged');
});

test('what an older use of the segment left behind the end proves nothing', (t) => {
  const log = new MemoryLog();
  for (let sequence = 100; sequence < 110; sequence++) log.kset({ sequence });
  // The segment is used again: new ksets over the old ones, the header after them zeroed.
  log.position = START;
  log.kset({ sequence: 300 });
  log.kset({ sequence: 301 });
  log.put(log.position, new Uint8Array(24));
  log.put(at(0, 1024), encodeKset([], { sequence: 301 }));
  t.deepEqual(outcome(log), { end: at(0, 128), ksets: 2, keys: 2, ending: 'end', damage: undefined });
});

test("a kset from above the sequences that were ever used proves nothing: it is somebody else's payload", (t) => {
  const log = new MemoryLog();
  log.kset({ sequence: 100 });
  const end = log.position;
  log.position = at(0, 8192);
  log.kset({ sequence: 5000 });
  t.deepEqual(outcome(log, { sequenceLimit: 5000 }), { end, ksets: 1, keys: 1, ending: 'end', damage: undefined });
  t.is(outcome(log, { sequenceLimit: 5001 }).ending, 'damaged');
});

test("behind the end of a log that is the kernel's alone, nothing counts as damage", (t) => {
  const log = new MemoryLog();
  log.kset();
  const end = log.position;
  log.position = at(0, 8192);
  log.kset({ sequence: 5000 });
  t.deepEqual(outcome(log), { end, ksets: 1, keys: 1, ending: 'end', damage: undefined });
});

test("a bad kset after the kernel's is damage if its own sequence and a later kset say so", (t) => {
  const log = new MemoryLog();
  log.kset();
  const bad = log.kset({ sequence: 100 });
  log.kset({ sequence: 101 });
  log.damage(bad);
  t.is(outcome(log).damage, 'a kset is missing (bad CRC): the later kset 101 at 128 was written when it was durable');
});

test('an empty log in a segment with old ksets is empty: after a format, and with a kset staged at its start', (t) => {
  const log = new MemoryLog();
  for (let sequence = 100; sequence < 110; sequence++) log.kset({ sequence });
  log.put(START, new Uint8Array(24));
  t.is(outcome(log).ending, 'end');
  // The gateway keeps the sequence of the open kset in the flags of a header without magic.
  const staged = new Uint8Array(24);
  viewOf(staged).setUint32(16, ksetFlagsLow(0, 0, 300), true);
  viewOf(staged).setUint32(20, ksetFlagsHigh(300), true);
  log.put(START, staged);
  t.is(outcome(log).ending, 'end');
});

test('a bad first kset is damage if a later one proves it, and no damage if what follows is older', (t) => {
  const log = new MemoryLog();
  const bad = log.kset({ sequence: 100 });
  log.kset({ sequence: 101, batchIndex: 0 });
  log.damage(bad);
  t.is(outcome(log).ending, 'damaged');
  // A header cut short by the death of the process, in a segment used before.
  const reused = new MemoryLog();
  const torn = reused.kset({ sequence: 300 });
  reused.kset({ sequence: 101 });
  reused.damage(torn);
  t.is(outcome(reused).ending, 'end');
  // The same, left by the kernel.
  const kernel = new MemoryLog();
  const kernelsOwn = kernel.kset();
  kernel.kset({ sequence: 101 });
  kernel.damage(kernelsOwn);
  t.is(outcome(kernel).ending, 'end');
});

test('whichever single kset of a log of single flushes goes bad, it is noticed unless it is the newest', (t) => {
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 1, max: 128 }), { minLength: 2, maxLength: 12 }), fc.nat(), fc.nat(), (sizes, which, bit) => {
      const log = new MemoryLog(1);
      const places = sizes.map((keys, index) => log.kset({ keys, sequence: 50 + index }));
      const bad = which % places.length;
      const { bytes, base } = log.data(0 as CacheSegId);
      const start = places[bad]!.segOff;
      const length = 24 + 40 * sizes[bad]!;
      const flipped = bit % (length * 8);
      bytes[base + start + (flipped >> 3)]! ^= 1 << (flipped & 7);
      const result = outcome(log, { lastSequence: 49 });
      t.deepEqual(result.end, places[bad]);
      t.is(result.ending, bad === places.length - 1 ? 'end' : 'damaged');
    }),
    { numRuns: 60 },
  );
});

test('a log that does not come to the place it is known to have reached is damaged, be it a start or the end of a kset', (t) => {
  const log = new MemoryLog();
  const places = [1, 2, 3].map((sequence) => log.kset({ sequence }));
  const end = log.position;
  for (const [index, position] of [...places.slice(1), end].entries()) {
    const durable = { sequence: index + 1, position };
    t.is(outcome(log, { durable }).ending, 'end');
    const bad = places[index]!;
    log.damage(bad);
    const { ending, damage } = outcome(log, { durable });
    t.is(ending, 'damaged');
    t.regex(damage ?? '', /./);
    log.damage(bad);
  }
  log.damage(places[2]!);
  t.regex(
    outcome(log, { durable: { sequence: 3, position: end } }).damage ?? '',
    /flushed data is missing \(bad CRC\): the log is known to have reached segment 0, offset 192/,
  );
  // What comes behind the place may be lost.
  t.like(outcome(log, { durable: { sequence: 2, position: places[2]! } }), { ending: 'end', ksets: 2 });
});

test('behind the known place a kset must be above its sequence, and before it none may be', (t) => {
  const log = new MemoryLog();
  log.kset({ sequence: 5 });
  const second = log.kset({ sequence: 6 });
  t.like(outcome(log, { durable: { sequence: 6, position: second } }), { ending: 'end', ksets: 1, end: second });
  t.regex(outcome(log, { durable: { sequence: 4, position: second } }).damage ?? '', /other ksets stand there/);
  t.is(walkLog(log, START, { durable: { sequence: 5, position: second } }).lastSequence, 6);
  t.is(walkLog(new MemoryLog(), START, { durable: { sequence: 9, position: START } }).lastSequence, 9);
});

test('a tail whose stamp names another kset than the one that stands there is an older one', (t) => {
  const log = new MemoryLog();
  log.kset({ sequence: 5 });
  const second = log.kset({ sequence: 6 });
  const durable = { sequence: 4, position: START };
  const good = { durable, startStamp: tailStamp(START, 5), dirtyTail: second, dirtyTailStamp: tailStamp(second, 6) };
  t.is(outcome(log, good).ending, 'end');
  t.regex(outcome(log, { ...good, startStamp: tailStamp(START, 4) }).damage ?? '', /key_tail does not belong to the kset 5/);
  t.regex(outcome(log, { ...good, dirtyTailStamp: tailStamp(second, 5) }).damage ?? '', /dirty_tail does not belong to the kset 6/);
  // The kernel put its own kset there, or nothing stands there yet.
  const kernel = new MemoryLog();
  kernel.kset();
  t.is(outcome(kernel, { durable, startStamp: tailStamp(START, 4) }).ending, 'end');
  t.is(outcome(new MemoryLog(), { durable, startStamp: tailStamp(START, 4) }).ending, 'end');
});

test('a gap in the sequences that no opening leaves is damage; a large one, or one across ksets of the kernel, is none', (t) => {
  const walk = (...sequences: number[]): string => {
    const log = new MemoryLog();
    for (const sequence of sequences) log.kset({ sequence });
    return outcome(log, { durable: { sequence: 1, position: START } }).ending;
  };
  t.is(walk(2, 3, 4), 'end');
  t.is(walk(2, 4), 'damaged');
  t.is(walk(2, 2 + 2 ** 22 - 1), 'damaged');
  t.is(walk(2, 2 + 2 ** 22), 'end');
  t.is(walk(2, 0, 4), 'end');
  const log = new MemoryLog();
  for (const sequence of [2, 4]) log.kset({ sequence });
  t.is(outcome(log).ending, 'end');
});

test('the known place and the stamps count only while this gateway moves key_tail, and the header has the place', (t) => {
  const durable = { sequence: 4, position: START };
  const header = { sequenceLimit: 100, durable };
  const dirtyTail = { value: at(1, 64), stamp: 8 };
  t.deepEqual(logWalkOptions({ value: START, stamp: 7 }, dirtyTail, header), {
    dirtyTail: dirtyTail.value,
    sequenceLimit: 100,
    durable,
    startStamp: 7,
    dirtyTailStamp: 8,
  });
  const common = { dirtyTail: dirtyTail.value, sequenceLimit: 100 };
  t.deepEqual(logWalkOptions({ value: START }, dirtyTail, header), common);
  t.deepEqual(logWalkOptions({ value: START, stamp: 7 }, dirtyTail, { sequenceLimit: 100 }), common);
  t.deepEqual(logWalkOptions({ value: START, stamp: 7 }, { value: at(1, 64) }, header), { ...common, durable, startStamp: 7 });
  t.deepEqual(logWalkOptions({ value: START, stamp: 7 }, undefined, undefined), {});
});

test('a look ahead says how long the log is, and a walk how far it is', (t) => {
  const log = new MemoryLog();
  log.kset({ keys: 3, sequence: 10 });
  const second = log.kset({ keys: 128, sequence: 11 });
  log.last(2, 12);
  log.kset({ keys: 1, sequence: 13 });
  // Of an earlier use of the segment.
  log.kset({ keys: 1, sequence: 9 });
  const sizes = [24 + 3 * 40, 24 + 128 * 40, 24, 24 + 40];
  const totals = sizes.map((_, index) => sizes.slice(0, index + 1).reduce((sum, size) => sum + size));
  t.is(logBytesFrom(log, START), totals[3]!);
  t.is(logBytesFrom(log, second), totals[3]! - sizes[0]!);
  t.is(logBytesFrom(log, at(7, 0)), 0);
  const told: number[] = [];
  const walk = walkLog(log, START, { onAdvance: (logBytes) => told.push(logBytes) });
  t.is(walk.ending, 'end');
  // A LAST is told with the kset after it.
  t.deepEqual(told, [totals[0], totals[1], totals[3]]);
});

test('the look ahead ends where the log leads in a circle', (t) => {
  const log = new MemoryLog();
  log.kset();
  log.last(1);
  log.last(0);
  t.is(logBytesFrom(log, START), 24 + 40 + 24 + 24);
});
