// What a batch of keys leaves on the volume: of what overlaps the newest, in ascending order, without overlap. Keys are added in order of the log.
//
// All of it is linear in the keys, whatever their order: they are sorted by where they start (counting, so equal starts stay in order of the log), and only
// where they overlap each sector is given to the newest key that has it. Nothing is allocated for a key.

import { SECTOR_BYTES, SUBTREE_BYTES } from '../media/layout.js';
import type { CacheSegId } from '../media/layout.js';
import { SUBTREE_SECTORS } from './extent.js';
import { PieceKind } from './piece-list.js';
import type { PieceList } from './piece-list.js';

const SUBTREE_DIGIT_BITS = 11;
const SUBTREE_DIGIT = 2 ** SUBTREE_DIGIT_BITS;

export class WritebackBatch {
  readonly #capacity: number;
  #count = 0;
  #highestSubtree = 0;
  readonly #subtrees: Int32Array;
  /** Within the subtree, as lengths are in sectors. */
  readonly #sectors: Int32Array;
  readonly #lengths: Int32Array;
  readonly #segments: Int32Array;
  readonly #dataSectors: Int32Array;
  /** Indexes of keys: the order found so far, and room for the next. */
  #order: Int32Array;
  #nextOrder: Int32Array;
  readonly #sectorCounts = new Int32Array(SUBTREE_SECTORS);
  readonly #subtreeCounts = new Int32Array(SUBTREE_DIGIT);
  /** For each sector of keys that overlap: the newest of them, as its index and 1. Zeros but while it is used. */
  readonly #owners = new Int32Array(SUBTREE_SECTORS);

  /** @param capacity keys at most */
  constructor(capacity: number) {
    this.#capacity = capacity;
    const numbers = (): Int32Array => new Int32Array(capacity);
    this.#subtrees = numbers();
    this.#sectors = numbers();
    this.#lengths = numbers();
    this.#segments = numbers();
    this.#dataSectors = numbers();
    this.#order = numbers();
    this.#nextOrder = numbers();
  }

  clear(): void {
    this.#count = 0;
    this.#highestSubtree = 0;
  }

  /** Returns false if there are as many keys as there can be. The range lies within its subtree. */
  add(subtree: number, sector: number, sectors: number, segment: CacheSegId, dataSector: number): boolean {
    const at = this.#count;
    if (at === this.#capacity) return false;
    this.#subtrees[at] = subtree;
    this.#sectors[at] = sector;
    this.#lengths[at] = sectors;
    this.#segments[at] = segment;
    this.#dataSectors[at] = dataSector;
    this.#order[at] = at;
    if (subtree > this.#highestSubtree) this.#highestSubtree = subtree;
    this.#count = at + 1;
    return true;
  }

  /** Adds what the keys leave to `pieces`: at most two pieces a key. */
  collect(pieces: PieceList): void {
    this.#sort();
    const order = this.#order;
    for (let first = 0; first < this.#count;) {
      const key = order[first]!;
      const subtree = this.#subtrees[key]!;
      let end = this.#sectors[key]! + this.#lengths[key]!;
      let next = first + 1;
      for (; next < this.#count; next++) {
        const other = order[next]!;
        const sector = this.#sectors[other]!;
        if (this.#subtrees[other] !== subtree || sector >= end) break;
        end = Math.max(end, sector + this.#lengths[other]!);
      }
      if (next === first + 1) this.#addPiece(pieces, key, this.#sectors[key]!, this.#lengths[key]!);
      else this.#collectOverlapping(pieces, first, next, end);
      first = next;
    }
  }

  /** Keys `first` up to `next` of the order reach from the start of the first to `end` without a gap. */
  #collectOverlapping(pieces: PieceList, first: number, next: number, end: number): void {
    const owners = this.#owners;
    const start = this.#sectors[this.#order[first]!]!;
    for (let at = first; at < next; at++) {
      const key = this.#order[at]!;
      const sector = this.#sectors[key]!;
      const keyEnd = sector + this.#lengths[key]!;
      for (let place = sector; place < keyEnd; place++) if (owners[place]! <= key) owners[place] = key + 1;
    }
    for (let from = start; from < end;) {
      const owner = owners[from]!;
      let to = from + 1;
      while (to < end && owners[to] === owner) to++;
      this.#addPiece(pieces, owner - 1, from, to - from);
      from = to;
    }
    owners.fill(0, start, end);
  }

  #addPiece(pieces: PieceList, key: number, sector: number, sectors: number): void {
    const offset = this.#subtrees[key]! * SUBTREE_BYTES + sector * SECTOR_BYTES;
    const dataSector = this.#dataSectors[key]! + sector - this.#sectors[key]!;
    pieces.add(PieceKind.cached, offset, sectors * SECTOR_BYTES, this.#segments[key]! as CacheSegId, dataSector * SECTOR_BYTES);
  }

  /** Puts `#order` in order of subtree and sector; of the same sector, of the log. */
  #sort(): void {
    this.#sortBy(this.#sectors, 0, this.#sectorCounts);
    for (let shift = 0; this.#highestSubtree >>> shift > 0; shift += SUBTREE_DIGIT_BITS) {
      this.#sortBy(this.#subtrees, shift, this.#subtreeCounts);
    }
  }

  /** One pass of a sort by counting: by as many bits of `values` above `shift` as `counts` has places for. */
  #sortBy(values: Int32Array, shift: number, counts: Int32Array): void {
    const order = this.#order;
    const next = this.#nextOrder;
    const mask = counts.length - 1;
    const count = this.#count;
    counts.fill(0);
    for (let key = 0; key < count; key++) counts[(values[key]! >>> shift) & mask]! += 1;
    let sum = 0;
    for (let digit = 0; digit <= mask; digit++) {
      const here = counts[digit]!;
      counts[digit] = sum;
      sum += here;
    }
    for (let at = 0; at < count; at++) {
      const key = order[at]!;
      const digit = (values[key]! >>> shift) & mask;
      const place = counts[digit]!;
      counts[digit] = place + 1;
      next[place] = key;
    }
    this.#order = next;
    this.#nextOrder = order;
  }
}
