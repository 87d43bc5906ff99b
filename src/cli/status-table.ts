// A status for people, one thing a line.

import type { IdleStatus, LogPosition, StatusSnapshot } from '../gateway/status.js';
import { latencyQuantileBoundUs } from '../shared/latency.js';
import type { LatencyHistogram } from '../shared/latency.js';
import { alignColumns } from './output.js';
import { formatDuration, formatSize, formatTook } from './size.js';

const NOTHING_DIRTY = 'nothing: the backing device has everything';

export function statusTable(status: StatusSnapshot | IdleStatus, nowMs = Date.now()): string[] {
  const rows = status.state === 'idle' ? idleRows(status) : servedRows(status, nowMs);
  return alignColumns(rows);
}

function idleRows(status: IdleStatus): string[][] {
  return [
    ['cache', status.cache],
    ['state', status.closed_in_order ? 'idle' : 'idle, not closed in order: the next mount goes on from what is there'],
    ['volume', status.volume_bytes === 0 ? 'not known: made by the kernel, or never mounted' : formatSize(status.volume_bytes)],
    [
      'dirty',
      status.dirty_bytes === 0 ? NOTHING_DIRTY : `${formatSize(status.dirty_bytes)} not on the backing device yet${rewrittenText(status)}`,
    ],
    ...mediaRows(status),
  ];
}

function servedRows(status: StatusSnapshot, nowMs: number): string[][] {
  const { last_error: error } = status;
  const since = formatDuration((nowMs - status.started_ms) / 1000);
  return [
    ['volume', `${status.mountpoint}, ${formatSize(status.volume_bytes)}${status.read_only ? ', read-only' : ''}`],
    ['cache', `${status.cache} (${status.persistence === 'memory' ? 'memory: does not survive loss of power' : 'synced'})`],
    ['backing', status.backing],
    ['state', `${status.state}, for ${since}${status.unmount_wanted ? '; told to end: is unmounted when its last user is gone' : ''}`],
    ...(error === null ? [] : [['error', `${error.device}: ${error.message}, for ${formatDuration((nowMs - error.since_ms) / 1000)}`]]),
    ['dirty', dirtyText(status, nowMs)],
    ...mediaRows(status),
    [
      'served by',
      `pcache ${status.version}, ${status.transport}, ${count(status.workers, 'worker')}, engine ${status.engine_pid}, supervisor ${status.supervisor_pid}`,
    ],
    ...(status.engine_restarts === 0 ? [] : [['restarts', `the engine died and was replaced ${count(status.engine_restarts, 'time')}`]]),
    [
      'reads',
      `${count(status.reads, 'request')}, ${formatSize(status.read_bytes)}, ${hitRate(status)}${times(status.latency.read)}${errors(status.read_errors)}`,
    ],
    [
      'writes',
      `${count(status.writes, 'request')}, ${formatSize(status.write_bytes)}${writeHitRate(status)}${times(status.latency.write)}${errors(status.write_errors)}`,
    ],
    ['flushes', `${count(status.flushes, 'request')}${times(status.latency.flush)}${errors(status.flush_errors)}`],
    ['writeback', writebackText(status)],
    ...(status.cache_full_waits === 0
      ? []
      : [['waits', `${count(status.cache_full_waits, 'request')} had to wait for room: the backing device does not keep up`]]),
    ...(status.corrupt_keys === 0
      ? []
      : [['damage', `${count(status.corrupt_keys, 'key')} with a wrong data CRC: their ranges answer EIO`]]),
  ];
}

function mediaRows(status: StatusSnapshot | IdleStatus): string[][] {
  const share = status.cache_segs === 0 ? 0 : Math.round((status.segs_used * 100) / status.cache_segs);
  return [
    ['cached', formatSize(status.cached_bytes)],
    ['segments', `${status.segs_used} of ${status.cache_segs} in use (${share}%), gc above ${status.gc_percent}%`],
    ['log', `key head ${at(status.key_head)}, dirty tail ${at(status.dirty_tail)}, key tail ${at(status.key_tail)}`],
    ['data CRC', status.data_crc ? 'on' : 'off'],
    ['uuid', status.uuid ?? 'none: made by the kernel'],
  ];
}

function dirtyText(status: StatusSnapshot, nowMs: number): string {
  const { dirty_bytes: bytes, dirty_since_ms: sinceMs, clean_in_s: leftSeconds } = status;
  if (bytes === 0) return NOTHING_DIRTY;
  const age = sinceMs === null ? '' : `, the oldest for ${formatDuration(Math.max(0, nowMs - sinceMs) / 1000)}`;
  const left = leftSeconds === null ? '' : `, clean in ${formatTook(leftSeconds)} at this rate`;
  return `${formatSize(bytes)} not on the backing device yet${rewrittenText(status)}${age}${left}`;
}

/** The writes to write back, if they are more than what they left: something was written over. */
function rewrittenText({ dirty_bytes: bytes, writeback_pending_bytes: pendingBytes }: StatusSnapshot | IdleStatus): string {
  return pendingBytes > bytes ? ` (${formatSize(pendingBytes)} of writes to write back)` : '';
}

function writebackText(status: StatusSnapshot): string {
  const { writeback_bytes_per_s: bytesPerSecond } = status;
  // The rate is of the last seconds: when all is written back, or nothing is to be, it is about what was.
  const isOver = bytesPerSecond === 0 || status.dirty_bytes === 0 || status.writeback_paused;
  const now = isOver ? '' : `, ${formatSize(bytesPerSecond)}/s now`;
  const paused = status.writeback_paused ? 'paused; ' : '';
  return `${paused}${formatSize(status.writeback_bytes)} written to the backing device${now}${errors(status.writeback_errors)}`;
}

/** The mean, and what 99 of 100 stayed within. */
function times(histogram: LatencyHistogram): string {
  const { count: requests, sum_us: sumUs } = histogram;
  if (requests === 0) return '';
  const withinUs = latencyQuantileBoundUs(histogram, 0.99);
  const most = withinUs === undefined ? '' : `, 99% within ${formatMicroseconds(withinUs)}`;
  return `, mean ${formatMicroseconds(sumUs / requests)}${most}`;
}

function formatMicroseconds(us: number): string {
  if (us < 1000) return `${Math.round(us)} us`;
  return us < 1_000_000 ? `${Number((us / 1000).toPrecision(3))} ms` : `${Number((us / 1_000_000).toPrecision(3))} s`;
}

function hitRate({ reads, read_hits: hits }: StatusSnapshot): string {
  return reads === 0 ? 'no hits yet' : `${((hits * 100) / reads).toFixed(1)}% from the cache`;
}

function writeHitRate({ write_hits: hits, write_misses: misses, write_partial_hits: partial }: StatusSnapshot): string {
  const lookups = hits + misses + partial;
  return lookups === 0 ? '' : `, ${((hits * 100) / lookups).toFixed(1)}% over cached data`;
}

function errors(number: number): string {
  return number === 0 ? '' : `, ${count(number, 'error')}`;
}

function count(number: number, noun: string): string {
  return `${number} ${noun}${number === 1 ? '' : 's'}`;
}

function at({ seg, off }: LogPosition): string {
  return `${seg}:${off}`;
}
