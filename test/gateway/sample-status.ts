// A status with a different number in every place, so that a mix-up shows.

import { COUNTER_NAMES, type CounterTotals } from '../../src/shared/counters.js';
import { LATENCY_BOUNDS_US, type LatencyHistogram } from '../../src/shared/latency.js';
import type { StatusSnapshot } from '../../src/gateway/status.js';

/** With other numbers for each `seed`. */
function histogram(seed: number): LatencyHistogram {
  const buckets = Array.from({ length: LATENCY_BOUNDS_US.length + 1 }, (_, bucket) => (bucket < 8 ? (bucket % 4) * seed : 0));
  return { count: buckets.reduce((sum, requests) => sum + requests, 0), sum_us: 123_456 * seed, buckets };
}

export function sampleStatus(changes: Partial<StatusSnapshot> = {}): StatusSnapshot {
  const counters = Object.fromEntries(COUNTER_NAMES.map((name, index) => [name, 1000 + index])) as CounterTotals;
  return {
    ...counters,
    sb_flags: 0,
    seg_total: 31,
    cache_segs: 30,
    segs_used: 12,
    gc_percent: 70,
    cache_flags: 4483,
    key_head: { seg: 4, off: 12816 },
    dirty_tail: { seg: 3, off: 9848 },
    key_tail: { seg: 2, off: 24 },
    data_crc: true,
    uuid: '00112233-4455-6677-8899-aabbccddeeff',
    backing_identity: 'file:1:2',
    volume_bytes: 268435456,
    dirty_bytes: 4096,
    writeback_pending_bytes: 6144,
    cached_bytes: 8192,
    state: 'serving',
    version: '1.2.3',
    transport: 'dev-fuse',
    mode: 'writeback',
    persistence: 'memory',
    read_only: false,
    workers: 2,
    supervisor_pid: 100,
    engine_pid: 101,
    engine_restarts: 3,
    started_ms: 1_700_000_000_000,
    cache: '/fast/cache.pmem',
    backing: '/dev/sdb',
    mountpoint: '/mnt/vol',
    last_error: null,
    dirty_since_ms: 1_700_000_030_000,
    writeback_paused: false,
    unmount_wanted: false,
    writeback_bytes_per_s: 2048,
    clean_in_s: 3,
    latency: { read: histogram(1), write: histogram(2), flush: histogram(3) },
    ...changes,
  };
}
