import test from 'ava';
import { reportText, shortNumber, textTable } from '../../bench/report.js';
import { targetRows } from '../../bench/targets.js';
import { result, sampleReport } from './sample-report.js';

test('numbers have three digits that matter', (t) => {
  const shown = [0, 0.123456, 1, 9.994, 9.996, 99.94, 99.96, 123.4, 9994, 9996, 99_960, 999_499, 999_500, 12_345_678, NaN].map(shortNumber);
  t.deepEqual(shown, [
    '0.00',
    '0.12',
    '1.00',
    '9.99',
    '10.0',
    '99.9',
    '100',
    '123',
    '9994',
    '10.0 k',
    '100 k',
    '999 k',
    '1.00 M',
    '12.3 M',
    '?',
  ]);
});

test('columns of a table line up, names to the left and figures to the right', (t) => {
  t.is(
    textTable([
      ['', 'a', 'long head'],
      ['name', '100', '1'],
    ]),
    '          a  long head\n  name  100          1\n',
  );
});

test('the text shows median and range, ratio, what was left out, and targets', (t) => {
  const READ = 'randread-4k-16x4';
  const results = [100, 300].flatMap((rate, round) => [
    result('dev-fuse', READ, round, rate, { cpuUsPerRequest: 5 }),
    result('null-mt', READ, round, 200),
  ]);
  const text = reportText(sampleReport(results));
  t.regex(text, /^4 KiB random read, depth 16, 4 jobs$/m);
  t.regex(text, /^ {2}pcache dev-fuse +200 \(100-300\) +10\.0 +30\.0 +5\.00 +1\.00 \(0\.50-1\.50\)$/m);
  t.regex(text, /^ {2}null image, threads +200 +10\.0 +30\.0 +in kernel +1\.00$/m);
  t.regex(text, /^ {2}loop: needs root$/m);
  t.regex(text, /depth 16, 4 jobs: null image in C +dev-fuse +at least 0\.90 +1\.00 +met +randread-4k-16x4$/m);
  t.notRegex(text, /qemu/);
  t.notRegex(text, /ended early/);
});

test('beside a gateway stands its part of what its transport does alone, if that was measured', (t) => {
  const READ = 'randread-4k-16x4';
  const subjects = [
    { id: 'io-uring', title: 'pcache io-uring', kind: 'gateway' },
    { id: 'null-io-uring', title: 'io-uring alone', kind: 'transport' },
    { id: 'null-mt', title: 'null image', kind: 'null' },
  ] as const;
  const results = [result('io-uring', READ, 0, 120), result('null-io-uring', READ, 0, 160), result('null-mt', READ, 0, 100)];
  const text = reportText(sampleReport(results, { subjects }));
  t.regex(text, /x null image +x transport$/m);
  t.regex(text, /^ {2}pcache io-uring .* 1\.20 +0\.75$/m);
  t.regex(text, /^ {2}io-uring alone .* 1\.60 +-$/m);
  t.notRegex(reportText(sampleReport([results[0]!, results[2]!], { subjects })), /x transport/);
});

test('a full cache, a doubt and an early end are told', (t) => {
  const results = [result('dev-fuse', 'write-1m-1x1', 0, 1000, { fullWaits: 2 })];
  const measures = [{ id: 'x', title: 'a measure', value: 2, unit: 'x', details: { a_detail: 5 }, doubt: 'it was late' }];
  const text = reportText(sampleReport(results, { measures, targets: targetRows(results, measures), problem: 'fio hangs' }));
  t.regex(text, /cache full in 1 of 1 rounds/);
  t.regex(text, /^ {2}a measure: 2\.00 \(a_detail 5\.00\); doubtful: it was late$/m);
  t.regex(text, /The run ended early: fio hangs/);
});
