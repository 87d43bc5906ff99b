// How long requests take: histograms in shared memory, a slice for each thread that answers requests, written without a lock like the counters.
//
// A request's time runs from when it was taken off the kernel's queue until its answer was written. A look at the clock takes 55 ns of a processor (in a VM of
// two cores), a 4 KiB request about 7 us, and two looks are needed: more than 1 %. So not every request is timed where there are many, which leaves 10 ns:
//
// - What is answered at once is timed one by one while a thread has fewer than BUSY_PER_SECOND of them; above, one in about SAMPLE_MEAN is, and counts for all
//   that came since the one before. Which one is left to chance, or a user who reads and writes in turn might have only their reads timed.
// - What goes through a lane is always timed. If it was not to be, its time begins when it was handed on: microseconds late, of what takes many more.
//
// So the totals are exact for a quiet volume, and estimates for a busy one. Nothing is allocated for a request that is not timed.

import { PcacheError } from '../errors.js';

/** Upper bounds of the buckets but the last, in microseconds, ascending. */
export const LATENCY_BOUNDS_US: readonly number[] = Object.freeze([
  ...[2, 5, 10, 20, 50, 100, 200, 500],
  ...[1000, 2000, 5000, 10_000, 20_000, 50_000, 100_000, 200_000, 500_000],
  ...[1_000_000, 2_000_000, 5_000_000, 10_000_000],
]);

/** What is timed; also the names of the histograms in `status --json` and of the operations in the metrics. */
export const LATENCY_OPS = ['read', 'write', 'flush'] as const;
export type LatencyOp = (typeof LATENCY_OPS)[number];

export interface LatencyHistogram {
  /** Requests, the sum of the buckets. */
  count: number;
  /** Time that they took together, microseconds. */
  sum_us: number;
  /** `buckets[i]`: requests that took no longer than LATENCY_BOUNDS_US[i], and longer than the bound before; the last one: longer than all bounds. */
  buckets: number[];
}

export type LatencyTotals = Record<LatencyOp, LatencyHistogram>;

/** Threads that answer more requests a second at once than this time a part of them. */
export const BUSY_PER_SECOND = 10_000;
/** One in so many is timed then, on average. */
export const SAMPLE_MEAN = 16;

const BUCKETS = LATENCY_BOUNDS_US.length + 1;
/** The sum, then the buckets. */
const OP_LENGTH = 1 + BUCKETS;
/** Whole cache lines. */
const SLICE_LENGTH = Math.ceil((LATENCY_OPS.length * OP_LENGTH) / 8) * 8;
/** How busy a thread is, is looked at after so many timed requests. */
const CHECK_EVERY = 16;
const US_PER_SECOND = 1e6;
const CALIBRATIONS = 16;

/** Structured-cloneable. */
export interface LatencyState {
  readonly slices: Float64Array<SharedArrayBuffer>;
  /** By request slot: when its time began, microseconds of `latencyClock`; written before the slot is handed on. */
  readonly begunUs: Float64Array<SharedArrayBuffer>;
}

/** `threads`: writers, 1 or more; `slotCount`: request slots. */
export function createLatency(threads: number, slotCount: number): LatencyState {
  const doubles = (length: number): Float64Array<SharedArrayBuffer> => new Float64Array(new SharedArrayBuffer(length * 8));
  return { slices: doubles(threads * SLICE_LENGTH), begunUs: doubles(slotCount) };
}

/** The histograms of all threads together. */
export function sumLatency({ slices }: LatencyState): LatencyTotals {
  return Object.fromEntries(LATENCY_OPS.map((op, place) => [op, sumOf(slices, place * OP_LENGTH)])) as LatencyTotals;
}

function sumOf(slices: Float64Array, start: number): LatencyHistogram {
  const sum = (place: number): number => {
    let total = 0;
    for (let at = start + place; at < slices.length; at += SLICE_LENGTH) total += slices[at]!;
    return total;
  };
  const buckets = Array.from({ length: BUCKETS }, (_, bucket) => sum(1 + bucket));
  return { count: buckets.reduce((total, requests) => total + requests, 0), sum_us: Math.round(sum(0)), buckets };
}

/** The least bound that a share `quantile` of the requests, 0 to 1, stayed within, microseconds; undefined if there is none, or no requests. */
export function latencyQuantileBoundUs({ count, buckets }: LatencyHistogram, quantile: number): number | undefined {
  let below = 0;
  const bucket = buckets.findIndex((requests) => (below += requests) > 0 && below >= count * quantile);
  return bucket < 0 ? undefined : LATENCY_BOUNDS_US[bucket];
}

/**
 * Microseconds of a clock that never goes back and is the same in all threads. `performance.now()` alone begins anew with each thread; `process.hrtime()`, which is
 * the same in all, allocates an array.
 */
export function latencyClock(): () => number {
  let offsetUs = 0;
  let leastGapMs = Infinity;
  // This thread may be interrupted between two looks: the pair that is closest together counts.
  for (let attempt = 0; attempt < CALIBRATIONS; attempt++) {
    const beforeMs = performance.now();
    const [seconds, nanoseconds] = process.hrtime();
    const afterMs = performance.now();
    if (afterMs - beforeMs >= leastGapMs) continue;
    leastGapMs = afterMs - beforeMs;
    offsetUs = seconds * US_PER_SECOND + nanoseconds / 1000 - (beforeMs + afterMs) * 500;
  }
  return () => performance.now() * 1000 + offsetUs;
}

/** Places of the operations, for `finish`; OTHER is not timed. */
export const LATENCY_PLACE = Object.freeze({ read: 0, write: 1, flush: 2, other: -1 });

/** One thread's hand at the histograms. */
export class LatencyRecorder {
  readonly #slice: Float64Array;
  readonly #begunUs: Float64Array;
  readonly #clock: () => number;
  /** Requests until the next that is timed, itself included, and what that began with: so many it will count for. */
  #left = 1;
  #interval = 1;
  /** What the request at hand counts for. */
  #weight = 1;
  /** When the request at hand came; 0 if it is not timed. */
  #nowUs = 0;
  #isBusy = false;
  #checkLeft = CHECK_EVERY;
  #checkedUs: number;
  /** Requests since then, those that are not timed included. */
  #sinceCheck = 0;
  #random = 0x2545_f491;

  /**
   * @param thread its slice, from 0; only one thread may write to it. @param clock microseconds, the same in all threads
   * Throws PcacheError `internal` if there is no such slice.
   */
  constructor(state: LatencyState, thread: number, clock: () => number = latencyClock()) {
    const start = thread * SLICE_LENGTH;
    if (!(Number.isInteger(thread) && thread >= 0 && start < state.slices.length)) {
      throw new PcacheError('internal', `latency: there is no writer ${thread}`);
    }
    this.#slice = state.slices.subarray(start, start + SLICE_LENGTH);
    this.#begunUs = state.begunUs;
    this.#clock = clock;
    this.#checkedUs = clock();
  }

  /** Whether the request at hand is timed. */
  get isTiming(): boolean {
    return this.#nowUs !== 0;
  }

  /** A request was taken off the kernel's queue. It is answered at once (`finish`), or handed on, before the next comes. */
  arrive(): void {
    if (--this.#left === 0) this.#beginTiming();
    else this.#nowUs = 0;
  }

  /** The request at hand goes to another thread with its slot: called before it does. */
  handOn(slot: number): void {
    this.#begunUs[slot] = this.#nowUs === 0 ? this.#clock() : this.#nowUs;
    this.#nowUs = 0;
  }

  /** The request at hand was answered. @param place see LATENCY_PLACE */
  finish(place: number): void {
    if (this.#nowUs === 0) return;
    if (place >= 0) this.#add(place, this.#clock() - this.#nowUs, this.#weight);
    this.#nowUs = 0;
  }

  /** A request that was handed on was answered, by this thread, which has the slot. */
  finishSlot(slot: number, place: number): void {
    if (place >= 0) this.#add(place, this.#clock() - this.#begunUs[slot]!, 1);
  }

  #beginTiming(): void {
    const nowUs = this.#clock();
    this.#nowUs = nowUs;
    this.#weight = this.#interval;
    this.#sinceCheck += this.#weight;
    if (--this.#checkLeft === 0) {
      this.#isBusy = this.#sinceCheck * US_PER_SECOND > (nowUs - this.#checkedUs) * BUSY_PER_SECOND;
      this.#checkLeft = CHECK_EVERY;
      this.#checkedUs = nowUs;
      this.#sinceCheck = 0;
    }
    this.#interval = this.#isBusy ? this.#draw() : 1;
    this.#left = this.#interval;
  }

  /** SAMPLE_MEAN / 2 + 1 to SAMPLE_MEAN * 3 / 2, as likely as each other (xorshift32). */
  #draw(): number {
    let x = this.#random;
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    this.#random = x;
    return SAMPLE_MEAN / 2 + 1 + ((x >>> 8) & (SAMPLE_MEAN - 1));
  }

  #add(place: number, us: number, weight: number): void {
    const start = place * OP_LENGTH;
    let bucket = 0;
    // Clocks of two threads agree but for a microsecond.
    if (us < 0) us = 0;
    while (bucket < BUCKETS - 1 && us > LATENCY_BOUNDS_US[bucket]!) bucket++;
    this.#slice[start]! += us * weight;
    this.#slice[start + 1 + bucket]! += weight;
  }
}
