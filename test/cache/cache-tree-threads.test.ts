import test from 'ava';
import { runWorkers } from '../shared/run-workers.js';
import { newTree, SEGMENTS } from './cache-tree-support.js';
import type { WorkerInput } from './cache-tree-worker.js';

const WORKER = new URL('./cache-tree-worker.js', import.meta.url);
const SUBTREES = 3;
const WORKERS = 3;

test('threads that change the same subtrees leave what a flat array under the same locks says', async (t) => {
  const { tree, generations, liveSectors } = newTree(SUBTREES);
  const flat = new Int32Array(new SharedArrayBuffer(SUBTREES * 8192 * 4));
  const seed = 1 + Math.floor(Math.random() * 2 ** 30);
  t.log(`seed ${seed}`);
  const inputs = Array.from({ length: WORKERS }, (_, worker): WorkerInput => {
    return { state: tree.state, generations, liveSectors, flat, worker, rounds: 30_000, seed: seed + worker };
  });
  await runWorkers(WORKER, inputs);

  // Live sectors are right whichever thread counted them.
  const live = new Int32Array(SEGMENTS);
  for (const word of flat) if (word > 0) live[word >>> 16]! += 1;
  t.deepEqual([...liveSectors], [...live]);
  t.is(
    tree.stats().dirtySectors,
    live.reduce((sum, sectors) => sum + sectors, 0),
  );

  // And the arena has all of its memory back once the tree is empty.
  for (let subtree = 0; subtree < SUBTREES; subtree++) t.true(tree.remove(subtree, 0, 8192));
  t.is(tree.stats().usedBytes, 0);
  t.deepEqual([...liveSectors], Array(SEGMENTS).fill(0));
});
