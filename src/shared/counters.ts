// Counters that every worker adds to and anybody may read, without a lock or an atomic.
//
// Each worker has a slice of its own in one SharedArrayBuffer and is the only one to write it, so `slice[COUNTER.reads]! += 1` is enough.
// A reader may see a counter a moment late, and two counters of one moment apart; it never sees a torn one, since a double is stored whole
// on the 64-bit machines this runs on. Counters are exact up to 2^53. A slice starts on a cache line of its own.

import { PcacheError } from '../errors.js';

/** Every counter, once. The names are those of `status --json`, `stats.json` and the metrics; those with `_bytes` count bytes. */
export const COUNTER_NAMES = [
  'reads',
  'read_bytes',
  'read_hits',
  'read_misses',
  'read_partial_hits',
  'read_errors',
  'writes',
  'write_bytes',
  'write_hits',
  'write_misses',
  'write_partial_hits',
  'write_errors',
  'flushes',
  'flush_errors',
  'discards',
  'discard_bytes',
  'writeback_bytes',
  'writeback_keys',
  'writeback_errors',
  'gc_segments',
  'gc_ksets',
  'ksets_closed',
  'corrupt_keys',
  'cache_full_waits',
  'fills',
  'fill_bytes',
  'read_ahead_bytes',
] as const;

export type CounterName = (typeof COUNTER_NAMES)[number];
/** The sum of each counter over all threads. Those with `_bytes` in their name count bytes, the others requests, keys, ksets, segments or errors. */
export type CounterTotals = Record<CounterName, number>;

/** The place of each counter in a worker's slice. */
export const COUNTER: Readonly<Record<CounterName, number>> = Object.freeze(tableOf((_, place) => place));

/** Doubles in a slice: whole cache lines. */
const SLICE_LENGTH = Math.ceil(COUNTER_NAMES.length / 8) * 8;

/** New counters, all 0, for `workers` writers (1 or more), on a SharedArrayBuffer: other threads attach by being sent the array. */
export function createCounters(workers: number): Float64Array<SharedArrayBuffer> {
  return new Float64Array(new SharedArrayBuffer(workers * SLICE_LENGTH * Float64Array.BYTES_PER_ELEMENT));
}

/** The slice of writer `worker` (from 0); only one thread may write to it. Throws PcacheError `internal` if there is no such writer. */
export function countersOf(counters: Float64Array, worker: number): Float64Array {
  if (!Number.isInteger(worker) || worker < 0 || (worker + 1) * SLICE_LENGTH > counters.length) {
    throw new PcacheError('internal', `counters: there is no writer ${worker}`);
  }
  return counters.subarray(worker * SLICE_LENGTH, (worker + 1) * SLICE_LENGTH);
}

/** How many writers there are slices for. */
export function counterSlicesOf(counters: Float64Array): number {
  return counters.length / SLICE_LENGTH;
}

/** The sum over all writers, by name. */
export function sumCounters(counters: Float64Array): CounterTotals {
  return tableOf((_, place) => {
    let sum = 0;
    for (let at = place; at < counters.length; at += SLICE_LENGTH) sum += counters[at]!;
    return sum;
  });
}

function tableOf(value: (name: CounterName, place: number) => number): CounterTotals {
  return Object.fromEntries(COUNTER_NAMES.map((name, place) => [name, value(name, place)])) as CounterTotals;
}
