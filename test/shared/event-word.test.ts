import test from 'ava';
import { epoch, EVENT_WORDS, signal, signalOne, wait } from '../../src/shared/event-word.js';
import { runWorkers, wordBecomes } from './run-workers.js';

const WORKER = new URL('./event-worker.js', import.meta.url);

function newWords(): Int32Array {
  return new Int32Array(new SharedArrayBuffer(16));
}

test('a signal since the epoch was read ends the wait at once', (t) => {
  const words = newWords();
  const seen = epoch(words, 0);
  signal(words, 0);
  t.true(wait(words, 0, seen, 60_000));
  t.is(epoch(words, 0), seen + 1);
});

test('a wait without a signal ends when its time has passed, and leaves no waiter counted', (t) => {
  const words = newWords();
  t.false(wait(words, 0, epoch(words, 0), 1));
  t.is(words[1], 0);
});

test('an event keeps to its words', (t) => {
  const words = newWords();
  signal(words, 1);
  signalOne(words, 1);
  wait(words, 1, epoch(words, 1), 0);
  t.is(EVENT_WORDS, 2);
  t.deepEqual([...words], [0, 2, 0, 0]);
});

test('the epoch wraps around', (t) => {
  const words = newWords();
  words[0] = 2 ** 31 - 1;
  const seen = epoch(words, 0);
  signal(words, 0);
  t.is(epoch(words, 0), -(2 ** 31));
  t.true(wait(words, 0, seen, 60_000));
});

test('a signal wakes every thread that waits', async (t) => {
  const words = newWords();
  const woken = runWorkers(WORKER, Array(3).fill({ words, side: 0, rounds: 0 }));
  await wordBecomes(words, 1, 3);
  signal(words, 0);
  t.deepEqual(await woken, [true, true, true]);
  t.is(words[1], 0);
});

test('each signalOne wakes one thread more', async (t) => {
  const words = newWords();
  const woken = runWorkers(WORKER, Array(2).fill({ words, side: 0, rounds: 0 }));
  await wordBecomes(words, 1, 2);
  // A waiter is counted a moment before it sleeps: should the signal come between, its wait finds another epoch, which is as good.
  signalOne(words, 0);
  signalOne(words, 0);
  t.deepEqual(await woken, [true, true]);
});

test('two threads that take turns never miss a wake-up', async (t) => {
  const words = newWords();
  const rounds = 5_000;
  await runWorkers(WORKER, [
    { words, side: 0, rounds },
    { words, side: 1, rounds },
  ]);
  t.is(words[2], rounds * 2);
});
