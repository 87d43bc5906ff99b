import test from 'ava';
import fc from 'fast-check';
import {
  BLOCK_CLASS_MAX,
  BLOCK_CLASS_MIN,
  IndexArena,
  indexArenaBytes,
  LARGEST_BLOCK_BYTES,
  UNIT_BYTES,
} from '../../src/cache/index-arena.js';

const MIB = 1024 ** 2;
const GIB = 1024 ** 3;

function unitsOf(blockClass: number): number {
  return 1 << (blockClass - BLOCK_CLASS_MIN);
}

test('the index of a small cache has room for its worst case, that of a large one is 1/128 of it', (t) => {
  t.is(indexArenaBytes(96 * MIB), ((96 * MIB) / 512) * 48);
  t.is(indexArenaBytes(8 * GIB), 512 * MIB);
  t.is(indexArenaBytes(64 * GIB), 512 * MIB);
  t.is(indexArenaBytes(1024 * GIB), 8 * GIB);
});

test('an arena hands out blocks until it is full, and all of it again once they are back', (t) => {
  const arena = IndexArena.create(3 * LARGEST_BLOCK_BYTES - 1);
  t.is(arena.capacityBytes, 3 * LARGEST_BLOCK_BYTES);
  t.is(arena.touchedBytes, 0);
  for (let round = 0; round < 2; round++) {
    for (let blockClass = BLOCK_CLASS_MIN; blockClass <= BLOCK_CLASS_MAX; blockClass++) {
      const blocks: number[] = [];
      for (let block = arena.allocate(blockClass); block !== 0; block = arena.allocate(blockClass)) blocks.push(block);
      t.is(blocks.length * unitsOf(blockClass) * UNIT_BYTES, arena.capacityBytes, `class ${blockClass}`);
      t.is(arena.usedBytes, arena.capacityBytes);
      t.is(new Set(blocks).size, blocks.length);
      for (const block of blocks) arena.release(block, blockClass);
      t.is(arena.usedBytes, 0);
    }
  }
});

test('memory that was never needed is not touched', (t) => {
  const arena = IndexArena.create(100 * LARGEST_BLOCK_BYTES);
  const block = arena.allocate(BLOCK_CLASS_MIN);
  arena.release(block, BLOCK_CLASS_MIN);
  arena.release(arena.allocate(BLOCK_CLASS_MAX), BLOCK_CLASS_MAX);
  t.is(arena.touchedBytes, LARGEST_BLOCK_BYTES);
});

test('a shrunk block keeps its start, and the rest of it can be handed out', (t) => {
  const arena = IndexArena.create(LARGEST_BLOCK_BYTES);
  const block = arena.allocate(BLOCK_CLASS_MAX);
  const words = arena.wordsOf(block);
  const at = arena.wordOffset(block);
  words.fill(77, at, at + UNIT_BYTES / 4);
  arena.shrink(block, BLOCK_CLASS_MAX, BLOCK_CLASS_MIN);
  t.is(arena.usedBytes, UNIT_BYTES);
  for (let blockClass = BLOCK_CLASS_MAX - 1; blockClass >= BLOCK_CLASS_MIN; blockClass--) t.not(arena.allocate(blockClass), 0);
  t.is(arena.allocate(BLOCK_CLASS_MIN), 0);
  t.true(words.subarray(at, at + UNIT_BYTES / 4).every((word) => word === 77));
});

test('blocks lie in different chunks without overlap', (t) => {
  // Two chunks of 768 MiB of address space, of which a few pages are touched.
  const arena = IndexArena.create(800 * MIB);
  t.is(arena.state.chunks.length, 2);
  const total = arena.capacityBytes / LARGEST_BLOCK_BYTES;
  const blocks = Array.from({ length: total }, () => arena.allocate(BLOCK_CLASS_MAX));
  t.is(arena.allocate(BLOCK_CLASS_MAX), 0);
  const places = new Set(
    blocks.map((block) => `${arena.state.chunks.indexOf(arena.wordsOf(block).buffer as SharedArrayBuffer)}:${arena.wordOffset(block)}`),
  );
  t.is(places.size, total);
  t.true(blocks.every((block) => arena.wordOffset(block) + LARGEST_BLOCK_BYTES / 4 <= arena.wordsOf(block).length));
});

test('more than handles can name is refused', (t) => {
  t.throws(() => IndexArena.create(97 * GIB), { code: 'internal' });
});

test('under any order of allocate, release and shrink, from two attachments, blocks never overlap nor change', (t) => {
  const blockClass = fc.integer({ min: BLOCK_CLASS_MIN, max: BLOCK_CLASS_MAX });
  const operation = fc.oneof(
    { weight: 3, arbitrary: fc.record({ kind: fc.constant('allocate' as const), blockClass, pick: fc.nat() }) },
    { weight: 2, arbitrary: fc.record({ kind: fc.constant('release' as const), blockClass, pick: fc.nat() }) },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant('shrink' as const), blockClass, pick: fc.nat() }) },
  );
  const capacityUnits = (2 * LARGEST_BLOCK_BYTES) / UNIT_BYTES;
  fc.assert(
    fc.property(fc.array(operation, { maxLength: 80 }), (operations) => {
      const first = IndexArena.create(2 * LARGEST_BLOCK_BYTES);
      const both = [first, IndexArena.attach(first.state)];
      const held: { block: number; blockClass: number; mark: number }[] = [];
      const fill = (block: number, size: number, mark: number): void => {
        const at = first.wordOffset(block);
        first.wordsOf(block).fill(mark, at, at + (unitsOf(size) * UNIT_BYTES) / 4);
      };
      let mark = 0;
      for (const [step, op] of operations.entries()) {
        const arena = both[step % 2]!;
        const place = held.length === 0 ? -1 : op.pick % held.length;
        if (op.kind === 'allocate') {
          const block = arena.allocate(op.blockClass);
          if (block === 0) continue;
          mark++;
          fill(block, op.blockClass, mark);
          held.push({ block, blockClass: op.blockClass, mark });
        } else if (place >= 0 && op.kind === 'release') {
          const [entry] = held.splice(place, 1);
          arena.release(entry!.block, entry!.blockClass);
        } else if (place >= 0) {
          const entry = held[place]!;
          const smaller = Math.min(op.blockClass, entry.blockClass);
          if (smaller < entry.blockClass) arena.shrink(entry.block, entry.blockClass, smaller);
          entry.blockClass = smaller;
        }
        const used = held.reduce((sum, entry) => sum + unitsOf(entry.blockClass), 0);
        if (arena.usedBytes !== used * UNIT_BYTES) throw new Error(`used is ${arena.usedBytes}, not ${used * UNIT_BYTES}`);
      }
      for (const entry of held) {
        const at = first.wordOffset(entry.block);
        const words = first.wordsOf(entry.block).subarray(at, at + (unitsOf(entry.blockClass) * UNIT_BYTES) / 4);
        if (!words.every((word) => word === entry.mark)) throw new Error(`block ${entry.block} was overwritten`);
      }
      // Joined again: everything that is free can be had in the smallest blocks, and all of it in the largest ones once all is back.
      const rest: number[] = [];
      for (let block = first.allocate(BLOCK_CLASS_MIN); block !== 0; block = first.allocate(BLOCK_CLASS_MIN)) rest.push(block);
      const free = rest.length;
      const used = held.reduce((sum, entry) => sum + unitsOf(entry.blockClass), 0);
      if (free + used !== capacityUnits) throw new Error(`${free} free and ${used} used units are not ${capacityUnits}`);
      for (const block of rest) first.release(block, BLOCK_CLASS_MIN);
      for (const entry of held) first.release(entry.block, entry.blockClass);
      if (first.allocate(BLOCK_CLASS_MAX) === 0 || first.allocate(BLOCK_CLASS_MAX) === 0) throw new Error('buddies were not joined');
    }),
    { numRuns: 60 },
  );
  t.pass();
});
