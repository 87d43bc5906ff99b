import test from 'ava';
import { History } from '../../src/monitor/history.js';
import { LATENCY_BOUNDS_US } from '../../src/shared/latency.js';
import { histogram, quietStatus } from './pictures.js';

const MINUTE_MS = 60_000;

function history(): History {
  return new History(LATENCY_BOUNDS_US);
}

test('nothing is known before the second status', (t) => {
  const past = history();
  t.is(past.latest, undefined);
  past.push(quietStatus({ reads: 1000 }), 0);
  t.is(past.latest?.reads, 1000);
  t.is(past.rate('reads'), undefined);
  t.is(past.readHits(10_000), undefined);
  t.is(past.latency('read', 0.5), undefined);
  t.deepEqual(past.series('reads'), []);
});

test('a rate is of what was added in the window, by the time that really passed', (t) => {
  const past = history();
  past.push(quietStatus({ reads: 1000 }), 0);
  past.push(quietStatus({ reads: 1500 }), 2000);
  t.is(past.rate('reads'), 250);
  for (let second = 3; second <= 30; second++) past.push(quietStatus({ reads: 1500 + (second - 2) * 10 }), second * 1000);
  t.is(past.rate('reads', 10_000), 10);
  t.is(past.interval(10_000)?.seconds, 10);
  t.is(past.interval(10 * MINUTE_MS)?.seconds, 30, 'no longer than it has been watched');
});

test('hit ratios of different windows differ, and there is none without requests', (t) => {
  const past = history();
  for (let second = 0; second <= 120; second++) {
    past.push(quietStatus({ reads: second * 100, read_hits: second <= 60 ? 0 : (second - 60) * 100 }), second * 1000);
  }
  t.is(past.readHits(10_000), 1);
  t.is(past.readHits(MINUTE_MS), 1);
  t.is(past.readHits(10 * MINUTE_MS), 0.5);
  t.is(past.writeHits(10_000), undefined);
});

test('a write that wrote over data in the cache alone was a hit', (t) => {
  const past = history();
  past.push(quietStatus(), 0);
  past.push(quietStatus({ writes: 100, write_hits: 60, write_misses: 15, write_partial_hits: 5 }), 1000);
  t.is(past.writeHits(10_000), 0.75);
});

test('counters that start again with a new engine are carried on', (t) => {
  const past = history();
  past.push(quietStatus({ reads: 5000, engine_pid: 1 }), 0);
  past.push(quietStatus({ reads: 5100, engine_pid: 1 }), 1000);
  past.push(quietStatus({ reads: 40, engine_pid: 2 }), 2000);
  past.push(quietStatus({ reads: 90, engine_pid: 2 }), 3000);
  t.is(past.interval(10_000)?.counts.reads, 190);
  t.deepEqual(past.series('reads'), [100, 40, 50]);
});

test('a new engine with larger counters is a new engine all the same', (t) => {
  const past = history();
  past.push(quietStatus({ reads: 10, engine_pid: 1 }), 0);
  past.push(quietStatus({ reads: 50, engine_pid: 2 }), 1000);
  t.deepEqual(past.series('reads'), [50]);
});

test('latency is that of the window, not of all time', (t) => {
  const past = history();
  const reads = (fast: number, slow: number): ReturnType<typeof quietStatus> =>
    quietStatus({ latency: { read: histogram(0, 0, fast, 0, 0, 0, 0, 0, 0, slow), write: histogram(), flush: histogram() } });
  past.push(reads(1_000_000, 0), 0);
  past.push(reads(1_000_000, 100), 1000);
  t.true(past.latency('read', 0.5)!.us > 1000);
  for (let second = 2; second <= 20; second++) past.push(reads(1_000_000 + second * 10, 100), second * 1000);
  t.true(past.latency('read', 0.99)!.us <= 10);
  t.is(past.latency('write', 0.99), undefined);
});

test('each second has the latency of its own requests, of half of them and of 99 of 100; none without any', (t) => {
  const past = history();
  const reads = (fast: number, slow: number): ReturnType<typeof quietStatus> =>
    quietStatus({ latency: { read: histogram(0, 0, fast, 0, 0, 0, 0, 0, 0, slow), write: histogram(), flush: histogram() } });
  past.push(reads(0, 0), 0);
  past.push(reads(90, 10), 1000);
  past.push(reads(90, 10), 2000);
  past.push(reads(91, 100), 3000);
  const [p50, p99] = [past.series('readP50'), past.series('readP99')];
  t.true(p50[0]! <= 10 && p99[0]! > 1000, `${p50[0]} and ${p99[0]}`);
  t.deepEqual([p50[1], p99[1]], [null, null]);
  t.true(p50[2]! > 1000);
  t.deepEqual(past.series('writeP50'), [null, null, null]);
});

test('seconds in which the gateway did not answer are gaps in the graphs', (t) => {
  const past = history();
  past.push(quietStatus({ reads: 0 }), 0);
  past.push(quietStatus({ reads: 10 }), 1000);
  past.push(quietStatus({ reads: 40 }), 4000);
  t.deepEqual(past.series('reads'), [10, null, null, 10]);
});

test('ten minutes are kept and no more', (t) => {
  const past = history();
  for (let second = 0; second <= 700; second++) past.push(quietStatus({ reads: second }), second * 1000);
  t.is(past.series('reads').length, 600);
  t.is(past.interval(20 * MINUTE_MS)?.seconds, 600);
});

test('a clock that stands still divides nothing by zero', (t) => {
  const past = history();
  past.push(quietStatus({ reads: 0 }), 5000);
  past.push(quietStatus({ reads: 10 }), 5000);
  t.is(past.rate('reads'), undefined);
  past.push(quietStatus({ reads: 20 }), 6000);
  t.true(Number.isFinite(past.rate('reads')));
});
