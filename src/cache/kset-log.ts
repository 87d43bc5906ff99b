// The log: one open kset for all workers, so that the log is in the order of the writes, and the ring of closed ksets that wait to
// become durable.
//
// Keys are staged in place: a key is stored at once in the slot of the log segment where it will stay, so it survives the death of the
// process. What makes it part of the log comes later: its kset's header, which the log worker writes once the payload is durable.
// Until then the header's magic is 0, which is the end of the log for the kernel and for anybody who reads the media, and only a
// restart on the same boot, with the machine's memory intact, picks staged keys up again (`replay.ts`).
//
// Invariants:
// - The header of a kset is written only when its payload, its keys and the zeroed header after it are durable, and when every kset
//   before it is durable or is part of the same batch (`batchIndex` counts back to the first of the batch).
// - A log segment is switched to only when its first header is durably zero (`prepareNextLogSegment`).
// - An open kset with a key in it has a place in the ring, and room for 128 keys and a LAST after it: closing it can't fail.
// - Sequence numbers grow by one a kset and are never used twice, not even after loss of power (`sequenceLimit`).

import type { CacheDevice } from '../device/device.js';
import {
  KEY_BYTES,
  KSET_BYTES_MAX,
  KSET_HEADER_BYTES,
  KSET_KEYS_MAX,
  LAST_KSET_BYTES,
  SEGMENT_DATA_BYTES,
  SEGMENT_DATA_OFFSET,
  SECTOR_BYTES,
  SUBTREE_BYTES,
} from '../media/layout.js';
import type { CacheSegId } from '../media/layout.js';
import {
  BATCH_INDEX_MAX,
  KSET_BARRIER,
  KSET_BARRIER_BEFORE,
  ksetFlagsHigh,
  ksetFlagsLow,
  sealKsetHeader,
  sealLastKset,
} from '../media/kset.js';
import { KEY_FLAG_CLEAN } from '../media/cache-key.js';
import { stagedKeyWord } from '../media/staged-key.js';
import { signal } from '../shared/event-word.js';
import { lock, unlock } from '../shared/mutex.js';
import { NumberWord, SEALED_RING_ENTRIES, SealedFlag, SealedWord, SegmentState, Word } from './shared-state.js';
import type { CacheShared } from './shared-state.js';
import type { SegmentTable } from './segment-table.js';

/** Ksets made durable together, at most; the index of each must be below BATCH_INDEX_MAX, which proves nothing. */
const BATCH_KSETS_MAX = BATCH_INDEX_MAX;
/**
 * A writer wakes the log worker when so many closed ksets wait for it; fewer wait until it looks by itself. Waking it for each cost 6 % of the processor time
 * of 4 KiB writes.
 */
const WAKE_KSETS = 16;

/** Of the two sizes, which are powers of two. */
const SUBTREE_SHIFT = Math.log2(SUBTREE_BYTES);
const SECTOR_SHIFT = Math.log2(SECTOR_BYTES);

/** Word offset of an entry of the ring of closed ksets; entries are counted modulo 2^32. */
function entryAt(entry: number): number {
  return (entry & (SEALED_RING_ENTRIES - 1)) * SealedWord.stride;
}

export class KsetLog {
  readonly #shared: CacheShared;
  readonly #words: Int32Array;
  readonly #numbers: Float64Array;
  readonly #segments: SegmentTable;
  readonly #device: CacheDevice;
  readonly #clock: () => number;
  /** A kset goes to another segment if it might not fit below this with a LAST behind it. */
  readonly #segmentDataBytes: number;
  /** Payload ranges of a batch, by cache_seg_id: lowest and highest byte; `#touched` lists the segments. Log worker only. */
  #low: Int32Array | undefined;
  #high: Int32Array | undefined;
  readonly #touched: number[] = [];
  /** Device offsets of what is to be persisted as one; the end is 0 if nothing is. Log worker only. */
  #spanStart = 0;
  #spanEnd = 0;

  constructor(shared: CacheShared, segments: SegmentTable, device: CacheDevice, clock: () => number) {
    this.#shared = shared;
    this.#words = shared.words;
    this.#numbers = shared.numbers;
    this.#segments = segments;
    this.#device = device;
    this.#clock = clock;
    this.#segmentDataBytes = shared.segmentDataBytes ?? SEGMENT_DATA_BYTES;
  }

  /**
   * Stages a key. The caller holds the lock of the key's subtree and a reference on its segment, which passes to the key; its payload
   * is in place. The place in the volume is two integers, since one number beyond 2^31 would be allocated to pass it. Returns false, having changed
   * nothing, if the log has no room until the log worker or the collector has done a step.
   */
  append(
    subtree: number,
    sector: number,
    lengthBytes: number,
    keyFlags: number,
    segment: CacheSegId,
    segmentOffset: number,
    generationLow: number,
    generationHigh: number,
    dataCrc: number,
  ): boolean {
    const words = this.#words;
    lock(words, Word.logLock);
    if (words[Word.openKeys] === 0 && !this.#openKset()) {
      unlock(words, Word.logLock);
      return false;
    }
    const index = words[Word.openKeys]!;
    const openSegment = words[Word.openSegment]! as CacheSegId;
    const ksetOffset = words[Word.openOffset]!;
    const slot = SEGMENT_DATA_OFFSET + ksetOffset + KSET_HEADER_BYTES + index * KEY_BYTES;
    const log = this.#segments.view(openSegment);
    const w = log.words;
    const at = slot >> 2;
    w[at + 9] = 0;
    w[at] = (subtree << SUBTREE_SHIFT) | (sector << SECTOR_SHIFT);
    w[at + 1] = subtree >>> (32 - SUBTREE_SHIFT);
    w[at + 2] = lengthBytes;
    w[at + 3] = keyFlags;
    w[at + 4] = segment;
    w[at + 5] = segmentOffset;
    w[at + 6] = generationLow;
    w[at + 7] = generationHigh;
    w[at + 8] = dataCrc | 0;
    // The last store: with the check in place the key counts, should the process die now.
    const sequence = this.#numbers[NumberWord.openSequence]!;
    Atomics.store(w, at + 9, stagedKeyWord(log.view, slot, sequence | 0, (sequence * 2 ** -32) | 0, openSegment, ksetOffset));
    if ((keyFlags & KEY_FLAG_CLEAN) === 0) this.#numbers[NumberWord.dirtyBytes]! += lengthBytes;
    words[Word.openKeys] = index + 1;
    const full = index + 1 === KSET_KEYS_MAX;
    if (full) this.#close(0);
    const wakes = full && ((words[Word.sealedTail]! - words[Word.sealedTaken]!) | 0) >= WAKE_KSETS;
    unlock(words, Word.logLock);
    if (wakes) signal(words, Word.logWorkEvent);
    return true;
  }

  /** Whether `append` would have succeeded a moment ago; a hint, taken without the lock. */
  mayAppend(): boolean {
    const words = this.#words;
    if (words[Word.openKeys] !== 0) return true;
    if (((words[Word.sealedTail]! - words[Word.sealedHead]!) | 0) > SEALED_RING_ENTRIES - 2) return false;
    if (this.#numbers[NumberWord.openSequence]! + 2 >= this.#numbers[NumberWord.sequenceLimit]!) return false;
    return (
      words[Word.openOffset]! + KSET_BYTES_MAX + LAST_KSET_BYTES <= this.#segmentDataBytes ||
      Atomics.load(words, Word.nextLogSegment) !== -1
    );
  }

  /** Makes place for a new open kset: in the ring, and in the log segment or the next one. Under logLock, with no key staged. */
  #openKset(): boolean {
    const words = this.#words;
    // The numbers below the limit may be used: one for the kset, one for a LAST before it.
    if (this.#numbers[NumberWord.openSequence]! + 2 >= this.#numbers[NumberWord.sequenceLimit]!) return false;
    // One entry for the kset, one for a LAST before it.
    if (((words[Word.sealedTail]! - words[Word.sealedHead]!) | 0) > SEALED_RING_ENTRIES - 2) return false;
    if (words[Word.openOffset]! + KSET_BYTES_MAX + LAST_KSET_BYTES > this.#segmentDataBytes && !this.#switchSegment()) return false;
    const sequence = this.#numbers[NumberWord.openSequence]!;
    const w = this.#segments.view(words[Word.openSegment]! as CacheSegId).words;
    const at = (SEGMENT_DATA_OFFSET + words[Word.openOffset]!) >> 2;
    w.fill(0, at, at + 4);
    w[at + 4] = ksetFlagsLow(0, 0, sequence);
    w[at + 5] = ksetFlagsHigh(sequence);
    this.#numbers[NumberWord.openedAtMs] = this.#clock();
    return true;
  }

  #switchSegment(): boolean {
    const words = this.#words;
    const next = words[Word.nextLogSegment]! as CacheSegId | -1;
    if (next === -1) return false;
    const from = words[Word.openSegment]! as CacheSegId;
    const offset = words[Word.openOffset]!;
    const sequence = this.#numbers[NumberWord.openSequence]!;
    const log = this.#segments.view(from);
    sealLastKset(log.bytes, log.view, SEGMENT_DATA_OFFSET + offset, next, 0, BATCH_INDEX_MAX, sequence);
    this.#push(from, offset, next, SealedFlag.last, sequence);
    this.#segments.setState(next, SegmentState.log);
    words[Word.openSegment] = next;
    words[Word.openOffset] = 0;
    Atomics.store(words, Word.nextLogSegment, -1);
    return true;
  }

  #push(segment: CacheSegId, offset: number, keys: number, flags: number, sequence: number): void {
    const entries = this.#shared.sealed;
    const tail = this.#words[Word.sealedTail]!;
    const at = entryAt(tail);
    entries[at + SealedWord.segment] = segment;
    entries[at + SealedWord.offset] = offset;
    entries[at + SealedWord.keys] = keys;
    entries[at + SealedWord.flags] = flags;
    entries[at + SealedWord.sequenceLow] = sequence | 0;
    entries[at + SealedWord.sequenceHigh] = Math.floor(sequence / 2 ** 32);
    this.#words[Word.sealedTail] = tail + 1;
    this.#numbers[NumberWord.lastSealedSequence] = sequence;
    this.#numbers[NumberWord.openSequence] = sequence + 1;
  }

  /** Closes the open kset, which has a key. Under logLock. */
  #close(flags: number): void {
    const words = this.#words;
    const segment = words[Word.openSegment]! as CacheSegId;
    const offset = words[Word.openOffset]!;
    const keys = words[Word.openKeys]!;
    const nextOffset = offset + KSET_HEADER_BYTES + keys * KEY_BYTES;
    const at = (SEGMENT_DATA_OFFSET + nextOffset) >> 2;
    this.#segments.view(segment).words.fill(0, at, at + KSET_HEADER_BYTES / 4);
    const before = words[Word.barrierPending] === 1 ? SealedFlag.barrierBefore : 0;
    words[Word.barrierPending] = 0;
    words[Word.lastSealedHasBarrier] = (flags & SealedFlag.barrier) === 0 ? 0 : 1;
    this.#push(segment, offset, keys, flags | before, this.#numbers[NumberWord.openSequence]!);
    words[Word.openOffset] = nextOffset;
    words[Word.openKeys] = 0;
  }

  /**
   * A flush: closes the open kset with a barrier mark. Returns the sequence that has to be flushed (`isFlushed`) before it
   * may be answered, and wakes the log worker if there is something to do.
   */
  requestFlush(): number {
    const words = this.#words;
    lock(words, Word.logLock);
    if (words[Word.openKeys]! > 0) {
      this.#close(SealedFlag.barrier);
    } else if (words[Word.lastSealedHasBarrier] === 0) {
      // Nothing is open; the mark belongs on the newest closed kset, or, if its header is being written already, before the next.
      const tail = words[Word.sealedTail]!;
      const at = entryAt(tail - 1);
      if (((tail - words[Word.sealedTaken]!) | 0) > 0 && (this.#shared.sealed[at + SealedWord.flags]! & SealedFlag.last) === 0) {
        this.#shared.sealed[at + SealedWord.flags]! |= SealedFlag.barrier;
      } else {
        words[Word.barrierPending] = 1;
      }
      words[Word.lastSealedHasBarrier] = 1;
    }
    const sequence = this.#numbers[NumberWord.lastSealedSequence]!;
    this.#numbers[NumberWord.flushSequence] = sequence;
    unlock(words, Word.logLock);
    if (!this.isFlushed(sequence)) signal(words, Word.logWorkEvent);
    return sequence;
  }

  /** Whether everything up to a sequence is durable, and the gateway header says so, durably: damage to it can't be taken for the end of the log. */
  isFlushed(sequence: number): boolean {
    return this.#numbers[NumberWord.recordedSequence]! >= sequence;
  }

  /** Whether everything up to a sequence is durable. A flush waits for more: `isFlushed`. */
  isDurable(sequence: number): boolean {
    return this.#numbers[NumberWord.durableSequence]! >= sequence;
  }

  /** Closes the open kset if it has a key that is `maxAgeMs` old or older; without a barrier mark. Returns whether it did. */
  closeIfOlder(maxAgeMs: number): boolean {
    const words = this.#words;
    lock(words, Word.logLock);
    const due = words[Word.openKeys]! > 0 && this.#clock() - this.#numbers[NumberWord.openedAtMs]! >= maxAgeMs;
    if (due) this.#close(0);
    unlock(words, Word.logLock);
    return due;
  }

  /** One step of the log worker: makes the oldest closed ksets durable, at most 63. Returns how many; 0 if there are none. Throws PcacheError `io`. */
  commitStep(): number {
    const words = this.#words;
    lock(words, Word.logLock);
    const head = words[Word.sealedHead]!;
    const count = Math.min((words[Word.sealedTail]! - head) | 0, BATCH_KSETS_MAX);
    words[Word.sealedTaken] = head + count;
    unlock(words, Word.logLock);
    if (count === 0) return 0;

    if (this.#device.persistence === 'synced') this.#persistPayload(head, count);
    this.#persistLog(head, count);
    this.#endPersist();
    for (let i = 0; i < count; i++) this.#writeHeader(entryAt(head + i), i);
    this.#persistLog(head, count);
    this.#endPersist();

    const entries = this.#shared.sealed;
    const last = entryAt(head + count - 1);
    const isLast = (entries[last + SealedWord.flags]! & SealedFlag.last) !== 0;
    const keys = entries[last + SealedWord.keys]!;
    const sequence = this.#sequenceOf(last);
    lock(words, Word.logLock);
    words[Word.durableSegment] = isLast ? keys : entries[last + SealedWord.segment]!;
    words[Word.durableOffset] = isLast ? 0 : entries[last + SealedWord.offset]! + KSET_HEADER_BYTES + keys * KEY_BYTES;
    words[Word.sealedHead] = head + count;
    this.#numbers[NumberWord.durableSequence] = sequence;
    unlock(words, Word.logLock);
    signal(words, Word.backgroundWorkEvent);
    if (Atomics.load(words, Word.roomWaiters) > 0) signal(words, Word.roomEvent);
    return count;
  }

  #sequenceOf(at: number): number {
    const entries = this.#shared.sealed;
    return entries[at + SealedWord.sequenceHigh]! * 2 ** 32 + (entries[at + SealedWord.sequenceLow]! >>> 0);
  }

  #writeHeader(at: number, batchIndex: number): void {
    const entries = this.#shared.sealed;
    const flags = entries[at + SealedWord.flags]!;
    if ((flags & SealedFlag.last) !== 0) return;
    const marks =
      ((flags & SealedFlag.barrier) === 0 ? 0 : KSET_BARRIER) | ((flags & SealedFlag.barrierBefore) === 0 ? 0 : KSET_BARRIER_BEFORE);
    const log = this.#segments.view(entries[at + SealedWord.segment]! as CacheSegId);
    const offset = SEGMENT_DATA_OFFSET + entries[at + SealedWord.offset]!;
    sealKsetHeader(log.bytes, log.view, offset, entries[at + SealedWord.keys]!, marks, batchIndex, this.#sequenceOf(at));
  }

  /** Makes [start, end) of a segment's data durable: at once, or with all that comes until `#endPersist`, as one span. */
  #persist(segment: CacheSegId, start: number, end: number): void {
    const from = this.#segments.deviceOffset(segment, start);
    if (this.#device.persistsSpans !== true) {
      this.#device.persist(from, end - start);
      return;
    }
    const to = from + end - start;
    if (this.#spanEnd === 0 || from < this.#spanStart) this.#spanStart = from;
    if (to > this.#spanEnd) this.#spanEnd = to;
  }

  /** What `#persist` was asked for is durable when it returns. */
  #endPersist(): void {
    const end = this.#spanEnd;
    if (end === 0) return;
    this.#spanEnd = 0;
    this.#device.persist(this.#spanStart, end - this.#spanStart);
  }

  /** Persists the ksets of the batch, with the zeroed header after the last: one range for each run in one log segment. */
  #persistLog(head: number, count: number): void {
    const entries = this.#shared.sealed;
    let runSegment = -1 as CacheSegId | -1;
    let runStart = 0;
    let runEnd = 0;
    for (let i = 0; i < count; i++) {
      const at = entryAt(head + i);
      const segment = entries[at + SealedWord.segment]! as CacheSegId;
      const offset = entries[at + SealedWord.offset]!;
      const isLast = (entries[at + SealedWord.flags]! & SealedFlag.last) !== 0;
      const end = isLast ? offset + LAST_KSET_BYTES : offset + 2 * KSET_HEADER_BYTES + entries[at + SealedWord.keys]! * KEY_BYTES;
      if (segment !== runSegment) {
        if (runSegment !== -1) this.#persist(runSegment, runStart, runEnd);
        runSegment = segment;
        runStart = offset;
      }
      runEnd = end;
    }
    if (runSegment !== -1) this.#persist(runSegment, runStart, runEnd);
  }

  /** Persists the payload that the keys of the batch refer to: a range for each data segment, from its lowest to its highest byte. */
  #persistPayload(head: number, count: number): void {
    const entries = this.#shared.sealed;
    const low = (this.#low ??= new Int32Array(this.#shared.segmentCount).fill(-1));
    const high = (this.#high ??= new Int32Array(this.#shared.segmentCount));
    for (let i = 0; i < count; i++) {
      const at = entryAt(head + i);
      if ((entries[at + SealedWord.flags]! & SealedFlag.last) !== 0) continue;
      const w = this.#segments.view(entries[at + SealedWord.segment]! as CacheSegId).words;
      let key = (SEGMENT_DATA_OFFSET + entries[at + SealedWord.offset]! + KSET_HEADER_BYTES) >> 2;
      for (let left = entries[at + SealedWord.keys]!; left > 0; left--, key += KEY_BYTES / 4) {
        const segment = w[key + 4]!;
        const start = w[key + 5]!;
        const end = start + w[key + 2]!;
        if (low[segment] === -1) {
          this.#touched.push(segment);
          low[segment] = start;
          high[segment] = end;
        } else {
          if (start < low[segment]!) low[segment] = start;
          if (end > high[segment]!) high[segment] = end;
        }
      }
    }
    try {
      for (const segment of this.#touched) {
        this.#persist(segment as CacheSegId, low[segment]!, high[segment]!);
      }
    } finally {
      for (const segment of this.#touched) low[segment] = -1;
      this.#touched.length = 0;
    }
  }

  /**
   * One step of the log worker: makes a free segment ready to be the next log segment, if none is. Returns whether it did.
   * Throws PcacheError `io`.
   */
  prepareNextLogSegment(): boolean {
    const words = this.#words;
    if (Atomics.load(words, Word.nextLogSegment) !== -1) return false;
    const segment = this.#segments.takeForLog();
    if (segment === -1) return false;
    const at = SEGMENT_DATA_OFFSET >> 2;
    this.#segments.view(segment).words.fill(0, at, at + KSET_HEADER_BYTES / 4);
    this.#device.persist(this.#segments.deviceOffset(segment, 0), KSET_HEADER_BYTES);
    Atomics.store(words, Word.nextLogSegment, segment);
    signal(words, Word.roomEvent);
    return true;
  }
}
