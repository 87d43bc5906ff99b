// What the log worker notes on each of its rounds, for the status: when the open kset was opened, which segments may hold dirty data, and how fast writing
// back goes.

import { NumberWord, Word } from '../cache/shared-state.js';
import { lock, unlock } from '../shared/mutex.js';
import { DirtySegments } from './dirty-segments.js';
import { DirtyTimes } from './dirty-times.js';
import { GatewayNumber } from './gateway-shared.js';
import type { GatewayShared } from './gateway-shared.js';
import { WritebackRate } from './writeback-rate.js';

export class DirtyTracker {
  readonly #shared: GatewayShared;
  readonly #times: DirtyTimes;
  readonly #segments: DirtySegments;
  readonly #rate = new WritebackRate();

  constructor(shared: GatewayShared) {
    this.#shared = shared;
    this.#times = new DirtyTimes(shared.dirtyTimes);
    this.#segments = new DirtySegments(shared.cache, shared.dirtySegments);
  }

  round(nowMs = Date.now()): void {
    const { cache, numbers } = this.#shared;
    numbers[GatewayNumber.writebackRate] = this.#rate.bytesPerSecond(nowMs, numbers[GatewayNumber.writebackTaken]!);
    if (cache.readOnly) return;
    this.#segments.round(nowMs);
    lock(cache.words, Word.logLock);
    const sequence = cache.numbers[NumberWord.openSequence]!;
    const written = cache.numbers[NumberWord.writtenSequence]!;
    // A kset without a key is opened by the first, which is still to come.
    const sinceMs = cache.words[Word.openKeys] === 0 ? nowMs : Math.min(nowMs, cache.numbers[NumberWord.openedAtMs]!);
    unlock(cache.words, Word.logLock);
    this.#times.note(sequence, sinceMs, written);
  }
}
