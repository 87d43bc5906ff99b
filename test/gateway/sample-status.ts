// A status with a different number in every place, so that a mix-up shows.

import { COUNTER_NAMES, type CounterTotals } from '../../src/shared/counters.js';
import type { StatusSnapshot } from '../../src/gateway/status.js';

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
    cached_bytes: 8192,
    state: 'serving',
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
    ...changes,
  };
}
