// Where each figure of a status is in the metrics. A field without an entry is a compile error.

import type { StatusSnapshot } from '../../src/gateway/status.js';
import { COUNTER_NAMES, type CounterName } from '../../src/shared/counters.js';

type Figure = Exclude<keyof StatusSnapshot, 'latency'>;

/** Not in the metrics, since Prometheus works it out, or since it is no figure that anybody would watch over time. */
const LEFT_OUT = null;
/** A label of pcache_info or of all samples. */
const LABEL = 'label';

/** The sample of a figure, and what it is there if it is another. */
type Place = readonly [sample: string, value?: (status: StatusSnapshot, nowMs: number) => number];

const counterSamples: Readonly<Record<CounterName, string>> = {
  reads: 'pcache_requests_total{op="read"}',
  writes: 'pcache_requests_total{op="write"}',
  flushes: 'pcache_requests_total{op="flush"}',
  discards: 'pcache_requests_total{op="discard"}',
  read_bytes: 'pcache_request_bytes_total{op="read"}',
  write_bytes: 'pcache_request_bytes_total{op="write"}',
  discard_bytes: 'pcache_request_bytes_total{op="discard"}',
  read_errors: 'pcache_request_errors_total{op="read"}',
  write_errors: 'pcache_request_errors_total{op="write"}',
  flush_errors: 'pcache_request_errors_total{op="flush"}',
  read_hits: 'pcache_read_lookups_total{result="hit"}',
  read_partial_hits: 'pcache_read_lookups_total{result="partial"}',
  read_misses: 'pcache_read_lookups_total{result="miss"}',
  write_hits: 'pcache_write_lookups_total{result="hit"}',
  write_partial_hits: 'pcache_write_lookups_total{result="partial"}',
  write_misses: 'pcache_write_lookups_total{result="miss"}',
  writeback_bytes: 'pcache_writeback_bytes_total',
  writeback_keys: 'pcache_writeback_keys_total',
  writeback_errors: 'pcache_backing_errors_total',
  gc_segments: 'pcache_gc_segments_total',
  gc_ksets: 'pcache_gc_ksets_total',
  ksets_closed: 'pcache_ksets_closed_total',
  corrupt_keys: 'pcache_corrupt_keys_total',
  cache_full_waits: 'pcache_cache_full_waits_total',
  fills: 'pcache_fills_total',
  fill_bytes: 'pcache_fill_bytes_total',
  read_ahead_bytes: 'pcache_read_ahead_bytes_total',
};

const places: Readonly<Record<Exclude<Figure, CounterName>, Place | typeof LEFT_OUT | typeof LABEL>> = {
  volume_bytes: ['pcache_volume_bytes'],
  dirty_bytes: ['pcache_dirty_bytes'],
  writeback_pending_bytes: ['pcache_writeback_pending_bytes'],
  cached_bytes: ['pcache_cached_bytes'],
  cache_segs: ['pcache_segments'],
  segs_used: ['pcache_segments_used'],
  workers: ['pcache_queue_workers'],
  engine_restarts: ['pcache_engine_restarts_total'],
  gc_percent: ['pcache_gc_threshold_ratio', ({ gc_percent: percent }) => percent / 100],
  started_ms: ['pcache_start_time_seconds', ({ started_ms: ms }) => ms / 1000],
  writeback_paused: ['pcache_writeback_paused', ({ writeback_paused: isPaused }) => Number(isPaused)],
  unmount_wanted: ['pcache_unmount_wanted', ({ unmount_wanted: isWanted }) => Number(isWanted)],
  dirty_since_ms: ['pcache_dirty_age_seconds', ({ dirty_since_ms: ms }, nowMs) => (ms === null ? 0 : (nowMs - ms) / 1000)],
  last_error: ['pcache_healthy', ({ last_error: error }) => Number(error === null)],
  state: ['pcache_state{state="serving"}', ({ state }) => Number(state === 'serving')],
  version: LABEL,
  transport: LABEL,
  mode: LABEL,
  persistence: LABEL,
  uuid: LABEL,
  cache: LABEL,
  backing: LABEL,
  mountpoint: LABEL,
  writeback_bytes_per_s: LEFT_OUT,
  clean_in_s: LEFT_OUT,
  sb_flags: LEFT_OUT,
  seg_total: LEFT_OUT,
  cache_flags: LEFT_OUT,
  key_head: LEFT_OUT,
  dirty_tail: LEFT_OUT,
  key_tail: LEFT_OUT,
  data_crc: LEFT_OUT,
  backing_identity: LEFT_OUT,
  read_only: LEFT_OUT,
  supervisor_pid: LEFT_OUT,
  engine_pid: LEFT_OUT,
};

/** What is not as the status has it, one line each; empty if all figures agree. @param nowMs when the metrics were made, milliseconds since 1970 */
export function differences(status: StatusSnapshot, samples: ReadonlyMap<string, number>, nowMs: number): string[] {
  const expected = new Map<string, number>(COUNTER_NAMES.map((name) => [counterSamples[name], status[name]]));
  for (const [name, place] of Object.entries(places)) {
    if (place === LEFT_OUT || place === LABEL) continue;
    const [sample, value] = place;
    expected.set(sample, value === undefined ? (status[name as Figure] as number) : value(status, nowMs));
  }
  for (const [op, { count, sum_us: sumUs }] of Object.entries(status.latency)) {
    expected.set(`pcache_request_duration_seconds_count{op="${op}"}`, count);
    expected.set(`pcache_request_duration_seconds_sum{op="${op}"}`, sumUs / 1e6);
  }
  const wrong = [...expected].filter(([sample, value]) => samples.get(sample) !== value);
  const known = (key: string): boolean => expected.has(key) || /^pcache_(?:state|info|request_duration_seconds_bucket)\{/.test(key);
  return [
    ...wrong.map(([sample, value]) => `${sample}: ${samples.get(sample)} instead of ${value}`),
    ...[...samples.keys()].filter((key) => !known(key)).map((key) => `${key}: of no figure`),
  ];
}
