// Builds the cache tree from the keys of a log, many at a time: what a key says is put down, and every so many keys each subtree's are laid over each
// other and over what the tree has, and stored as one. The tree ends as if each had been inserted by itself, in the order in which they were added.
//
// Invariants: nothing that was added is in the tree for certain before `finish`; memory is bounded, however long the log. It works without the subtrees'
// locks: nobody else may use the tree until `finish` has returned.

import { SUBTREE_SECTORS, EXTENT_WORDS, dataSectorOf, firstSector, flagsOf, packRange, sectorCount, segmentOf } from './extent.js';
import type { CacheTree } from './cache-tree.js';
import { SubtreePainter } from './subtree-painter.js';

/** In place of flags: the range is not cached. */
export const NOT_CACHED = 1 << 8;

/** Keys put down before they go into the tree; 20 bytes each. */
const KEYS_MAX = 1 << 20;
/** For fewer keys of a subtree, inserting one after the other is faster. */
const PAINTED_KEYS_MIN = 24;

export class IndexBuilder {
  readonly #tree: CacheTree;
  readonly #keysMax: number;
  /** By subtree: the key of it that was added last, and 1; 0 if there is none. */
  readonly #newest: Int32Array;
  /** By key: the key of its subtree before it, and 1; what it says, as in an extent, but for flags that an extent has no room for. */
  #previous = new Int32Array(0);
  #ranges = new Int32Array(0);
  #flags = new Int16Array(0);
  #places = new Int32Array(0);
  #generations = new Int32Array(0);
  #count = 0;
  /** Subtrees that have keys, in the order of their first. */
  #subtrees = new Int32Array(0);
  #subtreeCount = 0;
  readonly #painter = new SubtreePainter();
  /** Layers of the subtree in hand, the lowest first: extents that the tree has (word 0 to 2 each), then keys, by number. */
  readonly #held = new Int32Array(SUBTREE_SECTORS * EXTENT_WORDS);
  #order = new Int32Array(1024);
  readonly #built = new Int32Array(SUBTREE_SECTORS * EXTENT_WORDS);
  #builtCount = 0;

  /** `keysMax` is for tests. */
  constructor(tree: CacheTree, keysMax = KEYS_MAX) {
    this.#tree = tree;
    this.#keysMax = keysMax;
    this.#newest = new Int32Array(tree.subtreeCount);
  }

  /**
   * The newest key says this of a range within a subtree (see `CacheTree.insert` for ranges of values): its payload is at `place` (word 1 of an extent)
   * of `generation`, with `flags` of ExtentFlag; or, with NOT_CACHED, nowhere. Returns false if there is no memory for the index.
   */
  add(subtree: number, sector: number, sectors: number, place: number, generation: number, flags: number): boolean {
    if (this.#count === this.#keysMax && !this.finish()) return false;
    if (this.#count === this.#previous.length) this.#grow();
    const key = this.#count++;
    const newest = this.#newest[subtree]!;
    if (newest === 0) this.#subtrees[this.#subtreeCount++] = subtree;
    this.#previous[key] = newest;
    this.#newest[subtree] = key + 1;
    this.#ranges[key] = packRange(sector, sectors, 0);
    this.#flags[key] = flags;
    this.#places[key] = place;
    this.#generations[key] = generation;
    return true;
  }

  /** Brings everything that was added into the tree. Returns false if there is no memory for it; the tree is of no use then. */
  finish(): boolean {
    let isStored = true;
    for (let i = 0; i < this.#subtreeCount && isStored; i++) {
      const subtree = this.#subtrees[i]!;
      const keys = this.#orderKeys(this.#newest[subtree]!);
      this.#newest[subtree] = 0;
      isStored = keys < PAINTED_KEYS_MIN ? this.#insertEach(subtree, keys) : this.#paint(subtree, keys);
    }
    this.#count = 0;
    this.#subtreeCount = 0;
    return isStored;
  }

  /** Puts the keys of a chain into `#order`, the oldest first, and returns their number. */
  #orderKeys(newest: number): number {
    let keys = 0;
    for (let key = newest; key !== 0; key = this.#previous[key - 1]!) keys++;
    if (keys > this.#order.length) this.#order = new Int32Array(keys * 2);
    let at = keys;
    for (let key = newest; key !== 0; key = this.#previous[key - 1]!) this.#order[--at] = key - 1;
    return keys;
  }

  #insertEach(subtree: number, keys: number): boolean {
    const tree = this.#tree;
    for (let i = 0; i < keys; i++) {
      const key = this.#order[i]!;
      const range = this.#ranges[key]!;
      const sector = firstSector(range);
      const sectors = sectorCount(range);
      const place = this.#places[key]!;
      const flags = this.#flags[key]!;
      const isStored =
        flags === NOT_CACHED
          ? tree.remove(subtree, sector, sectors)
          : tree.insert(subtree, sector, sectors, segmentOf(place), dataSectorOf(place), this.#generations[key]!, flags);
      if (!isStored) return false;
    }
    return true;
  }

  #paint(subtree: number, keys: number): boolean {
    const painter = this.#painter;
    const held = this.#held;
    const heldCount = this.#tree.copyExtents(subtree, held);
    painter.begin();
    for (let i = 0; i < heldCount; i++) {
      const word0 = held[i * EXTENT_WORDS]!;
      painter.paint(firstSector(word0), sectorCount(word0), i + 1);
    }
    for (let i = 0; i < keys; i++) {
      const range = this.#ranges[this.#order[i]!]!;
      painter.paint(firstSector(range), sectorCount(range), heldCount + i + 1);
    }
    this.#builtCount = 0;
    while (painter.next()) {
      const layer = painter.runLayer - 1;
      if (layer < heldCount) {
        const word0 = held[layer * EXTENT_WORDS]!;
        const shift = painter.runStart - firstSector(word0);
        this.#build(held[layer * EXTENT_WORDS + 1]! + shift, held[layer * EXTENT_WORDS + 2]!, flagsOf(word0));
      } else {
        const key = this.#order[layer - heldCount]!;
        const flags = this.#flags[key]!;
        if (flags === NOT_CACHED) continue;
        const shift = painter.runStart - firstSector(this.#ranges[key]!);
        this.#build(this.#places[key]! + shift, this.#generations[key]!, flags);
      }
    }
    return this.#tree.load(subtree, this.#built, this.#builtCount);
  }

  /** Adds the painter's run to what is built: to the extent before it, if both are one run of payload. */
  #build(word1: number, word2: number, flags: number): void {
    const built = this.#built;
    const { runStart, runEnd } = this.#painter;
    const last = (this.#builtCount - 1) * EXTENT_WORDS;
    if (last >= 0) {
      const word0 = built[last]!;
      const sectors = sectorCount(word0);
      const first = firstSector(word0);
      const touches = first + sectors === runStart && flagsOf(word0) === flags;
      if (touches && built[last + 1]! + sectors === word1 && built[last + 2] === word2) {
        built[last] = packRange(first, sectors + runEnd - runStart, flags);
        return;
      }
    }
    const at = this.#builtCount++ * EXTENT_WORDS;
    built[at] = packRange(runStart, runEnd - runStart, flags);
    built[at + 1] = word1;
    built[at + 2] = word2;
  }

  #grow(): void {
    const length = Math.min(this.#keysMax, Math.max(4096, this.#count * 4));
    this.#previous = grown(this.#previous, new Int32Array(length));
    this.#ranges = grown(this.#ranges, new Int32Array(length));
    this.#flags = grown(this.#flags, new Int16Array(length));
    this.#places = grown(this.#places, new Int32Array(length));
    this.#generations = grown(this.#generations, new Int32Array(length));
    this.#subtrees = grown(this.#subtrees, new Int32Array(length));
  }
}

function grown<T extends Int32Array | Int16Array>(from: T, to: T): T {
  to.set(from);
  return to;
}
