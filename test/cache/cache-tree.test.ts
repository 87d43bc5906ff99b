import test from 'ava';
import { CacheTree } from '../../src/cache/cache-tree.js';
import { ExtentFlag } from '../../src/cache/extent.js';
import { ExtentCursor } from '../../src/cache/extent-cursor.js';
import { LARGEST_BLOCK_BYTES } from '../../src/cache/index-arena.js';
import { newTree, picture, segment, useUpIndex } from './cache-tree-support.js';

const { clean, corrupt, empty } = ExtentFlag;

// Each case: extents that are there (sector, sectors, segment, place), the new one (always at 1000 of segment 9), and the outcome.
const OVERLAPS: { name: string; old: [number, number, number, number][]; add: [number, number]; then: string }[] = [
  { name: 'before an extent', old: [[20, 5, 1, 100]], add: [10, 10], then: '10+10 s9@1000, 20+5 s1@100' },
  { name: 'after an extent', old: [[20, 5, 1, 100]], add: [25, 10], then: '20+5 s1@100, 25+10 s9@1000' },
  {
    name: 'between two extents',
    old: [
      [10, 5, 1, 100],
      [30, 5, 1, 200],
    ],
    add: [20, 5],
    then: '10+5 s1@100, 20+5 s9@1000, 30+5 s1@200',
  },
  { name: 'over an extent’s end cuts its tail', old: [[10, 10, 1, 100]], add: [15, 10], then: '10+5 s1@100, 15+10 s9@1000' },
  {
    name: 'over an extent’s start cuts its head and moves its place along',
    old: [[20, 10, 1, 100]],
    add: [15, 10],
    then: '15+10 s9@1000, 25+5 s1@105',
  },
  { name: 'in the middle of an extent splits it', old: [[10, 30, 1, 100]], add: [20, 5], then: '10+10 s1@100, 20+5 s9@1000, 25+15 s1@115' },
  { name: 'over a whole extent removes it', old: [[20, 5, 1, 100]], add: [10, 30], then: '10+30 s9@1000' },
  { name: 'over exactly an extent replaces it', old: [[20, 5, 1, 100]], add: [20, 5], then: '20+5 s9@1000' },
  { name: 'over the first part of an extent', old: [[20, 10, 1, 100]], add: [20, 3], then: '20+3 s9@1000, 23+7 s1@103' },
  { name: 'over the last part of an extent', old: [[20, 10, 1, 100]], add: [27, 3], then: '20+7 s1@100, 27+3 s9@1000' },
  {
    name: 'over several extents cuts the outer ones and removes the inner ones',
    old: [
      [10, 10, 1, 100],
      [20, 5, 2, 200],
      [27, 3, 3, 300],
      [30, 10, 4, 400],
    ],
    add: [15, 20],
    then: '10+5 s1@100, 15+20 s9@1000, 35+5 s4@405',
  },
  {
    name: 'a whole subtree',
    old: [
      [0, 1, 1, 0],
      [8191, 1, 1, 10],
    ],
    add: [0, 8192],
    then: '0+8192 s9@1000',
  },
];

for (const { name, old, add, then } of OVERLAPS) {
  test(`an insert ${name}`, (t) => {
    const { tree, liveSectors } = newTree();
    for (const [sector, sectors, id, place] of old) t.true(tree.insert(0, sector, sectors, segment(id), place, 0, 0));
    t.true(tree.insert(0, add[0], add[1], segment(9), 1000, 0, 0));
    t.is(picture(tree), then);
    const live = liveSectors.reduce((sum, sectors) => sum + sectors, 0);
    t.is(live, tree.stats().dirtySectors);
    t.is(liveSectors[9], add[1]);
  });
}

test('payload that follows on merges with the extent before, after, and both', (t) => {
  const { tree } = newTree();
  tree.insert(0, 10, 5, segment(1), 100, 0, clean);
  tree.insert(0, 15, 5, segment(1), 105, 0, clean);
  t.is(picture(tree), '10+10 s1@100.1');
  tree.insert(0, 5, 5, segment(1), 95, 0, clean);
  t.is(picture(tree), '5+15 s1@95.1');
  tree.insert(0, 30, 5, segment(1), 120, 0, clean);
  tree.insert(0, 20, 10, segment(1), 110, 0, clean);
  t.is(picture(tree), '5+30 s1@95.1');
  t.is(tree.extentCount(0), 1);
});

test('extents of other flags, another generation, another segment or another place do not merge', (t) => {
  const { tree, generations } = newTree();
  tree.insert(0, 10, 5, segment(1), 100, 0, 0);
  tree.insert(0, 15, 5, segment(1), 105, 0, clean);
  tree.insert(0, 20, 5, segment(2), 110, 0, clean);
  tree.insert(0, 25, 5, segment(2), 116, 0, clean);
  t.is(tree.extentCount(0), 4);
  generations[3] = 1;
  tree.insert(0, 100, 5, segment(3), 100, 0, 0);
  tree.insert(0, 105, 5, segment(3), 105, 1, 0);
  t.is(tree.extentCount(0), 6);
  t.is(picture(tree, 0, 100, 10), '105+5 s3@105');
});

test('the last sector of a segment and the first of the next do not merge', (t) => {
  const { tree } = newTree();
  tree.insert(0, 10, 4, segment(1), 32_740, 0, 0);
  tree.insert(0, 14, 4, segment(2), 0, 0, 0);
  t.is(picture(tree), '10+4 s1@32740, 14+4 s2@0');
});

test('subtrees do not see each other', (t) => {
  const { tree } = newTree();
  tree.insert(1, 0, 8192, segment(1), 0, 0, 0);
  tree.insert(2, 5, 1, segment(2), 0, 0, 0);
  t.deepEqual(
    [0, 1, 2, 3].map((subtree) => picture(tree, subtree)),
    ['', '0+8192 s1@0', '5+1 s2@0', ''],
  );
});

test('a lookup cuts pieces to its range and joins gaps', (t) => {
  const { tree, generations } = newTree();
  const cursor = new ExtentCursor();
  tree.insert(0, 10, 10, segment(1), 100, 0, corrupt);
  tree.insert(0, 24, 2, segment(2), 0, 0, 0);
  tree.insert(0, 30, 10, segment(3), 300, 0, 0);
  generations[2] = 1;
  tree.find(0, 15, 20, cursor);
  const pieces: number[][] = [];
  while (cursor.next()) pieces.push([cursor.kind, cursor.sector, cursor.sectors]);
  t.deepEqual(pieces, [
    [1, 15, 5],
    [0, 20, 10],
    [1, 30, 5],
  ]);
  t.is(picture(tree, 0, 15, 20), '15+5 s1@105.4, 30+5 s3@300');
  t.false(cursor.next());
});

test('generations count by their low 32 bits', (t) => {
  const { tree, generations } = newTree();
  generations[1] = -1;
  tree.insert(0, 0, 4, segment(1), 0, 7 * 2 ** 32 + 0xffff_ffff, 0);
  t.is(picture(tree), '0+4 s1@0');
});

test('extents of a freed segment are absent at once, and an array that must grow drops them instead', (t) => {
  const { tree, generations } = newTree();
  for (let i = 0; i < 4; i++) tree.insert(0, i * 2, 1, segment(i % 2), i * 10, 0, 0);
  generations[0] = 1;
  t.is(picture(tree), '2+1 s1@10, 6+1 s1@30');
  t.is(tree.extentCount(0), 4);
  const before = tree.stats();
  t.is(before.staleExtents, 2);
  tree.insert(0, 100, 1, segment(2), 0, 0, 0);
  t.is(tree.extentCount(0), 3);
  t.is(tree.stats().usedBytes, before.usedBytes);
});

test('purge drops stale extents and gives their memory back', (t) => {
  const { tree, generations } = newTree();
  for (let i = 0; i < 100; i++) tree.insert(0, i * 2, 1, segment(1), i * 10, 0, 0);
  tree.insert(1, 0, 1, segment(1), 0, 0, 0);
  generations[1] = 1;
  t.is(tree.purge(0), 100);
  t.is(tree.purge(1), 1);
  t.is(tree.purge(2), 0);
  t.is(tree.stats().usedBytes, 0);
});

test('removing a range cuts, splits and removes as an insert does', (t) => {
  const { tree, liveSectors } = newTree();
  tree.insert(0, 10, 30, segment(1), 100, 0, 0);
  t.true(tree.remove(0, 20, 5));
  t.is(picture(tree), '10+10 s1@100, 25+15 s1@115');
  t.is(liveSectors[1], 25);
  t.true(tree.remove(0, 0, 8192));
  t.is(picture(tree), '');
  t.is(liveSectors[1], 0);
  t.is(tree.stats().usedBytes, 0);
});

test('a placeholder fills the gaps of its range only', (t) => {
  const { tree } = newTree();
  tree.insert(0, 20, 10, segment(1), 100, 0, 0);
  t.true(tree.insertPlaceholder(0, 10, 30, 7));
  t.true(tree.insertPlaceholder(0, 5, 30, 8));
  t.is(picture(tree), '5+5 t8, 10+10 t7, 20+10 s1@100, 30+10 t7');
});

test('what is left of a placeholder is found piece by piece and filled', (t) => {
  const { tree } = newTree();
  const cursor = new ExtentCursor();
  tree.insertPlaceholder(0, 10, 30, 7);
  tree.insertPlaceholder(0, 40, 10, 8);
  tree.insert(0, 20, 5, segment(1), 100, 0, 0);
  const filled: number[][] = [];
  for (let at = 10; at < 50 && tree.nextPlaceholder(0, at, 50 - at, 7, cursor); at = cursor.sector + cursor.sectors) {
    filled.push([cursor.sector, cursor.sectors]);
    t.true(tree.insert(0, cursor.sector, cursor.sectors, segment(2), 500 + cursor.sector - 10, 0, clean));
  }
  t.deepEqual(filled, [
    [10, 10],
    [25, 15],
  ]);
  t.is(picture(tree), '10+10 s2@500.1, 20+5 s1@100, 25+15 s2@515.1, 40+10 t8');
  t.false(tree.nextPlaceholder(0, 0, 8192, 7, cursor));
});

test('removing a placeholder leaves what was written over it and other placeholders', (t) => {
  const { tree } = newTree();
  tree.insertPlaceholder(0, 10, 30, 7);
  tree.insertPlaceholder(0, 40, 10, 8);
  tree.insert(0, 20, 5, segment(1), 100, 0, 0);
  t.true(tree.removePlaceholder(0, 0, 8192, 7));
  t.is(picture(tree), '20+5 s1@100, 40+10 t8');
  tree.insertPlaceholder(0, 60, 10, 9);
  t.true(tree.removePlaceholder(0, 63, 2, 9));
  t.is(picture(tree, 0, 60, 10), '60+3 t9, 65+5 t9');
});

test('placeholders are never merged, and keep their token when they are cut', (t) => {
  const { tree } = newTree();
  tree.insertPlaceholder(0, 0, 10, 2 ** 31 - 1);
  tree.insertPlaceholder(0, 10, 10, 5);
  tree.insertPlaceholder(0, 20, 10, 15);
  tree.insert(0, 12, 2, segment(1), 0, 0, 0);
  t.is(picture(tree), `0+10 t${2 ** 31 - 1}, 10+2 t5, 12+2 s1@0, 14+6 t5, 20+10 t15`);
});

test('a placeholder takes the place of stale extents', (t) => {
  const { tree, generations } = newTree();
  tree.insert(0, 0, 100, segment(1), 0, 0, 0);
  generations[1] = 1;
  t.true(tree.insertPlaceholder(0, 40, 10, 7));
  t.is(picture(tree), '40+10 t7');
});

test('flags change where the payload is still the same, and nowhere else', (t) => {
  const { tree, liveSectors } = newTree();
  tree.insert(0, 10, 30, segment(1), 100, 0, 0);
  tree.insert(0, 20, 5, segment(1), 900, 0, 0);
  t.true(tree.setFlags(0, 15, 20, segment(1), 105, 0, clean, 0));
  t.is(picture(tree), '10+5 s1@100, 15+5 s1@105.1, 20+5 s1@900, 25+10 s1@115.1, 35+5 s1@125');
  t.true(tree.setFlags(0, 0, 8192, segment(1), 90, 0, corrupt, clean));
  t.is(picture(tree), '10+10 s1@100.4, 20+5 s1@900, 25+15 s1@115.4');
  t.is(liveSectors[1], 30);
  t.true(tree.setFlags(0, 0, 8192, segment(1), 90, 1, 0, corrupt));
  t.true(tree.setFlags(0, 0, 8192, segment(2), 90, 0, 0, corrupt));
  t.is(picture(tree), '10+10 s1@100.4, 20+5 s1@900, 25+15 s1@115.4');
});

test('without memory an insert returns false and changes nothing, and memory that comes free is used', (t) => {
  const { tree } = newTree(2, LARGEST_BLOCK_BYTES);
  useUpIndex(tree, 2);
  for (let i = 0; i < 4; i++) t.true(tree.insert(0, i * 10, 5, segment(i), 0, 0, 0));
  const before = picture(tree);
  t.false(tree.insert(0, 100, 1, segment(5), 0, 0, 0), 'one more');
  t.false(tree.insert(0, 1, 1, segment(5), 0, 0, 0), 'a split');
  t.false(tree.insert(1, 0, 1, segment(5), 0, 0, 0), 'another subtree');
  t.false(tree.remove(0, 1, 1));
  t.false(tree.setFlags(0, 1, 1, segment(0), 1, 0, clean, 0));
  t.false(tree.insertPlaceholder(0, 0, 20, 7));
  t.is(picture(tree), before);
  t.true(tree.insert(0, 10, 5, segment(9), 0, 0, 0), 'a replacement needs no memory');
  t.true(tree.setFlags(0, 10, 5, segment(9), 0, 0, clean, 0));
  t.true(tree.remove(0, 0, 8192));
  t.true(tree.insert(1, 0, 1, segment(5), 0, 0, 0));
});

test('without memory stale extents still make room', (t) => {
  const { tree, generations } = newTree(2, LARGEST_BLOCK_BYTES);
  useUpIndex(tree, 2);
  for (let i = 0; i < 4; i++) tree.insert(0, i * 10, 5, segment(i), 0, 0, 0);
  generations[3] = 1;
  t.true(tree.insert(0, 100, 1, segment(5), 0, 0, 0));
  t.false(tree.insert(0, 110, 1, segment(5), 0, 0, 0));
  t.is(picture(tree), '0+5 s0@0, 10+5 s1@0, 20+5 s2@0, 100+1 s5@0');
});

test('a subtree holds 8192 extents, and shrinks when they go', (t) => {
  const { tree } = newTree();
  for (let i = 0; i < 8192; i++) if (!tree.insert(0, i, 1, segment(i % 2), i, 0, 0)) t.fail(`no room for ${i}`);
  t.is(tree.extentCount(0), 8192);
  t.is(tree.stats().usedBytes, LARGEST_BLOCK_BYTES);
  t.true(tree.insert(0, 100, 1, segment(3), 5, 0, 0));
  t.true(tree.insert(0, 0, 8000, segment(3), 5, 0, 0));
  t.is(tree.extentCount(0), 193);
  t.true(tree.stats().usedBytes <= LARGEST_BLOCK_BYTES / 16);
  t.is(picture(tree, 0, 7990, 12), '7990+10 s3@7995, 8000+1 s0@8000, 8001+1 s1@8001');
});

test('stats count extents, sectors and memory', (t) => {
  const { tree, generations } = newTree();
  tree.insert(0, 0, 10, segment(1), 0, 0, 0);
  tree.insert(0, 20, 5, segment(1), 100, 0, clean);
  tree.insert(0, 30, 3, segment(1), 200, 0, clean | corrupt);
  tree.insert(3, 0, 7, segment(2), 0, 0, 0);
  tree.insertPlaceholder(3, 50, 10, 1);
  generations[2] = 1;
  t.deepEqual(tree.stats(), {
    subtrees: 2,
    extents: 3,
    staleExtents: 1,
    placeholders: 1,
    cleanSectors: 8,
    dirtySectors: 10,
    corruptSectors: 3,
    usedBytes: 2 * 48,
    touchedBytes: LARGEST_BLOCK_BYTES,
    capacityBytes: 10 * LARGEST_BLOCK_BYTES,
  });
});

test('ranges, places, flags, tokens and subtrees that do not exist are reported as bugs', (t) => {
  const { tree } = newTree();
  const bug = { code: 'internal' };
  for (const [sector, sectors] of [
    [-1, 1],
    [0, 0],
    [8192, 1],
    [8191, 2],
    [0, 8193],
    [5, -1],
  ] as const) {
    t.throws(() => tree.insert(0, sector, sectors, segment(0), 0, 0, 0), bug, `${sector}+${sectors}`);
    t.throws(() => tree.remove(0, sector, sectors), bug, `${sector}+${sectors}`);
  }
  t.throws(() => tree.insert(0, 0, 1, segment(16), 0, 0, 0), bug);
  t.throws(() => tree.insert(0, 0, 1, segment(-1), 0, 0, 0), bug);
  t.throws(() => tree.insert(0, 0, 2, segment(0), 32_743, 0, 0), bug);
  t.throws(() => tree.insert(0, 0, 1, segment(0), -1, 0, 0), bug);
  t.throws(() => tree.insert(0, 0, 1, segment(0), 0, 0, empty), bug);
  t.throws(() => tree.setFlags(0, 0, 1, segment(0), 0, 0, empty, 0), bug);
  t.throws(() => tree.insertPlaceholder(0, 0, 1, -1), bug);
  t.throws(() => tree.insertPlaceholder(0, 0, 1, 2 ** 31), bug);
  t.throws(() => tree.lock(4), bug);
  t.throws(() => tree.lock(-1), bug);
});

test('a volume of 16 TiB takes 64 MiB of rows, and one of 512 bytes a single row', (t) => {
  t.is(CacheTree.createState(16 * 1024 ** 4, LARGEST_BLOCK_BYTES).subtrees.byteLength, 64 * 1024 ** 2);
  t.is(CacheTree.createState(512, LARGEST_BLOCK_BYTES).subtrees.byteLength, 16);
});
