// What came over the control socket as a status, checked before anybody relies on it: the gateway may be of another version, or no gateway at all.

import { PcacheError } from '../errors.js';
import { COUNTER_NAMES } from '../shared/counters.js';
import { LATENCY_BOUNDS_US, LATENCY_OPS } from '../shared/latency.js';
import type { StatusSnapshot } from './status.js';

type Fields = readonly (keyof StatusSnapshot)[];

const positions: Fields = ['key_head', 'dirty_tail', 'key_tail'];
const texts: Fields = ['state', 'version', 'transport', 'mode', 'persistence', 'cache', 'backing', 'mountpoint'];
const flags: Fields = ['data_crc', 'read_only', 'writeback_paused', 'unmount_wanted'];
const numbers: Fields = [
  ...([
    'sb_flags',
    'seg_total',
    'cache_segs',
    'segs_used',
    'gc_percent',
    'cache_flags',
    'volume_bytes',
    'dirty_bytes',
    'writeback_pending_bytes',
    'cached_bytes',
  ] as const),
  ...(['workers', 'supervisor_pid', 'engine_pid', 'engine_restarts', 'started_ms', 'writeback_bytes_per_s'] as const),
  ...COUNTER_NAMES,
];
const numbersOrNull: Fields = ['dirty_since_ms', 'clean_in_s'];
const known: Fields = [...positions, ...texts, ...flags, ...numbers, ...numbersOrNull, 'uuid', 'backing_identity', 'last_error', 'latency'];

/**
 * The status, if its fields are what they should be; those in `needed`, or all. Fields that this program does not know are left as they are.
 * Throws PcacheError `unsupported`.
 */
export function statusOfAnswer(value: unknown, needed: Fields = known): StatusSnapshot {
  const fields = isObject(value) ? value : {};
  const wrong = needed.find((name) => !isGood(name, fields[name]));
  if (wrong === undefined) return fields as unknown as StatusSnapshot;
  throw new PcacheError('unsupported', `the gateway's answer: ${wrong} is not what it should be`, {
    hint: 'Is the gateway of another version? umount(8) ends it in order; then mount again.',
  });
}

function isGood(name: keyof StatusSnapshot, value: unknown): boolean {
  if (positions.includes(name)) return isObject(value) && isCount(value.seg) && isCount(value.off);
  if (texts.includes(name)) return typeof value === 'string';
  if (flags.includes(name)) return typeof value === 'boolean';
  if (numbers.includes(name)) return isCount(value);
  if (numbersOrNull.includes(name)) return value === null || isCount(value);
  if (name === 'latency') return isObject(value) && LATENCY_OPS.every((op) => isHistogram(value[op]));
  if (name === 'last_error') return value === null || (isObject(value) && typeof value.message === 'string' && isCount(value.since_ms));
  return value === null || typeof value === 'string';
}

function isHistogram(value: unknown): boolean {
  if (!isObject(value) || !isCount(value.count) || !isCount(value.sum_us)) return false;
  const { buckets } = value;
  return Array.isArray(buckets) && buckets.length === LATENCY_BOUNDS_US.length + 1 && buckets.every(isCount);
}

function isCount(value: unknown): boolean {
  return typeof value === 'number' && Number.isFinite(value) && value >= 0;
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
