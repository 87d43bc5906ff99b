// The cache as one thread sees it: its parts over the shared state, put together. Knows no FUSE and no backing device, and never waits:
// whoever uses it does the I/O and the waiting.

import type { CacheDevice } from '../device/device.js';
import type { BackingPrint } from '../media/backing-print.js';
import { recordsCrc } from '../media/backing-print.js';
import { COUNTER, countersOf } from '../shared/counters.js';
import { signal } from '../shared/event-word.js';
import { CacheRecords } from './cache-records.js';
import { CacheTree } from './cache-tree.js';
import { KsetLog } from './kset-log.js';
import { Reader } from './reader.js';
import { SegmentTable } from './segment-table.js';
import { NumberWord, Word } from './shared-state.js';
import type { CacheShared } from './shared-state.js';
import { SEQUENCE_CLAIM } from './sequence-claim.js';
import { Writer } from './writer.js';

/** At most so often the gateway header is told how far the log has got durably, if no flush asks for it. */
const RECORD_INTERVAL_MS = 1000;

export class Cache {
  readonly shared: CacheShared;
  readonly device: CacheDevice;
  readonly tree: CacheTree;
  readonly segments: SegmentTable;
  readonly log: KsetLog;
  readonly records: CacheRecords;
  readonly reader: Reader;
  readonly writer: Writer;
  /** This thread's slice; only it adds to it. */
  readonly counters: Float64Array;
  readonly #clock: () => number;
  #recordedAtMs = -Infinity;

  /**
   * @param head data head that this thread's writes go to, modulo the number of heads
   * @param counterSlice this thread's slice of the counters
   * @param clock milliseconds from a monotonic clock
   */
  constructor(shared: CacheShared, device: CacheDevice, head: number, counterSlice: number, clock: () => number) {
    this.shared = shared;
    this.#clock = clock;
    this.device = device;
    this.counters = countersOf(shared.counters, counterSlice);
    this.tree = CacheTree.attach(shared.tree, shared.generationLow, shared.liveSectors, shared.corruptSectors);
    this.segments = new SegmentTable(shared, device);
    this.log = new KsetLog(shared, this.segments, device, clock);
    this.records = new CacheRecords(shared, this.segments, device);
    this.reader = this.newReader();
    this.writer = new Writer(shared, this.tree, this.segments, this.log, head, this.counters);
  }

  /** One more reader for this thread, which holds a range beside that of `reader`. */
  newReader(): Reader {
    return new Reader(this.shared, this.tree, this.segments);
  }

  /** Bytes in the log that are not on the backing device yet. */
  get dirtyBytes(): number {
    return this.shared.numbers[NumberWord.dirtyBytes]!;
  }

  /**
   * One step of the log worker: makes closed ksets durable, prepares the next log segment, claims more sequence numbers when they run low,
   * closes a kset that has been open for `maxAgeMs`, and has the gateway header say how far the log has got: for each group of flushes, and otherwise
   * once a second at most. Returns whether it did anything. Throws PcacheError `io`.
   */
  logStep(maxAgeMs: number): boolean {
    const { numbers } = this.shared;
    if (numbers[NumberWord.sequenceLimit]! - numbers[NumberWord.openSequence]! < SEQUENCE_CLAIM / 2) {
      this.records.raiseSequenceLimit(numbers[NumberWord.sequenceLimit]! + SEQUENCE_CLAIM);
    }
    const prepared = this.log.prepareNextLogSegment();
    const closed = this.log.closeIfOlder(maxAgeMs);
    if (this.commitStep()) return true;
    // Only when nobody waits for the log: the header can wait.
    return this.#recordLogPlaces() || closed || prepared;
  }

  /**
   * The part of it that flushes wait for: makes closed ksets durable, and then has the header say so, if a flush has asked for more than it says. All
   * flushes that wait by then share that. Returns whether it did anything. Throws PcacheError `io`.
   */
  commitStep(): boolean {
    const { numbers, words } = this.shared;
    const committed = this.log.commitStep();
    this.counters[COUNTER.ksets_closed]! += committed;
    if (numbers[NumberWord.flushSequence]! <= numbers[NumberWord.recordedSequence]!) return committed > 0;
    this.records.storeDurablePlace();
    signal(words, Word.flushedEvent);
    return true;
  }

  #recordLogPlaces(): boolean {
    const { numbers, words } = this.shared;
    const isCurrent = numbers[NumberWord.durableSequence]! <= numbers[NumberWord.recordedSequence]!;
    if (isCurrent && words[Word.headerCopyBehind] === 0) return false;
    const now = this.#clock();
    if (now - this.#recordedAtMs < RECORD_INTERVAL_MS) return false;
    this.#recordedAtMs = now;
    this.records.storeLogPlaces();
    return true;
  }

  /** Counts one more writer that waits for room; from then on no newcomer takes a fresh segment. Wakes those who can make room. */
  addRoomWaiter(): void {
    Atomics.add(this.shared.words, Word.roomWaiters, 1);
    signal(this.shared.words, Word.logWorkEvent);
    signal(this.shared.words, Word.backgroundWorkEvent);
  }

  removeRoomWaiter(): void {
    Atomics.sub(this.shared.words, Word.roomWaiters, 1);
  }

  /**
   * The last step of closing a cache in order: everything must be durable and no other thread may use the cache any more. Marks the media as
   * closed. `print`: of the backing device, to which nothing may be written any more (`printAtClose`). Throws PcacheError `io`.
   */
  markClean(print: BackingPrint | undefined): void {
    const backingPrint = print === undefined ? undefined : { ...print, recordsCrc: recordsCrc(this.device.control.bytes) };
    this.records.storeGatewayHeader({ state: 'clean', ...(backingPrint === undefined ? {} : { backingPrint }) });
  }
}
