import test from 'ava';
import { lock, tryLock, unlock } from '../../src/shared/mutex.js';
import { runWorkers, wordBecomes } from './run-workers.js';

const WORKER = new URL('./mutex-worker.js', import.meta.url);

function newWords(): Int32Array {
  return new Int32Array(new SharedArrayBuffer(32 * 4));
}

test('a free mutex is taken, refused while it is held, and free again', (t) => {
  const words = newWords();
  lock(words, 0);
  t.false(tryLock(words, 0));
  unlock(words, 0);
  t.true(tryLock(words, 0));
  unlock(words, 0);
  t.is(words[0], 0);
});

test('unlocking a free mutex is reported as a bug', (t) => {
  t.throws(() => unlock(newWords(), 3), { code: 'internal', message: 'mutex 3: unlocked while its word was 0' });
});

test('threads that count under one mutex lose no count', async (t) => {
  const words = newWords();
  const rounds = 100_000;
  await runWorkers(WORKER, Array(3).fill({ words, rounds, trying: true }));
  t.is(words[16], 3 * rounds);
  t.is(words[0], 0);
});

test('a thread that sleeps for a mutex is woken by unlock', async (t) => {
  const words = newWords();
  lock(words, 0);
  const sleepers = runWorkers(WORKER, Array(2).fill({ words, rounds: 1, trying: false }));
  // 2: held, and a thread has gone to sleep or is about to.
  await wordBecomes(words, 0, 2);
  t.is(words[16], 0, 'nobody comes in while the mutex is held');
  unlock(words, 0);
  await sleepers;
  t.is(words[16], 2);
  t.is(words[0], 0);
});
