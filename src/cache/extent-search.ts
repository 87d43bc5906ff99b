// Extents in order, as they lie in the words of a subtree: finding one, and making room between them.

import { EXTENT_WORDS, endSector } from './extent.js';

/** Up to this many words a loop is faster than a call of copyWithin. */
const LOOP_COPY_WORDS = 48;

/** Index of the first extent that ends after `sector`; `count` if there is none. */
export function indexOfEndAfter(words: Int32Array, base: number, count: number, sector: number): number {
  let low = 0;
  let high = count;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (endSector(words[base + middle * EXTENT_WORDS]!) > sector) high = middle;
    else low = middle + 1;
  }
  return low;
}

/** Moves words [from, end) to start at `to`; the ranges may overlap. */
export function move(words: Int32Array, from: number, end: number, to: number): void {
  if (from === to || from === end) return;
  if (end - from > LOOP_COPY_WORDS) words.copyWithin(to, from, end);
  else if (to < from) for (let i = 0; i < end - from; i++) words[to + i] = words[from + i]!;
  else for (let i = end - from - 1; i >= 0; i--) words[to + i] = words[from + i]!;
}
