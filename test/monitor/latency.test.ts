import test from 'ava';
import { addLatency, latencyBetween, percentile } from '../../src/monitor/latency.js';

const BOUNDS_US = [10, 100, 1000];
const histogram = (...buckets: number[]): { count: number; sum_us: number; buckets: number[] } => ({
  count: buckets.reduce((a, b) => a + b, 0),
  sum_us: 0,
  buckets,
});

test('what came between two histograms is their difference', (t) => {
  t.deepEqual(latencyBetween(histogram(5, 5, 0, 0), histogram(6, 9, 0, 1)), [1, 4, 0, 1]);
});

test('a histogram that has started again, or has another shape, counts as it is', (t) => {
  t.deepEqual(latencyBetween(undefined, histogram(1, 2, 3, 4)), [1, 2, 3, 4]);
  t.deepEqual(latencyBetween(histogram(50, 0, 0, 0), histogram(1, 2, 3, 4)), [1, 2, 3, 4]);
  t.deepEqual(latencyBetween(histogram(1, 1), histogram(1, 2, 3, 4)), [1, 2, 3, 4]);
});

test('a percentile lies in the bucket of the request it is about', (t) => {
  const p50 = percentile([90, 10, 0, 0], 0.5, BOUNDS_US)!;
  t.true(p50.us > 5 && p50.us <= 10, String(p50.us));
  const p99 = percentile([90, 10, 0, 0], 0.99, BOUNDS_US)!;
  t.true(p99.us > 50 && p99.us <= 100, String(p99.us));
  t.is(percentile([0, 0, 7, 0], 1, BOUNDS_US)!.us, 1000);
});

test('a percentile never falls with its share', (t) => {
  const counts = [3, 0, 14, 2];
  let last = 0;
  for (let share = 0.01; share <= 1; share += 0.01) {
    const { us } = percentile(counts, share, BOUNDS_US)!;
    t.true(us >= last, `at ${share}`);
    last = us;
  }
});

test('what took longer than the last bound is told as that', (t) => {
  t.deepEqual(percentile([1, 0, 0, 9], 0.99, BOUNDS_US), { us: 1000, isBeyond: true });
});

test('without requests there is no percentile', (t) => {
  t.is(percentile([0, 0, 0, 0], 0.5, BOUNDS_US), undefined);
  t.is(percentile([], 0.5, BOUNDS_US), undefined);
});

test('counts of different lengths add up', (t) => {
  t.deepEqual(addLatency([], [1, 2]), [1, 2]);
  t.deepEqual(addLatency([1, 2], [3, 4]), [4, 6]);
});
