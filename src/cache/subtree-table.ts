// The rows of the cache tree: for each 4 MiB of the volume a lock, and the block of the index arena that holds its extents.
//
// Four words a row are all that is proportional to the volume. Invariants, under a row's lock:
// - `count` extents are at the start of the block, and count <= 2^class.
// - A row without a block has count and class 0; a row whose last extent was removed gives its block back.
// Stale extents (see cache-tree.ts) are dropped before a block grows, so a subtree does not grow on what has long been collected.

import { PcacheError } from '../errors.js';
import { SUBTREE_BYTES } from '../media/layout.js';
import { lock, unlock } from '../shared/mutex.js';
import { ExtentFlag, EXTENT_WORDS, segmentOf, SUBTREE_SECTORS } from './extent.js';
import { BLOCK_CLASS_MIN } from './index-arena.js';
import type { IndexArena } from './index-arena.js';

// Words of a row; the fourth is spare, and keeps rows from lying across cache lines.
const LOCK = 0;
const BLOCK = 1;
/** Count of extents in the low 16 bits, class of the block above them. */
const SHAPE = 2;
const ROW_WORDS = 4;
const COUNT_MASK = 0xffff;
const CLASS_SHIFT = 16;

/** Rows for a volume, all empty. */
export function createSubtreeRows(volumeBytes: number): SharedArrayBuffer {
  return new SharedArrayBuffer(Math.ceil(volumeBytes / SUBTREE_BYTES) * ROW_WORDS * 4);
}

export class SubtreeTable {
  /** Number of subtrees. */
  readonly length: number;
  readonly #rows: Int32Array;
  readonly #arena: IndexArena;
  readonly #generations: Int32Array;

  /** This thread's view of `rows`; `generations` is by cache_seg_id. */
  constructor(rows: SharedArrayBuffer, arena: IndexArena, generations: Int32Array) {
    this.#rows = new Int32Array(rows);
    this.length = this.#rows.length / ROW_WORDS;
    this.#arena = arena;
    this.#generations = generations;
  }

  /** Throws PcacheError `internal` if there is no such subtree. */
  lock(subtree: number): void {
    if (subtree >>> 0 >= this.length) throw new PcacheError('internal', `cache tree: there is no subtree ${subtree}`);
    lock(this.#rows, subtree * ROW_WORDS + LOCK);
  }

  unlock(subtree: number): void {
    unlock(this.#rows, subtree * ROW_WORDS + LOCK);
  }

  /** Whether a subtree has extents: the only question that may be asked without its lock. */
  isUsed(subtree: number): boolean {
    return Atomics.load(this.#rows, subtree * ROW_WORDS + BLOCK) !== 0;
  }

  /** Extents in a subtree, of any kind. */
  count(subtree: number): number {
    return this.#rows[subtree * ROW_WORDS + SHAPE]! & COUNT_MASK;
  }

  /** Extents that the subtree's block can hold. */
  capacity(subtree: number): number {
    return capacityOf(this.#rows[subtree * ROW_WORDS + SHAPE]! >>> CLASS_SHIFT);
  }

  /** The subtree's extents are in these words, from `base(subtree)`. (Of a subtree without a block they are some words, of count 0.) */
  words(subtree: number): Int32Array {
    return this.#arena.wordsOf(this.#rows[subtree * ROW_WORDS + BLOCK]!);
  }

  base(subtree: number): number {
    return this.#arena.wordOffset(this.#rows[subtree * ROW_WORDS + BLOCK]!);
  }

  /** Stores a new count, at most the capacity. */
  setCount(subtree: number, count: number): void {
    const at = subtree * ROW_WORDS + SHAPE;
    this.#rows[at] = (this.#rows[at]! & ~COUNT_MASK) | count;
  }

  /** Whether the extent at `words[at]` counts as absent, since its segment has another generation by now. */
  isStale(words: Int32Array, at: number): boolean {
    return (words[at]! & ExtentFlag.empty) === 0 && Atomics.load(this.#generations, segmentOf(words[at + 1]!)) !== words[at + 2];
  }

  /** Makes sure that the subtree can take `more` extents. Returns false if there is no memory. */
  reserve(subtree: number, more: number): boolean {
    for (;;) {
      const needed = Math.min(this.count(subtree) + more, SUBTREE_SECTORS);
      if (needed <= this.capacity(subtree)) return true;
      if (!this.makeRoom(subtree, needed)) return false;
    }
  }

  /**
   * Brings a subtree nearer to room for `needed` extents, more than its capacity: by dropping stale ones, and if that leaves it more than
   * three quarters full, so that the next would come soon, by a larger block. Extents move. Returns false if nothing could be done.
   */
  makeRoom(subtree: number, needed: number): boolean {
    const dropped = this.dropStale(subtree);
    if (dropped > 0 && this.count(subtree) * 4 <= this.capacity(subtree) * 3) return true;
    return this.#grow(subtree, needed) || dropped > 0;
  }

  /** Compacts the extents; the block stays as large as it is. Returns how many were dropped. */
  dropStale(subtree: number): number {
    const words = this.words(subtree);
    const base = this.base(subtree);
    const count = this.count(subtree);
    let kept = 0;
    for (let i = 0; i < count; i++) {
      const at = base + i * EXTENT_WORDS;
      if (this.isStale(words, at)) continue;
      const to = base + kept * EXTENT_WORDS;
      words[to] = words[at]!;
      words[to + 1] = words[at + 1]!;
      words[to + 2] = words[at + 2]!;
      kept++;
    }
    this.setCount(subtree, kept);
    return count - kept;
  }

  /** Gives back a block that is empty, or the upper part of one that is three quarters empty. The extents stay where they are. */
  fit(subtree: number): void {
    const row = subtree * ROW_WORDS;
    const shape = this.#rows[row + SHAPE]!;
    const count = shape & COUNT_MASK;
    const blockClass = shape >>> CLASS_SHIFT;
    if (blockClass === 0) return;
    const block = this.#rows[row + BLOCK]!;
    if (count === 0) {
      Atomics.store(this.#rows, row + BLOCK, 0);
      this.#rows[row + SHAPE] = 0;
      this.#arena.release(block, blockClass);
    } else if (blockClass > BLOCK_CLASS_MIN && count * 4 <= capacityOf(blockClass)) {
      // Twice what is needed, so that the next inserts do not grow it again at once.
      const newClass = classFor(count * 2);
      this.#rows[row + SHAPE] = count | (newClass << CLASS_SHIFT);
      this.#arena.shrink(block, blockClass, newClass);
    }
  }

  #grow(subtree: number, needed: number): boolean {
    const row = subtree * ROW_WORDS;
    const shape = this.#rows[row + SHAPE]!;
    const count = shape & COUNT_MASK;
    const newClass = classFor(needed);
    const newBlock = this.#arena.allocate(newClass);
    if (newBlock === 0) return false;
    const oldBlock = this.#rows[row + BLOCK]!;
    if (oldBlock !== 0) {
      const from = this.#arena.wordsOf(oldBlock);
      const fromBase = this.#arena.wordOffset(oldBlock);
      const to = this.#arena.wordsOf(newBlock);
      const toBase = this.#arena.wordOffset(newBlock);
      for (let i = 0; i < count * EXTENT_WORDS; i++) to[toBase + i] = from[fromBase + i]!;
      this.#arena.release(oldBlock, shape >>> CLASS_SHIFT);
    }
    Atomics.store(this.#rows, row + BLOCK, newBlock);
    this.#rows[row + SHAPE] = count | (newClass << CLASS_SHIFT);
    return true;
  }
}

function capacityOf(blockClass: number): number {
  return blockClass === 0 ? 0 : 1 << blockClass;
}

/** The smallest class that holds `count` extents, 1 to 8192. */
function classFor(count: number): number {
  return Math.max(BLOCK_CLASS_MIN, 32 - Math.clz32(count - 1));
}
