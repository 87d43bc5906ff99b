// What a gateway says about itself. `status --json`, `stats.json` and the metrics are three forms of one StatusSnapshot, so its names are
// a public interface: snake_case, dm-pcache's own where it has the thing, bytes and counts as plain numbers. A snapshot is plain data and
// knows no live object.

import type { Persistence } from '../device/device.js';
import type { CounterTotals } from '../shared/counters.js';
import type { LatencyTotals } from '../shared/latency.js';
import type { Transport } from './mount-options.js';

/** A place in the log: the cache_seg_id and the byte offset in that segment's data. */
export interface LogPosition {
  seg: number;
  off: number;
}

/**
 * - `serving`: all is well.
 * - `cache-full`: writers wait for writeback to free a segment.
 * - `backing-error`: the backing device fails; writes are still taken while there is room, writeback tries again.
 * - `cache-error`: the cache device fails; flushes are answered with EIO.
 * - `stopping`: unmounted, closing the log.
 */
export type GatewayState = 'serving' | 'cache-full' | 'backing-error' | 'cache-error' | 'stopping';

export interface LastError {
  message: string;
  /** When it was first seen, milliseconds since 1970. */
  since_ms: number;
  device: 'cache' | 'backing' | 'fuse' | 'engine';
}

/** What the media alone tell; also known of a cache that nobody serves. */
export interface MediaStatus {
  /** Superblock flags (bit 0: big-endian writer). */
  sb_flags: number;
  /** Segments on the cache device. */
  seg_total: number;
  /** Segments that belong to the cache. */
  cache_segs: number;
  segs_used: number;
  /** GC starts when more than this share of the segments is in use, 0 to 90. */
  gc_percent: number;
  /** cache_info flags: bit 0 data CRC, bit 1 initialised, bits 2-5 cache mode, bits 6-12 gc_percent. */
  cache_flags: number;
  key_head: LogPosition;
  dirty_tail: LogPosition;
  key_tail: LogPosition;
  data_crc: boolean;
  /** Of the gateway header; null if the kernel made this cache. */
  uuid: string | null;
  /** Identity of the backing device this cache is bound to; null if none is known. */
  backing_identity: string | null;
  /** Size of the volume; 0 if not known yet. */
  volume_bytes: number;
  /**
   * Volume bytes whose newest data only the cache has: what would be lost with it. Each counts once, however often it was written over. 0 only if there is
   * none; never less than there are; more by what is clean in segments (16 MiB each) that are written back in part, see dirty-segments.ts.
   */
  dirty_bytes: number;
  /** Bytes of writes that writing back has still to pass, what was written over since included: the work that is left. */
  writeback_pending_bytes: number;
  /** Volume bytes that are answered from the cache, dirty ones included. */
  cached_bytes: number;
}

export interface StatusSnapshot extends MediaStatus, CounterTotals {
  state: GatewayState;
  /** Of the program whose engine serves the volume: what asks may be a later one. */
  version: string;
  transport: Transport;
  mode: 'writeback';
  persistence: Persistence;
  read_only: boolean;
  /** Queue workers. */
  workers: number;
  supervisor_pid: number;
  engine_pid: number;
  /** How often the supervisor had to start a new engine. */
  engine_restarts: number;
  /** When the volume was mounted, milliseconds since 1970; restarts of the engine don't change it. */
  started_ms: number;
  cache: string;
  backing: string;
  mountpoint: string;
  /** Null when there is nothing wrong now. */
  last_error: LastError | null;
  /**
   * When the oldest acknowledged write that the backing device lacks was made, milliseconds since 1970; null if there is none. Never later than it was, and
   * earlier by half a second or a hundredth of the age; by some seconds for what was written just before an engine died. Data that was dirty when the volume was
   * mounted counts from the mount, since the media don't tell.
   */
  dirty_since_ms: number | null;
  /** Told to write nothing back, but for a flush and for writers that wait for room; see `pcache message MOUNTPOINT writeback`. */
  writeback_paused: boolean;
  /** It was told to end (SIGTERM, SIGINT) while it was in use, and is unmounted when its last user is gone. */
  unmount_wanted: boolean;
  /** Bytes a second that the backing device has taken over the last five seconds or so. What it took of a batch that then failed does not count. */
  writeback_bytes_per_s: number;
  /** Seconds until `writeback_pending_bytes` are on the backing device, at that rate; null if they are already, or nobody knows: a device fails, or writing back is paused. */
  clean_in_s: number | null;
  /** From when a request was taken off the kernel's queue until its answer was written. */
  latency: LatencyTotals;
}

/** What does not change while an engine runs. */
export interface StatusFacts {
  readonly sbFlags: number;
  readonly segTotal: number;
  /** cache_info flags without the bits of gc_percent. */
  readonly cacheFlags: number;
  readonly backingIdentity: string;
  readonly version: string;
  readonly transport: StatusSnapshot['transport'];
  readonly workers: number;
  readonly supervisorPid: number;
  readonly enginePid: number;
  readonly engineRestarts: number;
  readonly startedMs: number;
  readonly cache: string;
  readonly backing: string;
  readonly mountpoint: string;
}

/** What `status CACHE` knows of a cache that nobody serves. */
export interface IdleStatus extends MediaStatus {
  /** Never a state of a gateway. */
  state: 'idle';
  mode: 'writeback';
  cache: string;
  /** False if a gateway died with it, or still lives: the next mount closes its log. */
  closed_in_order: boolean;
}

/**
 * The line that `dmsetup status` prints for a pcache target of this volume: start, length in sectors, target, then dm-pcache's own fields
 * (Documentation/admin-guide/device-mapper/dm-pcache.rst). Both flags words are hexadecimal without prefix there, so they are here.
 */
export function dmStatusLine(status: MediaStatus): string {
  const position = ({ seg, off }: LogPosition): string => `${seg}:${off}`;
  return [
    0,
    Math.floor(status.volume_bytes / 512),
    'pcache',
    status.sb_flags.toString(16),
    status.seg_total,
    status.cache_segs,
    status.segs_used,
    status.gc_percent,
    status.cache_flags.toString(16),
    position(status.key_head),
    position(status.dirty_tail),
    position(status.key_tail),
  ].join(' ');
}

/** Content of `stats.json`. */
export function statsJson(status: StatusSnapshot): string {
  return `${JSON.stringify(status, null, 2)}\n`;
}
