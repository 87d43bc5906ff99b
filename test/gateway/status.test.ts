import test from 'ava';
import { dmStatusLine, statsJson, type StatusSnapshot } from '../../src/gateway/status.js';
import { sampleStatus } from './sample-status.js';

test('the dmsetup line has the fields of the kernel in its order, both flags words in hexadecimal', (t) => {
  t.is(dmStatusLine(sampleStatus()), '0 524288 pcache 0 31 30 12 70 1183 4:12816 3:9848 2:24');
});

test('stats.json is the snapshot, one document that ends with a newline', (t) => {
  const text = statsJson(sampleStatus());
  t.true(text.endsWith('}\n'));
  t.deepEqual(JSON.parse(text) as StatusSnapshot, sampleStatus());
});

test('every name of a snapshot is snake_case', (t) => {
  for (const name of Object.keys(sampleStatus())) t.regex(name, /^[a-z][a-z0-9]*(_[a-z0-9]+)*$/);
});
