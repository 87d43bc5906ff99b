// Scheduling points where no lock is: the collector frees segments, and readers pin them, by atomic words alone, also while somebody holds the lock of a
// subtree. Patched into the product's classes inside a simulated thread; `rememberClasses` (sim-bugs.ts) takes the patches back.

import { ExtentCursor } from '../../src/cache/extent-cursor.js';
import { SegmentTable } from '../../src/cache/segment-table.js';
import { SimWord, type SimTurns } from './sim-turns.js';

/** Chance in 100. */
const PAUSES = 8;

/** @param chance in 100 that such a place ends a step */
export function stepBetweenWords(turns: SimTurns, chance: number): void {
  const step = (): void => {
    if (turns.pick(100) < chance) turns.step();
  };
  /** Where a reader that is slow meets a segment that is freed, and perhaps in use again: it sleeps more often than elsewhere. */
  const pause = (): void => {
    if (turns.pick(100) < chance) turns.step();
    if (turns.pick(100) < PAUSES) turns.waitForEvent(-1, 0, turns.random() * turns.words[SimWord.stallMs]!);
  };
  const table = SegmentTable.prototype;
  /* eslint-disable @typescript-eslint/unbound-method -- they are called with the `this` they are called with */
  const { pin, unpin, isPinned, dropReference } = table;
  const { next } = ExtentCursor.prototype;
  /* eslint-enable @typescript-eslint/unbound-method */
  // Before a cursor compares an extent's generation, and after.
  ExtentCursor.prototype.next = function (this: ExtentCursor) {
    step();
    return next.call(this);
  };
  table.pin = function (this: SegmentTable, segment, generationLow) {
    pause();
    const isDone = pin.call(this, segment, generationLow);
    pause();
    return isDone;
  };
  table.unpin = function (this: SegmentTable, segment) {
    step();
    unpin.call(this, segment);
  };
  table.isPinned = function (this: SegmentTable, segment) {
    step();
    const is = isPinned.call(this, segment);
    step();
    return is;
  };
  table.dropReference = function (this: SegmentTable, segment) {
    step();
    dropReference.call(this, segment);
  };
}
