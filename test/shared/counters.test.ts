import test from 'ava';
import { COUNTER, COUNTER_NAMES, countersOf, createCounters, sumCounters } from '../../src/shared/counters.js';

test('every counter has a name of its own in snake_case and a place of its own', (t) => {
  t.is(new Set(COUNTER_NAMES).size, COUNTER_NAMES.length);
  t.true(COUNTER_NAMES.every((name) => /^[a-z]+(_[a-z]+)*$/.test(name)));
  t.deepEqual(
    Object.values(COUNTER).sort((a, b) => a - b),
    COUNTER_NAMES.map((_, place) => place),
  );
});

test('the totals are the sums over the workers, by name', (t) => {
  const counters = createCounters(3);
  COUNTER_NAMES.forEach((name, place) => {
    for (let worker = 0; worker < 3; worker++) countersOf(counters, worker)[COUNTER[name]]! += (place + 1) * 10 ** worker;
  });
  const totals = sumCounters(counters);
  t.deepEqual(Object.keys(totals), [...COUNTER_NAMES]);
  t.deepEqual(
    Object.values(totals),
    COUNTER_NAMES.map((_, place) => (place + 1) * 111),
  );
});

test('workers’ slices do not share a cache line and lie on shared memory', (t) => {
  const counters = createCounters(2);
  t.true(counters.buffer instanceof SharedArrayBuffer);
  t.is(countersOf(counters, 1).byteOffset % 64, 0);
  t.true(countersOf(counters, 1).byteOffset >= COUNTER_NAMES.length * 8);
});

test('a worker that there is no slice for is refused', (t) => {
  const counters = createCounters(2);
  for (const worker of [-1, 2, 0.5]) t.throws(() => countersOf(counters, worker), { code: 'internal' });
});
