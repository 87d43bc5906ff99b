import test from 'ava';
import { ratiosOf, summaries, summaryOf } from '../../bench/results.js';
import { result } from './sample-report.js';

const TEST = 'randread-4k-16x4';

test('a ratio is to the better of the others in the same round, never to one of another round', (t) => {
  const results = [
    result('dev-fuse', TEST, 0, 100),
    result('null-mt', TEST, 0, 50),
    result('null-st', TEST, 0, 80),
    // The machine became twice as slow: the ratio to the best of its round stays.
    result('dev-fuse', TEST, 1, 50),
    result('null-mt', TEST, 1, 40),
    result('null-st', TEST, 1, 20),
  ];
  t.deepEqual(ratiosOf(results, TEST, 'dev-fuse', ['null-mt', 'null-st']), [100 / 80, 50 / 40]);
});

test('a round without the other one yields no ratio', (t) => {
  const results = [result('dev-fuse', TEST, 0, 100), result('dev-fuse', TEST, 1, 100), result('qemu', TEST, 1, 50)];
  t.deepEqual(ratiosOf(results, TEST, 'dev-fuse', ['qemu']), [2]);
  t.deepEqual(ratiosOf(results, TEST, 'dev-fuse', ['nbdkit']), []);
});

test('a rate of nothing is not divided by', (t) => {
  t.deepEqual(ratiosOf([result('dev-fuse', TEST, 0, 100), result('qemu', TEST, 0, 0)], TEST, 'dev-fuse', ['qemu']), []);
});

test('the ratio of a summary is the median of the ratios, not the ratio of the medians', (t) => {
  const results = [
    ...[100, 200, 300].map((rate, round) => result('dev-fuse', TEST, round, rate)),
    ...[100, 50, 600].map((rate, round) => result('null-mt', TEST, round, rate)),
  ];
  const summary = summaryOf(results, TEST, 'dev-fuse')!;
  t.deepEqual(summary.ratio, { median: 1, min: 0.5, max: 4 });
  t.deepEqual(summary.requestsPerSecond, { median: 200, min: 100, max: 300 });
});

test('a summary has the processor time of the rounds that know it, and counts those in which the cache was full', (t) => {
  const results = [
    result('dev-fuse', TEST, 0, 100, { cpuUsPerRequest: 4, fullWaits: 0 }),
    result('dev-fuse', TEST, 1, 100, { fullWaits: 3 }),
    result('dev-fuse', TEST, 2, 100, { cpuUsPerRequest: 6 }),
  ];
  const summary = summaryOf(results, TEST, 'dev-fuse')!;
  t.is(summary.cpuUsPerRequest, 5);
  t.is(summary.fullRounds, 1);
  t.is(summary.ratio, undefined);
  t.false('cpuUsPerRequest' in summaryOf([result('loop', TEST, 0, 1)], TEST, 'loop')!);
});

test('there is a summary for each test and subject that has results', (t) => {
  const results = [result('a', 'x', 0, 1), result('a', 'x', 1, 3), result('a', 'y', 0, 1), result('b', 'x', 0, 1)];
  t.deepEqual(
    summaries(results).map(({ test: name, subject, rounds }) => [name, subject, rounds]),
    [
      ['x', 'a', 2],
      ['y', 'a', 1],
      ['x', 'b', 1],
    ],
  );
  t.is(summaryOf(results, 'z', 'a'), undefined);
});
