import test from 'ava';
import { textOfRecord } from '../../src/gateway/log.js';

test('a record becomes one line with its extra fields', (t) => {
  const record = { level: 40, time: '2024-05-06T07:08:09.123Z', pid: 5, name: 'engine', workers: 2, cache: '/c', msg: 'slow' };
  t.is(textOfRecord(JSON.stringify(record)), '07:08:09 warn engine: slow workers=2 cache=/c\n');
});

test('a line that is no record stays as it is', (t) => {
  for (const line of ['Segmentation fault\n', '17\n', '{"cut\n', 'null\n']) t.is(textOfRecord(line), line);
});
