// What the monitor remembers of a gateway: the last ten minutes of its counters, taken about once a second, and what follows from them: rates,
// hit ratios, latency and the series of the graphs. Pure: time is handed in.
//
// Invariant: totals only grow. The counters of a gateway start again at 0 with a new engine; what the old one counted is carried on, so that no
// rate is negative and windows reach across a restart. What an engine counted between its last answer and its death is lost.

import type { StatusSnapshot } from '../gateway/status.js';
import { addLatency, latencyBetween, percentile, type LatencyCounts, type Percentile } from './latency.js';

const COUNTERS = [
  'reads',
  'read_bytes',
  'read_hits',
  'writes',
  'write_bytes',
  'write_hits',
  'write_misses',
  'write_partial_hits',
  'flushes',
  'read_errors',
  'write_errors',
  'flush_errors',
  'writeback_bytes',
  'writeback_errors',
  'gc_segments',
  'gc_ksets',
  'writeback_keys',
  'cache_full_waits',
] as const satisfies readonly (keyof StatusSnapshot)[];
type Counter = (typeof COUNTERS)[number];
type Totals = Readonly<Record<Counter, number>>;

export const OPS = ['read', 'write', 'flush'] as const;
export type Op = (typeof OPS)[number];
type Latencies = Readonly<Record<Op, LatencyCounts>>;

export const WINDOWS_MS = { '10 s': 10_000, '1 min': 60_000, '10 min': 600_000 } as const;
/** Over which the figures of a table are taken that would flicker from second to second. */
export const FIGURES_MS = 10_000;

const KEPT_MS = 600_000;
const INTERVAL_MS = 1000;
const POINTS_MAX = 600;

interface Sample {
  readonly timeMs: number;
  readonly totals: Totals;
  /** Since the sample before. */
  readonly latency: Latencies;
}

/** A second of the graphs; rates are per second, latency in microseconds. */
export interface Point {
  readonly reads: number;
  readonly writes: number;
  readonly flushes: number;
  readonly readBytes: number;
  readonly writeBytes: number;
  readonly writebackBytes: number;
  readonly gcSegments: number;
  readonly dirtyBytes: number;
  readonly readP50: number | null;
  readonly writeP50: number | null;
  readonly flushP50: number | null;
  readonly readP99: number | null;
  readonly writeP99: number | null;
  readonly flushP99: number | null;
}

/** What happened in the last seconds. */
export interface Interval {
  /** How long it is; shorter than asked for if the monitor has not run that long. */
  readonly seconds: number;
  readonly counts: Totals;
}

export class History {
  readonly #boundsUs: readonly number[];
  readonly #samples: Sample[] = [];
  readonly #points: (Point | null)[] = [];
  #latest: StatusSnapshot | undefined;
  /** Of the last sample. */
  #sampled: StatusSnapshot | undefined;

  /** `boundsUs`: those of the gateway's latency histograms. */
  constructor(boundsUs: readonly number[]) {
    this.#boundsUs = boundsUs;
  }

  /** The last status; undefined before the first. */
  get latest(): StatusSnapshot | undefined {
    return this.#latest;
  }

  /** A status between those that are taken regularly: what it says counts, but it is no point of the graphs. */
  look(status: StatusSnapshot): void {
    this.#latest = status;
  }

  /** `timeMs` is of a clock that never goes back. */
  push(status: StatusSnapshot, timeMs: number): void {
    const before = this.#sampled;
    const last = this.#samples.at(-1);
    this.#latest = status;
    this.#sampled = status;
    if (before === undefined || last === undefined) {
      this.#samples.push({ timeMs, totals: countersOf(status), latency: { read: [], write: [], flush: [] } });
      return;
    }
    const seconds = (timeMs - last.timeMs) / 1000;
    if (seconds <= 0) return;
    const isNewEngine = before.engine_pid !== status.engine_pid || COUNTERS.some((name) => status[name] < before[name]);
    const sample: Sample = {
      timeMs,
      totals: tableOf((name) => last.totals[name] + status[name] - (isNewEngine ? 0 : before[name])),
      latency: latenciesOf((op) => latencyBetween(isNewEngine ? undefined : before.latency[op], status.latency[op])),
    };
    this.#samples.push(sample);
    while (this.#samples.length > 2 && timeMs - this.#samples[1]!.timeMs >= KEPT_MS) this.#samples.shift();
    for (let missed = Math.round((timeMs - last.timeMs) / INTERVAL_MS) - 1; missed > 0 && missed < POINTS_MAX; missed--)
      this.#points.push(null);
    this.#points.push(this.#pointOf(status, last, sample, seconds));
    this.#points.splice(0, Math.max(0, this.#points.length - POINTS_MAX));
  }

  /** The last `windowMs`; undefined before there are two samples. */
  interval(windowMs: number): Interval | undefined {
    const last = this.#samples.at(-1);
    if (last === undefined) return undefined;
    const first = this.#samples[this.#startOf(last.timeMs - windowMs)]!;
    if (first === last) return undefined;
    return { seconds: (last.timeMs - first.timeMs) / 1000, counts: tableOf((name) => last.totals[name] - first.totals[name]) };
  }

  /** Things a second over the last `windowMs`; undefined if not known yet. */
  rate(name: Counter, windowMs = FIGURES_MS): number | undefined {
    const interval = this.interval(windowMs);
    return interval === undefined ? undefined : interval.counts[name] / interval.seconds;
  }

  /** The share of reads in the last `windowMs` that were answered from the cache alone; undefined if there was none. */
  readHits(windowMs: number): number | undefined {
    const counts = this.interval(windowMs)?.counts;
    return counts === undefined || counts.reads === 0 ? undefined : Math.min(1, counts.read_hits / counts.reads);
  }

  /** The share of writes in the last `windowMs` that wrote over data in the cache alone; undefined if there was none. */
  writeHits(windowMs: number): number | undefined {
    const counts = this.interval(windowMs)?.counts;
    if (counts === undefined) return undefined;
    const lookups = counts.write_hits + counts.write_misses + counts.write_partial_hits;
    return lookups === 0 ? undefined : counts.write_hits / lookups;
  }

  /** The time that a `share` of the last `windowMs`' requests took at most; undefined if there was none. */
  latency(op: Op, share: number, windowMs = FIGURES_MS): Percentile | undefined {
    const last = this.#samples.at(-1);
    if (last === undefined) return undefined;
    const counts = this.#samples
      .slice(this.#startOf(last.timeMs - windowMs) + 1)
      .reduce<LatencyCounts>((sum, { latency }) => addLatency(sum, latency[op]), []);
    return percentile(counts, share, this.#boundsUs);
  }

  /** One value a second, oldest first; null where none was taken. */
  series(name: keyof Point): (number | null)[] {
    return this.#points.map((point) => point?.[name] ?? null);
  }

  /** The index of the latest sample that is not after `timeMs`, or the first. */
  #startOf(timeMs: number): number {
    return Math.max(
      0,
      // A sample that is some milliseconds late is still the one of its second.
      this.#samples.findLastIndex((sample) => sample.timeMs <= timeMs + INTERVAL_MS / 2),
    );
  }

  #pointOf(status: StatusSnapshot, last: Sample, sample: Sample, seconds: number): Point {
    const rate = (name: Counter): number => (sample.totals[name] - last.totals[name]) / seconds;
    const within = (op: Op, share: number): number | null => percentile(sample.latency[op], share, this.#boundsUs)?.us ?? null;
    return {
      reads: rate('reads'),
      writes: rate('writes'),
      flushes: rate('flushes'),
      readBytes: rate('read_bytes'),
      writeBytes: rate('write_bytes'),
      writebackBytes: rate('writeback_bytes'),
      gcSegments: rate('gc_segments'),
      dirtyBytes: status.dirty_bytes,
      readP50: within('read', 0.5),
      writeP50: within('write', 0.5),
      flushP50: within('flush', 0.5),
      readP99: within('read', 0.99),
      writeP99: within('write', 0.99),
      flushP99: within('flush', 0.99),
    };
  }
}

function countersOf(status: StatusSnapshot): Totals {
  return tableOf((name) => status[name]);
}

function tableOf(value: (name: Counter) => number): Totals {
  return Object.fromEntries(COUNTERS.map((name) => [name, value(name)])) as Totals;
}

function latenciesOf(value: (op: Op) => LatencyCounts): Latencies {
  return { read: value('read'), write: value('write'), flush: value('flush') };
}
