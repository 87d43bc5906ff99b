// What the tests of the cache tree share: a small tree with its tables, a picture of a subtree, a way to use up index memory.

import { CacheTree } from '../../src/cache/cache-tree.js';
import { ExtentCursor, Piece } from '../../src/cache/extent-cursor.js';
import { BLOCK_CLASS_MAX, IndexArena, LARGEST_BLOCK_BYTES } from '../../src/cache/index-arena.js';
import type { CacheSegId } from '../../src/media/layout.js';
import { SUBTREE_BYTES } from '../../src/media/layout.js';

export interface TreeUnderTest {
  readonly tree: CacheTree;
  readonly generations: Int32Array;
  readonly liveSectors: Int32Array;
}

export const SEGMENTS = 16;

/** A tree of `subtrees` subtrees and `indexBytes` of index over 16 segments of generation 0. */
export function newTree(subtrees = 4, indexBytes = 10 * LARGEST_BLOCK_BYTES): TreeUnderTest {
  const generations = new Int32Array(new SharedArrayBuffer(SEGMENTS * 4));
  const liveSectors = new Int32Array(new SharedArrayBuffer(SEGMENTS * 4));
  const state = CacheTree.createState(subtrees * SUBTREE_BYTES, indexBytes);
  return { tree: CacheTree.attach(state, generations, liveSectors), generations, liveSectors };
}

export function segment(id: number): CacheSegId {
  return id as CacheSegId;
}

/** The pieces of a range: `10+5 s1@100` for data, with `.flags` if there are any, `10+5 t7` for a placeholder; gaps are left out. */
export function picture(tree: CacheTree, subtree = 0, sector = 0, sectors = 8192): string {
  const cursor = new ExtentCursor();
  const parts: string[] = [];
  let position = sector;
  tree.find(subtree, sector, sectors, cursor);
  while (cursor.next()) {
    if (cursor.sector !== position || cursor.sectors < 1) throw new Error(`piece at ${cursor.sector}, not at ${position}`);
    position += cursor.sectors;
    const range = `${cursor.sector}+${cursor.sectors}`;
    const flags = cursor.flags === 0 ? '' : `.${cursor.flags}`;
    if (cursor.kind === Piece.data) parts.push(`${range} s${cursor.segment}@${cursor.dataSector}${flags}`);
    if (cursor.kind === Piece.placeholder) parts.push(`${range} t${cursor.token}`);
  }
  if (position !== sector + sectors) throw new Error(`pieces end at ${position}, not at ${sector + sectors}`);
  return parts.join(', ');
}

/** Takes all memory of a tree of one largest block but one block of `leftClass`. */
export function useUpIndex(tree: CacheTree, leftClass: number): void {
  const arena = IndexArena.attach(tree.state.arena);
  if (arena.capacityBytes !== LARGEST_BLOCK_BYTES) throw new Error('only for an index of one largest block');
  for (let blockClass = BLOCK_CLASS_MAX - 1; blockClass >= leftClass; blockClass--) arena.allocate(blockClass);
}
