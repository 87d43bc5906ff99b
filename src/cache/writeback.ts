// Writeback: says what to write to the backing device, in batches, and moves dirty_tail once the caller has written and flushed it.
//
// Invariants:
// - A batch is the next ksets from dirty_tail and never reaches over a barrier. So the backing device is always everything up to some flush,
//   and nothing but writes of the interval after it.
// - Within a batch only the newest of what overlaps is written; nothing is dropped because of a key outside the batch.
// - dirty_tail moves only after the backing device's flush has succeeded (`complete`), and is durable before the collector may pass.
// - With data CRC on, a key whose payload does not match is not written: it goes into quarantine (see `Quarantine`), the rest goes on.
//   dirty_tail passes such a key only when it is durable in its new place; and when nothing else is left up to the end of the log, damaged keys
//   stay where they are, so that they are not logged again for ever.
//
// Run by one thread (the background worker).

import { KSET_KEYS_MAX, SECTOR_BYTES, SEGMENT_DATA_BYTES, SEGMENT_DATA_OFFSET, SUBTREE_BYTES } from '../media/layout.js';
import { validateKey } from '../media/cache-key.js';
import type { CacheSegId } from '../media/layout.js';
import { pcacheCrcOfRange } from '../media/crc32c.js';
import { PcacheError } from '../errors.js';
import { COUNTER } from '../shared/counters.js';
import { signal } from '../shared/event-word.js';
import { lock, unlock } from '../shared/mutex.js';
import type { Cache } from './cache.js';
import { LogCursor } from './log-cursor.js';
import { PieceList } from './piece-list.js';
import { Quarantine } from './quarantine.js';
import { NumberWord, Word } from './shared-state.js';
import { payloadEnd } from './unwritten-data.js';
import { WritebackBatch } from './writeback-batch.js';

/** A batch ends after the kset with which it has this many keys, or bytes. */
const BATCH_KEYS = 32_768;
const BATCH_BYTES = 64 * 1024 * 1024;
/** The same while somebody waits for room: there is none before the batch is done. */
const BATCH_BYTES_WAITED_FOR = 32 * 1024 * 1024;
/** So does one with so many ksets that have only clean keys. */
const BATCH_KSETS = 4096;
/** With those of the kset that it ends with. */
const KEYS_MAX = BATCH_KEYS + KSET_KEYS_MAX;
/** Each key adds two pieces at most. */
const PIECES_MAX = KEYS_MAX * 2;

export class Writeback {
  /** The batch: pieces of the volume in ascending order, without overlap, and where their bytes are. */
  readonly pieces = new PieceList(PIECES_MAX);
  readonly #cache: Cache;
  readonly #cursor: LogCursor;
  readonly #quarantine: Quarantine;
  readonly #batch = new WritebackBatch(KEYS_MAX);
  /** Bytes of the batch's keys, written or superseded. */
  #keyBytes = 0;
  #keys = 0;
  /** Those of them that are written or superseded; the others are damaged. */
  #goodKeys = 0;
  #lastSequence = 0;
  /** The batch is written, and dirty_tail waits until this sequence is durable; 0 if it doesn't. */
  #heldSequence = 0;

  constructor(cache: Cache) {
    this.#cache = cache;
    const { shared } = cache;
    this.#cursor = new LogCursor(cache.segments, shared.segmentCount);
    this.#quarantine = new Quarantine(cache);
  }

  /**
   * Plans the next batch into `pieces`. Returns whether there is one; a batch can be without pieces (all its keys are clean), it is completed all
   * the same. Throws PcacheError `damaged` if the log is.
   */
  plan(): boolean {
    const { shared } = this.#cache;
    const { words } = shared;
    const cursor = this.#cursor;
    if (this.#heldSequence !== 0) {
      // What was written stays so: nothing is left of this batch but to complete it.
      this.pieces.clear();
      return this.#cache.log.isDurable(this.#heldSequence);
    }
    lock(words, Word.logLock);
    const endSegment = words[Word.durableSegment]!;
    const endOffset = words[Word.durableOffset]!;
    const endSequence = shared.numbers[NumberWord.durableSequence]!;
    cursor.moveTo(words[Word.dirtyTailSegment]!, words[Word.dirtyTailOffset]!);
    unlock(words, Word.logLock);
    this.pieces.clear();
    this.#keyBytes = 0;
    this.#keys = 0;
    this.#goodKeys = 0;
    this.#lastSequence = 0;
    this.#quarantine.begin();
    this.#batch.clear();
    const bytesMax = Atomics.load(words, Word.roomWaiters) > 0 ? BATCH_BYTES_WAITED_FOR : BATCH_BYTES;
    let ksets = 0;
    let isFull = false;
    while (!isFull && !cursor.isAt(endSegment, endOffset)) {
      cursor.loadKset();
      // While nothing is to be written, no barrier is crossed.
      if (this.#goodKeys > 0 && cursor.header.isBarrierBefore) break;
      for (let index = 0; index < cursor.header.keyNum; index++) {
        cursor.loadKey(index);
        if (!this.#addKey()) return false;
      }
      ksets++;
      if (cursor.header.sequence !== 0) this.#lastSequence = cursor.header.sequence;
      isFull =
        this.#goodKeys > 0
          ? cursor.header.isBarrier || this.#goodKeys >= BATCH_KEYS || this.#keyBytes >= bytesMax
          : this.#keys === 0 && ksets >= BATCH_KSETS;
      cursor.advance();
    }
    if (ksets === 0) return false;
    if (this.#keys > 0 && this.#goodKeys === 0 && cursor.isAt(endSegment, endOffset)) {
      // What is left is damaged keys alone: all that can be on the backing device is there.
      shared.numbers[NumberWord.writtenSequence] = endSequence;
      return false;
    }
    this.#batch.collect(this.pieces);
    return true;
  }

  /** Returns false if a damaged key could not be marked for lack of index memory; the batch is planned again later. */
  #addKey(): boolean {
    const { key } = this.#cursor;
    const { shared, segments } = this.#cache;
    if (validateKey(key, shared) !== undefined) {
      throw new PcacheError('damaged', `log: a key in segment ${this.#cursor.segment} at offset ${this.#cursor.offset} is not acceptable`);
    }
    const segment = key.cacheSegId as CacheSegId;
    if (key.isClean || key.segGen < segments.generation(segment)) return true;
    this.#keys++;
    this.#keyBytes += key.len;
    if (shared.dataCrc) {
      const at = SEGMENT_DATA_OFFSET + key.cacheSegOff;
      if (pcacheCrcOfRange(segments.view(segment).bytes, at, at + key.len) !== key.dataCrc) {
        return this.#quarantine.add(key);
      }
    }
    if (shared.lostFrom !== Infinity && !shared.dataCrc && payloadEnd(shared.physicalOf[segment]!, key) > shared.lostFrom) {
      return this.#quarantine.add(key);
    }
    this.#goodKeys++;
    const subtree = Math.floor(key.off / SUBTREE_BYTES);
    const sector = (key.off - subtree * SUBTREE_BYTES) / SECTOR_BYTES;
    if (!this.#batch.add(subtree, sector, key.len / SECTOR_BYTES, segment, key.cacheSegOff / SECTOR_BYTES)) {
      throw new PcacheError('internal', 'writeback: a batch has more keys than there is room for');
    }
    return true;
  }

  /** The memory in which piece `index` lies, at `placeOf` it. */
  memoryOf(index: number): Uint8Array {
    return this.#cache.segments.view(this.pieces.segments[index]! as CacheSegId).bytes;
  }

  placeOf(index: number): number {
    const segmentOffset = this.pieces.segmentOffsets[index]!;
    if (segmentOffset + this.pieces.lengths[index]! > SEGMENT_DATA_BYTES) {
      throw new PcacheError('internal', 'writeback: a piece reaches over its segment');
    }
    return SEGMENT_DATA_OFFSET + segmentOffset;
  }

  /**
   * The caller has written every piece and flushed the backing device: moves dirty_tail past the batch. If the batch has damaged keys, it moves
   * later: what `plan` comes to next, once they are durable in their new place, is the rest of this batch. Returns false if there was no
   * room to log them; then nothing has moved, and the batch is planned again. Throws PcacheError `io`.
   */
  complete(): boolean {
    const { log } = this.#cache;
    if (this.#heldSequence === 0) {
      this.#countPieces();
      if (!this.#quarantine.commit()) return false;
      if (this.#keys > this.#goodKeys) {
        this.#heldSequence = log.requestFlush();
        if (!log.isDurable(this.#heldSequence)) return true;
      }
    }
    this.#heldSequence = 0;
    this.#moveDirtyTail();
    return true;
  }

  #countPieces(): void {
    let bytes = 0;
    for (let index = 0; index < this.pieces.count; index++) bytes += this.pieces.lengths[index]!;
    this.#cache.counters[COUNTER.writeback_bytes]! += bytes;
  }

  #moveDirtyTail(): void {
    const { shared, records, counters } = this.#cache;
    const { words, numbers } = shared;
    records.storeDirtyTail(this.#cursor.segment, this.#cursor.offset);
    lock(words, Word.logLock);
    words[Word.dirtyTailSegment] = this.#cursor.segment;
    words[Word.dirtyTailOffset] = this.#cursor.offset;
    numbers[NumberWord.dirtyBytes]! -= this.#keyBytes;
    numbers[NumberWord.passedBytes]! += this.#keyBytes;
    if (this.#cursor.isAt(words[Word.durableSegment]!, words[Word.durableOffset]!)) {
      numbers[NumberWord.writtenSequence] = numbers[NumberWord.durableSequence]!;
    } else if (this.#lastSequence > 0) {
      numbers[NumberWord.writtenSequence] = this.#lastSequence;
    }
    unlock(words, Word.logLock);
    counters[COUNTER.writeback_keys]! += this.#keys;
    signal(words, Word.backgroundWorkEvent);
  }
}
