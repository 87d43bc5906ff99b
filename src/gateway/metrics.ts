// A StatusSnapshot in Prometheus' text format 0.0.4 (https://prometheus.io/docs/instrumenting/exposition_formats/). One row a family of metrics; counters
// end in _total, units are base units, what differs only in the kind of request differs in a label. Every sample carries the mount point, so that one scrape
// may hold several volumes. All figures come from the snapshot and are there once; what Prometheus can work out (rates, quantiles) is left to it.

import type { CounterName } from '../shared/counters.js';
import { LATENCY_BOUNDS_US, LATENCY_OPS } from '../shared/latency.js';
import type { GatewayState, StatusSnapshot } from './status.js';

type Labels = Readonly<Record<string, string>>;

interface Sample {
  /** Of its own, beside the mount point. */
  readonly labels?: Labels;
  readonly value: number;
  /** Behind the family's name. */
  readonly suffix?: '_bucket' | '_sum' | '_count';
}

interface Family {
  readonly name: string;
  readonly type: 'counter' | 'gauge' | 'histogram';
  readonly help: string;
  readonly samples: (status: StatusSnapshot, nowMs: number) => readonly Sample[];
}

/** What each counter counts; a counter without help is a compile error. Also the explanation of the names in `status --json`. */
export const counterHelp: Readonly<Record<CounterName, string>> = {
  reads: 'Read requests answered',
  read_bytes: 'Bytes read',
  read_hits: 'Read requests answered from the cache alone',
  read_misses: 'Read requests answered from the backing device alone',
  read_partial_hits: 'Read requests answered from both',
  read_errors: 'Read requests answered with an error',
  writes: 'Write requests answered',
  write_bytes: 'Bytes written',
  write_hits: 'Writes all of whose data replaced data in the cache',
  write_misses: 'Writes none of whose data replaced data in the cache',
  write_partial_hits: 'Writes part of whose data replaced data in the cache',
  write_errors: 'Write, discard and write-zeroes requests answered with an error',
  flushes: 'Flush requests',
  flush_errors: 'Flush requests answered with an error',
  discards: 'Discard and write-zeroes requests answered',
  discard_bytes: 'Bytes discarded or zeroed',
  writeback_bytes: 'Bytes written to the backing device',
  writeback_keys: 'Cache keys written to the backing device',
  writeback_errors: 'Attempts at writing back that failed because the backing device did',
  gc_segments: 'Segments that garbage collection freed',
  gc_ksets: 'Ksets that garbage collection passed',
  ksets_closed: 'Ksets closed and durable in the log, those that lead to the next segment included',
  corrupt_keys: 'Cache keys whose data CRC was wrong',
  cache_full_waits: 'Requests that had to wait for a free segment',
  fills: 'Read misses kept in the cache',
  fill_bytes: 'Bytes of read misses kept in the cache',
  read_ahead_bytes: 'Bytes read from the backing device before anybody asked for them',
};

const STATES: readonly GatewayState[] = ['serving', 'cache-full', 'backing-error', 'cache-error', 'stopping'];
const US_PER_SECOND = 1e6;

const families: readonly Family[] = [
  gauge('volume_bytes', 'Size of the volume', (status) => status.volume_bytes),
  gauge(
    'dirty_bytes',
    'Volume bytes whose newest data only the cache has, at most; each byte counts once, however often it was written over',
    (status) => status.dirty_bytes,
  ),
  gauge(
    'writeback_pending_bytes',
    'Bytes of writes that writing back has still to pass; data that was written over counts each time',
    (status) => status.writeback_pending_bytes,
  ),
  gauge(
    'dirty_age_seconds',
    'Age of the oldest acknowledged write that the backing device does not have yet, 0 if it has all',
    dirtyAgeSeconds,
  ),
  gauge('cached_bytes', 'Volume bytes answered from the cache', (status) => status.cached_bytes),
  gauge('segments', 'Segments of the cache', (status) => status.cache_segs),
  gauge('segments_used', 'Segments in use', (status) => status.segs_used),
  gauge('gc_threshold_ratio', 'Share of segments in use above which garbage is collected', (status) => status.gc_percent / 100),
  gauge('queue_workers', 'Threads that answer requests', (status) => status.workers),
  gauge('healthy', '1 if neither device fails', (status) => (status.last_error === null ? 1 : 0)),
  gauge('writeback_paused', '1 if writing back was told to pause', (status) => (status.writeback_paused ? 1 : 0)),
  gauge('unmount_wanted', '1 if the volume was told to end while it was in use, and is unmounted when its last user is gone', (status) =>
    status.unmount_wanted ? 1 : 0,
  ),
  gauge('start_time_seconds', 'When the volume was mounted, seconds since 1970', (status) => status.started_ms / 1000),
  {
    name: 'pcache_state',
    type: 'gauge',
    help: '1 for the state that the volume is in, 0 for the others.',
    samples: ({ state }) => STATES.map((each) => ({ labels: { state: each }, value: each === state ? 1 : 0 })),
  },
  counters('requests', 'Requests answered, by operation; failed ones are in pcache_request_errors_total, failed flushes in both', 'op', {
    read: 'reads',
    write: 'writes',
    flush: 'flushes',
    discard: 'discards',
  }),
  counters('request_errors', 'Requests answered with an error, by operation; those of discards are with the writes', 'op', {
    read: 'read_errors',
    write: 'write_errors',
    flush: 'flush_errors',
  }),
  counters('request_bytes', 'Bytes of requests, by operation', 'op', {
    read: 'read_bytes',
    write: 'write_bytes',
    discard: 'discard_bytes',
  }),
  counters('read_lookups', 'Looks into the cache for a read, by what it had: all of it, part of it, nothing', 'result', {
    hit: 'read_hits',
    partial: 'read_partial_hits',
    miss: 'read_misses',
  }),
  counters(
    'write_lookups',
    'Looks into the cache for a write, discards that wrote zeros included, by what the cache had of what was written over: all of it, part of it, nothing',
    'result',
    { hit: 'write_hits', partial: 'write_partial_hits', miss: 'write_misses' },
  ),
  {
    name: 'pcache_request_duration_seconds',
    type: 'histogram',
    help: 'Time from taking a request until its answer was written, by operation; an estimate from samples while a thread is busy.',
    samples: histogramSamples,
  },
  counter('backing_errors', 'writeback_errors'),
  ...(
    [
      ...['writeback_bytes', 'writeback_keys', 'gc_segments', 'gc_ksets', 'ksets_closed', 'corrupt_keys'],
      ...['cache_full_waits', 'fills', 'fill_bytes', 'read_ahead_bytes'],
    ] as CounterName[]
  ).map((name) => counter(name, name)),
  {
    name: 'pcache_engine_restarts_total',
    type: 'counter',
    help: 'How often the engine had to be started again; the other counters begin at 0 then.',
    samples: (status) => [{ value: status.engine_restarts }],
  },
  {
    name: 'pcache_info',
    type: 'gauge',
    help: 'What is served and how, always 1.',
    samples: ({ version, cache, backing, uuid, transport, mode, persistence }) => [
      { labels: { version, cache, backing, uuid: uuid ?? '', transport, mode, persistence }, value: 1 },
    ],
  },
];

/** Names of all families, in order. */
export const METRIC_NAMES: readonly string[] = families.map(({ name }) => name);

/** Content of `metrics`. `nowMs`: milliseconds since 1970. */
export function metricsText(status: StatusSnapshot, nowMs = Date.now()): string {
  const lines = families.flatMap(({ name, type, help, samples }) => [
    `# HELP ${name} ${help}`,
    `# TYPE ${name} ${type}`,
    ...samples(status, nowMs).map(
      ({ labels, value, suffix = '' }) => `${name}${suffix}{${labelsText({ mountpoint: status.mountpoint, ...labels })}} ${value}`,
    ),
  ]);
  return `${lines.join('\n')}\n`;
}

function gauge(name: string, help: string, value: (status: StatusSnapshot, nowMs: number) => number): Family {
  return { name: `pcache_${name}`, type: 'gauge', help: `${help}.`, samples: (status, nowMs) => [{ value: value(status, nowMs) }] };
}

function counter(name: string, source: CounterName): Family {
  return {
    name: `pcache_${name}_total`,
    type: 'counter',
    help: `${counterHelp[source]}.`,
    samples: (status) => [{ value: status[source] }],
  };
}

/** One family of several counters, which differ in a label. */
function counters(name: string, help: string, label: string, sources: Readonly<Record<string, CounterName>>): Family {
  return {
    name: `pcache_${name}_total`,
    type: 'counter',
    help: `${help}.`,
    samples: (status) => Object.entries(sources).map(([value, source]) => ({ labels: { [label]: value }, value: status[source] })),
  };
}

function dirtyAgeSeconds({ dirty_since_ms: sinceMs }: StatusSnapshot, nowMs: number): number {
  return sinceMs === null ? 0 : Math.max(0, nowMs - sinceMs) / 1000;
}

function histogramSamples({ latency }: StatusSnapshot): Sample[] {
  return LATENCY_OPS.flatMap((op) => {
    const { count, sum_us: sumUs, buckets } = latency[op];
    let below = 0;
    const bounded = LATENCY_BOUNDS_US.map((boundUs, bucket): Sample => {
      below += buckets[bucket]!;
      return { suffix: '_bucket', labels: { op, le: String(boundUs / US_PER_SECOND) }, value: below };
    });
    return [
      ...bounded,
      { suffix: '_bucket', labels: { op, le: '+Inf' }, value: count },
      { suffix: '_sum', labels: { op }, value: sumUs / US_PER_SECOND },
      { suffix: '_count', labels: { op }, value: count },
    ] satisfies Sample[];
  });
}

function labelsText(labels: Labels): string {
  return Object.entries(labels)
    .map(([label, value]) => `${label}="${escapeLabel(value)}"`)
    .join(',');
}

function escapeLabel(value: string): string {
  return value.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n');
}
