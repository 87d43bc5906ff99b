// Makes a StatusSnapshot from the memory that the threads share. Any thread can: nothing is asked of another.

import { NumberWord, SegmentState, Word } from '../cache/shared-state.js';
import { SECTOR_BYTES } from '../media/layout.js';
import { sumCounters } from '../shared/counters.js';
import { sumLatency } from '../shared/latency.js';
import { lock, unlock } from '../shared/mutex.js';
import { dirtyBytesOf } from './dirty-segments.js';
import { DirtyTimes } from './dirty-times.js';
import type { GatewayShared } from './gateway-shared.js';
import type { EngineStart } from './engine.js';
import { GatewayNumber, GatewayWord } from './gateway-shared.js';
import { SharedText } from './shared-text.js';
import type { LastError, StatusSnapshot } from './status.js';

const GC_PERCENT_SHIFT = 6;

export function takeSnapshot(shared: GatewayShared): StatusSnapshot {
  const { cache, facts } = shared;
  const { words, numbers } = cache;
  const gcPercent = Atomics.load(words, Word.gcPercent);
  // Both words of each position belong together.
  lock(words, Word.logLock);
  const keyHead = positionAt(words, Word.openSegment, Word.openOffset);
  const dirtyTail = positionAt(words, Word.dirtyTailSegment, Word.dirtyTailOffset);
  const keyTail = positionAt(words, Word.keyTailSegment, Word.keyTailOffset);
  const pendingBytes = Math.max(0, numbers[NumberWord.dirtyBytes]!);
  const writtenSequence = numbers[NumberWord.writtenSequence]!;
  unlock(words, Word.logLock);
  const dirtyBytes = dirtyBytesOf(cache, pendingBytes, writtenSequence, shared.dirtySegments);
  const isPaused = Atomics.load(shared.words, GatewayWord.writebackPaused) !== 0;
  const state = stateOf(shared);
  const isFailing = state === 'backing-error' || state === 'cache-error';
  const rate = Math.round(shared.numbers[GatewayNumber.writebackRate]!);
  return {
    state,
    version: facts.version,
    transport: facts.transport,
    mode: 'writeback',
    persistence: shared.cacheDevice.persistence,
    read_only: cache.readOnly,
    cache: facts.cache,
    backing: facts.backing,
    mountpoint: facts.mountpoint,
    volume_bytes: cache.volumeBytes,
    dirty_bytes: dirtyBytes,
    writeback_pending_bytes: pendingBytes,
    cached_bytes: cachedBytes(shared),
    sb_flags: facts.sbFlags,
    seg_total: facts.segTotal,
    cache_segs: cache.segmentCount,
    segs_used: cache.segmentCount - Atomics.load(words, Word.freeSegments),
    gc_percent: gcPercent,
    cache_flags: facts.cacheFlags | (gcPercent << GC_PERCENT_SHIFT),
    key_head: keyHead,
    dirty_tail: dirtyTail,
    key_tail: keyTail,
    data_crc: cache.dataCrc,
    uuid: cache.uuid,
    backing_identity: facts.backingIdentity,
    workers: facts.workers,
    supervisor_pid: facts.supervisorPid,
    engine_pid: facts.enginePid,
    engine_restarts: facts.engineRestarts,
    started_ms: facts.startedMs,
    last_error: lastErrorOf(shared),
    dirty_since_ms: dirtyBytes === 0 ? null : Math.floor(new DirtyTimes(shared.dirtyTimes).since(writtenSequence)),
    writeback_paused: isPaused,
    unmount_wanted: Atomics.load(shared.words, GatewayWord.unmountWanted) !== 0,
    writeback_bytes_per_s: rate,
    clean_in_s: pendingBytes === 0 || rate === 0 || isPaused || isFailing ? null : Math.ceil(pendingBytes / rate),
    latency: sumLatency(shared.latency),
    ...sumCounters(cache.counters),
  };
}

/** Longer than an engine takes to tell its supervisor that something has become dirty, and to be replaced. */
const KEPT_LATE_MS = 5000;

/** For what is dirty when an engine starts: since when, milliseconds since 1970, or earlier. */
export function dirtySinceOf({ kept, startedMs }: Pick<EngineStart, 'kept' | 'startedMs'>, nowMs = Date.now()): number {
  if (kept === undefined) return startedMs;
  return kept.dirtySinceMs ?? Math.max(startedMs, nowMs - KEPT_LATE_MS);
}

function positionAt(words: Int32Array, segment: number, offset: number): StatusSnapshot['key_head'] {
  return { seg: words[segment]!, off: words[offset]! };
}

function stateOf(shared: GatewayShared): StatusSnapshot['state'] {
  const { words } = shared;
  if (Atomics.load(words, GatewayWord.stopLanes) !== 0) return 'stopping';
  if (Atomics.load(words, GatewayWord.cacheFailed) !== 0) return 'cache-error';
  if (new SharedText(shared.backingError).get() !== undefined) return 'backing-error';
  return Atomics.load(shared.cache.words, Word.roomWaiters) > 0 ? 'cache-full' : 'serving';
}

function lastErrorOf(shared: GatewayShared): LastError | null {
  const cache = new SharedText(shared.cacheError).get();
  if (cache !== undefined) return { message: cache.text, since_ms: cache.sinceMs, device: 'cache' };
  const backing = new SharedText(shared.backingError).get();
  return backing === undefined ? null : { message: backing.text, since_ms: backing.sinceMs, device: 'backing' };
}

function cachedBytes({ cache }: GatewayShared): number {
  let sectors = 0;
  for (let segment = 0; segment < cache.segmentCount; segment++) {
    if (cache.state[segment] === SegmentState.data) sectors += Math.max(0, cache.liveSectors[segment]!);
  }
  return sectors * SECTOR_BYTES;
}
