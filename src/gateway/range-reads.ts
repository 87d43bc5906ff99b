// Ranges of the volume that are being read, many at a time: what is in the cache is copied at once, what is missing is asked of the backing device, and when
// all of it is there, it is kept in the cache. For one thread; whoever uses it does the waiting (`BackingQueue.wait`, or the ring's `sleep`).
//
// The order of a range, as docs/write-path.md has it: the gaps get placeholders under the subtree's lock before the backing device is read, and only what is
// still a placeholder when all is read becomes cached data. The segments of what is cached are pinned only while they are copied, at the start.
//
// Ranges that somebody waits for are asked for in order of arrival, and before all that is read ahead.

import type { Cache } from '../cache/cache.js';
import { PieceKind } from '../cache/piece-list.js';
import type { BackingQueue } from '../device/backing-queue.js';
import { PcacheError } from '../errors.js';
import { COUNTER } from '../shared/counters.js';
import { copyCachedPieces } from './copy-pieces.js';

/** Of the requests of the queue, those that may be for what is read ahead. */
const AHEAD_REQUESTS_MAX = 16;

/** One range. Belongs to whoever began it until `release`. */
export class RangeRead {
  readonly index: number;
  /** The caller's. */
  tag = 0;
  isAhead = false;
  /** Whole sectors, within the volume. */
  startBytes = 0;
  endBytes = 0;
  /** Where the bytes go: the byte at volume offset `baseBytes` to the first of `target`. Complete only if nothing is read ahead. */
  target: Uint8Array = new Uint8Array(0);
  baseBytes = 0;
  missingBytes = 0;
  error: unknown;
  /** Tags of requests that wait until this range is done. */
  readonly waiters: number[] = [];
  /** See Reader.token. */
  token = -1;
  /** What is asked of the backing device: `pieceCount` pieces, of which those before `nextPiece` have been submitted. */
  readonly pieceOffsets: number[] = [];
  readonly pieceLengths: number[] = [];
  pieceCount = 0;
  nextPiece = 0;
  inFlight = 0;

  constructor(index: number) {
    this.index = index;
  }

  /** Whether nothing more has to come. */
  get isDone(): boolean {
    return this.inFlight === 0 && (this.error !== undefined || this.nextPiece === this.pieceCount);
  }
}

export class RangeReads {
  /** Ranges under way that somebody waits for, and that are read ahead. */
  demanded = 0;
  ahead = 0;
  readonly #cache: Cache;
  readonly #queue: BackingQueue;
  readonly #alignmentBytes: number;
  readonly #reads: RangeRead[] = [];
  readonly #free: RangeRead[] = [];
  readonly #active: RangeRead[] = [];
  /** Ranges with pieces to submit, oldest first. */
  readonly #demandedToSubmit: RangeRead[] = [];
  readonly #aheadToSubmit: RangeRead[] = [];
  #aheadInFlight = 0;

  /** @param alignmentBytes what the backing device wants offsets and lengths to be multiples of */
  constructor(cache: Cache, queue: BackingQueue, alignmentBytes: number) {
    this.#cache = cache;
    this.#queue = queue;
    this.#alignmentBytes = alignmentBytes;
  }

  /** A range under way that has sectors in common with this one. */
  overlapping(startBytes: number, endBytes: number): RangeRead | undefined {
    for (const read of this.#active) if (read.startBytes < endBytes && startBytes < read.endBytes) return read;
    return undefined;
  }

  /**
   * Begins a range: whole sectors within the volume, at most READ_BYTES_MAX, and room for them in `target`. If it `isDone` already, all of it was cached, or
   * it failed (`error`); else `harvest` comes to it. What is read ahead is not copied from the cache, and not counted as a read.
   */
  begin(tag: number, startBytes: number, endBytes: number, target: Uint8Array, baseBytes: number, isAhead: boolean): RangeRead {
    const read = this.#take();
    read.tag = tag;
    read.isAhead = isAhead;
    read.startBytes = startBytes;
    read.endBytes = endBytes;
    read.target = target;
    read.baseBytes = baseBytes;
    if (isAhead) this.ahead++;
    else this.demanded++;
    this.#find(read);
    if (!read.isDone) {
      (isAhead ? this.#aheadToSubmit : this.#demandedToSubmit).push(read);
      this.#active.push(read);
    }
    return read;
  }

  /** Looks into the cache, leaves placeholders, and notes what to ask the backing device for. */
  #find(read: RangeRead): void {
    const { reader, writer, shared, counters } = this.#cache;
    const lengthBytes = read.endBytes - read.startBytes;
    reader.begin(read.startBytes, lengthBytes, !shared.readOnly);
    const { missingBytes, corruptBytes } = reader;
    read.token = reader.token;
    read.missingBytes = missingBytes;
    if (!read.isAhead) {
      counters[missingBytes === 0 ? COUNTER.read_hits : missingBytes === lengthBytes ? COUNTER.read_misses : COUNTER.read_partial_hits]! +=
        1;
      if (corruptBytes === 0) copyCachedPieces(this.#cache, read.target, read.baseBytes);
    }
    this.#collectPieces(read);
    reader.end();
    if (corruptBytes > 0) {
      read.error = new PcacheError('corrupt-data', `${lengthBytes} bytes at ${read.startBytes}: the cache's copy is damaged`);
      if (read.token !== -1) writer.dropPlaceholders(read.startBytes, lengthBytes, read.token);
    }
  }

  #collectPieces(read: RangeRead): void {
    const { pieces } = this.#cache.reader;
    const { pieceOffsets, pieceLengths } = read;
    let count = 0;
    for (let at = 0; at < pieces.count; at++) {
      if (pieces.kinds[at] !== PieceKind.missing) continue;
      const offset = pieces.volumeOffsets[at]!;
      const length = pieces.lengths[at]!;
      // Neighbours are told apart only because one of them is another's placeholder, or because a subtree ends between them.
      if (count > 0 && pieceOffsets[count - 1]! + pieceLengths[count - 1]! === offset) {
        pieceLengths[count - 1]! += length;
      } else {
        pieceOffsets[count] = offset;
        pieceLengths[count] = length;
        count++;
      }
    }
    read.pieceCount = count;
    if (count === 1 && read.missingBytes === read.endBytes - read.startBytes) this.#roundOut(read);
  }

  /** Asks for whole blocks of the device if that leaves what is cached as it is: they need no detour. */
  #roundOut(read: RangeRead): void {
    const alignment = this.#alignmentBytes;
    const start = read.startBytes - (read.startBytes % alignment);
    const end = Math.ceil(read.endBytes / alignment) * alignment;
    if (start < read.baseBytes || end - read.baseBytes > read.target.length) return;
    read.pieceOffsets[0] = start;
    read.pieceLengths[0] = end - start;
  }

  /** Hands as much to the queue as it takes. */
  submit(): void {
    this.#submitAll(this.#demandedToSubmit);
    if (this.#demandedToSubmit.length === 0) this.#submitAll(this.#aheadToSubmit);
  }

  #submitAll(reads: RangeRead[]): void {
    for (let read = reads[0]; read !== undefined; read = reads[0]) {
      while (read.error === undefined && read.nextPiece < read.pieceCount) {
        if (read.isAhead && this.#aheadInFlight >= AHEAD_REQUESTS_MAX) return;
        const offset = read.pieceOffsets[read.nextPiece]!;
        if (!this.#queue.submitRead(read.index, offset, read.target, offset - read.baseBytes, read.pieceLengths[read.nextPiece]!)) return;
        read.nextPiece++;
        read.inFlight++;
        if (read.isAhead) this.#aheadInFlight++;
      }
      reads.shift();
    }
  }

  /** Takes what the queue has completed. @returns a range that is done and kept; undefined if there is none any more */
  harvest(): RangeRead | undefined {
    const queue = this.#queue;
    while (queue.next()) {
      const read = this.#reads[queue.completedToken]!;
      read.inFlight--;
      if (read.isAhead) this.#aheadInFlight--;
      read.error ??= queue.completedError;
      if (read.isDone) {
        this.#active.splice(this.#active.indexOf(read), 1);
        this.#forgetUnsubmitted(read);
        this.#keep(read);
        return read;
      }
    }
    return undefined;
  }

  #forgetUnsubmitted(read: RangeRead): void {
    if (read.nextPiece === read.pieceCount) return;
    const list = read.isAhead ? this.#aheadToSubmit : this.#demandedToSubmit;
    const at = list.indexOf(read);
    if (at >= 0) list.splice(at, 1);
  }

  #keep(read: RangeRead): void {
    const { writer, counters } = this.#cache;
    const lengthBytes = read.endBytes - read.startBytes;
    if (read.token === -1) return;
    if (read.error !== undefined) {
      writer.dropPlaceholders(read.startBytes, lengthBytes, read.token);
      return;
    }
    if (read.isAhead) counters[COUNTER.read_ahead_bytes]! += read.missingBytes;
    try {
      writer.fill(read.startBytes, lengthBytes, read.token, read.target, read.startBytes - read.baseBytes);
    } catch (error) {
      read.error = error;
    }
  }

  /** Gives back a range that is done. */
  release(read: RangeRead): void {
    if (read.isAhead) this.ahead--;
    else this.demanded--;
    read.waiters.length = 0;
    this.#free.push(read);
  }

  #take(): RangeRead {
    const read = this.#free.pop() ?? this.#make();
    read.error = undefined;
    read.nextPiece = 0;
    read.pieceCount = 0;
    read.inFlight = 0;
    return read;
  }

  #make(): RangeRead {
    const read = new RangeRead(this.#reads.length);
    this.#reads.push(read);
    return read;
  }
}
