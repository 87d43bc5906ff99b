import test from 'ava';
import {
  BUSY_PER_SECOND,
  LATENCY_BOUNDS_US,
  LATENCY_OPS,
  LATENCY_PLACE,
  LatencyRecorder,
  createLatency,
  latencyQuantileBoundUs,
  sumLatency,
} from '../../src/shared/latency.js';

/** A clock that the test moves. */
class Clock {
  us = 1_000_000;
  readonly read = (): number => this.us;
}

function pass(recorder: LatencyRecorder, clock: Clock, place: number, us: number): void {
  recorder.arrive();
  clock.us += us;
  recorder.finish(place);
}

test('the bounds ascend, and the operations have a place each', (t) => {
  t.deepEqual(
    [...LATENCY_BOUNDS_US].sort((a, b) => a - b),
    [...LATENCY_BOUNDS_US],
  );
  t.deepEqual(
    LATENCY_OPS.map((op) => LATENCY_PLACE[op]),
    [0, 1, 2],
  );
});

test('a request that takes as long as a bound is in the bucket of that bound, a longer one in the next', (t) => {
  const state = createLatency(1, 1);
  const clock = new Clock();
  const recorder = new LatencyRecorder(state, 0, clock.read);
  LATENCY_BOUNDS_US.forEach((boundUs) => {
    pass(recorder, clock, LATENCY_PLACE.read, boundUs);
    pass(recorder, clock, LATENCY_PLACE.read, boundUs + 1);
    clock.us += 1_000_000;
  });
  const { read, write, flush } = sumLatency(state);
  const inside = LATENCY_BOUNDS_US.slice(1).map(() => 2);
  t.deepEqual(read.buckets, [1, ...inside, 1]);
  t.is(read.count, 2 * LATENCY_BOUNDS_US.length);
  t.is(
    read.sum_us,
    LATENCY_BOUNDS_US.reduce((sum, us) => sum + 2 * us + 1, 0),
  );
  t.deepEqual([write.count, flush.count], [0, 0]);
});

test('every request of a quiet volume is timed, and what is neither read, write nor flush is not counted', (t) => {
  const state = createLatency(1, 1);
  const clock = new Clock();
  const recorder = new LatencyRecorder(state, 0, clock.read);
  for (let i = 0; i < 1000; i++) {
    pass(recorder, clock, i % 4 === 3 ? LATENCY_PLACE.other : i % 4, 20);
    clock.us += (1.1 * 1e6) / BUSY_PER_SECOND;
  }
  const { read, write, flush } = sumLatency(state);
  t.deepEqual([read.count, write.count, flush.count], [250, 250, 250]);
  t.deepEqual([read.sum_us, write.sum_us, flush.sum_us], [5000, 5000, 5000]);
});

test('of a busy thread few requests are timed, and the totals still tell how many there were, of reads and writes in turn as well', (t) => {
  const state = createLatency(1, 1);
  const clock = new Clock();
  let looks = 0;
  const recorder = new LatencyRecorder(state, 0, () => {
    looks++;
    return clock.us;
  });
  const requests = 400_000;
  for (let i = 0; i < requests; i++) {
    pass(recorder, clock, i % 2, i % 2 === 0 ? 4 : 15);
    clock.us += 1;
  }
  const { read, write } = sumLatency(state);
  t.true(looks < requests / 4, `${looks} looks at the clock`);
  t.true(Math.abs(read.count + write.count - requests) < 32, `${read.count + write.count} counted`);
  for (const { count } of [read, write]) t.true(Math.abs(count / (requests / 2) - 1) < 0.05, `${count} counted`);
  t.is(read.sum_us, read.count * 4);
  t.is(write.sum_us, write.count * 15);
});

test('a thread that is quiet again times every request again', (t) => {
  const state = createLatency(1, 1);
  const clock = new Clock();
  const recorder = new LatencyRecorder(state, 0, clock.read);
  for (let i = 0; i < 10_000; i++) pass(recorder, clock, LATENCY_PLACE.read, 5);
  const quiet = (requests: number): void => {
    for (let i = 0; i < requests; i++) {
      pass(recorder, clock, LATENCY_PLACE.write, 5);
      clock.us += 1000;
    }
  };
  quiet(1000);
  const before = sumLatency(state).write.count;
  quiet(100);
  t.is(sumLatency(state).write.count, before + 100);
});

test('what is handed on is timed by the thread that answers it, once, from when it came or was handed on', (t) => {
  const state = createLatency(2, 4);
  const clock = new Clock();
  const queue = new LatencyRecorder(state, 0, clock.read);
  const lane = new LatencyRecorder(state, 1, clock.read);
  queue.arrive();
  clock.us += 10;
  queue.handOn(3);
  queue.finish(LATENCY_PLACE.read);
  clock.us += 90;
  lane.finishSlot(3, LATENCY_PLACE.read);
  t.deepEqual([sumLatency(state).read.count, sumLatency(state).read.sum_us], [1, 100]);
  // Busy: most are not timed from their arrival, and all that are handed on are counted one by one.
  const requests = 100_000;
  for (let i = 0; i < requests; i++) {
    queue.arrive();
    clock.us += 2;
    queue.handOn(i % 3);
    clock.us += 100;
    lane.finishSlot(i % 3, LATENCY_PLACE.write);
    clock.us -= 100;
  }
  const { write } = sumLatency(state);
  t.is(write.count, requests);
  t.true(write.sum_us >= requests * 100 && write.sum_us <= requests * 102);
});

test('a writer that there is no slice for is refused', (t) => {
  for (const thread of [-1, 2, 0.5]) t.throws(() => new LatencyRecorder(createLatency(2, 1), thread), { code: 'internal' });
});

test('the bound that a share of the requests stayed within', (t) => {
  const buckets = LATENCY_BOUNDS_US.map(() => 0);
  const histogram = { count: 100, sum_us: 0, buckets: [...buckets, 0] };
  histogram.buckets[2] = 90;
  histogram.buckets[4] = 9;
  histogram.buckets[buckets.length] = 1;
  t.is(latencyQuantileBoundUs(histogram, 0.5), LATENCY_BOUNDS_US[2]);
  t.is(latencyQuantileBoundUs(histogram, 0.99), LATENCY_BOUNDS_US[4]);
  t.is(latencyQuantileBoundUs(histogram, 1), undefined);
  t.is(latencyQuantileBoundUs({ count: 0, sum_us: 0, buckets: [...buckets, 0] }, 0.5), undefined);
});
