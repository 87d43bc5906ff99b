// The memory that the threads of one engine share: every word is named here, once. Nothing here outlives the process; what must
// outlive it lies on the cache device. All of it is SharedArrayBuffers, so `CacheShared` can be posted to a worker thread as it is.
//
// Lock order, outermost first: a subtree's lock, then a data head's, then Word.logLock, then Word.segmentLock. Word.controlLock is
// taken first of all; under it only Word.logLock is. No lock is held across I/O of any kind, but for controlLock, which guards rare updates of records and may cover a persist.

import type { CacheTreeState } from './cache-tree.js';

/** Int32 words. Locks stand a cache line (16 words) apart, so that waiting for one does not slow the others. */
export const Word = {
  logLock: 0,
  segmentLock: 16,
  controlLock: 32,

  // The open kset (under logLock).
  /** cache_seg_id of the log segment that keys are staged in; -1 while the next log segment is waited for. */
  openSegment: 48,
  /** Segment offset of the open kset. */
  openOffset: 49,
  /** Keys staged in it, 0 to 128. */
  openKeys: 50,
  /** 1 if a flush (or the opening of the cache) lies between the last closed kset and the next key. */
  barrierPending: 51,
  /** The log segment made ready for a switch; -1 if none is. */
  nextLogSegment: 52,
  /** Ring of closed ksets that are not yet durable: entries are counted up from 0 and stored modulo SEALED_RING_ENTRIES. */
  sealedHead: 53,
  sealedTaken: 54,
  sealedTail: 55,
  /** 1 if the newest closed kset carries a barrier mark. */
  lastSealedHasBarrier: 56,

  // Positions (written under logLock, so that both words are read together).
  durableSegment: 64,
  durableOffset: 65,
  dirtyTailSegment: 66,
  dirtyTailOffset: 67,
  keyTailSegment: 68,
  keyTailOffset: 69,

  // Segments (under segmentLock).
  freeSegments: 80,
  /** Where the next search for a free segment starts. */
  freeHint: 81,
  /** Data segments that may have lost their last reference; a hint for the collector. */
  emptySegments: 82,
  /** Writers that found no room and wait; while there are any, no newcomer takes a fresh segment. */
  roomWaiters: 83,
  gcPercent: 84,
  /** 1 after an insert found no index memory, until the background worker has reclaimed some. */
  indexFull: 85,
  /** 1 while one copy of the gateway header names an earlier durable place than the other (under controlLock). */
  headerCopyBehind: 86,
  /** 1 after a copy of the gateway header could not be made durable, and was spoiled. */
  headerCopySpoiled: 87,

  // Events of `shared/event-word`, EVENT_WORDS words each.
  roomEvent: 96,
  flushedEvent: 112,
  logWorkEvent: 128,
  backgroundWorkEvent: 144,

  /** Token of the next placeholder. */
  nextToken: 160,

  count: 176,
} as const;

/** Float64 words: kset sequence numbers (48 bits) and times. Aligned 8-byte loads and stores are not torn on 64-bit processors. */
export const NumberWord = {
  /** Sequence of the open kset. */
  openSequence: 0,
  /** Sequence of the newest closed kset; a flush waits until the header names a durable place behind it. */
  lastSealedSequence: 1,
  /** Every kset up to this sequence is durable. */
  durableSequence: 2,
  /** When the first key of the open kset was staged, in the clock's milliseconds. */
  openedAtMs: 3,
  /** No sequence at or above this has been used; stored in the gateway header before it is. */
  sequenceLimit: 4,
  /** Volume bytes of keys between dirty_tail and the key head that are not CLEAN. */
  dirtyBytes: 5,
  /** Sequence of the newest kset that is on the backing device (all before it are too). */
  writtenSequence: 6,
  /** Sequence of the durable place that the gateway header names, durably (stored under controlLock): flushes up to it are answered. */
  recordedSequence: 7,
  /** Sequence of the kset at the dirty_tail that the gateway header names, 0 if it names none (under controlLock): key_tail does not pass it. */
  recordedDirtySequence: 8,
  /** What the newest flush waits for, a `lastSealedSequence`. */
  flushSequence: 9,
  /** Of the bytes that `dirtyBytes` counted since the cache was opened, those that dirty_tail has passed. */
  passedBytes: 10,
  count: 11,
} as const;

/** States of a segment. */
export const SegmentState = {
  free: 0,
  /** Holds payload; `refs` counts the keys of the log that refer to it, and one more while it is a data head. */
  data: 1,
  /** Holds ksets. */
  log: 2,
  /** Prepared to be the next log segment. */
  nextLog: 3,
  /** No key refers to it and its generation has moved on, but a reader still pins it. */
  draining: 4,
} as const;

/** Words of a data head. */
export const HeadWord = { lock: 0, segment: 1, offsetBytes: 2, stride: 16 } as const;

/** Words of an entry in the ring of closed ksets. */
export const SealedWord = { segment: 0, offset: 1, keys: 2, flags: 3, sequenceLow: 4, sequenceHigh: 5, stride: 8 } as const;
export const SealedFlag = { barrier: 1, barrierBefore: 2, last: 4 } as const;
export const SEALED_RING_ENTRIES = 4096;

/** Log segments that data never takes: a flush can't fail for lack of room. */
export const LOG_RESERVE_SEGMENTS = 2;

export interface CacheShared {
  readonly volumeBytes: number;
  /** n_segs: segments of the chain. */
  readonly segmentCount: number;
  /** Bytes of data that a segment is given, a multiple of 512; undefined: all of SEGMENT_DATA_BYTES. Simulations give few, so that segments change often. */
  readonly segmentDataBytes?: number;
  readonly dataCrc: boolean;
  /** Of the copy of a device that was cut: what lies from here on is lost, whatever the bytes are. Infinity: nothing is. */
  readonly lostFrom: number;
  readonly readOnly: boolean;
  /** Data heads: at most a third of the segments. */
  readonly headCount: number;
  readonly uuid: string;
  readonly words: Int32Array;
  readonly numbers: Float64Array;
  /** By cache_seg_id. */
  readonly physicalOf: Int32Array;
  readonly state: Int32Array;
  readonly refs: Int32Array;
  readonly pins: Int32Array;
  readonly generationLow: Int32Array;
  readonly generationHigh: Int32Array;
  readonly liveSectors: Int32Array;
  /** Of them, those whose payload is known to be damaged; a segment that has any is in quarantine. */
  readonly corruptSectors: Int32Array;
  readonly heads: Int32Array;
  readonly sealed: Int32Array;
  readonly tree: CacheTreeState;
  /** Float64 slices of `src/shared/counters`. */
  readonly counters: Float64Array;
}

export function sharedInt32(length: number): Int32Array {
  return new Int32Array(new SharedArrayBuffer(length * 4));
}

export function sharedFloat64(length: number): Float64Array {
  return new Float64Array(new SharedArrayBuffer(length * 8));
}

/** Data heads for so many workers: never more than a third of the segments, since each holds one. */
export function headCountFor(workers: number, segmentCount: number): number {
  return Math.max(1, Math.min(workers, Math.floor(segmentCount / 3)));
}
