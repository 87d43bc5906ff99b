import test from 'ava';
import fc from 'fast-check';
import {
  dataSectorOf,
  endSector,
  firstSector,
  FLAG_MASK,
  flagsOf,
  packPlace,
  packRange,
  sectorCount,
  SEGMENT_DATA_SECTORS,
  segmentOf,
  SUBTREE_SECTORS,
} from '../../src/cache/extent.js';
import type { CacheSegId } from '../../src/media/layout.js';

test('a subtree is 8192 sectors and a segment’s data 32744', (t) => {
  t.is(SUBTREE_SECTORS, 8192);
  t.is(SEGMENT_DATA_SECTORS, 32744);
});

test('whatever range and flags are packed come out again', (t) => {
  const range = fc
    .integer({ min: 0, max: SUBTREE_SECTORS - 1 })
    .chain((sector) =>
      fc.tuple(fc.constant(sector), fc.integer({ min: 1, max: SUBTREE_SECTORS - sector }), fc.integer({ min: 0, max: FLAG_MASK })),
    );
  fc.assert(
    fc.property(range, ([sector, sectors, flags]) => {
      const word = packRange(sector, sectors, flags) | 0;
      return (
        firstSector(word) === sector && sectorCount(word) === sectors && endSector(word) === sector + sectors && flagsOf(word) === flags
      );
    }),
    { examples: [[[0, SUBTREE_SECTORS, FLAG_MASK]], [[SUBTREE_SECTORS - 1, 1, 0]]] },
  );
  t.pass();
});

test('whatever place is packed comes out again, and payload that follows on is one number further', (t) => {
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 65_535 }), fc.integer({ min: 0, max: SEGMENT_DATA_SECTORS - 1 }), (segment, dataSector) => {
      const word = packPlace(segment as CacheSegId, dataSector);
      const isLast = dataSector === SEGMENT_DATA_SECTORS - 1;
      return (
        word >= 0 &&
        segmentOf(word) === segment &&
        dataSectorOf(word) === dataSector &&
        (isLast || packPlace(segment as CacheSegId, dataSector + 1) === word + 1)
      );
    }),
    { examples: [[65_535, SEGMENT_DATA_SECTORS - 1]] },
  );
  t.pass();
});
