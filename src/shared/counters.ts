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
] as const;

export type CounterName = (typeof COUNTER_NAMES)[number];
export type CounterTotals = Record<CounterName, number>;

/** The place of each counter in a worker's slice. */
export const COUNTER: Readonly<Record<CounterName, number>> = Object.freeze(tableOf((_, place) => place));

/** Doubles in a slice: whole cache lines. */
const SLICE_LENGTH = Math.ceil(COUNTER_NAMES.length / 8) * 8;
const SLICE_BYTES = SLICE_LENGTH * Float64Array.BYTES_PER_ELEMENT;

/** New counters, all 0, for `workers` writers (1 or more). The result is what other threads need; it is structured-cloneable. */
export function createCounters(workers: number): SharedArrayBuffer {
  return new SharedArrayBuffer(workers * SLICE_BYTES);
}

/** The slice of writer `worker` (from 0); only one thread may write to it. Throws PcacheError `internal` if there is no such writer. */
export function countersOf(counters: SharedArrayBuffer, worker: number): Float64Array {
  if (!Number.isInteger(worker) || worker < 0 || (worker + 1) * SLICE_BYTES > counters.byteLength) {
    throw new PcacheError('internal', `counters: there is no writer ${worker}`);
  }
  return new Float64Array(counters, worker * SLICE_BYTES, SLICE_LENGTH);
}

/** The sum over all writers, by name. */
export function sumCounters(counters: SharedArrayBuffer): CounterTotals {
  const all = new Float64Array(counters);
  return tableOf((_, place) => {
    let sum = 0;
    for (let at = place; at < all.length; at += SLICE_LENGTH) sum += all[at]!;
    return sum;
  });
}

function tableOf(value: (name: CounterName, place: number) => number): CounterTotals {
  return Object.fromEntries(COUNTER_NAMES.map((name, place) => [name, value(name, place)])) as CounterTotals;
}
