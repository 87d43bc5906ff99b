// Reads: finds where the bytes of a range are, and pins them. It reads nothing itself: the caller answers straight from the pinned
// segments, and gets what is missing from the backing device.
//
// A Reader belongs to one thread and holds one range at a time: `begin`, use `pieces`, `end`. Between the two the segments of its
// cached pieces are pinned, so their bytes stay what they are.

import { SECTOR_BYTES, SUBTREE_BYTES } from '../media/layout.js';
import type { CacheSegId } from '../media/layout.js';
import { ExtentFlag, SUBTREE_SECTORS } from './extent.js';
import { ExtentCursor, Piece } from './extent-cursor.js';
import type { CacheTree } from './cache-tree.js';
import { PieceKind, PieceList } from './piece-list.js';
import type { SegmentTable } from './segment-table.js';
import { Word } from './shared-state.js';
import type { CacheShared } from './shared-state.js';

/** Bytes of a range at most: 1 MiB, and a sector at each end for ranges that start or end within one. */
export const READ_BYTES_MAX = 1024 * 1024 + 2 * SECTOR_BYTES;
const PIECES_MAX = READ_BYTES_MAX / SECTOR_BYTES;

/** Placeholder of a read that leaves none. */
const NO_TOKEN = -1;

export class Reader {
  /** The range, cut into pieces in order of the volume. */
  readonly pieces = new PieceList(PIECES_MAX);
  missingBytes = 0;
  corruptBytes = 0;
  readonly #tree: CacheTree;
  readonly #segments: SegmentTable;
  readonly #words: Int32Array;
  readonly #cursor = new ExtentCursor();
  #token = NO_TOKEN;

  constructor(shared: CacheShared, tree: CacheTree, segments: SegmentTable) {
    this.#tree = tree;
    this.#segments = segments;
    this.#words = shared.words;
  }

  /** The placeholder token of the range that is begun; -1 if it leaves none. */
  get token(): number {
    return this.#token;
  }

  /**
   * Begins a range: multiples of 512, within the volume, at most READ_BYTES_MAX. With `placeholders`, gaps get a placeholder each, so that
   * the caller can fill them (`Filler.fill`) with what it reads; without, nothing is changed.
   */
  begin(volumeOffset: number, lengthBytes: number, placeholders: boolean): void {
    const subtree = Math.floor(volumeOffset / SUBTREE_BYTES);
    this.beginAt(subtree, (volumeOffset - subtree * SUBTREE_BYTES) / SECTOR_BYTES, lengthBytes / SECTOR_BYTES, placeholders);
  }

  /** As `begin`, for `sectors` from a sector of a subtree on: integers, since a number beyond 2^31 would be allocated to pass it. */
  beginAt(subtree: number, sector: number, sectors: number, placeholders: boolean): void {
    this.pieces.clear();
    this.missingBytes = 0;
    this.corruptBytes = 0;
    this.#token = placeholders ? Atomics.add(this.#words, Word.nextToken, 1) & 0x7fffffff : NO_TOKEN;
    let at = subtree;
    let from = sector;
    for (let left = sectors; left > 0;) {
      const count = Math.min(SUBTREE_SECTORS - from, left);
      this.#findIn(at, from, count);
      left -= count;
      from = 0;
      at++;
    }
  }

  #findIn(subtree: number, sector: number, sectors: number): void {
    const tree = this.#tree;
    const cursor = this.#cursor;
    const subtreeOffset = subtree * SUBTREE_BYTES;
    const { pieces } = this;
    const firstPiece = pieces.count;
    tree.lock(subtree);
    tree.find(subtree, sector, sectors, cursor);
    while (cursor.next()) {
      const offset = subtreeOffset + cursor.sector * SECTOR_BYTES;
      const bytes = cursor.sectors * SECTOR_BYTES;
      if (cursor.kind === Piece.data && this.#segments.pin(cursor.segment, cursor.generation)) {
        const isCorrupt = (cursor.flags & ExtentFlag.corrupt) !== 0;
        if (isCorrupt) {
          this.#segments.unpin(cursor.segment);
          this.corruptBytes += bytes;
        }
        pieces.add(isCorrupt ? PieceKind.corrupt : PieceKind.cached, offset, bytes, cursor.segment, cursor.dataSector * SECTOR_BYTES);
      } else {
        this.missingBytes += bytes;
        pieces.add(PieceKind.missing, offset, bytes, 0 as CacheSegId, 0);
      }
    }
    if (this.#token !== NO_TOKEN) this.#leavePlaceholders(subtree, firstPiece);
    tree.unlock(subtree);
  }

  /**
   * In what is missing, and there only: a segment may be freed at any moment, so that what was found cached, and is pinned, looks like a gap now; whoever
   * fills the gaps does not read it from the backing device.
   */
  #leavePlaceholders(subtree: number, firstPiece: number): void {
    const { kinds, volumeOffsets, lengths, count } = this.pieces;
    const subtreeOffset = subtree * SUBTREE_BYTES;
    for (let at = firstPiece; at < count; at++) {
      if (kinds[at] !== PieceKind.missing) continue;
      const start = volumeOffsets[at]!;
      while (at + 1 < count && kinds[at + 1] === PieceKind.missing) at++;
      const end = volumeOffsets[at]! + lengths[at]!;
      // No memory for placeholders: the answer is right all the same, it is only not kept.
      this.#tree.insertPlaceholder(subtree, (start - subtreeOffset) / SECTOR_BYTES, (end - start) / SECTOR_BYTES, this.#token);
    }
  }

  /** Lets go of the range: unpins its segments. */
  end(): void {
    const { pieces } = this;
    for (let at = 0; at < pieces.count; at++) {
      if (pieces.kinds[at] === PieceKind.cached) this.#segments.unpin(pieces.segments[at]! as CacheSegId);
    }
    pieces.clear();
  }
}
