import test from 'ava';
import { bytesText, durationText, latencyText, percentText, rateText } from '../../src/monitor/figures.js';

test('bytes have three digits and a unit', (t) => {
  t.deepEqual([0, 1, 999, 1000, 1536, 412 * 2 ** 20, 64 * 2 ** 30, 2 ** 44].map(bytesText), [
    ...['0 B', '1 B', '999 B', '0.98 KiB', '1.50 KiB', '412 MiB', '64.0 GiB', '16.0 TiB'],
  ]);
});

test('no figure is wider than ten characters', (t) => {
  for (let value = 0.001; value < 2 ** 50; value *= 1.07) {
    t.true(bytesText(value).length <= 8, bytesText(value));
    if (value < 1e9) t.true(rateText(value).length <= 10, rateText(value));
    if (value < 1e10) t.true(latencyText(value, 'u').length <= 10, latencyText(value, 'u'));
  }
});

test('rates, latency and shares', (t) => {
  t.deepEqual([undefined, 0, 0.01, 0.4, 9.96, 812, 9999, 12_345, 1.2e6].map(rateText), [
    ...['-', '0', '<0.1', '0.4', '10', '812', '9999', '12.3k', '1.20M'],
  ]);
  t.deepEqual(
    [undefined, 4.2, 42, 1200, 8e6].map((us) => latencyText(us, 'u')),
    ['-', '4.2 us', '42 us', '1.20 ms', '8.00 s'],
  );
});

test('a share is 0 or 100 % only if it is', (t) => {
  t.deepEqual([undefined, 0, 0.00001, 0.5, 0.99999, 1].map(percentText), ['-', '0 %', '0.1 %', '50.0 %', '99.9 %', '100 %']);
});

test('durations', (t) => {
  t.deepEqual([-5, 0, 3.4, 125, 3840, 273_600].map(durationText), ['0 s', '0 s', '3 s', '2 min 05 s', '1 h 04 min', '3 d 04 h']);
});
