// The plan of a batch against a flat array, for keys that are few, many, far apart, and all over each other.

import test from 'ava';
import { SUBTREE_SECTORS } from '../../src/cache/extent.js';
import { PieceKind, PieceList } from '../../src/cache/piece-list.js';
import { WritebackBatch } from '../../src/cache/writeback-batch.js';
import { seededRandom } from '../../src/device/seeded-random.js';
import { SECTOR_BYTES } from '../../src/media/layout.js';
import type { CacheSegId } from '../../src/media/layout.js';

interface Key {
  readonly subtree: number;
  readonly sector: number;
  readonly sectors: number;
  readonly segment: number;
  readonly dataSector: number;
}

const segmentOf = (key: Key): CacheSegId => key.segment as CacheSegId;

/** The place of each sector's payload, by sector of the volume. */
function modelOf(keys: readonly Key[]): Map<number, string> {
  const model = new Map<number, string>();
  for (const { subtree, sector, sectors, segment, dataSector } of keys) {
    for (let i = 0; i < sectors; i++) model.set(subtree * SUBTREE_SECTORS + sector + i, `${segment}:${dataSector + i}`);
  }
  return model;
}

/** The same of a plan; throws if pieces overlap or are not in order. */
function placesOf(pieces: PieceList): Map<number, string> {
  const places = new Map<number, string>();
  let end = 0;
  for (let at = 0; at < pieces.count; at++) {
    const first = pieces.volumeOffsets[at]! / SECTOR_BYTES;
    if (first < end) throw new Error(`piece ${at} starts at sector ${first}, before ${end}`);
    if (pieces.kinds[at] !== PieceKind.cached || pieces.lengths[at]! <= 0) throw new Error(`piece ${at} is none`);
    end = first + pieces.lengths[at]! / SECTOR_BYTES;
    for (let sector = first; sector < end; sector++) {
      places.set(sector, `${pieces.segments[at]!}:${pieces.segmentOffsets[at]! / SECTOR_BYTES + sector - first}`);
    }
  }
  return places;
}

/** One line that says where two plans differ first; undefined if they are the same. */
function differenceOf(is: Map<number, string>, wanted: Map<number, string>): string | undefined {
  for (const [sector, place] of wanted) if (is.get(sector) !== place) return `sector ${sector}: ${is.get(sector) ?? 'none'}, not ${place}`;
  return is.size === wanted.size ? undefined : `${is.size} sectors, not ${wanted.size}`;
}

function planOf(batch: WritebackBatch, keys: readonly Key[]): PieceList {
  const pieces = new PieceList(2 * keys.length);
  batch.clear();
  for (const key of keys) {
    if (!batch.add(key.subtree, key.sector, key.sectors, segmentOf(key), key.dataSector)) throw new Error('the batch is full');
  }
  batch.collect(pieces);
  return pieces;
}

test('whatever the keys are, each sector is written once, from the newest key that has it, in order of the volume', (t) => {
  const random = seededRandom(11);
  const pick = (below: number): number => Math.floor(random() * below);
  const batch = new WritebackBatch(400);
  for (let run = 0; run < 300; run++) {
    const subtrees = [1, 3, 3000, 4_194_304][pick(4)]!;
    const spread = [32, 600, SUBTREE_SECTORS][pick(3)]!;
    const longest = [1, 8, 64, spread][pick(4)]!;
    const keys = Array.from({ length: 1 + pick(run % 10 === 0 ? 400 : 40) }, (): Key => {
      const sectors = 1 + pick(Math.min(longest, spread));
      return {
        subtree: pick(subtrees),
        sector: pick(spread - sectors + 1),
        sectors,
        segment: pick(100),
        dataSector: pick(20_000),
      };
    });
    t.is(differenceOf(placesOf(planOf(batch, keys)), modelOf(keys)), undefined, `run ${run}`);
  }
});

test('a key in the middle of an older one cuts it in two, and a key over others leaves nothing of them', (t) => {
  const batch = new WritebackBatch(8);
  const key = (sector: number, sectors: number, segment: number): Key => ({ subtree: 5, sector, sectors, segment, dataSector: 100 });
  const cut = planOf(batch, [key(0, 8, 1), key(2, 2, 2)]);
  t.deepEqual([...cut.segments.subarray(0, cut.count)], [1, 2, 1]);
  t.deepEqual(
    [...cut.segmentOffsets.subarray(0, cut.count)].map((bytes) => bytes / SECTOR_BYTES),
    [100, 100, 104],
  );
  const covered = planOf(batch, [key(2, 2, 1), key(4, 2, 2), key(0, 8, 3)]);
  t.deepEqual([...covered.segments.subarray(0, covered.count)], [3]);
  const older = planOf(batch, [key(0, 8, 3), key(0, 8, 4), key(8191, 1, 5)]);
  t.deepEqual([...older.segments.subarray(0, older.count)], [4, 5]);
});

test('a batch that is full takes no key, and is empty again when it is cleared', (t) => {
  const batch = new WritebackBatch(1);
  t.true(batch.add(0, 0, 1, 0 as CacheSegId, 0));
  t.false(batch.add(0, 1, 1, 0 as CacheSegId, 1));
  batch.clear();
  const pieces = new PieceList(2);
  batch.collect(pieces);
  t.is(pieces.count, 0);
  t.true(batch.add(0, 1, 1, 0 as CacheSegId, 1));
});
