// Latency from histograms: the difference of two of them tells what happened between, a percentile is read off the result. A percentile is an
// estimate: it lies in the right bucket, and within that as if the requests there were spread evenly over the logarithm of their time.

import type { StatusSnapshot } from '../gateway/status.js';

type LatencyHistogram = StatusSnapshot['latency']['read'];

/** Requests of an interval by time taken: `counts[i]` took `boundsUs[i]` at most and more than the bound before; the last, more than all. */
export type LatencyCounts = readonly number[];

/** What came to `earlier` until it was `later`; undefined for a histogram of before a restart of its counters, or of another shape. */
export function latencyBetween(earlier: LatencyHistogram | undefined, later: LatencyHistogram): LatencyCounts {
  if (earlier?.buckets.length !== later.buckets.length || earlier.count > later.count) return later.buckets;
  return later.buckets.map((count, bucket) => Math.max(0, count - earlier.buckets[bucket]!));
}

export function addLatency(a: LatencyCounts, b: LatencyCounts): LatencyCounts {
  const [longer, shorter] = a.length >= b.length ? [a, b] : [b, a];
  return longer.map((count, bucket) => count + (shorter[bucket] ?? 0));
}

export interface Percentile {
  readonly us: number;
  /** It took longer than the last bound, which is `us`. */
  readonly isBeyond: boolean;
}

/** The time that a `share` (0 to 1) of the requests took at most; undefined if there was none. */
export function percentile(counts: LatencyCounts, share: number, boundsUs: readonly number[]): Percentile | undefined {
  const total = counts.reduce((sum, count) => sum + count, 0);
  if (total === 0) return undefined;
  const wanted = Math.max(1, total * share);
  let below = 0;
  for (const [bucket, count] of counts.entries()) {
    if (below + count < wanted || count === 0) {
      below += count;
      continue;
    }
    const high = boundsUs[bucket];
    if (high === undefined) return { us: boundsUs.at(-1) ?? 0, isBeyond: true };
    const low = bucket === 0 ? high / 2 : boundsUs[bucket - 1]!;
    return { us: low * (high / low) ** ((wanted - below) / count), isBeyond: false };
  }
  return { us: boundsUs.at(-1) ?? 0, isBeyond: true };
}
