// What the segments of a cache hold, one character for some of them. Read without locks: a map of a moment ago, and each segment as it was then.

import { SegmentState, Word } from '../cache/shared-state.js';
import type { CacheShared } from '../cache/shared-state.js';
import { SECTOR_BYTES, SEGMENT_DATA_BYTES } from '../media/layout.js';
import type { SegmentMap } from './control-protocol.js';

type Segments = Pick<CacheShared, 'words' | 'segmentCount' | 'state' | 'liveSectors' | 'corruptSectors'>;

/** @param segTotal segments of the device; @param cells 1 or more */
export function segmentMap(segments: Segments, segTotal: number, cells: number): SegmentMap {
  const { words } = segments;
  const perCell = Math.ceil(segTotal / cells);
  let text = '';
  for (let first = 0; first < segTotal; first += perCell) text += cellOf(segments, first, first + perCell);
  return {
    seg_total: segTotal,
    segments_per_cell: perCell,
    cells: text,
    key_tail: words[Word.keyTailSegment]!,
    dirty_tail: words[Word.dirtyTailSegment]!,
    key_head: words[Word.openSegment]!,
  };
}

/** See SegmentMap. */
function cellOf({ segmentCount, state, liveSectors, corruptSectors }: Segments, first: number, endOfCell: number): string {
  const end = Math.min(endOfCell, segmentCount);
  if (first >= end) return '-';
  let sectors = 0;
  let areFree = true;
  let isLog = false;
  for (let segment = first; segment < end; segment++) {
    const kind = state[segment];
    if (kind === SegmentState.log || kind === SegmentState.nextLog) isLog = true;
    if (kind === SegmentState.free) continue;
    areFree = false;
    // What needs somebody's attention is seen in a cell of many segments too.
    if (corruptSectors[segment]! > 0) return 'x';
    if (kind === SegmentState.data) sectors += Math.max(0, liveSectors[segment]!);
  }
  if (isLog) return 'L';
  if (areFree) return '.';
  const share = (sectors * SECTOR_BYTES) / (SEGMENT_DATA_BYTES * (end - first));
  return String(Math.min(9, Math.floor(share * 10)));
}
