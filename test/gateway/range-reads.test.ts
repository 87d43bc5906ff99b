import test from 'ava';
import fc from 'fast-check';
import { COUNTER } from '../../src/shared/counters.js';
import { RangeReads, type RangeRead } from '../../src/gateway/range-reads.js';
import { cacheRig, type CacheRig } from '../cache/cache-rig.js';
import { MIB } from '../support/model-rig.js';
import { ManualQueue } from './manual-queue.js';

const VOLUME_BYTES = 16 * MIB;

interface Bench extends CacheRig {
  readonly queue: ManualQueue;
  readonly reads: RangeReads;
}

function bench({ depth = 8, alignmentBytes = 512 } = {}): Bench {
  const rig = cacheRig({ volumeBytes: VOLUME_BYTES, cacheBytes: 256 * MIB });
  const queue = new ManualQueue(rig.rig.backing, depth);
  rig.rig.backing.fill(
    0,
    Uint8Array.from({ length: VOLUME_BYTES }, (_, i) => 100 + ((i >> 9) % 100)),
  );
  return { ...rig, queue, reads: new RangeReads(rig.cache, queue, alignmentBytes) };
}

function begin({ reads }: Bench, start: number, length: number, { isAhead = false, tag = 1 } = {}): RangeRead {
  return reads.begin(tag, start, start + length, new Uint8Array(length), start, isAhead);
}

/** The values of the sectors of a range that is done. */
function sectorsOf({ target }: RangeRead): number[] {
  return Array.from({ length: target.length / 512 }, (_, sector) => target[sector * 512]!);
}

function backingSectors(start: number, count: number): number[] {
  return Array.from({ length: count }, (_, i) => 100 + ((start / 512 + i) % 100));
}

/** Reads all that is left to read, and gives back the ranges. */
function finishAll({ reads, queue }: Bench): RangeRead[] {
  const finished: RangeRead[] = [];
  for (;;) {
    reads.submit();
    if (queue.pending.length === 0) break;
    queue.complete();
    for (let read = reads.harvest(); read !== undefined; read = reads.harvest()) {
      finished.push(read);
      reads.release(read);
    }
  }
  return finished;
}

function write({ cache }: Bench, start: number, sectors: number, value: number): void {
  const bytes = new Uint8Array(sectors * 512).fill(value);
  if (cache.writer.write(start, bytes.length, bytes, 0, false) !== bytes.length) throw new Error('no room');
}

test('what is missing is read and kept, and is there the next time', (t) => {
  const it = bench();
  const read = begin(it, 4096, 2048);
  t.false(read.isDone);
  t.is(it.reads.demanded, 1);
  t.deepEqual(finishAll(it), [read]);
  t.is(it.reads.demanded, 0);
  t.deepEqual(sectorsOf(read), backingSectors(4096, 4));
  const again = begin(it, 4096, 2048);
  t.true(again.isDone);
  t.deepEqual(sectorsOf(again), backingSectors(4096, 4));
  t.deepEqual(it.queue.submitted, [[4096, 2048]]);
  const { counters } = it.cache;
  t.deepEqual([counters[COUNTER.read_misses], counters[COUNTER.read_hits], counters[COUNTER.fill_bytes]], [1, 1, 2048]);
});

test('only gaps are read: what is cached is taken from there', (t) => {
  const it = bench();
  write(it, 512, 1, 7);
  write(it, 1536, 2, 8);
  const read = begin(it, 0, 4096);
  finishAll(it);
  t.deepEqual(sectorsOf(read), [100, 7, 102, 8, 8, 105, 106, 107]);
  t.deepEqual(it.queue.submitted, [
    [0, 512],
    [1024, 512],
    [2560, 1536],
  ]);
});

test('what is freed just when it was found is not kept from a range that is read ahead, which has no copy of it', (t) => {
  const it = bench();
  write(it, 512, 1, 7);
  freeing(
    it,
    () => undefined,
    () => begin(it, 0, 4096, { isAhead: true }),
  );
  finishAll(it);
  t.deepEqual(it.queue.submitted, [
    [0, 512],
    [1024, 3072],
  ]);
  const read = begin(it, 0, 4096);
  finishAll(it);
  t.deepEqual(sectorsOf(read), backingSectors(0, 8));
  t.deepEqual(it.queue.submitted.slice(2), [[512, 512]]);
});

test('a write that comes while a range is read stays what the cache has', (t) => {
  const it = bench();
  const read = begin(it, 0, 2048);
  it.reads.submit();
  write(it, 512, 1, 9);
  finishAll(it);
  // The read and the write were under way together: the old bytes are as good an answer.
  t.deepEqual(sectorsOf(read), [100, 101, 102, 103]);
  const again = begin(it, 0, 2048);
  t.true(again.isDone);
  t.deepEqual(sectorsOf(again), [100, 9, 102, 103]);
});

test('a range that fails leaves nothing behind, and is read again the next time', (t) => {
  const it = bench();
  write(it, 512, 1, 7);
  const read = begin(it, 0, 2048);
  it.reads.submit();
  it.queue.complete(1, true);
  t.is(it.reads.harvest(), undefined, 'the other piece is still under way');
  it.queue.complete();
  t.is(it.reads.harvest(), read);
  t.like(read.error, { code: 'io' });
  it.reads.release(read);
  t.is(it.cache.counters[COUNTER.fills], 0);
  const again = begin(it, 0, 2048);
  t.is(again.error, undefined);
  finishAll(it);
  t.deepEqual(sectorsOf(again), [100, 7, 102, 103]);
  t.is(it.cache.counters[COUNTER.fill_bytes], 1536);
});

test('pieces that have not been submitted when one fails are not read any more', (t) => {
  const it = bench({ depth: 1 });
  write(it, 512, 1, 7);
  const read = begin(it, 0, 2048);
  it.reads.submit();
  it.queue.complete(0, true);
  t.is(it.reads.harvest(), read);
  it.reads.release(read);
  it.reads.submit();
  t.is(it.queue.pending.length, 0);
  const other = begin(it, 8192, 512);
  t.deepEqual(finishAll(it), [other]);
});

test('what somebody waits for goes before what is read ahead, in order of arrival', (t) => {
  const it = bench({ depth: 1 });
  begin(it, 0, 512, { isAhead: true });
  begin(it, 4096, 512);
  begin(it, 8192, 512);
  begin(it, 12288, 512, { isAhead: true });
  t.deepEqual([it.reads.demanded, it.reads.ahead], [2, 2]);
  finishAll(it);
  t.deepEqual(
    it.queue.submitted.map(([offset]) => offset),
    [4096, 8192, 0, 12288],
  );
});

test('what is read ahead is kept and counted, and is no read', (t) => {
  const it = bench();
  write(it, 512, 1, 7);
  begin(it, 0, 2048, { isAhead: true });
  finishAll(it);
  const { counters } = it.cache;
  t.deepEqual([counters[COUNTER.read_misses], counters[COUNTER.read_partial_hits], counters[COUNTER.read_ahead_bytes]], [0, 0, 1536]);
  const read = begin(it, 0, 2048);
  t.true(read.isDone);
  t.deepEqual(sectorsOf(read), [100, 7, 102, 103]);
  t.true(begin(it, 0, 2048, { isAhead: true }).isDone, 'nothing is missing');
});

test('a range under way is found by those that have sectors in common with it', (t) => {
  const it = bench();
  const read = begin(it, 4096, 4096);
  t.is(it.reads.overlapping(0, 4096), undefined);
  t.is(it.reads.overlapping(8192, 8704), undefined);
  t.is(it.reads.overlapping(3584, 4608), read);
  t.is(it.reads.overlapping(4608, 5120), read);
  finishAll(it);
  t.is(it.reads.overlapping(4608, 5120), undefined);
});

test('whole blocks are asked for where the device wants them and nothing cached is in the way', (t) => {
  const it = bench({ alignmentBytes: 4096 });
  const target = new Uint8Array(8192);
  const read = it.reads.begin(1, 4608, 8704, target, 4096, false);
  finishAll(it);
  t.deepEqual(it.queue.submitted, [[4096, 8192]]);
  t.deepEqual(sectorsOf(read).slice(1, 9), backingSectors(4608, 8));
  // Kept is what was asked for, and no more.
  t.is(it.cache.counters[COUNTER.fill_bytes], 4096);
  const tight = begin(it, 12800, 512);
  finishAll(it);
  t.deepEqual(it.queue.submitted[1], [12800, 512]);
  t.deepEqual(sectorsOf(tight), backingSectors(12800, 1));
});

/** What may happen to a volume of 32 sectors; `place` chooses among what is under way. */
type Step =
  /** `frees`: what it finds cached is written back and freed just then. */
  | { kind: 'begin'; sector: number; sectors: number; isAhead: boolean; frees: boolean }
  | { kind: 'write'; sector: number; sectors: number }
  | { kind: 'complete'; place: number; fails: boolean };

const SECTORS = 32;
const range = { sector: fc.nat(SECTORS - 1), sectors: fc.integer({ min: 1, max: 8 }) };
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 3, arbitrary: fc.record({ kind: fc.constant('begin' as const), ...range, isAhead: fc.boolean(), frees: fc.boolean() }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('write' as const), ...range }) },
  {
    weight: 4,
    arbitrary: fc.record({
      kind: fc.constant('complete' as const),
      place: fc.nat(20),
      fails: fc.oneof({ weight: 6, arbitrary: fc.constant(false) }, fc.constant(true)),
    }),
  },
);

/** Whenever a reader has pinned something during `action`, everything is written back, and the segment freed. */
function freeing<T>({ cache: { segments, shared } }: Bench, writeBack: () => void, action: () => T): T {
  const pin = segments.pin.bind(segments);
  segments.pin = (segment, generation) => {
    const isPinned = pin(segment, generation);
    if (isPinned) {
      writeBack();
      // As the collector does, which does not ask for the lock of the subtree.
      Atomics.add(shared.generationLow, segment, 1);
    }
    return isPinned;
  };
  try {
    return action();
  } finally {
    segments.pin = pin;
  }
}

test('in every order of reads, writes and completions, a read sees no older bytes than those when it began, and the cache ends with the newest', (t) => {
  const it = bench({ depth: 4 });
  // Each run has a place of its own in the volume, which nobody has read or written.
  let placeBytes = -SECTORS * 512;
  t.notThrows(() =>
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        placeBytes += SECTORS * 512;
        // By sector: all values in order of time; the newest last.
        const history = backingSectors(placeBytes, SECTORS).map((before) => [before]);
        const seenAtBegin = new Map<RangeRead, number[]>();
        let value = 0;
        const harvest = (): void => {
          for (let read = it.reads.harvest(); read !== undefined; read = it.reads.harvest()) {
            const from = seenAtBegin.get(read)!;
            if (!read.isAhead && read.error === undefined) check(read, from);
            it.reads.release(read);
          }
        };
        const check = (read: RangeRead, from: number[]): void => {
          for (const [i, got] of sectorsOf(read).entries()) {
            const sector = (read.startBytes - placeBytes) / 512 + i;
            const allowed = history[sector]!.slice(from[i]);
            if (!allowed.includes(got)) throw new Error(`sector ${sector}: ${got} is none of ${allowed.join(' ')}`);
          }
        };
        const writeBack = (): void => {
          const newest = history.flatMap((values) => new Array<number>(512).fill(values[values.length - 1]!));
          it.rig.backing.fill(placeBytes, Uint8Array.from(newest));
        };
        for (const act of steps) {
          if (act.kind === 'complete') {
            if (it.queue.pending.length > 0) it.queue.complete(act.place % it.queue.pending.length, act.fails);
            harvest();
          } else {
            const sectors = Math.min(act.sectors, SECTORS - act.sector);
            if (act.kind === 'write') {
              value = (value % 99) + 1;
              write(it, placeBytes + act.sector * 512, sectors, value);
              for (let i = 0; i < sectors; i++) history[act.sector + i]!.push(value);
            } else {
              const from = history.slice(act.sector, act.sector + sectors).map((values) => values.length - 1);
              const beginIt = (): RangeRead => begin(it, placeBytes + act.sector * 512, sectors * 512, { isAhead: act.isAhead });
              const read = act.frees ? freeing(it, writeBack, beginIt) : beginIt();
              if (read.isDone) {
                if (!read.isAhead) check(read, from);
                it.reads.release(read);
              } else {
                seenAtBegin.set(read, from);
              }
            }
          }
          it.reads.submit();
        }
        while (it.queue.pending.length > 0) {
          it.queue.complete();
          harvest();
          it.reads.submit();
        }
        const last = begin(it, placeBytes, SECTORS * 512);
        finishAll(it);
        const expected = history.map((values) => values[values.length - 1]);
        if (sectorsOf(last).join() !== expected.join()) throw new Error(`${sectorsOf(last).join()} is not ${expected.join()}`);
        const kept = begin(it, placeBytes, SECTORS * 512);
        it.reads.release(kept);
        if (!kept.isDone) throw new Error('it was not kept');
        if (sectorsOf(kept).join() !== expected.join()) throw new Error(`kept: ${sectorsOf(kept).join()} is not ${expected.join()}`);
      }),
      { numRuns: 300 },
    ),
  );
});
