// A StatusSnapshot in Prometheus' text format 0.0.4 (https://prometheus.io/docs/instrumenting/exposition_formats/). One row a metric;
// counters end in _total, units are base units, and every sample carries the mount point, so that one scrape may hold several volumes.

import type { CounterName } from '../shared/counters.js';
import type { StatusSnapshot } from './status.js';

interface MetricRow {
  readonly name: string;
  readonly type: 'counter' | 'gauge';
  readonly help: string;
  readonly value: (status: StatusSnapshot) => number;
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
  write_errors: 'Write requests answered with an error',
  flushes: 'Flush requests answered',
  flush_errors: 'Flush requests answered with an error',
  discards: 'Discard and write-zeroes requests answered',
  discard_bytes: 'Bytes discarded or zeroed',
  writeback_bytes: 'Bytes written to the backing device',
  writeback_keys: 'Cache keys written to the backing device',
  writeback_errors: 'Writes or flushes of the backing device that failed',
  gc_segments: 'Segments that garbage collection freed',
  gc_ksets: 'Ksets that garbage collection passed',
  ksets_closed: 'Ksets closed and appended to the log',
  corrupt_keys: 'Cache keys whose data CRC was wrong',
  cache_full_waits: 'Requests that had to wait for a free segment',
  fills: 'Read misses kept in the cache',
  fill_bytes: 'Bytes of read misses kept in the cache',
  read_ahead_bytes: 'Bytes read from the backing device before anybody asked for them',
};

const gaugeRows: readonly MetricRow[] = [
  gauge('volume_bytes', 'Size of the volume', (status) => status.volume_bytes),
  gauge('dirty_bytes', 'Acknowledged bytes that the backing device does not have yet', (status) => status.dirty_bytes),
  gauge('cached_bytes', 'Volume bytes answered from the cache', (status) => status.cached_bytes),
  gauge('segments', 'Segments of the cache', (status) => status.cache_segs),
  gauge('segments_used', 'Segments in use', (status) => status.segs_used),
  gauge('gc_threshold_ratio', 'Share of segments in use above which garbage is collected', (status) => status.gc_percent / 100),
  gauge('queue_workers', 'Threads that answer requests', (status) => status.workers),
  gauge('healthy', '1 if neither device fails', (status) => (status.last_error === null ? 1 : 0)),
  gauge('start_time_seconds', 'When the volume was mounted, seconds since 1970', (status) => status.started_ms / 1000),
  {
    name: 'pcache_engine_restarts_total',
    type: 'counter',
    help: 'How often the engine had to be started again',
    value: (status) => status.engine_restarts,
  },
];

const counterRows = (Object.entries(counterHelp) as [CounterName, string][]).map(([counter, help]): MetricRow => ({
  name: `pcache_${counter}_total`,
  type: 'counter',
  help,
  value: (status) => status[counter],
}));

/** Content of `metrics`. */
export function metricsText(status: StatusSnapshot): string {
  const volume = `mountpoint="${escapeLabel(status.mountpoint)}"`;
  const lines = [...gaugeRows, ...counterRows].flatMap((row) => [
    `# HELP ${row.name} ${row.help}.`,
    `# TYPE ${row.name} ${row.type}`,
    `${row.name}{${volume}} ${row.value(status)}`,
  ]);
  const info = { cache: status.cache, backing: status.backing, uuid: status.uuid ?? '', transport: status.transport, mode: status.mode };
  const labels = Object.entries({ ...info, persistence: status.persistence, state: status.state });
  lines.push('# HELP pcache_info What is served and how, always 1.', '# TYPE pcache_info gauge');
  lines.push(`pcache_info{${volume},${labels.map(([label, value]) => `${label}="${escapeLabel(value)}"`).join(',')}} 1`);
  return `${lines.join('\n')}\n`;
}

function gauge(name: string, help: string, value: MetricRow['value']): MetricRow {
  return { name: `pcache_${name}`, type: 'gauge', help, value };
}

function escapeLabel(value: string): string {
  return value.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n');
}
