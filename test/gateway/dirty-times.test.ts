import test from 'ava';
import { DirtyTimes, createDirtyTimes } from '../../src/gateway/dirty-times.js';

/** Of an engine that found ksets up to 99, which count from 1000. */
function times(): DirtyTimes {
  return new DirtyTimes(createDirtyTimes(100, 1000));
}

/** Later than the entry that is made with the list. */
const START_MS = Date.now() + 10_000;

test('what was dirty before the engine counts from the time it was given', (t) => {
  const dirty = times();
  t.is(dirty.since(0), 1000);
  t.is(dirty.since(98), 1000);
  t.true(dirty.since(99) > 1000);
});

test('the time is that of the first kset that is not written back', (t) => {
  const dirty = times();
  for (let kset = 0; kset < 20; kset++) dirty.note(101 + kset, START_MS + kset * 1000, 100);
  for (let kset = 0; kset < 20; kset++) t.is(dirty.since(100 + kset), START_MS + kset * 1000);
});

test('a kset that is not open yet is opened later: its time goes on until it is', (t) => {
  const dirty = times();
  for (const ms of [0, 250, 500]) dirty.note(101, START_MS + ms);
  t.is(dirty.since(100), START_MS + 500);
});

test('a time is never later than the truth, nor more than a tenth of a second before it, while there is room', (t) => {
  const dirty = times();
  for (let kset = 0; kset < 300; kset++) dirty.note(101 + kset, START_MS + kset * 7, 100);
  for (let kset = 0; kset < 300; kset++) {
    const earlyMs = START_MS + kset * 7 - dirty.since(100 + kset);
    t.true(earlyMs >= 0 && earlyMs <= 107, `${earlyMs} ms early`);
  }
});

test('however long it goes on, a time is early by a small part of the age at most, and what was written back makes room', (t) => {
  const ksets = 50_000;
  const trueMs = (kset: number): number => START_MS + kset * 200;
  // Nothing is ever written back, or all but the last minute, or all until the device fails in the middle.
  for (const written of [() => 0, (kset: number) => kset - 300, (kset: number) => Math.min(kset - 300, ksets / 2)]) {
    const dirty = times();
    for (let kset = 0; kset < ksets; kset++) dirty.note(101 + kset, trueMs(kset), 100 + Math.max(0, written(kset)));
    const oldest = Math.max(0, written(ksets));
    const limitMs = Math.max(300, (trueMs(ksets) - trueMs(oldest)) / 50);
    for (let kset = oldest; kset < ksets; kset += 97) {
      const earlyMs = trueMs(kset) - dirty.since(100 + kset);
      t.true(earlyMs >= 0 && earlyMs <= limitMs, `kset ${kset}: ${earlyMs} ms early, at most ${limitMs}`);
    }
  }
});
