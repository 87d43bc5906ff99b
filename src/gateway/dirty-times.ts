// When the oldest write that the backing device lacks was made. The log worker notes, on each of its rounds, when the open kset was opened, or that it is not
// yet; what is dirty is the ksets after the newest that was written back, so the time of the first of them is what is asked for.
//
// Invariants:
// - The list has a bound. So ksets are noted the more seldom the older the oldest is that is dirty, and when it is full every other entry is left out, but for the
//   first two: what was there before this engine, and its beginning.
// - A kset that is not in the list counts as old as the one before it that is. So an answer is never later than the truth; it is earlier by SPACING_MS and the log
//   worker's tick at most, or by about a hundredth of the age that the oldest had when that kset was opened.
// - Whatever has a sequence below the first entry's was there before this engine, and counts from the time that the engine was given.

import { lock, unlock } from '../shared/mutex.js';

const ENTRIES = 512;
/** Entries are so far apart at least, and so large a part of the age of the oldest that is dirty. */
const SPACING_MS = 100;
const SPACING_SHARE = 1 / 256;
const LOCK = 0;
const COUNT = 1;

export interface DirtyTimesState {
  readonly words: Int32Array<SharedArrayBuffer>;
  /** Pairs: sequence, milliseconds since 1970; both ascend. */
  readonly entries: Float64Array<SharedArrayBuffer>;
}

/** @param sequence of the open kset; @param sinceMs for all that is older, milliseconds since 1970 */
export function createDirtyTimes(sequence: number, sinceMs: number): DirtyTimesState {
  const state = {
    words: new Int32Array(new SharedArrayBuffer(8)),
    entries: new Float64Array(new SharedArrayBuffer(ENTRIES * 16)),
  };
  state.entries[0] = 0;
  state.entries[1] = sinceMs;
  state.words[COUNT] = 1;
  new DirtyTimes(state).note(sequence, Date.now());
  return state;
}

export class DirtyTimes {
  readonly #words: Int32Array;
  readonly #entries: Float64Array;

  constructor({ words, entries }: DirtyTimesState) {
    this.#words = words;
    this.#entries = entries;
  }

  /**
   * The kset with this sequence is open since then, or will be later than that. By one thread.
   * @param writtenSequence of the newest kset that was written back: what is about older ones is forgotten
   */
  note(sequence: number, sinceMs: number, writtenSequence = 0): void {
    const words = this.#words;
    const entries = this.#entries;
    lock(words, LOCK);
    const last = words[COUNT]! - 1;
    if (entries[last * 2] === sequence) {
      entries[last * 2 + 1] = Math.max(sinceMs, entries[last * 2 + 1]!);
    } else if (last === 0 || sinceMs - entries[last * 2 + 1]! >= this.#spacingMs(sinceMs, writtenSequence)) {
      if (last + 1 === ENTRIES) this.#forget(writtenSequence);
      if (words[COUNT] === ENTRIES) this.#thin();
      const at = words[COUNT]! * 2;
      entries[at] = sequence;
      entries[at + 1] = sinceMs;
      words[COUNT]! += 1;
    }
    unlock(words, LOCK);
  }

  /** When the first kset after `writtenSequence` was opened, or earlier; milliseconds since 1970. */
  since(writtenSequence: number): number {
    const words = this.#words;
    const entries = this.#entries;
    lock(words, LOCK);
    const at = this.#placeOf(writtenSequence + 1);
    const sinceMs = entries[at * 2 + 1]!;
    unlock(words, LOCK);
    return sinceMs;
  }

  #spacingMs(nowMs: number, writtenSequence: number): number {
    // What was there before this engine may be of any age.
    const oldest = Math.max(1, this.#placeOf(writtenSequence + 1));
    return Math.max(SPACING_MS, (nowMs - this.#entries[oldest * 2 + 1]!) * SPACING_SHARE);
  }

  /** The last entry whose sequence is not above this one. */
  #placeOf(sequence: number): number {
    let low = 0;
    let high = this.#words[COUNT]! - 1;
    while (low < high) {
      const middle = Math.ceil((low + high) / 2);
      if (this.#entries[middle * 2]! <= sequence) low = middle;
      else high = middle - 1;
    }
    return low;
  }

  #forget(writtenSequence: number): void {
    const first = this.#placeOf(writtenSequence + 1);
    this.#entries.copyWithin(0, first * 2, this.#words[COUNT]! * 2);
    this.#words[COUNT]! -= first;
  }

  #thin(): void {
    const entries = this.#entries;
    let kept = 0;
    for (let at = 0; at < ENTRIES; at++) {
      if (at >= 2 && at % 2 === 0) continue;
      entries[kept * 2] = entries[at * 2]!;
      entries[kept * 2 + 1] = entries[at * 2 + 1]!;
      kept++;
    }
    this.#words[COUNT] = kept;
  }
}
