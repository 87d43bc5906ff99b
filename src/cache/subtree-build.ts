// What a subtree's extents become when keys are laid over them, as one array that can be stored at once.
//
// Invariants: reads the tree and the keys, and changes neither, so several threads may do it at a time, each with a SubtreeBuild of its own, while nobody
// changes this subtree. Extents come out in the order and form that the tree wants: sorted, and two that are one run of payload merged.

import { SUBTREE_SECTORS, EXTENT_WORDS, firstSector, flagsOf, packRange, sectorCount } from './extent.js';
import type { CacheTree } from './cache-tree.js';
import { SubtreePainter } from './subtree-painter.js';

/** In place of flags: the range is not cached. */
export const NOT_CACHED = 1 << 8;

/** Keys that were put down, by number: the key of its subtree before it, and 1 (0 if there is none); what it says, as in an extent, but for flags that an extent has no room for. */
export interface KeyColumns {
  readonly previous: Int32Array;
  readonly ranges: Int32Array;
  readonly flags: Int16Array;
  readonly places: Int32Array;
  readonly generations: Int32Array;
}

export class SubtreeBuild {
  /** After `orderKeys`: numbers of keys, the oldest first. */
  order = new Int32Array(1024);
  readonly #painter = new SubtreePainter();
  /** Layers of the subtree in hand, the lowest first: extents that the tree has (word 0 to 2 each), then keys, by number. */
  readonly #held = new Int32Array(SUBTREE_SECTORS * EXTENT_WORDS);
  #built: Int32Array = this.#held;
  #builtStart = 0;
  #builtEnd = 0;

  /** Puts the `count` keys of a chain into `order`. `newest`: number of the last, and 1. */
  orderKeys({ previous }: KeyColumns, newest: number, count: number): void {
    if (count > this.order.length) this.order = new Int32Array(count * 2);
    const order = this.order;
    let at = count;
    for (let key = newest; key !== 0; key = previous[key - 1]!) order[--at] = key - 1;
  }

  /** Lays the first `count` keys of `order` over what the tree has. Writes extents into `built`, from word `start` on; returns how many. */
  build(tree: CacheTree, keys: KeyColumns, subtree: number, count: number, built: Int32Array, start: number): number {
    const painter = this.#painter;
    const held = this.#held;
    const order = this.order;
    const { ranges, flags: keyFlags, places, generations } = keys;
    const heldCount = tree.copyExtents(subtree, held);
    painter.begin();
    for (let i = 0; i < heldCount; i++) {
      const word0 = held[i * EXTENT_WORDS]!;
      painter.paint(firstSector(word0), sectorCount(word0), i + 1);
    }
    for (let i = 0; i < count; i++) {
      const range = ranges[order[i]!]!;
      painter.paint(firstSector(range), sectorCount(range), heldCount + i + 1);
    }
    this.#built = built;
    this.#builtStart = start;
    this.#builtEnd = start;
    while (painter.next()) {
      const layer = painter.runLayer - 1;
      if (layer < heldCount) {
        const word0 = held[layer * EXTENT_WORDS]!;
        const shift = painter.runStart - firstSector(word0);
        this.#add(held[layer * EXTENT_WORDS + 1]! + shift, held[layer * EXTENT_WORDS + 2]!, flagsOf(word0));
      } else {
        const key = order[layer - heldCount]!;
        const flags = keyFlags[key]!;
        if (flags === NOT_CACHED) continue;
        const shift = painter.runStart - firstSector(ranges[key]!);
        this.#add(places[key]! + shift, generations[key]!, flags);
      }
    }
    return (this.#builtEnd - start) / EXTENT_WORDS;
  }

  /** Adds the painter's run to what is built: to the extent before it, if both are one run of payload. */
  #add(word1: number, word2: number, flags: number): void {
    const built = this.#built;
    const { runStart, runEnd } = this.#painter;
    const last = this.#builtEnd - EXTENT_WORDS;
    if (last >= this.#builtStart) {
      const word0 = built[last]!;
      const sectors = sectorCount(word0);
      const first = firstSector(word0);
      const touches = first + sectors === runStart && flagsOf(word0) === flags;
      if (touches && built[last + 1]! + sectors === word1 && built[last + 2] === word2) {
        built[last] = packRange(first, sectors + runEnd - runStart, flags);
        return;
      }
    }
    const at = this.#builtEnd;
    this.#builtEnd = at + EXTENT_WORDS;
    built[at] = packRange(runStart, runEnd - runStart, flags);
    built[at + 1] = word1;
    built[at + 2] = word2;
  }
}
