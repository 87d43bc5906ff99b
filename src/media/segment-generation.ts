// The generation of a segment: how often it was reused. A key whose seg_gen is below it is stale. Two copies, 16 bytes apart, in every segment.
// A segment that was never used as data has no copy at all and counts as generation 0: `read` reports it as `blank`.

import type { Decoded } from './decoded.js';
import { accepted, refused } from './decoded.js';
import { SEGMENT_GENERATION_OFFSETS } from './layout.js';
import { structLayout } from './struct-layout.js';
import type { Current, CurrentCopy, NoCopy, RecordCodec, RecordRead } from './two-copy-record.js';
import { readRecord, writeRecord } from './two-copy-record.js';
import { readU64, writeU64 } from './u64.js';

export const SEGMENT_GENERATION_BYTES = 16;
export const SEGMENT_GENERATION_LAYOUT = structLayout('segment_generation', SEGMENT_GENERATION_BYTES, { header: [0, 8], gen: [8, 8] });
const AT = SEGMENT_GENERATION_LAYOUT;

const codec: RecordCodec<number> = {
  name: 'segment generation',
  sizeBytes: SEGMENT_GENERATION_BYTES,
  decodeFields(view, at): Decoded<number> {
    const generation = readU64(view, at + AT.gen);
    return Number.isSafeInteger(generation) ? accepted(generation) : refused('it is above 2^53 - 1');
  },
  encodeFields(view, at, generation): void {
    writeU64(view, at + AT.gen, generation);
  },
};

/** `segment`: a segment's bytes from its start. */
export function readSegmentGeneration(segment: Uint8Array): RecordRead<number> {
  return readRecord(codec, segment, SEGMENT_GENERATION_OFFSETS);
}

/**
 * `generation`: 0 to 2^53 - 1. Writes the copy that is not current; the caller persists SEGMENT_GENERATION_OFFSETS[result.index] of the segment.
 * `stamped`: this gateway writes it for itself (any stamp will do); without, the copy is as the kernel writes it.
 */
export function writeSegmentGeneration(
  segment: Uint8Array,
  generation: number,
  current: CurrentCopy | NoCopy,
  { stamped = false }: { stamped?: boolean } = {},
): Current<number> {
  return writeRecord(codec, segment, SEGMENT_GENERATION_OFFSETS, generation, current, stamped ? 0 : undefined);
}
