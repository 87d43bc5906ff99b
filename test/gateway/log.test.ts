import test from 'ava';
import { textOfRecord } from '../../src/gateway/log.js';

test('a record becomes one line with its extra fields', (t) => {
  const record = { level: 40, time: '2024-05-06T07:08:09.123Z', pid: 5, name: 'engine', workers: 2, cache: '/c', msg: 'slow' };
  t.is(textOfRecord(JSON.stringify(record)), '07:08:09 warn engine: slow workers=2 cache=/c\n');
});

test('names with control characters break no line of the log, and a stack is one line too', (t) => {
  const record = { level: 40, time: '', name: 'engine', msg: 'a\nb\u001b[31m', cache: '/c\n\u009b', stack: 'Error\n    at x' };
  for (const format of ['text', 'dated', 'journal'] as const) {
    const line = textOfRecord(JSON.stringify(record), format);
    t.true(line.endsWith(String.raw`engine: a\x0ab\x1b[31m cache=/c\x0a\x9b stack=Error | at x` + '\n'), line);
  }
});

test('a line that is no record stays as it is', (t) => {
  for (const line of ['Segmentation fault\n', '17\n', '{"cut\n', 'null\n']) t.is(textOfRecord(line), line);
});
