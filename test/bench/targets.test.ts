import test from 'ava';
import { gridTests } from '../../bench/fio.js';
import { subjects } from '../../bench/subjects.js';
import { meets, ratioTargets, targetRows } from '../../bench/targets.js';
import { result } from './sample-report.js';

const WRITE = 'randwrite-4k-16x4';
const READ = 'randread-4k-16x4';
const DEEP = '4 KiB random, depth 16, 4 jobs: null image in C';

test('targets name tests and subjects that there are', (t) => {
  const tests = gridTests.map(({ id }) => id);
  const names = subjects.map(({ id }) => id);
  for (const target of ratioTargets) {
    for (const each of target.tests) t.true(tests.includes(each), each);
    for (const transport of ['dev-fuse', 'io-uring']) {
      t.true(names.includes(target.subject?.(transport) ?? transport));
      for (const other of target.against(transport)) t.true(names.includes(other), other);
    }
  }
});

test('where a target is about several tests the worst of them decides', (t) => {
  const rates = { 'dev-fuse': [150, 91], 'null-mt': [100, 90], 'null-st': [80, 100] };
  const results = Object.entries(rates).flatMap(([subject, [write, read]]) => [
    result(subject, WRITE, 0, write!),
    result(subject, READ, 0, read!),
  ]);
  const row = targetRows(results, []).find(({ title, transport }) => title === DEEP && transport === 'dev-fuse')!;
  t.is(row.measured, 0.91);
  t.true(row.met);
  t.is(row.note, `${READ}; ${WRITE} 1.50`);
});

test('beside a target against the null image stands what the transport has there alone', (t) => {
  const results = Object.entries({ 'dev-fuse': [120, 60], 'null-dev-fuse': [130, 80], 'null-mt': [100, 100] }).flatMap(
    ([subject, [write, read]]) => [result(subject, WRITE, 0, write!), result(subject, READ, 0, read!)],
  );
  const rows = targetRows(results, []);
  const row = rows.find(({ title, transport }) => title === DEEP && transport === 'dev-fuse')!;
  t.is(row.alone, 0.8);
  t.is(row.note, `${READ} (transport alone 0.80); ${WRITE} 1.20 (alone 1.30)`);
  t.true(rows.every((each) => each === row || each.alone === undefined));
});

test('a target that was missed in one test is missed', (t) => {
  const results = [
    result('io-uring', WRITE, 0, 250),
    result('io-uring', READ, 0, 199),
    result('null-mt', WRITE, 0, 100),
    result('null-mt', READ, 0, 100),
  ];
  const row = targetRows(results, []).find(({ title, transport }) => title === DEEP && transport === 'io-uring')!;
  t.is(row.met, false);
  t.is(row.measured, 1.99);
});

test('data CRC is compared with the same transport without it', (t) => {
  const results = [result('dev-fuse', READ, 0, 100), result('dev-fuse-crc', READ, 0, 85), result('io-uring', READ, 0, 1000)];
  const rows = targetRows(results, []).filter(({ title }) => title.endsWith('data CRC on against off'));
  t.deepEqual(
    rows.map(({ transport, measured, met }) => [transport, measured, met]),
    [
      ['dev-fuse', 0.85, true],
      ['io-uring', undefined, undefined],
    ],
  );
});

test('what was not measured is listed as that, neither met nor missed', (t) => {
  const rows = targetRows([], [{ id: 'x', title: 'something', wanted: { bound: 'at most', value: 1 }, missing: 'no time' }]);
  t.is(rows.length, 2 * ratioTargets.length + 1);
  t.true(rows.every((row) => row.measured === undefined && row.met === undefined));
  t.is(rows.at(-1)!.note, 'no time');
});

test('a measure is held against its bound, from above or from below', (t) => {
  const measure = { id: 'x', title: 'seconds', value: 0.5, unit: 's', details: {} };
  const met = (bound: 'at least' | 'at most', value: number): boolean | undefined =>
    targetRows([], [{ ...measure, wanted: { bound, value } }]).at(-1)!.met;
  t.true(met('at most', 0.5));
  t.false(met('at most', 0.49));
  t.true(met('at least', 0.5));
  t.false(met('at least', 0.51));
  t.is(targetRows([], [measure]).length, 2 * ratioTargets.length);
  t.false(meets(NaN, { bound: 'at least', value: 0 }));
});
