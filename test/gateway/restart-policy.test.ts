import test from 'ava';
import { RestartPolicy } from '../../src/gateway/restart-policy.js';

test('the fifth death within a minute is the last', (t) => {
  const policy = new RestartPolicy();
  t.deepEqual(
    [0, 10_000, 20_000, 30_000, 59_999].map((ms) => policy.shouldRestart(ms)),
    [true, true, true, true, false],
  );
});

test('deaths a minute ago no longer count', (t) => {
  const policy = new RestartPolicy();
  t.deepEqual(
    [0, 10_000, 20_000, 30_000, 60_000, 69_999].map((ms) => policy.shouldRestart(ms)),
    [true, true, true, true, true, false],
  );
});
