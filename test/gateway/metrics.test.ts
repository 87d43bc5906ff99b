import test from 'ava';
import { METRIC_NAMES, counterHelp, metricsText } from '../../src/gateway/metrics.js';
import { COUNTER_NAMES, type CounterName } from '../../src/shared/counters.js';
import { LATENCY_BOUNDS_US, LATENCY_OPS } from '../../src/shared/latency.js';
import { parseMetrics } from '../support/metrics-text.js';
import { complaints, noPromtool } from '../support/promtool.js';
import { differences } from '../support/status-figures.js';
import { sampleStatus } from './sample-status.js';

const NOW_MS = 1_700_000_040_000;

/** A family's name, without what a histogram's samples have behind it. */
function familyOf(key: string): string {
  return key.replace(/\{.*$/, '').replace(/^(pcache_request_duration_seconds)_(?:bucket|sum|count)$/, '$1');
}

test('every sample has its TYPE and HELP, and every line has the form of the format', (t) => {
  const { samples, types, helped } = parseMetrics(metricsText(sampleStatus()));
  t.deepEqual([...new Set([...samples.keys()].map(familyOf))], [...types.keys()]);
  t.deepEqual([...types.keys()], [...helped]);
  t.deepEqual([...types.keys()], [...METRIC_NAMES]);
});

test('every figure of a status is in the metrics, as it is there, and no other', (t) => {
  for (const changes of [{}, { writeback_paused: true, dirty_since_ms: null, state: 'cache-full' as const }]) {
    const status = sampleStatus(changes);
    t.deepEqual(differences(status, parseMetrics(metricsText(status, NOW_MS)).samples, NOW_MS), []);
  }
  // It does find what differs.
  const { samples } = parseMetrics(metricsText(sampleStatus(), NOW_MS));
  t.deepEqual(differences(sampleStatus({ write_hits: 7 }), samples, NOW_MS), [
    `pcache_write_lookups_total{result="hit"}: ${sampleStatus().write_hits} instead of 7`,
  ]);
});

test('every counter is in the metrics once, with its value', (t) => {
  const status = sampleStatus();
  const { samples, types } = parseMetrics(metricsText(status));
  const values = [...samples].filter(([key]) => types.get(familyOf(key)) === 'counter').map(([, value]) => value);
  // The sample has another number for each.
  const expected: number[] = [...COUNTER_NAMES.map((name) => status[name]), status.engine_restarts];
  t.deepEqual(
    values.sort((a, b) => a - b),
    expected.sort((a, b) => a - b),
  );
  t.deepEqual(Object.keys(counterHelp).sort(), [...COUNTER_NAMES].sort());
});

test('what differs only in the kind of request is one family, told apart by a label', (t) => {
  const status = sampleStatus();
  const { samples } = parseMetrics(metricsText(status));
  const expected: Record<string, CounterName> = {
    'pcache_requests_total{op="read"}': 'reads',
    'pcache_requests_total{op="write"}': 'writes',
    'pcache_requests_total{op="flush"}': 'flushes',
    'pcache_requests_total{op="discard"}': 'discards',
    'pcache_request_errors_total{op="read"}': 'read_errors',
    'pcache_request_errors_total{op="write"}': 'write_errors',
    'pcache_request_errors_total{op="flush"}': 'flush_errors',
    'pcache_request_bytes_total{op="read"}': 'read_bytes',
    'pcache_request_bytes_total{op="write"}': 'write_bytes',
    'pcache_request_bytes_total{op="discard"}': 'discard_bytes',
    'pcache_read_lookups_total{result="hit"}': 'read_hits',
    'pcache_read_lookups_total{result="partial"}': 'read_partial_hits',
    'pcache_read_lookups_total{result="miss"}': 'read_misses',
    'pcache_write_lookups_total{result="hit"}': 'write_hits',
    'pcache_write_lookups_total{result="partial"}': 'write_partial_hits',
    'pcache_write_lookups_total{result="miss"}': 'write_misses',
    pcache_backing_errors_total: 'writeback_errors',
    pcache_writeback_bytes_total: 'writeback_bytes',
  };
  for (const [key, name] of Object.entries(expected)) t.is(samples.get(key), status[name], key);
});

test('names that end in _total are counters, and no others', (t) => {
  for (const [name, type] of parseMetrics(metricsText(sampleStatus())).types) t.is(name.endsWith('_total'), type === 'counter', name);
});

test('histograms are cumulative, in seconds, and end with all requests', (t) => {
  const status = sampleStatus();
  const { samples } = parseMetrics(metricsText(status));
  for (const op of LATENCY_OPS) {
    const { count, sum_us: sumUs, buckets } = status.latency[op];
    let below = 0;
    LATENCY_BOUNDS_US.forEach((boundUs, bucket) => {
      below += buckets[bucket]!;
      t.is(samples.get(`pcache_request_duration_seconds_bucket{op="${op}",le="${boundUs / 1e6}"}`), below);
    });
    t.is(samples.get(`pcache_request_duration_seconds_bucket{op="${op}",le="+Inf"}`), count);
    t.is(samples.get(`pcache_request_duration_seconds_count{op="${op}"}`), count);
    t.is(samples.get(`pcache_request_duration_seconds_sum{op="${op}"}`), sumUs / 1e6);
  }
});

test('units are base units: bytes, seconds, ratios', (t) => {
  const { samples } = parseMetrics(metricsText(sampleStatus(), NOW_MS));
  t.is(samples.get('pcache_gc_threshold_ratio'), 0.7);
  t.is(samples.get('pcache_start_time_seconds'), 1_700_000_000);
  t.is(samples.get('pcache_volume_bytes'), 268_435_456);
  t.is(samples.get('pcache_dirty_age_seconds'), 10);
});

test('a clean volume, and one whose clock was set back, has no dirty data of an age', (t) => {
  const age = (dirty_since_ms: number | null): number | undefined =>
    parseMetrics(metricsText(sampleStatus({ dirty_since_ms }), NOW_MS)).samples.get('pcache_dirty_age_seconds');
  t.is(age(null), 0);
  t.is(age(NOW_MS + 1000), 0);
});

test('of the states the present one is 1 and the others are 0', (t) => {
  const { samples } = parseMetrics(metricsText(sampleStatus({ state: 'cache-full' })));
  const states = [...samples].filter(([key]) => key.startsWith('pcache_state'));
  t.is(states.length, 5);
  t.deepEqual(
    states.filter(([, value]) => value !== 0),
    [['pcache_state{state="cache-full"}', 1]],
  );
});

test('quotes, backslashes and newlines of a path cannot break out of a label', (t) => {
  const { mountpoints } = parseMetrics(metricsText(sampleStatus({ mountpoint: '/m"n\\t\nx 1' })));
  t.deepEqual([...mountpoints], [String.raw`/m\"n\\t\nx 1`]);
});

test('a failing device shows as not healthy', (t) => {
  const last_error = { message: 'EIO', since_ms: 1, device: 'backing' as const };
  t.is(parseMetrics(metricsText(sampleStatus({ last_error }))).samples.get('pcache_healthy'), 0);
  t.is(parseMetrics(metricsText(sampleStatus())).samples.get('pcache_healthy'), 1);
});

const promtoolTest = noPromtool === undefined ? test : test.skip;
promtoolTest(
  `promtool has nothing to say against names, types and help${noPromtool === undefined ? '' : ` (skipped: ${noPromtool})`}`,
  (t) => {
    t.is(complaints(['check', 'metrics'], metricsText(sampleStatus())), '');
    // It does look: what is against the conventions is found.
    t.not(complaints(['check', 'metrics'], '# HELP a_milliseconds A.\n# TYPE a_milliseconds counter\na_milliseconds 1\n'), '');
  },
);
