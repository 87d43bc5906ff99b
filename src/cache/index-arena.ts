// The memory of the cache tree: blocks of 4 to 8192 extents, from a pool that all threads share.
//
// It is a buddy allocator. Memory is counted in units of 4 extents (48 bytes). A block of class k (2 to 13) holds 2^k extents, is
// 2^(k-2) units long and starts at a multiple of its length. Its handle is the number of its first unit. Memory that was never used
// is handed out in blocks of the largest class ("bump"), so it is touched, and costs real memory, only when the index grows into it.
//
// Invariants, under the mutex:
// - A free block is in the list of its class, threaded through the block's first two words (next, previous), and `orders` holds its
//   order + 1 at its first unit; `orders` is 0 at every other unit. So a buddy is known to be free, and whole, from one byte.
// - No two free buddies exist: release joins them, up to the largest class.
// - The first largest block is never handed out, so handle 0 means "no block".
//
// A block's owner (who holds the lock of its subtree) uses it without the mutex. Lock order: a subtree's lock, then this mutex, then nothing.

import { PcacheError } from '../errors.js';
import { SECTOR_BYTES } from '../media/layout.js';
import { lock, unlock } from '../shared/mutex.js';
import { EXTENT_WORDS, SUBTREE_SECTORS } from './extent.js';

/** A block of class k holds 2^k extents. */
export const BLOCK_CLASS_MIN = 2;
export const BLOCK_CLASS_MAX = 13;

if (2 ** BLOCK_CLASS_MAX !== SUBTREE_SECTORS)
  throw new PcacheError('internal', 'index arena: its largest block does not fit a full subtree');

const UNIT_WORDS = EXTENT_WORDS << BLOCK_CLASS_MIN;
export const UNIT_BYTES = UNIT_WORDS * 4;
const ORDER_MAX = BLOCK_CLASS_MAX - BLOCK_CLASS_MIN;
const LARGEST_UNITS = 1 << ORDER_MAX;
/** Bytes of a largest block, 96 KiB; an arena's capacity is a multiple of it. */
export const LARGEST_BLOCK_BYTES = LARGEST_UNITS * UNIT_BYTES;
/** 2^24 units, 768 MiB, in a chunk: a shift and a mask find a block's place, and no buffer comes near Node's limits. */
const CHUNK_UNIT_BITS = 24;
const CHUNK_UNITS = 1 << CHUNK_UNIT_BITS;
const CHUNK_UNIT_MASK = CHUNK_UNITS - 1;
/** Handles are int32. */
const CHUNKS_MAX = 2 ** (31 - CHUNK_UNIT_BITS);

// Words of the control block.
const MUTEX = 0;
const UNTOUCHED = 1;
const CAPACITY = 2;
const USED = 3;
const FREE_LISTS = 4;
const CONTROL_WORDS = FREE_LISTS + ORDER_MAX + 1;

// Words at the start of a free block.
const NEXT = 0;
const PREVIOUS = 1;

/** What another thread needs to attach; structured-cloneable. */
export interface IndexArenaState {
  readonly chunks: readonly SharedArrayBuffer[];
  readonly orders: SharedArrayBuffer;
  readonly words: SharedArrayBuffer;
}

/**
 * Bytes of index to reserve for a cache of `cacheBytes`. It is virtual memory; what is used of it becomes real.
 *
 * The worst case is a cache of single sectors, each in a subtree of its own: 48 bytes a sector. Up to 512 MiB that is what is
 * reserved; beyond, the larger of 512 MiB and 1/128 of the cache (room for extents of 4 KiB, at 32 bytes each).
 */
export function indexArenaBytes(cacheBytes: number): number {
  const worstCase = Math.ceil(cacheBytes / SECTOR_BYTES) * UNIT_BYTES;
  return Math.min(worstCase, Math.max(512 * 1024 * 1024, Math.ceil(cacheBytes / 128)));
}

export class IndexArena {
  readonly state: IndexArenaState;
  readonly #chunks: readonly Int32Array[];
  readonly #orders: Uint8Array;
  readonly #words: Int32Array;

  private constructor(state: IndexArenaState) {
    this.state = state;
    this.#chunks = state.chunks.map((chunk) => new Int32Array(chunk));
    this.#orders = new Uint8Array(state.orders);
    this.#words = new Int32Array(state.words);
  }

  /**
   * A new arena of `capacityBytes`, rounded up to whole blocks of 96 KiB. Throws PcacheError `no-space` if the system refuses the address
   * space, `internal` if it is more than handles can name (96 GiB).
   */
  static create(capacityBytes: number): IndexArena {
    const blocks = Math.max(1, Math.ceil(capacityBytes / LARGEST_BLOCK_BYTES));
    // One more, which is never handed out and so never touched.
    const units = (blocks + 1) * LARGEST_UNITS;
    const chunkCount = Math.ceil(units / CHUNK_UNITS);
    if (chunkCount > CHUNKS_MAX) throw new PcacheError('internal', `index arena: ${capacityBytes} bytes are more than handles can name`);
    const words = new Int32Array(new SharedArrayBuffer(CONTROL_WORDS * 4));
    words[UNTOUCHED] = LARGEST_UNITS;
    words[CAPACITY] = units;
    try {
      const chunks = Array.from({ length: chunkCount }, (_, chunk) => {
        return new SharedArrayBuffer(Math.min(CHUNK_UNITS, units - chunk * CHUNK_UNITS) * UNIT_BYTES);
      });
      return new IndexArena({ chunks, orders: new SharedArrayBuffer(units), words: words.buffer });
    } catch (cause) {
      if (!(cause instanceof RangeError)) throw cause;
      throw new PcacheError('no-space', `index: no memory for ${capacityBytes} bytes of address space`, { cause });
    }
  }

  /** The same arena, for this thread. */
  static attach(state: IndexArenaState): IndexArena {
    return new IndexArena(state);
  }

  /** The words that block `handle` lies in, from `wordOffset(handle)`. */
  wordsOf(handle: number): Int32Array {
    return this.#chunks[handle >>> CHUNK_UNIT_BITS]!;
  }

  /** Where block `handle` starts in `wordsOf(handle)`. */
  wordOffset(handle: number): number {
    return (handle & CHUNK_UNIT_MASK) * UNIT_WORDS;
  }

  /** Bytes in blocks that are handed out. */
  get usedBytes(): number {
    return Atomics.load(this.#words, USED) * UNIT_BYTES;
  }

  /** Bytes that can be handed out. */
  get capacityBytes(): number {
    return (this.#words[CAPACITY]! - LARGEST_UNITS) * UNIT_BYTES;
  }

  /** Bytes that were ever handed out: what the arena costs in real memory. */
  get touchedBytes(): number {
    return (Atomics.load(this.#words, UNTOUCHED) - LARGEST_UNITS) * UNIT_BYTES;
  }

  /** A block of 2^blockClass extents (class 2 to 13), its contents undefined; 0 if no memory is left for it. */
  allocate(blockClass: number): number {
    const words = this.#words;
    const wanted = blockClass - BLOCK_CLASS_MIN;
    lock(words, MUTEX);
    let order = wanted;
    while (order < ORDER_MAX && words[FREE_LISTS + order] === 0) order++;
    let handle = words[FREE_LISTS + order]!;
    if (handle !== 0) {
      this.#takeFree(handle, order);
    } else if (words[UNTOUCHED]! < words[CAPACITY]!) {
      handle = words[UNTOUCHED]!;
      words[UNTOUCHED] = handle + LARGEST_UNITS;
    } else {
      unlock(words, MUTEX);
      return 0;
    }
    while (order > wanted) {
      order--;
      this.#putFree(handle + (1 << order), order);
    }
    words[USED]! += 1 << wanted;
    unlock(words, MUTEX);
    return handle;
  }

  /** Gives a block back; `blockClass` is what it has now. */
  release(handle: number, blockClass: number): void {
    const words = this.#words;
    let order = blockClass - BLOCK_CLASS_MIN;
    let block = handle;
    lock(words, MUTEX);
    words[USED]! -= 1 << order;
    while (order < ORDER_MAX) {
      const buddy = block ^ (1 << order);
      if (this.#orders[buddy] !== order + 1) break;
      this.#takeFree(buddy, order);
      block &= ~(1 << order);
      order++;
    }
    this.#putFree(block, order);
    unlock(words, MUTEX);
  }

  /** Cuts a block down to a smaller class; the extents at its start stay where they are. */
  shrink(handle: number, fromClass: number, toClass: number): void {
    const words = this.#words;
    lock(words, MUTEX);
    // The lower neighbour of each piece is in use (it holds the block's start), so there is nothing to join.
    for (let order = fromClass - BLOCK_CLASS_MIN - 1; order >= toClass - BLOCK_CLASS_MIN; order--) {
      this.#putFree(handle + (1 << order), order);
    }
    words[USED]! -= (1 << (fromClass - BLOCK_CLASS_MIN)) - (1 << (toClass - BLOCK_CLASS_MIN));
    unlock(words, MUTEX);
  }

  #putFree(handle: number, order: number): void {
    const next = this.#words[FREE_LISTS + order]!;
    const block = this.wordsOf(handle);
    const at = this.wordOffset(handle);
    block[at + NEXT] = next;
    block[at + PREVIOUS] = 0;
    if (next !== 0) this.wordsOf(next)[this.wordOffset(next) + PREVIOUS] = handle;
    this.#words[FREE_LISTS + order] = handle;
    this.#orders[handle] = order + 1;
  }

  #takeFree(handle: number, order: number): void {
    const block = this.wordsOf(handle);
    const at = this.wordOffset(handle);
    const next = block[at + NEXT]!;
    const previous = block[at + PREVIOUS]!;
    if (next !== 0) this.wordsOf(next)[this.wordOffset(next) + PREVIOUS] = previous;
    if (previous !== 0) this.wordsOf(previous)[this.wordOffset(previous) + NEXT] = next;
    else this.#words[FREE_LISTS + order] = next;
    this.#orders[handle] = 0;
  }
}
