// A gateway that has been watched for two minutes, made up: the same each time, so that what is drawn of it can be kept.

import type { SegmentMap } from '../../src/gateway/control-protocol.js';
import type { StatusSnapshot } from '../../src/gateway/status.js';
import { FIRST_UI } from '../../src/monitor/controls.js';
import { History } from '../../src/monitor/history.js';
import type { Picture, Ui } from '../../src/monitor/picture.js';
import { COUNTER_NAMES } from '../../src/shared/counters.js';
import { LATENCY_BOUNDS_US, type LatencyHistogram } from '../../src/shared/latency.js';
import { sampleStatus } from '../gateway/sample-status.js';

/** Local time, so that the clock on the picture is the same everywhere. */
export const NOW_MS = new Date(2026, 0, 2, 18, 3, 21).getTime();
const MIB = 1 << 20;

export const zeroCounters = Object.fromEntries(COUNTER_NAMES.map((name) => [name, 0])) as Pick<
  StatusSnapshot,
  (typeof COUNTER_NAMES)[number]
>;

/** Requests by bucket, from the fastest. */
export function histogram(...buckets: number[]): LatencyHistogram {
  const all = Array.from({ length: LATENCY_BOUNDS_US.length + 1 }, (_, bucket) => buckets[bucket] ?? 0);
  return { count: all.reduce((sum, count) => sum + count, 0), sum_us: 1, buckets: all };
}

/** All counters 0, nothing dirty. */
export function quietStatus(changes: Partial<StatusSnapshot> = {}): StatusSnapshot {
  return sampleStatus({
    ...zeroCounters,
    persistence: 'synced',
    cache_segs: 64,
    seg_total: 64,
    segs_used: 40,
    volume_bytes: 64 * 1024 * MIB,
    cached_bytes: 600 * MIB,
    dirty_bytes: 0,
    writeback_pending_bytes: 0,
    dirty_since_ms: null,
    clean_in_s: null,
    writeback_bytes_per_s: 0,
    engine_restarts: 0,
    started_ms: NOW_MS - 7_440_000,
    latency: { read: histogram(), write: histogram(), flush: histogram() },
    ...changes,
  });
}

/** After so many seconds under load, which comes and goes. */
export function busyStatus(second: number, changes: Partial<StatusSnapshot> = {}): StatusSnapshot {
  const sum = (rate: (at: number) => number): number =>
    Array.from({ length: second }, (_, at) => Math.round(rate(at))).reduce((a, b) => a + b, 0);
  const reads = sum((at) => 4000 + 3000 * Math.sin(at / 9));
  const writes = sum((at) => (at % 40 < 25 ? 1500 : 0));
  const flushes = sum((at) => (at % 10 === 0 ? 8 : 1));
  return quietStatus({
    reads,
    read_bytes: reads * 4096,
    read_hits: sum((at) => (4000 + 3000 * Math.sin(at / 9)) * (at < 60 ? 0.5 : 0.95)),
    writes,
    write_hits: Math.round(writes * 0.8),
    write_misses: writes - Math.round(writes * 0.8),
    write_bytes: writes * 16_384,
    flushes,
    writeback_bytes: sum((at) => (at % 40 < 30 ? 20 * MIB : 0)),
    writeback_keys: sum((at) => (at % 40 < 30 ? 1280 : 0)),
    gc_segments: sum((at) => (at % 7 === 0 ? 1 : 0)),
    gc_ksets: sum((at) => (at % 7 === 0 ? 12 : 0)),
    dirty_bytes: 412 * MIB - (second % 40) * 4 * MIB,
    writeback_pending_bytes: 600 * MIB - (second % 40) * 4 * MIB,
    dirty_since_ms: NOW_MS - 38_000,
    clean_in_s: 12,
    writeback_bytes_per_s: 34.1 * MIB,
    latency: {
      read: histogram(0, 0, reads / 2, reads / 4, reads / 4),
      write: histogram(0, writes / 2, writes / 2),
      flush: histogram(0, 0, 0, 0, 0, 0, 0, flushes),
    },
    ...changes,
  });
}

export function busyHistory(changes: Partial<StatusSnapshot> = {}, seconds = 120): History {
  const history = new History(LATENCY_BOUNDS_US);
  for (let second = 0; second <= seconds; second++) history.push(busyStatus(second, second === seconds ? changes : {}), second * 1000);
  return history;
}

const BUSY = busyHistory();

export const SEGMENTS: SegmentMap = {
  seg_total: 64,
  segments_per_cell: 1,
  cells: `LLL0123456789${'9'.repeat(24)}${'.'.repeat(24)}-x.`,
  key_tail: 0,
  dirty_tail: 1,
  key_head: 2,
};

export function picture(changes: Partial<Picture> = {}, ui: Partial<Ui> = {}): Picture {
  return {
    mountpoint: '/mnt/vol',
    link: { kind: 'serving', sinceMs: NOW_MS - 60_000 },
    history: BUSY,
    segments: SEGMENTS,
    nowMs: NOW_MS,
    ...changes,
    ui: { ...FIRST_UI, ...ui },
  };
}
