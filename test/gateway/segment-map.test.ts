import test from 'ava';
import { SegmentState, Word } from '../../src/cache/shared-state.js';
import { segmentMap } from '../../src/gateway/segment-map.js';
import { SECTOR_BYTES, SEGMENT_DATA_BYTES } from '../../src/media/layout.js';

const SECTORS = SEGMENT_DATA_BYTES / SECTOR_BYTES;

/** A segment's state, the share of it that is live, and how many of its sectors are damaged. */
type Segment = readonly [state: keyof typeof SegmentState, share?: number, corruptSectors?: number];

function mapOf(segments: readonly Segment[], segTotal: number, cells: number): ReturnType<typeof segmentMap> {
  const words = new Int32Array(Word.count);
  words[Word.keyTailSegment] = 1;
  words[Word.dirtyTailSegment] = 2;
  words[Word.openSegment] = 3;
  const state = Int32Array.from(segments, ([name]) => SegmentState[name]);
  const liveSectors = Int32Array.from(segments, ([, share = 0]) => Math.floor(share * SECTORS));
  const corruptSectors = Int32Array.from(segments, ([, , corrupt = 0]) => corrupt);
  return segmentMap({ words, segmentCount: segments.length, state, liveSectors, corruptSectors }, segTotal, cells);
}

test('a cell for each segment says what it holds', (t) => {
  const segments: Segment[] = [['log'], ['nextLog'], ['free'], ['draining'], ['data', 0], ['data', 0.11], ['data', 0.56], ['data', 1]];
  t.deepEqual(mapOf(segments, 10, 4096), {
    seg_total: 10,
    segments_per_cell: 1,
    cells: 'LL.00159--',
    key_tail: 1,
    dirty_tail: 2,
    key_head: 3,
  });
});

test('a cell for several segments is log if one is, free if all are, and otherwise what is live of all', (t) => {
  const segments: Segment[] = [['data', 1], ['log'], ['free'], ['free'], ['data', 1], ['free'], ['data', 0.4], ['data', 0.6]];
  const { cells, segments_per_cell: perCell } = mapOf(segments, 9, 5);
  t.is(perCell, 2);
  t.is(cells, 'L.54-');
});

test('a segment in quarantine shows, whatever else its cell holds', (t) => {
  const segments: Segment[] = [['data', 1, 1], ['log'], ['log'], ['data', 0.5, 8], ['data', 1], ['free']];
  t.is(mapOf(segments, 6, 6).cells, 'xLLx9.');
  t.is(mapOf(segments, 6, 3).cells, 'xx5');
});

test('there are never more cells than were asked for, and every segment is in one', (t) => {
  for (const segTotal of [1, 5, 31, 1000]) {
    for (const asked of [1, 2, 7, 30, 4096]) {
      const { cells, segments_per_cell: perCell } = mapOf(
        Array.from({ length: segTotal }, () => ['free'] as const),
        segTotal,
        asked,
      );
      t.true(cells.length <= asked);
      t.true(cells.length * perCell >= segTotal && (cells.length - 1) * perCell < segTotal);
    }
  }
});

test('live sectors that are a moment behind, below 0 or above all, are no nonsense', (t) => {
  t.is(
    mapOf(
      [
        ['data', -0.1],
        ['data', 1.2],
      ],
      2,
      2,
    ).cells,
    '09',
  );
});
