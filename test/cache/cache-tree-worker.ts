// One of several threads that change and check the same subtrees. A flat array beside the tree, one word a sector, changed under the same
// lock, says what each sector must stand for: 0 nothing, else segment * 2^16 + place + 1, or -1 - token for a placeholder.

import { parentPort, workerData } from 'node:worker_threads';
import { CacheTree } from '../../src/cache/cache-tree.js';
import type { CacheTreeState } from '../../src/cache/cache-tree.js';
import { ExtentCursor, Piece } from '../../src/cache/extent-cursor.js';
import type { CacheSegId } from '../../src/media/layout.js';

export interface WorkerInput {
  readonly state: CacheTreeState;
  readonly generations: Int32Array;
  readonly liveSectors: Int32Array;
  readonly flat: Int32Array;
  readonly worker: number;
  readonly rounds: number;
  readonly seed: number;
}

const { state, generations, liveSectors, flat, worker, rounds, seed } = workerData as WorkerInput;
const tree = CacheTree.attach(state, generations, liveSectors);
const cursor = new ExtentCursor();
let random = seed;

function below(limit: number): number {
  random ^= random << 13;
  random ^= random >>> 17;
  random ^= random << 5;
  return (random >>> 0) % limit;
}

function check(base: number, subtree: number, sector: number, sectors: number): void {
  tree.find(subtree, sector, sectors, cursor);
  while (cursor.next()) {
    for (let i = 0; i < cursor.sectors; i++) {
      const found =
        cursor.kind === Piece.gap
          ? 0
          : cursor.kind === Piece.data
            ? cursor.segment * 65_536 + cursor.dataSector + i + 1
            : -1 - cursor.token;
      const expected = flat[base + cursor.sector + i]!;
      if (found !== expected) throw new Error(`seed ${seed}: subtree ${subtree} sector ${cursor.sector + i}: ${found}, not ${expected}`);
    }
  }
}

for (let round = 0; round < rounds; round++) {
  const subtree = below(tree.subtreeCount);
  const base = subtree * 8192;
  const sectors = 1 + (below(20) === 0 ? below(2000) : below(16));
  const sector = below(8192 - sectors);
  const place = below(30_000 - sectors);
  const action = below(8);
  tree.lock(subtree);
  check(base, subtree, sector, sectors);
  let done: boolean;
  if (action < 5) {
    done = tree.insert(subtree, sector, sectors, worker as CacheSegId, place, generations[worker]!, 0);
    for (let i = 0; i < sectors; i++) flat[base + sector + i] = worker * 65_536 + place + i + 1;
  } else if (action < 7) {
    done = tree.insertPlaceholder(subtree, sector, sectors, worker);
    for (let i = 0; i < sectors; i++) flat[base + sector + i] ||= -1 - worker;
  } else {
    done = tree.remove(subtree, sector, sectors);
    flat.fill(0, base + sector, base + sector + sectors);
  }
  tree.unlock(subtree);
  if (!done) throw new Error(`seed ${seed}: the index was full`);
}

// Before it ends, each worker sees that all of every subtree is right.
for (let subtree = 0; subtree < tree.subtreeCount; subtree++) {
  tree.lock(subtree);
  check(subtree * 8192, subtree, 0, 8192);
  tree.unlock(subtree);
}
parentPort?.postMessage('done');
