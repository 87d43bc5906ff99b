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

test('how many deaths in how long is up to whoever makes it', (t) => {
  const policy = new RestartPolicy(2, 100);
  t.deepEqual(
    [0, 150, 300, 350].map((ms) => policy.shouldRestart(ms)),
    [true, true, true, false],
  );
});
