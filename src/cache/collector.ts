// GC: follows from key_tail and makes room. It drops the references of the ksets it passes, and frees segments that no key refers to
// and no reader pins. Run by one thread (the background worker), in bounded steps.
//
// Order, so that no crash can bring a key back whose payload is gone: the new key_tail is durable before a reference is dropped; a
// segment's next generation is durable before the segment is free.
//
// key_tail does not pass the dirty_tail that the gateway header names, nor, what is never before that, the durable place: the header is told of later
// ones first. So whoever opens the cache knows that the log from key_tail on must come to the durable place; and whoever has lost the tails knows that
// from the dirty_tail of the header on the log is whole, with its payload (see `recorded-tail.ts`).

import type { CacheSegId } from '../media/layout.js';
import { COUNTER } from '../shared/counters.js';
import { signal } from '../shared/event-word.js';
import { lock, unlock } from '../shared/mutex.js';
import type { Cache } from './cache.js';
import type { CacheTree } from './cache-tree.js';
import { LogCursor } from './log-cursor.js';
import type { CacheRecords } from './cache-records.js';
import type { SegmentTable } from './segment-table.js';
import { NumberWord, SegmentState, Word } from './shared-state.js';
import type { CacheShared } from './shared-state.js';

/** Ksets passed in one step, at most. */
const STEP_KSETS = 64;
/** Subtrees looked at in one step, at most. */
const STEP_SUBTREES = 65_536;

export class Collector {
  readonly #shared: CacheShared;
  readonly #words: Int32Array;
  readonly #segments: SegmentTable;
  readonly #records: CacheRecords;
  readonly #tree: CacheTree;
  readonly #cursor: LogCursor;
  readonly #counters: Float64Array;
  /** References to drop per segment, and log segments left behind, in the step that runs. */
  readonly #drops: Int32Array;
  readonly #dropped: number[] = [];
  readonly #leftLogSegments: number[] = [];
  readonly #draining: number[] = [];
  /** Where the sweep for stale extents is, and how many it has dropped since it started at 0. */
  #purgePosition = 0;
  #purged = 0;

  constructor(cache: Cache) {
    const { shared, segments, records, counters } = cache;
    this.#tree = cache.tree;
    this.#shared = shared;
    this.#words = shared.words;
    this.#segments = segments;
    this.#records = records;
    this.#cursor = new LogCursor(segments, shared.segmentCount);
    this.#counters = counters;
    this.#drops = new Int32Array(shared.segmentCount);
  }

  /** Whether more than gc_percent of the segments are in use, or a writer waits for room. */
  isWanted(): boolean {
    const words = this.#words;
    if (Atomics.load(words, Word.indexFull) !== 0 || Atomics.load(words, Word.roomWaiters) > 0 || this.#segments.freeForData() <= 0)
      return true;
    return this.#segments.used() * 100 > Atomics.load(words, Word.gcPercent) * this.#shared.segmentCount;
  }

  /**
   * One step: passes up to 64 ksets between key_tail and dirty_tail and frees what that makes free.
   * Returns whether anything changed. Throws PcacheError `io` or `damaged`.
   */
  step(): boolean {
    const words = this.#words;
    const cursor = this.#cursor;
    lock(words, Word.logLock);
    const endSegment = words[Word.dirtyTailSegment]!;
    const endOffset = words[Word.dirtyTailOffset]!;
    cursor.moveTo(words[Word.keyTailSegment]!, words[Word.keyTailOffset]!);
    unlock(words, Word.logLock);
    // A step that failed half-way may have left its counts behind.
    for (const segment of this.#dropped) this.#drops[segment] = 0;
    this.#dropped.length = 0;
    this.#leftLogSegments.length = 0;
    let ksets = 0;
    let lastSequence = 0;
    for (; ksets < STEP_KSETS && !cursor.isAt(endSegment, endOffset); ksets++) {
      cursor.loadKset();
      // One of 0 is the kernel's, from before this opening of the cache, which the header knows to be durable.
      if (cursor.header.sequence !== 0) lastSequence = cursor.header.sequence;
      if (cursor.header.isLast) this.#leftLogSegments.push(cursor.segment);
      for (let index = 0; index < cursor.header.keyNum; index++) {
        cursor.loadKey(index);
        this.#countDrop(cursor.key.cacheSegId);
      }
      cursor.advance();
    }
    if (ksets > 0) {
      // The place that the header names has this sequence, and each kset that is passed must be before it.
      if (lastSequence >= this.#shared.numbers[NumberWord.recordedDirtySequence]!) this.#records.storeLogPlaces();
      this.#moveKeyTail(ksets);
    }
    const freed = this.freeEmptySegments();
    return this.#reclaimIndex() || freed || ksets > 0;
  }

  /** Drops stale extents if the index has run out of memory; a bounded number of subtrees a step. Returns whether there is more to do. */
  #reclaimIndex(): boolean {
    const words = this.#words;
    if (Atomics.load(words, Word.indexFull) === 0) return false;
    for (let left = STEP_SUBTREES; left > 0; left--) {
      if (this.#tree.extentCount(this.#purgePosition) > 0) {
        this.#tree.lock(this.#purgePosition);
        this.#purged += this.#tree.purge(this.#purgePosition);
        this.#tree.unlock(this.#purgePosition);
      }
      this.#purgePosition++;
      if (this.#purgePosition < this.#tree.subtreeCount) continue;
      this.#purgePosition = 0;
      const reclaimed = this.#purged > 0;
      this.#purged = 0;
      // Nothing was stale: the next collected segments will be, so the flag stays until then.
      if (reclaimed) {
        Atomics.store(words, Word.indexFull, 0);
        signal(words, Word.roomEvent);
      }
      return reclaimed;
    }
    return true;
  }

  #countDrop(segment: number): void {
    // A key that names no segment was never counted by replay either.
    if (segment >= this.#shared.segmentCount) return;
    if (this.#drops[segment] === 0) this.#dropped.push(segment);
    this.#drops[segment]! += 1;
  }

  #moveKeyTail(ksets: number): void {
    const words = this.#words;
    this.#records.storeKeyTail(this.#cursor.segment, this.#cursor.offset);
    lock(words, Word.logLock);
    words[Word.keyTailSegment] = this.#cursor.segment;
    words[Word.keyTailOffset] = this.#cursor.offset;
    unlock(words, Word.logLock);
    for (const segment of this.#dropped) {
      const drops = this.#drops[segment]!;
      this.#drops[segment] = 0;
      if (Atomics.sub(this.#shared.refs, segment, drops) === drops) Atomics.add(words, Word.emptySegments, 1);
    }
    this.#dropped.length = 0;
    for (const segment of this.#leftLogSegments) {
      this.#segments.finishFree(segment as CacheSegId);
      this.#counters[COUNTER.gc_segments]! += 1;
    }
    this.#leftLogSegments.length = 0;
    this.#counters[COUNTER.gc_ksets]! += ksets;
  }

  /** Frees data segments that no key refers to. Returns whether one came free. Throws PcacheError `io`. */
  freeEmptySegments(): boolean {
    if (Atomics.exchange(this.#words, Word.emptySegments, 0) > 0) {
      for (let segment = 0; segment < this.#shared.segmentCount; segment++) {
        if (this.#shared.state[segment] !== SegmentState.data || Atomics.load(this.#shared.refs, segment) !== 0) continue;
        if (this.#segments.startFree(segment as CacheSegId)) this.#draining.push(segment);
      }
    }
    let freed = false;
    for (let i = this.#draining.length - 1; i >= 0; i--) {
      const segment = this.#draining[i]! as CacheSegId;
      if (this.#segments.isPinned(segment)) continue;
      this.#records.storeGeneration(segment);
      this.#draining.splice(i, 1);
      this.#segments.finishFree(segment);
      this.#counters[COUNTER.gc_segments]! += 1;
      freed = true;
    }
    return freed;
  }
}
