import test from 'ava';
import { FlushGauge } from '../../src/gateway/flush-gauge.js';
import { SECTOR_BYTES } from '../../src/media/layout.js';

const KIB = 1024;

test('what is left is what is not passed, whatever users write meanwhile', (t) => {
  // What is in the log does not come into it: only what has been passed since, here of 900 KiB passed before.
  const gauge = new FlushGauge(300 * KIB, 900 * KIB, 0);
  t.is(gauge.leftBytes(900 * KIB, 0), 300 * KIB);
  t.is(gauge.leftBytes(1000 * KIB, 0), 200 * KIB);
  t.is(gauge.leftBytes(1150 * KIB, 0), 50 * KIB);
});

test('a batch that is under way counts as far as the device has taken it', (t) => {
  const gauge = new FlushGauge(300 * KIB, 0, 70 * KIB);
  t.is(gauge.leftBytes(0, 100 * KIB), 270 * KIB);
  t.is(gauge.leftBytes(0, 130 * KIB), 240 * KIB);
  // It is done, and had keys that were written over.
  t.is(gauge.leftBytes(100 * KIB, 130 * KIB), 200 * KIB);
  t.is(gauge.leftBytes(100 * KIB, 150 * KIB), 180 * KIB);
});

test('what is left never grows, though a batch is written again', (t) => {
  const gauge = new FlushGauge(300 * KIB, 0, 0);
  t.is(gauge.leftBytes(0, 90 * KIB), 210 * KIB);
  t.is(gauge.leftBytes(60 * KIB, 180 * KIB), 210 * KIB);
  t.is(gauge.leftBytes(60 * KIB, 220 * KIB), 200 * KIB);
});

test('something is left until the flush is done, however much was passed', (t) => {
  const gauge = new FlushGauge(300 * KIB, 0, 0);
  t.is(gauge.leftBytes(0, 300 * KIB), SECTOR_BYTES);
  t.is(gauge.leftBytes(500 * KIB, 800 * KIB), SECTOR_BYTES);
  t.is(new FlushGauge(0, 0, 0).leftBytes(0, 0), 0);
});
