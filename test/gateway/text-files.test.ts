import test from 'ava';
import { metricsText } from '../../src/gateway/metrics.js';
import { statsJson } from '../../src/gateway/status.js';
import { TextFiles, createTextFiles } from '../../src/gateway/text-files.js';
import { parseMetrics } from '../support/metrics-text.js';
import { sampleStatus } from './sample-status.js';

function readAll(files: TextFiles, handle: number): string {
  const parts: Buffer[] = [];
  let length = 0;
  for (;;) {
    const part = Buffer.alloc(4096);
    const count = files.read(handle, length, part.length, part);
    if (count <= 0) return Buffer.concat(parts).toString();
    parts.push(part.subarray(0, count));
    length += count;
  }
}

test('statistics and metrics are kept whole, for a mount point with a long name too', (t) => {
  const files = new TextFiles(createTextFiles());
  const mountpoint = `/${'x'.repeat(200)}/${'y'.repeat(200)}/${'"'.repeat(100)}`;
  const status = sampleStatus({ mountpoint });
  for (const text of [statsJson(status), metricsText(status)]) t.is(readAll(files, files.open(text)), text);
});

test('of a text that is too long the lines that fit are kept, and none is cut', (t) => {
  const files = new TextFiles(createTextFiles());
  const text = metricsText(sampleStatus({ mountpoint: `/${'x'.repeat(4000)}` }));
  const kept = readAll(files, files.open(text));
  t.true(kept.length > 64 * 1024 && kept.length < text.length);
  t.true(text.startsWith(kept));
  t.true(parseMetrics(kept).samples.size > 0);
});

test('a handle reads what it was opened with until many others were opened', (t) => {
  const files = new TextFiles(createTextFiles());
  const first = files.open('first\n');
  for (let i = 0; i < 10; i++) files.open(`${i}\n`);
  t.is(readAll(files, first), 'first\n');
  for (let i = 0; i < 100; i++) files.open(`${i}\n`);
  t.is(files.read(first, 0, 10, Buffer.alloc(10)), -1);
});
