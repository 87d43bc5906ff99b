import test from 'ava';
import { packPlace, SUBTREE_SECTORS } from '../../src/cache/extent.js';
import { IndexBuilder, NOT_CACHED } from '../../src/cache/index-builder.js';
import { LARGEST_BLOCK_BYTES } from '../../src/cache/index-arena.js';
import { seededRandom } from '../../src/device/seeded-random.js';
import { SEGMENTS, newTree, picture, segment, useUpIndex } from './cache-tree-support.js';

const SUBTREES = 4;

interface Key {
  readonly subtree: number;
  readonly sector: number;
  readonly sectors: number;
  readonly segment: number;
  readonly dataSector: number;
  readonly flags: number;
}

/** Keys of which many overlap, many follow on from each other, and one in ten takes its range out of the cache. */
function keysOf(random: () => number, count: number, span: number): Key[] {
  const below = (limit: number): number => Math.floor(random() * limit);
  const keys: Key[] = [];
  for (let i = 0; i < count; i++) {
    const last = keys.at(-1);
    const sectors = 1 + below(random() < 0.9 ? 16 : span / 2);
    const goesOn = last !== undefined && random() < 0.3 && last.sector + last.sectors + sectors <= SUBTREE_SECTORS;
    keys.push({
      subtree: goesOn ? last.subtree : below(SUBTREES),
      sector: goesOn ? last.sector + last.sectors : below(span - sectors + 1),
      sectors,
      segment: goesOn ? last.segment : below(SEGMENTS),
      dataSector: goesOn ? last.dataSector + last.sectors : below(10_000),
      flags: goesOn ? last.flags : random() < 0.1 ? NOT_CACHED : [0, 0, 1, 4][below(4)]!,
    });
  }
  return keys;
}

for (const { name, count, span, keysMax } of [
  { name: 'a few keys', count: 20, span: 400, keysMax: 1000 },
  { name: 'many keys that overlap', count: 3000, span: 2000, keysMax: 100_000 },
  { name: 'many keys all over', count: 4000, span: SUBTREE_SECTORS, keysMax: 100_000 },
  { name: 'more keys than are put down at a time', count: 3000, span: 3000, keysMax: 217 },
  { name: 'keys that go into the tree one by one', count: 300, span: 500, keysMax: 5 },
]) {
  test(`a tree built from ${name} is the one that inserting each of them makes`, (t) => {
    for (let seed = 1; seed <= 20; seed++) {
      const random = seededRandom(seed);
      const keys = keysOf(random, count, span);
      const built = newTree(SUBTREES);
      const inserted = newTree(SUBTREES);
      const builder = new IndexBuilder(built.tree, keysMax);
      for (const key of keys) {
        const { subtree, sector, sectors, dataSector, flags } = key;
        t.true(builder.add(subtree, sector, sectors, packPlace(segment(key.segment), dataSector), 0, flags));
        if (flags === NOT_CACHED) t.true(inserted.tree.remove(subtree, sector, sectors));
        else t.true(inserted.tree.insert(subtree, sector, sectors, segment(key.segment), dataSector, 0, flags));
      }
      t.true(builder.finish());
      for (let subtree = 0; subtree < SUBTREES; subtree++) {
        t.is(picture(built.tree, subtree), picture(inserted.tree, subtree), `seed ${seed}`);
        t.is(built.tree.extentCount(subtree), inserted.tree.extentCount(subtree), `seed ${seed}`);
      }
      t.deepEqual(built.liveSectors, inserted.liveSectors, `seed ${seed}`);
    }
  });
}

test('a builder can go on after it has brought its keys into the tree', (t) => {
  const { tree } = newTree();
  const builder = new IndexBuilder(tree);
  t.true(builder.add(1, 10, 10, packPlace(segment(1), 100), 0, 0));
  t.true(builder.finish());
  for (let i = 0; i < 100; i++) t.true(builder.add(1, 12, 2, packPlace(segment(2), i), 0, 1));
  t.true(builder.finish());
  t.is(picture(tree, 1), '10+2 s1@100, 12+2 s2@99.1, 14+6 s1@104');
});

test('a builder says so when the index has no memory left', (t) => {
  const { tree } = newTree(4, LARGEST_BLOCK_BYTES);
  useUpIndex(tree, 5);
  const builder = new IndexBuilder(tree);
  for (let i = 0; i < 200; i++) t.true(builder.add(0, i * 2, 1, packPlace(segment(1), i * 2), 0, 0));
  t.false(builder.finish());
});
