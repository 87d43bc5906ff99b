// The cache tree against a flat array: one entry a sector. fast-check prints the seed and the shortest sequence that fails.

import test from 'ava';
import fc from 'fast-check';
import { ExtentFlag } from '../../src/cache/extent.js';
import { ExtentCursor, Piece } from '../../src/cache/extent-cursor.js';
import { LARGEST_BLOCK_BYTES } from '../../src/cache/index-arena.js';
import { newTree, SEGMENTS, segment, useUpIndex } from './cache-tree-support.js';
import type { TreeUnderTest } from './cache-tree-support.js';

/** Sectors that the operations touch; the rest of the subtree must stay empty. */
const WINDOW = 96;
const USED_SEGMENTS = 3;

interface Payload {
  segment: number;
  dataSector: number;
  generation: number;
  flags: number;
}
type Sector = Payload | { token: number } | undefined;

const range = fc.integer({ min: 0, max: WINDOW - 1 }).chain((sector) =>
  fc
    .record({ sector: fc.constant(sector), sectors: fc.oneof(fc.integer({ min: 1, max: 6 }), fc.integer({ min: 1, max: WINDOW })) })
    .map((value) => ({
      sector: value.sector,
      sectors: Math.min(value.sectors, WINDOW - value.sector),
    })),
);
const id = fc.integer({ min: 0, max: USED_SEGMENTS - 1 });
const flags = fc.constantFrom(0, 0, ExtentFlag.clean, ExtentFlag.corrupt);
const token = fc.integer({ min: 0, max: 3 });
/** Places that follow on from each other often, so that extents merge. */
const shift = fc.constantFrom(0, 0, 0, 8, 500);
const age = fc.constantFrom(0, 0, 0, 0, 1);

const operation = fc.oneof(
  { weight: 8, arbitrary: fc.record({ kind: fc.constant('insert' as const), range, id, shift, age, flags }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('remove' as const), range }) },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant('insertPlaceholder' as const), range, token }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('fill' as const), range, token, id, shift, flags }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('removePlaceholder' as const), range, token }) },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant('setFlags' as const), range, id, shift, age, set: flags, clear: flags }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('free' as const), id }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('purge' as const) }) },
);
type Operation = typeof operation extends fc.Arbitrary<infer T> ? T : never;

class Model {
  readonly sectors: Sector[] = Array<Sector>(WINDOW).fill(undefined);
  readonly #under: TreeUnderTest;
  readonly #base: number;
  readonly #cursor = new ExtentCursor();
  refusals = 0;

  constructor(under: TreeUnderTest, base: number) {
    this.#under = under;
    this.#base = base;
  }

  /** What a sector stands for now: stale payload is nothing. */
  at(sector: number): Sector {
    const entry = this.sectors[sector];
    return entry !== undefined && 'segment' in entry && entry.generation !== this.#under.generations[entry.segment] ? undefined : entry;
  }

  /** Applies `change` to each sector of a range, if the tree has done its part. */
  #apply(done: boolean, { sector, sectors }: { sector: number; sectors: number }, change: (sector: number) => Sector): void {
    if (!done) {
      this.refusals++;
      return;
    }
    for (let i = sector; i < sector + sectors; i++) this.sectors[i] = change(i);
  }

  run(op: Operation): void {
    const { tree, generations, liveSectors } = this.#under;
    const base = this.#base;
    switch (op.kind) {
      case 'insert': {
        const generation = generations[op.id]! - op.age;
        const payload = (i: number): Payload => ({ segment: op.id, dataSector: i + op.shift, generation, flags: op.flags });
        const { sector, sectors } = op.range;
        const done = tree.insert(0, base + sector, sectors, segment(op.id), sector + op.shift, generation, op.flags);
        this.#apply(done, op.range, payload);
        break;
      }
      case 'remove':
        this.#apply(tree.remove(0, base + op.range.sector, op.range.sectors), op.range, () => undefined);
        break;
      case 'insertPlaceholder': {
        const done = tree.insertPlaceholder(0, base + op.range.sector, op.range.sectors, op.token);
        this.#apply(done, op.range, (i) => this.at(i) ?? { token: op.token });
        break;
      }
      case 'fill':
        this.#fill(op);
        break;
      case 'removePlaceholder': {
        // A part of a placeholder needs memory to split it; the whole never does.
        const whole = { sector: 0, sectors: WINDOW };
        if (!tree.removePlaceholder(0, base, WINDOW, op.token)) throw new Error('a whole placeholder could not be removed');
        this.#apply(true, whole, (i) => (this.#hasToken(i, op.token) ? undefined : this.sectors[i]));
        break;
      }
      case 'setFlags': {
        const generation = generations[op.id]! - op.age;
        const { sector, sectors } = op.range;
        const done = tree.setFlags(0, base + sector, sectors, segment(op.id), sector + op.shift, generation, op.set, op.clear);
        this.#apply(done, op.range, (i) => {
          const entry = this.at(i);
          if (entry === undefined || !('segment' in entry)) return this.sectors[i];
          if (entry.segment !== op.id || entry.dataSector !== i + op.shift || entry.generation !== generation) return entry;
          return { ...entry, flags: (entry.flags & ~op.clear) | op.set };
        });
        break;
      }
      case 'free':
        generations[op.id]! += 1;
        liveSectors[op.id] = 0;
        break;
      case 'purge':
        tree.purge(0);
        if (tree.stats().staleExtents !== 0) throw new Error('purge left stale extents');
        break;
    }
    this.check();
  }

  #hasToken(sector: number, token: number): boolean {
    const entry = this.at(sector);
    return entry !== undefined && 'token' in entry && entry.token === token;
  }

  #fill(op: Extract<Operation, { kind: 'fill' }>): void {
    const { tree, generations } = this.#under;
    const generation = generations[op.id]!;
    const end = op.range.sector + op.range.sectors;
    let expected = op.range.sector;
    const next = (from: number): number => {
      while (from < end && !this.#hasToken(from, op.token)) from++;
      return from;
    };
    for (let at = op.range.sector; at < end; at = expected) {
      expected = next(expected);
      const found = tree.nextPlaceholder(0, this.#base + at, end - at, op.token, this.#cursor);
      if (found !== expected < end) throw new Error(`placeholder ${op.token} at ${expected}: found is ${found}`);
      if (!found) break;
      const { sectors } = this.#cursor;
      if (this.#cursor.sector !== this.#base + expected) throw new Error(`piece at ${this.#cursor.sector}, not ${this.#base + expected}`);
      const piece = { sector: expected, sectors };
      const done = tree.insert(0, this.#cursor.sector, sectors, segment(op.id), expected + op.shift, generation, op.flags);
      this.#apply(done, piece, (i) => {
        if (!this.#hasToken(i, op.token)) throw new Error(`sector ${i} is not of placeholder ${op.token}`);
        return { segment: op.id, dataSector: i + op.shift, generation, flags: op.flags };
      });
      expected += sectors;
    }
  }

  /** The whole subtree: every sector, neighbours merged, live sectors and stats. */
  check(): void {
    const { tree, liveSectors } = this.#under;
    const cursor = this.#cursor;
    const live = new Int32Array(SEGMENTS);
    let position = 0;
    let pieces = 0;
    let clean = 0;
    let last: { end: number; key: string } | undefined;
    tree.find(0, 0, 8192, cursor);
    while (cursor.next()) {
      if (cursor.sector !== position) throw new Error(`piece at ${cursor.sector}, not ${position}`);
      position += cursor.sectors;
      for (let i = Math.max(cursor.sector - this.#base, 0); i < Math.min(position - this.#base, WINDOW); i++) this.#checkSector(i, cursor);
      if (cursor.kind === Piece.gap) continue;
      if (cursor.sector < this.#base || position > this.#base + WINDOW) throw new Error(`sector ${cursor.sector} is outside the window`);
      pieces++;
      if (cursor.kind !== Piece.data) continue;
      live[cursor.segment]! += cursor.sectors;
      if ((cursor.flags & ExtentFlag.clean) !== 0) clean += cursor.sectors;
      const key = `${cursor.segment} ${cursor.dataSector - cursor.sector} ${cursor.generation} ${cursor.flags}`;
      if (last?.end === cursor.sector && last.key === key) throw new Error(`extents before and at ${cursor.sector} were not merged`);
      last = { end: position, key };
    }
    if (position !== 8192) throw new Error(`pieces end at ${position}`);
    const stats = tree.stats();
    if (stats.extents + stats.placeholders !== pieces || stats.staleExtents !== tree.extentCount(0) - pieces) {
      throw new Error(`${pieces} pieces, ${tree.extentCount(0)} extents, but stats say ${JSON.stringify(stats)}`);
    }
    if (stats.cleanSectors !== clean) throw new Error(`${clean} clean sectors, but stats say ${stats.cleanSectors}`);
    live.forEach((sectors, place) => {
      if (liveSectors[place] !== sectors)
        throw new Error(`segment ${place}: ${sectors} live sectors, but the table says ${liveSectors[place]!}`);
    });
  }

  #checkSector(sector: number, cursor: ExtentCursor): void {
    const entry = this.at(sector);
    const expected = entry === undefined ? 'gap' : 'token' in entry ? `token ${entry.token}` : JSON.stringify(entry);
    const payload: Payload = {
      segment: cursor.segment,
      dataSector: cursor.dataSector + this.#base + sector - cursor.sector,
      generation: cursor.generation,
      flags: cursor.flags,
    };
    const found = cursor.kind === Piece.gap ? 'gap' : cursor.kind === Piece.placeholder ? `token ${cursor.token}` : JSON.stringify(payload);
    if (found !== expected) throw new Error(`sector ${sector}: found ${found}, not ${expected}`);
  }
}

const bases = fc.constantFrom(0, 4000, 8192 - WINDOW);

test('the tree stands for the same sectors as a flat array, whatever is done', (t) => {
  fc.assert(
    fc.property(bases, fc.array(operation, { maxLength: 60, size: 'max' }), (base, operations) => {
      const model = new Model(newTree(1), base);
      for (const op of operations) model.run(op);
      if (model.refusals !== 0) throw new Error('an operation was refused for want of memory that was there');
    }),
    { numRuns: 300 },
  );
  t.pass();
});

test('when index memory is short, whatever is refused changes nothing', (t) => {
  let refusals = 0;
  fc.assert(
    fc.property(bases, fc.array(operation, { maxLength: 60, size: 'max' }), (base, operations) => {
      const under = newTree(1, LARGEST_BLOCK_BYTES);
      // Blocks of 4 and of 8 extents are left: room for 8.
      useUpIndex(under.tree, 4);
      const model = new Model(under, base);
      for (const op of operations) model.run(op);
      refusals += model.refusals;
    }),
    { numRuns: 300 },
  );
  t.true(refusals > 0);
});
