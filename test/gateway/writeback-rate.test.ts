import test from 'ava';
import { WritebackRate } from '../../src/gateway/writeback-rate.js';

test('the rate is that of the last five seconds, 0 before there is anything to go by', (t) => {
  const rate = new WritebackRate();
  t.is(rate.bytesPerSecond(0, 0), 0);
  t.is(rate.bytesPerSecond(400, 1000), 0);
  let bytes = 0;
  for (let ms = 500; ms <= 20_000; ms += 100) {
    bytes += 1000;
    const now = rate.bytesPerSecond(ms, bytes);
    if (ms > 6000) t.true(Math.abs(now - 10_000) < 300, `${now} at ${ms}`);
  }
  for (let ms = 20_100; ms <= 26_000; ms += 100) rate.bytesPerSecond(ms, bytes);
  t.is(rate.bytesPerSecond(26_100, bytes), 0);
});

test('a burst is spread over the time looked at', (t) => {
  const rate = new WritebackRate();
  for (let ms = 0; ms <= 10_000; ms += 250) rate.bytesPerSecond(ms, 0);
  const now = rate.bytesPerSecond(10_250, 64 << 20);
  t.true(now > (64 << 20) / 6 && now < (64 << 20) / 4);
});

test('a clock that is set back leaves no nonsense', (t) => {
  const rate = new WritebackRate();
  for (let ms = 100_000; ms <= 105_000; ms += 500) rate.bytesPerSecond(ms, ms);
  t.is(rate.bytesPerSecond(1000, 105_000), 0);
  t.is(rate.bytesPerSecond(2000, 107_000), 2000);
});

test('what is taken back does not count, nor is it missed afterwards', (t) => {
  const rate = new WritebackRate();
  for (let ms = 0; ms <= 2000; ms += 500) rate.bytesPerSecond(ms, 1000 * ms);
  t.is(rate.bytesPerSecond(2500, 0), 0);
  for (let ms = 3000; ms <= 4000; ms += 500) t.is(rate.bytesPerSecond(ms, 0), 0);
  t.is(rate.bytesPerSecond(4500, 4500), 1000);
});
