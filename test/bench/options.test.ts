import test from 'ava';
import { gridTests } from '../../bench/fio.js';
import { parseOptions, type BenchOptions } from '../../bench/options.js';
import { subjects } from '../../bench/subjects.js';
import { ratioTargets } from '../../bench/targets.js';
import { timeLeft } from '../../bench/progress-line.js';

function options(...args: string[]): BenchOptions {
  const parsed = parseOptions(args);
  if (parsed === 'help' || 'wrong' in parsed) throw new Error(JSON.stringify(parsed));
  return parsed;
}

test('the full run has all tests, subjects and measures, the quick one fewer tests and subjects, and shorter tests', (t) => {
  const full = options();
  const quick = options('--quick');
  t.deepEqual(full.subjects, subjects);
  t.is(full.tests.length, gridTests.length);
  t.true(quick.tests.length < full.tests.length);
  t.true(quick.rounds < full.rounds && quick.seconds < full.seconds);
  t.true(quick.subjects.length < full.subjects.length);
  t.deepEqual(
    quick.measures,
    full.measures.filter(({ id }) => id !== 'monitor'),
  );
});

test('the quick run has every subject that a target is about', (t) => {
  const names = options('--quick').subjects.map(({ id }) => id);
  for (const { subject, against } of ratioTargets) {
    for (const transport of ['dev-fuse', 'io-uring']) {
      for (const name of [subject?.(transport) ?? transport, ...against(transport)]) t.true(names.includes(name), name);
    }
  }
});

test('a subject that is not part of the quick run is, if it is named', (t) => {
  const { subjects: named } = options('--quick', '--only', 'null-mt-default,null-mt');
  t.deepEqual(
    named.map(({ id }) => id),
    ['null-mt', 'null-mt-default'],
  );
});

test('--only chooses subjects and measures, in the order that they always have', (t) => {
  const { subjects: chosen, measures } = options('--only', 'loop,dev-fuse', '--only', 'replay');
  t.deepEqual(
    chosen.map(({ id }) => id),
    ['dev-fuse', 'loop'],
  );
  t.deepEqual(
    measures.map(({ id }) => id),
    ['replay'],
  );
});

test('rounds and seconds win over --quick', (t) => {
  const { rounds, seconds, isQuick } = options('--quick', '--rounds', '7', '--seconds', '1.5');
  t.deepEqual([rounds, seconds, isQuick], [7, 1.5, true]);
});

test('what makes no sense is refused by name', (t) => {
  const wrongs = [
    ['--only', 'nothing'],
    ['--rounds', '0'],
    ['--rounds', 'x'],
    ['--rounds', '1.5'],
    ['--seconds', '0'],
    ['--seconds', '-1'],
    ['--what'],
  ];
  for (const args of wrongs) {
    const parsed = parseOptions(args);
    t.true(parsed !== 'help' && 'wrong' in parsed && parsed.wrong.includes(args[0]!), args.join(' '));
  }
  t.is(parseOptions(['--help']), 'help');
});

test('the time left follows from what the done share has taken', (t) => {
  t.is(timeLeft(10_000, 0.5), '10 s left');
  t.is(timeLeft(60_000, 0.1), '9 min left');
  t.is(timeLeft(60_000, 0), 'time left unknown');
});
