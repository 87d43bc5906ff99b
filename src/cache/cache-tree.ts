// The cache tree: which sectors of the volume are cached, and where.
//
// The volume is cut into subtrees of 4 MiB. A subtree has a lock and a sorted array of extents (see subtree-table.ts and extent.ts).
// Invariants, under the subtree's lock:
// - Extents are sorted, do not overlap, and are not empty; so a full subtree has 8192.
// - Two neighbours never stand for one run of payload of the same flags and generation: they were merged.
// - An extent whose generation is not its segment's any more is stale: it counts as absent. It stays in the array until something
//   replaces it, the array must grow, or somebody calls `purge`.
//
// Every operation on a subtree is made with its lock held by the caller (`lock`, `unlock`), and none allocates; a CacheTree belongs to
// one thread, the memory under it to all. Ranges lie within one subtree: sector 0 to 8191, sectors 1 to 8192 - sector. Breaking that throws
// PcacheError `internal`; running out of index memory does not throw, it returns false and leaves what the tree means unchanged.
//
// Lock order: a subtree's lock, then the arena's mutex.

import { PcacheError } from '../errors.js';
import type { CacheSegId } from '../media/layout.js';
import {
  endSector,
  ExtentFlag,
  EXTENT_WORDS,
  firstSector,
  FLAG_MASK,
  flagsOf,
  packPlace,
  packRange,
  sectorCount,
  SEGMENT_DATA_SECTORS,
  segmentOf,
  SUBTREE_SECTORS,
  TOKEN_MAX,
} from './extent.js';
import { ExtentCursor, Piece } from './extent-cursor.js';
import { indexOfEndAfter, move } from './extent-search.js';
import { IndexArena, type IndexArenaState } from './index-arena.js';
import { addSubtreeStats, type CacheTreeStats } from './cache-tree-stats.js';
import { createSubtreeRows, SubtreeTable } from './subtree-table.js';

/** In place of flags: no new extent. Beyond the 6 bits that an extent stores. */
const NOTHING = 1 << 8;

/** What another thread needs to attach; structured-cloneable. */
export interface CacheTreeState {
  readonly subtrees: SharedArrayBuffer;
  readonly arena: IndexArenaState;
}

export class CacheTree {
  readonly state: CacheTreeState;
  readonly subtreeCount: number;
  readonly #subtrees: SubtreeTable;
  readonly #arena: IndexArena;
  readonly #generations: Int32Array;
  readonly #liveSectors: Int32Array | undefined;
  readonly #corruptSectors: Int32Array | undefined;
  readonly #pieces = new ExtentCursor();
  /** Sectors of payload, stale extents and placeholders left out, that the last `insert` or `remove` replaced; kept only by who keeps live sectors. */
  replacedSectors = 0;

  private constructor(
    state: CacheTreeState,
    arena: IndexArena,
    generations: Int32Array,
    liveSectors: Int32Array | undefined,
    corruptSectors: Int32Array | undefined,
  ) {
    this.state = state;
    this.#subtrees = new SubtreeTable(state.subtrees, arena, generations);
    this.subtreeCount = this.#subtrees.length;
    this.#arena = arena;
    this.#generations = generations;
    this.#liveSectors = liveSectors;
    this.#corruptSectors = corruptSectors;
  }

  /** An empty tree for a volume, with at most `indexBytes` of extents. Throws PcacheError `no-space` if the system has no room for it. */
  static createState(volumeBytes: number, indexBytes: number): CacheTreeState {
    const arena = IndexArena.create(indexBytes);
    return { subtrees: createSubtreeRows(volumeBytes), arena: arena.state };
  }

  /**
   * This thread's view of a tree.
   * @param generations by cache_seg_id, on shared memory: the low 32 bits of each segment's generation; whoever frees a segment changes it.
   * @param liveSectors by cache_seg_id: kept up to date with the sectors of the volume that each segment's payload stands for. An
   * estimate: it drifts if a generation changes while an extent of it is replaced, so whoever takes a segment sets it to 0.
   * @param corruptSectors the same of those that are known to be damaged; kept only with `liveSectors`. Exact: no segment is freed while it has any.
   */
  static attach(state: CacheTreeState, generations: Int32Array, liveSectors?: Int32Array, corruptSectors?: Int32Array): CacheTree {
    return new CacheTree(state, IndexArena.attach(state.arena), generations, liveSectors, corruptSectors);
  }

  lock(subtree: number): void {
    this.#subtrees.lock(subtree);
  }

  unlock(subtree: number): void {
    this.#subtrees.unlock(subtree);
  }

  /** Extents in a subtree, stale ones and placeholders among them. */
  extentCount(subtree: number): number {
    return this.#subtrees.count(subtree);
  }

  /** Puts `cursor` before the pieces of a range: `while (cursor.next()) ...`. The cursor is good until the subtree is changed or unlocked. */
  find(subtree: number, sector: number, sectors: number, cursor: ExtentCursor): void {
    checkRange(sector, sectors);
    const count = this.#subtrees.count(subtree);
    const words = this.#subtrees.words(subtree);
    const base = this.#subtrees.base(subtree);
    const first = indexOfEndAfter(words, base, count, sector);
    cursor.start(words, base + first * EXTENT_WORDS, base + count * EXTENT_WORDS, this.#generations, sector, sector + sectors);
  }

  /**
   * Says that the payload of [sector, sector + sectors) is at `dataSector` of `segment`; replaces whatever the range overlaps.
   * `generation` is the segment's (its low 32 bits count), `flags` are bits of `ExtentFlag` without `empty`.
   * Returns false if there is no memory for it.
   */
  insert(
    subtree: number,
    sector: number,
    sectors: number,
    segment: CacheSegId,
    dataSector: number,
    generation: number,
    flags: number,
  ): boolean {
    checkRange(sector, sectors);
    if (segment >>> 0 >= this.#generations.length || dataSector < 0 || dataSector + sectors > SEGMENT_DATA_SECTORS) {
      throw new PcacheError('internal', `cache tree: sector ${dataSector} (+${sectors}) of segment ${segment} is not data`);
    }
    checkFlags(flags);
    return this.#replace(subtree, sector, sectors, flags, packPlace(segment, dataSector), generation | 0);
  }

  /**
   * Makes sure that the subtree can take `extents` more, so that inserts that add no more than that (two each at most) can't fail while its
   * lock is held. Returns false if there is no memory.
   */
  reserve(subtree: number, extents: number): boolean {
    return this.#subtrees.reserve(subtree, extents);
  }

  /** Copies all extents of a subtree, three words each, to the start of `target`, which has room for 8192. Returns their number. */
  copyExtents(subtree: number, target: Int32Array): number {
    const count = this.#subtrees.count(subtree);
    const base = this.#subtrees.base(subtree);
    target.set(this.#subtrees.words(subtree).subarray(base, base + count * EXTENT_WORDS));
    return count;
  }

  /**
   * Replaces all extents of a subtree by the first `count` of `extents`, which are payload, and as the invariants want them. Returns false, having
   * changed nothing, if there is no memory for them.
   */
  load(subtree: number, extents: Int32Array, count: number): boolean {
    const subtrees = this.#subtrees;
    const before = subtrees.count(subtree);
    this.#countAll(subtree, before, -1);
    // What is there is not worth copying into a larger block.
    if (count > subtrees.capacity(subtree)) {
      subtrees.setCount(subtree, 0);
      if (!subtrees.makeRoom(subtree, count)) {
        subtrees.setCount(subtree, before);
        this.#countAll(subtree, before, 1);
        return false;
      }
    }
    const words = subtrees.words(subtree);
    const base = subtrees.base(subtree);
    for (let i = 0; i < count * EXTENT_WORDS; i++) words[base + i] = extents[i]!;
    subtrees.setCount(subtree, count);
    this.#countAll(subtree, count, 1);
    if (count < before) subtrees.fit(subtree);
    return true;
  }

  /** Forgets a range: the reverse of `insert`. Returns false if there is no memory to split the extent that it is in the middle of. */
  remove(subtree: number, sector: number, sectors: number): boolean {
    checkRange(sector, sectors);
    return this.#replace(subtree, sector, sectors, NOTHING, 0, 0);
  }

  /** Fills the gaps of a range with placeholders of `token` (0 to 2^31 - 1); what is there stays. Returns false if there is no memory. */
  insertPlaceholder(subtree: number, sector: number, sectors: number, token: number): boolean {
    if (token < 0 || token > TOKEN_MAX) throw new PcacheError('internal', `cache tree: ${token} is no token`);
    const pieces = this.#pieces;
    let gaps = 0;
    this.find(subtree, sector, sectors, pieces);
    while (pieces.next()) if (pieces.kind === Piece.gap) gaps++;
    if (gaps === 0) return true;
    // Each gap becomes one extent. A stale extent that reaches over an end of the range leaves a rest there; and since segments are freed
    // without this lock, an extent that was no gap when they were counted can be one now.
    if (!this.#subtrees.reserve(subtree, gaps + 2)) return false;
    const end = sector + sectors;
    for (let position = sector; position < end; position = pieces.sector + pieces.sectors) {
      this.find(subtree, position, end - position, pieces);
      pieces.next();
      if (pieces.kind !== Piece.gap) continue;
      if (!this.#replace(subtree, pieces.sector, pieces.sectors, ExtentFlag.empty, token, 0)) {
        throw new PcacheError('internal', 'cache tree: reserved room was not there');
      }
    }
    return true;
  }

  /**
   * The first piece of the range that is still a placeholder of `token`: `cursor` has it, cut to the range. Returns false if there is none.
   * To fill what is left of a placeholder, `insert` over each piece, then ask again from its end. An insert over a whole placeholder
   * needs no memory and can't fail.
   */
  nextPlaceholder(subtree: number, sector: number, sectors: number, token: number, cursor: ExtentCursor): boolean {
    this.find(subtree, sector, sectors, cursor);
    while (cursor.next()) if (cursor.kind === Piece.placeholder && cursor.token === token) return true;
    return false;
  }

  /**
   * Removes what is left of a placeholder in a range. Returns false if there is no memory to split it, which can't happen for a range
   * that covers it.
   */
  removePlaceholder(subtree: number, sector: number, sectors: number, token: number): boolean {
    const pieces = this.#pieces;
    const end = sector + sectors;
    let position = sector;
    while (position < end && this.nextPlaceholder(subtree, position, end - position, token, pieces)) {
      position = pieces.sector + pieces.sectors;
      if (!this.#replace(subtree, pieces.sector, pieces.sectors, NOTHING, 0, 0)) return false;
    }
    return true;
  }

  /**
   * Sets and clears flags (bits of `ExtentFlag`, not `empty`) where the range still stands for exactly the payload that starts, for its
   * first sector, at `dataSector` of `segment` in `generation`; sectors written since are left alone. Returns false, having changed
   * nothing, if there is no memory to split an extent.
   */
  setFlags(
    subtree: number,
    sector: number,
    sectors: number,
    segment: CacheSegId,
    dataSector: number,
    generation: number,
    set: number,
    clear: number,
  ): boolean {
    checkRange(sector, sectors);
    checkFlags(set);
    const pieces = this.#pieces;
    const end = sector + sectors;
    // Only the first and the last piece can be parts of extents, and need one extent more each.
    if (!this.#subtrees.reserve(subtree, this.#splits(subtree, sector) + this.#splits(subtree, end))) return false;
    for (let position = sector; position < end; position = pieces.sector + pieces.sectors) {
      this.find(subtree, position, end - position, pieces);
      pieces.next();
      if (pieces.kind !== Piece.data || pieces.segment !== segment || pieces.generation !== (generation | 0)) continue;
      if (pieces.dataSector - dataSector !== pieces.sector - sector) continue;
      const flags = (pieces.flags & ~clear) | set;
      if (flags === pieces.flags) continue;
      if (!this.#replace(subtree, pieces.sector, pieces.sectors, flags, packPlace(segment, pieces.dataSector), pieces.generation)) {
        throw new PcacheError('internal', 'cache tree: reserved room was not there');
      }
    }
    return true;
  }

  /** Drops the stale extents of a subtree and the memory that this saves. Returns how many there were. */
  purge(subtree: number): number {
    const dropped = this.#subtrees.dropStale(subtree);
    this.#subtrees.fit(subtree);
    return dropped;
  }

  /** Counts everything, taking the lock of each subtree that is in use, one after another. Takes milliseconds to seconds: no hot path. */
  stats(): CacheTreeStats {
    const stats: CacheTreeStats = {
      subtrees: 0,
      extents: 0,
      staleExtents: 0,
      placeholders: 0,
      cleanSectors: 0,
      dirtySectors: 0,
      corruptSectors: 0,
      usedBytes: this.#arena.usedBytes,
      touchedBytes: this.#arena.touchedBytes,
      capacityBytes: this.#arena.capacityBytes,
    };
    for (let subtree = 0; subtree < this.subtreeCount; subtree++) {
      if (!this.#subtrees.isUsed(subtree)) continue;
      this.lock(subtree);
      addSubtreeStats(this.#subtrees, subtree, stats);
      this.unlock(subtree);
    }
    return stats;
  }

  /**
   * Replaces what [sector, sector + sectors) overlaps by one extent, or by nothing (flags NOTHING). N is the new range; the ways in which
   * an extent that is there can lie to it:
   *
   *     1  before or after      [old]            untouched, unless it is one run with the new payload: then they merge
   *                                   [NNNNN]
   *     2  over the start       [old-----]       keeps its head
   *                                 [NNNNN]
   *     3  over the end              [-----old]  keeps its tail; the tail's payload starts later in the segment
   *                             [NNNNN]
   *     4  around              [old-------old]   splits: head and tail
   *                                [NNNNN]
   *     5  inside                  [---]         goes away
   *                             [NNNNNNNNN]
   *     6  several             [old--][--][--old]   2, any number of 5, 3
   *                               [NNNNNNNNN]
   *
   * So: extents `from` to `to` (not included) become at most three: a head, the new one, a tail. Nothing is written before it is known that
   * they fit.
   */
  #replace(subtree: number, sector: number, sectors: number, flags: number, word1: number, word2: number): boolean {
    const subtrees = this.#subtrees;
    const count = subtrees.count(subtree);
    const words = subtrees.words(subtree);
    const base = subtrees.base(subtree);
    const end = sector + sectors;

    let from = indexOfEndAfter(words, base, count, sector);
    let to = from;
    while (to < count && firstSector(words[base + to * EXTENT_WORDS]!) < end) to++;
    const overlapFrom = from;
    const overlapTo = to;

    let head = false;
    let tail = false;
    let lastAt = 0;
    if (from < to) {
      head = firstSector(words[base + from * EXTENT_WORDS]!) < sector;
      lastAt = base + (to - 1) * EXTENT_WORDS;
      tail = endSector(words[lastAt]!) > end;
    }

    let newFirst = sector;
    let newEnd = end;
    let newWord1 = word1;
    if ((flags & (NOTHING | ExtentFlag.empty)) === 0) {
      const left = head ? from : from - 1;
      if (left >= 0) {
        const at = base + left * EXTENT_WORDS;
        const first = firstSector(words[at]!);
        if (
          endSector(words[at]!) >= sector &&
          words[at + 1]! + (sector - first) === word1 &&
          words[at + 2] === word2 &&
          flagsOf(words[at]!) === flags
        ) {
          newFirst = first;
          newWord1 = words[at + 1]!;
          from = left;
          head = false;
        }
      }
      const right = tail ? to - 1 : to;
      if (right < count) {
        const at = base + right * EXTENT_WORDS;
        const first = firstSector(words[at]!);
        if (
          first <= end &&
          words[at + 1]! + (end - first) === word1 + sectors &&
          words[at + 2] === word2 &&
          flagsOf(words[at]!) === flags
        ) {
          newEnd = endSector(words[at]!);
          to = right + 1;
          tail = false;
        }
      }
    }

    const present = flags !== NOTHING;
    const parts = (head ? 1 : 0) + (present ? 1 : 0) + (tail ? 1 : 0);
    const newCount = count - (to - from) + parts;
    if (newCount > subtrees.capacity(subtree)) {
      return subtrees.makeRoom(subtree, newCount) && this.#replace(subtree, sector, sectors, flags, word1, word2);
    }

    if (this.#liveSectors !== undefined) this.replacedSectors = this.#countDead(words, base, overlapFrom, overlapTo, sector, end);

    // Before anything moves: the tail may be of the extent that the head is of.
    let tailWord0 = 0;
    let tailWord1 = 0;
    let tailWord2 = 0;
    if (tail) {
      const word0 = words[lastAt]!;
      tailWord0 = packRange(end, endSector(word0) - end, flagsOf(word0));
      tailWord1 = words[lastAt + 1]!;
      if ((word0 & ExtentFlag.empty) === 0) tailWord1 += end - firstSector(word0);
      tailWord2 = words[lastAt + 2]!;
    }

    let at = base + from * EXTENT_WORDS;
    move(words, base + to * EXTENT_WORDS, base + count * EXTENT_WORDS, at + parts * EXTENT_WORDS);
    if (head) {
      const word0 = words[at]!;
      words[at] = packRange(firstSector(word0), sector - firstSector(word0), flagsOf(word0));
      at += EXTENT_WORDS;
    }
    if (present) {
      words[at] = packRange(newFirst, newEnd - newFirst, flags);
      words[at + 1] = newWord1;
      words[at + 2] = word2;
      at += EXTENT_WORDS;
      if (this.#liveSectors !== undefined) this.#countLive(flags, word1, word2, sectors);
    }
    if (tail) {
      words[at] = tailWord0;
      words[at + 1] = tailWord1;
      words[at + 2] = tailWord2;
    }
    if (newCount !== count) subtrees.setCount(subtree, newCount);
    if (newCount < count) subtrees.fit(subtree);
    return true;
  }

  /** Counts the sectors of the first `count` extents as live, `sign` times. */
  #countAll(subtree: number, count: number, sign: 1 | -1): void {
    if (this.#liveSectors === undefined) return;
    const words = this.#subtrees.words(subtree);
    const base = this.#subtrees.base(subtree);
    for (let at = base; at < base + count * EXTENT_WORDS; at += EXTENT_WORDS) {
      this.#countLive(flagsOf(words[at]!), words[at + 1]!, words[at + 2]!, sign * sectorCount(words[at]!));
    }
  }

  /** Takes what lies in [sector, end) of extents `from` up to `to` from what is live. Returns how many sectors that were. */
  #countDead(words: Int32Array, base: number, from: number, to: number, sector: number, end: number): number {
    let dead = 0;
    for (let at = base + from * EXTENT_WORDS; at < base + to * EXTENT_WORDS; at += EXTENT_WORDS) {
      const word0 = words[at]!;
      const overlap = Math.min(endSector(word0), end) - Math.max(firstSector(word0), sector);
      if (this.#countLive(flagsOf(word0), words[at + 1]!, words[at + 2]!, -overlap)) dead += overlap;
    }
    return dead;
  }

  /** Returns false for a placeholder and for what is stale: nothing is counted then. */
  #countLive(flags: number, word1: number, word2: number, sectors: number): boolean {
    if ((flags & ExtentFlag.empty) !== 0) return false;
    const segment = segmentOf(word1);
    if (Atomics.load(this.#generations, segment) !== word2) return false;
    Atomics.add(this.#liveSectors!, segment, sectors);
    if ((flags & ExtentFlag.corrupt) !== 0 && this.#corruptSectors !== undefined) Atomics.add(this.#corruptSectors, segment, sectors);
    return true;
  }

  /** 1 if an extent lies over the boundary before `sector`, which a change at that boundary would split. */
  #splits(subtree: number, sector: number): number {
    const count = this.#subtrees.count(subtree);
    const words = this.#subtrees.words(subtree);
    const base = this.#subtrees.base(subtree);
    const index = indexOfEndAfter(words, base, count, sector);
    return index < count && firstSector(words[base + index * EXTENT_WORDS]!) < sector ? 1 : 0;
  }
}

function checkRange(sector: number, sectors: number): void {
  // Both in 0 to 8191 by one test of their bits; then the end.
  if (((sector | (sectors - 1)) & ~(SUBTREE_SECTORS - 1)) !== 0 || sector + sectors > SUBTREE_SECTORS) {
    throw new PcacheError('internal', `cache tree: sectors ${sector} (+${sectors}) are not in one subtree`);
  }
}

function checkFlags(flags: number): void {
  if ((flags & ~(FLAG_MASK & ~ExtentFlag.empty)) !== 0) throw new PcacheError('internal', `cache tree: ${flags} are no flags of payload`);
}
