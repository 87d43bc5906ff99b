// Builds the cache tree from the keys of a log, many at a time: what a key says is put down, and every so many keys each subtree's are laid over each
// other and over what the tree has, and stored as one. The tree ends as if each had been inserted by itself, in the order in which they were added.
//
// Invariants: nothing that was added is in the tree for certain before `finish`; memory is bounded, however long the log. It works without the subtrees'
// locks: nobody else may change the tree until `finish` has returned. Helpers only say what a subtree becomes (IndexPieces), and are not needed.

import { EXTENT_WORDS, SUBTREE_SECTORS, dataSectorOf, firstSector, packRange, sectorCount, segmentOf } from './extent.js';
import type { CacheTree } from './cache-tree.js';
import type { Piece, PieceWork, ReplayCrew } from './replay-crew.js';
import { PIECE_KIND_WORD, PIECE_WORDS, PieceKind } from './replay-crew.js';
import { NOT_CACHED, SubtreeBuild } from './subtree-build.js';
import type { KeyColumns } from './subtree-build.js';

export { NOT_CACHED } from './subtree-build.js';

/** Keys put down before they go into the tree; 18 bytes each. */
const KEYS_MAX = 1 << 20;
/** For fewer keys of a subtree, inserting one after the other is faster. */
const PAINTED_KEYS_MIN = 24;
/** By subtree: the number of its newest key, and 1 (0 if it has none); its keys. */
const HEAD_WORDS = 2;

// Words of a piece: how many subtrees, then each subtree, its newest key, its keys, and what it comes to: the number of its extents.
const SUBTREE_COUNT_WORD = 1;
const FIRST_SUBTREE_WORD = 4;
const PIECE_SUBTREE_WORDS = 4;
const PIECE_SUBTREES_MAX = (PIECE_WORDS - FIRST_SUBTREE_WORD) / PIECE_SUBTREE_WORDS;

export class IndexBuilder implements PieceWork {
  readonly #tree: CacheTree;
  readonly #keysMax: number;
  readonly #heads: Int32Array;
  #keys: KeyColumns = newColumns(0, 'private');
  #count = 0;
  /** Subtrees that have keys, in the order of their first. */
  #subtrees = new Int32Array(0);
  #subtreeCount = 0;
  #isStored = true;
  readonly #build = new SubtreeBuild();
  readonly #built = new Int32Array(SUBTREE_SECTORS * EXTENT_WORDS);
  #pieces: IndexPieces | undefined;

  /** `keysMax` is for tests. */
  constructor(tree: CacheTree, keysMax = KEYS_MAX) {
    this.#tree = tree;
    this.#keysMax = keysMax;
    this.#heads = new Int32Array(tree.subtreeCount * HEAD_WORDS);
  }

  /** Room for keys until those that are there go into the tree. */
  get roomKeys(): number {
    return this.#keysMax - this.#count;
  }

  /** From now on what is put down is in memory that helpers see; returns that. */
  share(): KeyColumns {
    this.#keys = copiedColumns(this.#keys, newColumns(this.#keysMax, 'shared'));
    this.#subtrees = grown(this.#subtrees, new Int32Array(this.#keysMax));
    this.#pieces = new IndexPieces(this.#tree, this.#keys);
    return this.#keys;
  }

  /**
   * The newest key says this of a range within a subtree (see `CacheTree.insert` for ranges of values): its payload is at `place` (word 1 of an extent)
   * of `generation`, with `flags` of ExtentFlag; or, with NOT_CACHED, nowhere. Returns false if there is no memory for the index.
   */
  add(subtree: number, sector: number, sectors: number, place: number, generation: number, flags: number): boolean {
    if (this.#count === this.#keysMax && !this.finish()) return false;
    if (this.#count === this.#keys.previous.length) this.#grow();
    const keys = this.#keys;
    const heads = this.#heads;
    const key = this.#count++;
    const head = subtree * HEAD_WORDS;
    const newest = heads[head]!;
    if (newest === 0) this.#subtrees[this.#subtreeCount++] = subtree;
    keys.previous[key] = newest;
    heads[head] = key + 1;
    heads[head + 1]! += 1;
    keys.ranges[key] = packRange(sector, sectors, 0);
    keys.flags[key] = flags;
    keys.places[key] = place;
    keys.generations[key] = generation;
    return true;
  }

  /**
   * Brings everything that was added into the tree; with a crew, whose work this is, its helpers do their share. Returns false if there is no memory for it;
   * the tree is of no use then.
   */
  finish(crew?: ReplayCrew): boolean {
    const heads = this.#heads;
    for (let i = 0; i < this.#subtreeCount && this.#isStored; i++) {
      const subtree = this.#subtrees[i]!;
      const head = subtree * HEAD_WORDS;
      const newest = heads[head]!;
      const keys = heads[head + 1]!;
      heads[head] = 0;
      heads[head + 1] = 0;
      if (crew === undefined || this.#pieces === undefined) this.#store(subtree, newest, keys);
      else this.#pieces.add(crew, subtree, newest, keys);
    }
    if (crew !== undefined) this.#pieces?.publish(crew);
    crew?.drain();
    this.#count = 0;
    this.#subtreeCount = 0;
    return this.#isStored;
  }

  run(slot: Piece): void {
    this.#pieces!.run(slot);
  }

  take({ piece, result }: Piece): void {
    let start = 0;
    for (let i = 0; i < piece[SUBTREE_COUNT_WORD]!; i++) {
      const at = FIRST_SUBTREE_WORD + i * PIECE_SUBTREE_WORDS;
      if (piece[at + 2]! < PAINTED_KEYS_MIN) {
        this.#store(piece[at]!, piece[at + 1]!, piece[at + 2]!);
        continue;
      }
      const extents = piece[at + 3]!;
      this.#isStored &&= this.#tree.load(piece[at]!, result.subarray(start), extents);
      start += extents * EXTENT_WORDS;
    }
  }

  doAll({ piece }: Piece): void {
    for (let i = 0; i < piece[SUBTREE_COUNT_WORD]!; i++) {
      const at = FIRST_SUBTREE_WORD + i * PIECE_SUBTREE_WORDS;
      this.#store(piece[at]!, piece[at + 1]!, piece[at + 2]!);
    }
  }

  #store(subtree: number, newest: number, keys: number): void {
    if (!this.#isStored) return;
    this.#build.orderKeys(this.#keys, newest, keys);
    if (keys < PAINTED_KEYS_MIN) {
      this.#isStored = this.#insertEach(subtree, keys);
    } else {
      const extents = this.#build.build(this.#tree, this.#keys, subtree, keys, this.#built, 0);
      this.#isStored = this.#tree.load(subtree, this.#built, extents);
    }
  }

  #insertEach(subtree: number, count: number): boolean {
    const tree = this.#tree;
    const keys = this.#keys;
    for (let i = 0; i < count; i++) {
      const key = this.#build.order[i]!;
      const range = keys.ranges[key]!;
      const sector = firstSector(range);
      const sectors = sectorCount(range);
      const place = keys.places[key]!;
      const flags = keys.flags[key]!;
      const isStored =
        flags === NOT_CACHED
          ? tree.remove(subtree, sector, sectors)
          : tree.insert(subtree, sector, sectors, segmentOf(place), dataSectorOf(place), keys.generations[key]!, flags);
      if (!isStored) return false;
    }
    return true;
  }

  #grow(): void {
    const length = Math.min(this.#keysMax, Math.max(4096, this.#count * 4));
    this.#keys = copiedColumns(this.#keys, newColumns(length, 'private'));
    this.#subtrees = grown(this.#subtrees, new Int32Array(length));
  }
}

/** Subtrees as pieces: what each of them becomes. */
export class IndexPieces {
  readonly #tree: CacheTree;
  readonly #keys: KeyColumns;
  readonly #build = new SubtreeBuild();
  #filling: Piece | undefined;
  #extents = 0;

  constructor(tree: CacheTree, keys: KeyColumns) {
    this.#tree = tree;
    this.#keys = keys;
  }

  add(crew: ReplayCrew, subtree: number, newest: number, keys: number): void {
    // A key adds two extents at most.
    const extents = keys < PAINTED_KEYS_MIN ? 0 : Math.min(SUBTREE_SECTORS, this.#tree.extentCount(subtree) + keys * 2);
    if (this.#filling !== undefined) {
      const isFull = this.#filling.piece[SUBTREE_COUNT_WORD] === PIECE_SUBTREES_MAX;
      if (isFull || this.#extents + extents > SUBTREE_SECTORS) this.publish(crew);
    }
    if (this.#filling === undefined) {
      this.#filling = crew.nextSlot();
      this.#filling.piece[PIECE_KIND_WORD] = PieceKind.subtrees;
      this.#filling.piece[SUBTREE_COUNT_WORD] = 0;
      this.#extents = 0;
    }
    const { piece } = this.#filling;
    const at = FIRST_SUBTREE_WORD + piece[SUBTREE_COUNT_WORD]! * PIECE_SUBTREE_WORDS;
    piece[at] = subtree;
    piece[at + 1] = newest;
    piece[at + 2] = keys;
    piece[SUBTREE_COUNT_WORD]! += 1;
    this.#extents += extents;
  }

  publish(crew: ReplayCrew): void {
    if (this.#filling !== undefined) crew.publish();
    this.#filling = undefined;
  }

  run({ piece, result }: Piece): void {
    let start = 0;
    for (let i = 0; i < piece[SUBTREE_COUNT_WORD]!; i++) {
      const at = FIRST_SUBTREE_WORD + i * PIECE_SUBTREE_WORDS;
      const subtree = piece[at]!;
      const keys = piece[at + 2]!;
      if (keys < PAINTED_KEYS_MIN) continue;
      this.#build.orderKeys(this.#keys, piece[at + 1]!, keys);
      const extents = this.#build.build(this.#tree, this.#keys, subtree, keys, result, start);
      piece[at + 3] = extents;
      start += extents * EXTENT_WORDS;
    }
  }
}

function newColumns(length: number, memory: 'private' | 'shared'): KeyColumns {
  const bytes = (count: number): ArrayBuffer | SharedArrayBuffer =>
    memory === 'shared' ? new SharedArrayBuffer(count) : new ArrayBuffer(count);
  return {
    previous: new Int32Array(bytes(length * 4)),
    ranges: new Int32Array(bytes(length * 4)),
    flags: new Int16Array(bytes(length * 2)),
    places: new Int32Array(bytes(length * 4)),
    generations: new Int32Array(bytes(length * 4)),
  };
}

function copiedColumns(from: KeyColumns, to: KeyColumns): KeyColumns {
  return {
    previous: grown(from.previous, to.previous),
    ranges: grown(from.ranges, to.ranges),
    flags: grown(from.flags, to.flags),
    places: grown(from.places, to.places),
    generations: grown(from.generations, to.generations),
  };
}

function grown<T extends Int32Array | Int16Array>(from: T, to: T): T {
  to.set(from);
  return to;
}
