// Copies what a reader has found in the cache.

import type { Cache } from '../cache/cache.js';
import { PieceKind } from '../cache/piece-list.js';
import { SEGMENT_DATA_OFFSET } from '../media/layout.js';
import type { CacheSegId } from '../media/layout.js';

/** Copies the cached pieces of the range that the cache's reader has begun to `target`, where the byte at volume offset `baseBytes` is the first. */
export function copyCachedPieces({ reader, segments }: Cache, target: Uint8Array, baseBytes: number): void {
  const { pieces } = reader;
  for (let at = 0; at < pieces.count; at++) {
    if (pieces.kinds[at] !== PieceKind.cached) continue;
    const from = SEGMENT_DATA_OFFSET + pieces.segmentOffsets[at]!;
    const { bytes } = segments.view(pieces.segments[at]! as CacheSegId);
    target.set(bytes.subarray(from, from + pieces.lengths[at]!), pieces.volumeOffsets[at]! - baseBytes);
  }
}
