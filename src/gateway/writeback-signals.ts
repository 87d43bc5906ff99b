// What the pace of writing back goes by in an engine: the counters of all threads, the cache's words, and the processor time of this thread.

import * as fs from 'node:fs';
import { NumberWord, Word } from '../cache/shared-state.js';
import type { CacheShared } from '../cache/shared-state.js';
import { SEGMENT_BYTES } from '../media/layout.js';
import { COUNTER, countersOf } from '../shared/counters.js';
import type { PaceSignals } from './writeback-pace.js';

/** Counters that each request of a user moves. */
const REQUESTS = [COUNTER.reads, COUNTER.writes, COUNTER.discards] as const;

export class CachePaceSignals implements PaceSignals {
  readonly #shared: CacheShared;
  readonly #isFlushWanted: () => boolean;
  readonly #sliceLength: number;

  constructor(shared: CacheShared, isFlushWanted: () => boolean) {
    this.#shared = shared;
    this.#sliceLength = countersOf(shared.counters, 0).length;
    this.#isFlushWanted = isFlushWanted;
  }

  requests(): number {
    const { counters } = this.#shared;
    let sum = 0;
    for (let slice = 0; slice < counters.length; slice += this.#sliceLength) {
      for (const counter of REQUESTS) sum += counters[slice + counter]!;
    }
    return sum;
  }

  isRoomWanted(): boolean {
    return Atomics.load(this.#shared.words, Word.roomWaiters) > 0;
  }

  isFlushWanted(): boolean {
    return this.#isFlushWanted();
  }

  dirtyShare(): number {
    return this.#shared.numbers[NumberWord.dirtyBytes]! / (this.#shared.segmentCount * SEGMENT_BYTES);
  }

  gcShare(): number {
    return Atomics.load(this.#shared.words, Word.gcPercent) / 100;
  }
}

/**
 * Milliseconds of processor time that the calling thread has used, the kernel's work for it included. Where the system doesn't tell (no /proc, or no
 * statistics of the scheduler), time that has passed, which is never less.
 */
export function threadBusyClock(): () => number {
  const elapsed = (): number => performance.now();
  let fd: number;
  try {
    // The first number is nanoseconds on a processor: Documentation/scheduler/sched-stats of the kernel.
    fd = fs.openSync('/proc/thread-self/schedstat', 'r');
  } catch (error) {
    if (!(error instanceof Error)) throw error;
    return elapsed;
  }
  const text = Buffer.alloc(64);
  const read = (): number => {
    const length = fs.readSync(fd, text, 0, text.length, 0);
    let nanoseconds = 0;
    for (let at = 0; at < length && text[at]! >= 0x30 && text[at]! <= 0x39; at++) nanoseconds = nanoseconds * 10 + text[at]! - 0x30;
    return nanoseconds / 1e6;
  };
  if (read() > 0) return read;
  fs.closeSync(fd);
  return elapsed;
}
