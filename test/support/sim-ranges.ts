// How a user of a simulated volume reads as the engine does: what is all in the cache straight from the pinned segments, as a queue worker answers it; the rest as ranges of
// which many are under way (`RangeReads`), with what is read ahead beside them, as a miss worker does. What has been asked of the backing device goes on
// while the user does other things, and completes in any order.
//
// Invariants: what is not filled by a read is garbage, never the volume's bytes; a request that finds its range under way waits for that, once.

import type { Cache } from '../../src/cache/cache.js';
import { PieceKind } from '../../src/cache/piece-list.js';
import type { BackingDevice } from '../../src/device/device.js';
import { OutOfOrderQueue } from '../../src/device/simulated-backing-queue.js';
import { PcacheError } from '../../src/errors.js';
import { RangeReads, type RangeRead } from '../../src/gateway/range-reads.js';
import { PAGE_BYTES, SECTOR_BYTES, SEGMENT_DATA_OFFSET } from '../../src/media/layout.js';
import type { CacheSegId } from '../../src/media/layout.js';

const QUEUE_DEPTH = 8;
const DEMANDED_MAX = 4;
const AHEAD_MAX = 4;
const AHEAD_SECTORS_MAX = 12;
const NO_REQUEST = -1;
const GARBAGE = 0xa5;

/** Whoever decides: a simulated thread's turns, or chance alone. */
export interface RangeChoices {
  /** From 0 up to, not including, 1. */
  random(): number;
  pick(below: number): number;
  /** Others may run. */
  step(): void;
}

export interface RangeWindow {
  readonly startBytes: number;
  readonly lengthBytes: number;
  /** What the backing device wants offsets to be multiples of. */
  readonly alignmentBytes: number;
}

interface Request<Began> {
  /** What its user knew when it began. */
  readonly began: Began;
  /** Bytes of the window. */
  readonly offset: number;
  readonly length: number;
}

export class SimRanges<Began> {
  readonly #cache: Cache;
  readonly #choices: RangeChoices;
  readonly #answered: (began: Began, offset: number, bytes: Uint8Array) => void;
  readonly #windowStart: number;
  readonly #windowBytes: number;
  readonly #queue: OutOfOrderQueue;
  readonly #reads: RangeReads;
  readonly #requests = new Map<number, Request<Began>>();
  /** Tags of requests that have waited for another's range. */
  readonly #again: number[] = [];
  #tags = 0;

  /** @param answered is told each read that did not fail, and what it got */
  constructor(
    cache: Cache,
    backing: BackingDevice,
    window: RangeWindow,
    choices: RangeChoices,
    answered: (began: Began, offset: number, bytes: Uint8Array) => void,
  ) {
    this.#cache = cache;
    this.#windowStart = window.startBytes;
    this.#windowBytes = window.lengthBytes;
    this.#choices = choices;
    this.#answered = answered;
    const never = (): never => {
      throw new Error('a read queue writes');
    };
    const device = { read: backing.read.bind(backing), write: never, startFlush: never };
    this.#queue = new OutOfOrderQueue(device, QUEUE_DEPTH, () => choices.random());
    this.#reads = new RangeReads(cache, this.#queue, window.alignmentBytes);
  }

  /** A read of bytes of the window; it may still be under way when this returns. */
  read(began: Began, offset: number, length: number): void {
    const request = { began, offset, length };
    if (this.#isHit(request)) return;
    while (this.#reads.demanded >= DEMANDED_MAX || this.#reads.ahead >= AHEAD_MAX) this.#wait(1);
    const { start, end } = this.#sectors(request);
    const tag = this.#tags++;
    this.#requests.set(tag, request);
    const other = this.#reads.overlapping(start, end);
    other?.waiters.push(tag);
    if (this.#choices.pick(2) === 0) this.#readAhead(end);
    if (other === undefined) this.#begin(tag);
  }

  /** Goes on with what is under way, as far as it comes without waiting. */
  goOn(): void {
    if (this.#isUnderWay) this.#wait(0);
  }

  /** Waits for all that is under way. */
  finish(): void {
    while (this.#isUnderWay) this.#wait(1);
  }

  get #isUnderWay(): boolean {
    return this.#reads.demanded + this.#reads.ahead + this.#again.length > 0;
  }

  #sectors({ offset, length }: Request<Began>): { start: number; end: number } {
    const start = this.#windowStart + offset - (offset % SECTOR_BYTES);
    return { start, end: this.#windowStart + Math.ceil((offset + length) / SECTOR_BYTES) * SECTOR_BYTES };
  }

  #isHit(request: Request<Began>): boolean {
    const { reader, segments } = this.#cache;
    const { pieces } = reader;
    const { start, end } = this.#sectors(request);
    reader.begin(start, end - start, false);
    const isHit = reader.missingBytes === 0;
    const target = new Uint8Array(end - start).fill(GARBAGE);
    for (let at = 0; isHit && at < pieces.count; at++) {
      if (pieces.kinds[at] !== PieceKind.cached) throw new Error('a piece is damaged, and nothing was damaged');
      // The kernel copies as it likes.
      this.#choices.step();
      const from = SEGMENT_DATA_OFFSET + pieces.segmentOffsets[at]!;
      const { bytes } = segments.view(pieces.segments[at]! as CacheSegId);
      target.set(bytes.subarray(from, from + pieces.lengths[at]!), pieces.volumeOffsets[at]! - start);
    }
    reader.end();
    if (isHit) this.#answer(request, target, start);
    return isHit;
  }

  #begin(tag: number): void {
    const { start, end } = this.#sectors(this.#requests.get(tag)!);
    // With the room of whole pages, as a request's slot has it.
    const base = Math.max(this.#windowStart, start - (start % PAGE_BYTES));
    const targetEnd = Math.min(this.#windowStart + this.#windowBytes, Math.ceil(end / PAGE_BYTES) * PAGE_BYTES);
    const read = this.#reads.begin(tag, start, end, new Uint8Array(targetEnd - base).fill(GARBAGE), base, false);
    if (read.isDone) this.#onDone(read);
  }

  #readAhead(start: number): void {
    const windowEnd = this.#windowStart + this.#windowBytes;
    let from = start;
    for (let ranges = 1 + this.#choices.pick(2); ranges > 0 && from < windowEnd; ranges--) {
      const end = Math.min(windowEnd, from + (1 + this.#choices.pick(AHEAD_SECTORS_MAX)) * SECTOR_BYTES);
      const read = this.#reads.begin(NO_REQUEST, from, end, new Uint8Array(end - from).fill(GARBAGE), from, true);
      if (read.isDone) this.#onDone(read);
      from = end;
    }
  }

  #wait(completions: number): void {
    for (const tag of this.#again.splice(0)) this.#begin(tag);
    this.#reads.submit();
    this.#queue.wait(completions);
    for (let read = this.#reads.harvest(); read !== undefined; read = this.#reads.harvest()) this.#onDone(read);
  }

  #onDone(read: RangeRead): void {
    const { tag, isAhead, error, target, baseBytes } = read;
    this.#again.push(...read.waiters);
    this.#reads.release(read);
    if (error !== undefined && !(error instanceof PcacheError && error.code === 'io')) throw error as Error;
    if (isAhead) return;
    const request = this.#requests.get(tag)!;
    this.#requests.delete(tag);
    if (error === undefined) this.#answer(request, target, baseBytes);
  }

  #answer({ began, offset, length }: Request<Began>, bytes: Uint8Array, baseBytes: number): void {
    const from = this.#windowStart + offset - baseBytes;
    this.#answered(began, offset, bytes.subarray(from, from + length));
  }
}
