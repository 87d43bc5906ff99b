// A reader's position in a subtree's sorted extents: it cuts a range of sectors into pieces, one at a time, in fields that are reused.
//
// The pieces cover the range from start to end, without overlap. An extent whose segment has got another generation since is not there:
// its sectors belong to the gap. A cursor is good while its user holds the subtree's lock and changes nothing in the subtree.

import type { CacheSegId } from '../media/layout.js';
import { dataSectorOf, ExtentFlag, EXTENT_WORDS, firstSector, flagsOf, sectorCount, segmentOf } from './extent.js';

/** What a piece is. */
export const Piece = {
  /** Nothing is cached here. */
  gap: 0,
  /** Payload is in a segment. */
  data: 1,
  /** A read miss is fetching these sectors; `token` says which. */
  placeholder: 2,
} as const;
export type PieceKind = (typeof Piece)[keyof typeof Piece];

export class ExtentCursor {
  /** One of `Piece`. */
  kind: PieceKind = Piece.gap;
  /** First sector of the piece, in the subtree. */
  sector = 0;
  /** Length of the piece, 1 or more. */
  sectors = 0;
  /** Of data: bits of `ExtentFlag`; else 0. */
  flags = 0;
  /** Of data: where the payload of `sector` is. */
  segment = 0 as CacheSegId;
  /** Of data: sector in the segment's data. */
  dataSector = 0;
  /** Of data: low 32 bits of the segment's generation, as an int32. */
  generation = 0;
  /** Of a placeholder: its token. */
  token = 0;

  #words: Int32Array = new Int32Array(0);
  #generations: Int32Array = new Int32Array(0);
  #at = 0;
  #atEnd = 0;
  #position = 0;
  #end = 0;

  /**
   * For the cache tree: starts at the extents in `words[at]` to `words[atEnd]`, of which the first ends after `sector`, to cover `sector` up
   * to, not including, `endSector`.
   */
  start(words: Int32Array, at: number, atEnd: number, generations: Int32Array, sector: number, endSector: number): void {
    this.#words = words;
    this.#at = at;
    this.#atEnd = atEnd;
    this.#generations = generations;
    this.#position = sector;
    this.#end = endSector;
  }

  /** Moves to the next piece; false if the range is covered. */
  next(): boolean {
    const words = this.#words;
    const position = this.#position;
    const end = this.#end;
    if (position >= end) return false;
    let gapEnd = end;
    while (this.#at < this.#atEnd) {
      const word0 = words[this.#at]!;
      const first = firstSector(word0);
      if (first >= end) break;
      const word1 = words[this.#at + 1]!;
      const word2 = words[this.#at + 2]!;
      const isPlaceholder = (word0 & ExtentFlag.empty) !== 0;
      if (!isPlaceholder && Atomics.load(this.#generations, segmentOf(word1)) !== word2) {
        this.#at += EXTENT_WORDS;
        continue;
      }
      if (first > position) {
        gapEnd = first;
        break;
      }
      const pieceEnd = Math.min(first + sectorCount(word0), end);
      this.sector = position;
      this.sectors = pieceEnd - position;
      if (isPlaceholder) {
        this.kind = Piece.placeholder;
        this.flags = 0;
        this.token = word1;
      } else {
        this.kind = Piece.data;
        this.flags = flagsOf(word0);
        this.segment = segmentOf(word1);
        this.dataSector = dataSectorOf(word1) + position - first;
        this.generation = word2;
      }
      this.#at += EXTENT_WORDS;
      this.#position = pieceEnd;
      return true;
    }
    this.kind = Piece.gap;
    this.flags = 0;
    this.sector = position;
    this.sectors = gapEnd - position;
    this.#position = gapEnd;
    return true;
  }
}
