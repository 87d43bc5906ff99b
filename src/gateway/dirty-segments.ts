// How much of the volume only the cache has. The log knows how many bytes of writes are not written back, but it counts what was written over each time. The
// segments know how much of their payload still stands for the volume; and all that a data segment holds is written back once the newest of its keys
// is. So what is dirty is what lives in segments whose newest key is not written back, at most; and it is no more than the log has, nor than the volume.
//
// The log worker looks at all segments now and then and notes which sequence was the newest by then:
// - A data head's segment gets keys as long as it is one, and for some moments after, from a write that has taken its room and not yet put its key into the log.
//   Its note is renewed for two looks more.
// - A segment that was not there at the last look, or has been freed and taken again since, is as one that a data head has just left.
// - What was there before the first look has keys that are older than it.
// A segment without a note counts as dirty, and so does one whose note is still renewed. Clean data in such segments (kept read misses, writes that are written
// back) is counted too: what is told is never less than the truth.

import { HeadWord, NumberWord, SegmentState } from '../cache/shared-state.js';
import type { CacheShared } from '../cache/shared-state.js';
import { SECTOR_BYTES } from '../media/layout.js';

const LOOK_INTERVAL_MS = 200;
/** Looks after which nobody can be about to add a key any more. */
const RENEWALS = 2;

export interface DirtySegmentsState {
  /** By cache_seg_id: no key of it has a sequence above this one, once `renewals` is 0. */
  readonly newest: Float64Array;
  /** Looks at which that is still to be renewed. */
  readonly renewals: Uint8Array;
  /** Low 32 bits of the generation for which both are said. */
  readonly generations: Int32Array;
}

type Segments = Pick<CacheShared, 'segmentCount' | 'state' | 'generationLow' | 'heads' | 'numbers' | 'liveSectors' | 'volumeBytes'>;

/** For a cache that was opened just now. Only the threads of one engine share it. */
export function createDirtySegments({ segmentCount, state, generationLow, numbers }: Segments): DirtySegmentsState {
  const dirty = {
    newest: new Float64Array(new SharedArrayBuffer(segmentCount * 8)),
    renewals: new Uint8Array(new SharedArrayBuffer(segmentCount)),
    generations: new Int32Array(new SharedArrayBuffer(segmentCount * 4)),
  };
  dirty.newest.fill(numbers[NumberWord.openSequence]!);
  dirty.generations.set(generationLow);
  for (let segment = 0; segment < segmentCount; segment++) {
    if (state[segment] !== SegmentState.data) dirty.renewals[segment] = RENEWALS;
  }
  return dirty;
}

/** Takes the notes. By one thread. */
export class DirtySegments {
  readonly #segments: Segments;
  readonly #dirty: DirtySegmentsState;
  #lookedMs = -Infinity;

  constructor(segments: Segments, dirty: DirtySegmentsState) {
    this.#segments = segments;
    this.#dirty = dirty;
  }

  /** Looks, if it is time for that: `nowMs` is of any clock. Costs some nanoseconds for a segment. */
  round(nowMs: number): void {
    if (nowMs >= this.#lookedMs && nowMs - this.#lookedMs < LOOK_INTERVAL_MS) return;
    this.#lookedMs = nowMs;
    const { segmentCount, state, generationLow, heads, numbers } = this.#segments;
    const { newest, renewals, generations } = this.#dirty;
    for (let base = 0; base < heads.length; base += HeadWord.stride) {
      const segment = Atomics.load(heads, base + HeadWord.segment);
      if (segment !== -1) renewals[segment] = RENEWALS + 1;
    }
    const openSequence = numbers[NumberWord.openSequence]!;
    for (let segment = 0; segment < segmentCount; segment++) {
      const generation = generationLow[segment]!;
      if (state[segment] !== SegmentState.data) {
        renewals[segment] = RENEWALS;
      } else if (generations[segment] !== generation) {
        generations[segment] = generation;
        newest[segment] = openSequence;
        renewals[segment] = RENEWALS;
      } else if (renewals[segment]! > 0) {
        newest[segment] = openSequence;
        renewals[segment]! -= 1;
      }
    }
  }
}

/**
 * See MediaStatus.dirty_bytes. `logBytes` are those of NumberWord.dirtyBytes, read together with `writtenSequence`. Without notes every segment that holds data
 * counts.
 */
export function dirtyBytesOf(segments: Segments, logBytes: number, writtenSequence: number, dirty?: DirtySegmentsState): number {
  if (logBytes <= 0) return 0;
  const { segmentCount, state, generationLow, liveSectors } = segments;
  let sectors = 0;
  for (let segment = 0; segment < segmentCount; segment++) {
    if (state[segment] !== SegmentState.data) continue;
    const isClean =
      dirty !== undefined &&
      dirty.renewals[segment] === 0 &&
      dirty.generations[segment] === generationLow[segment] &&
      dirty.newest[segment]! <= writtenSequence;
    if (!isClean) sectors += Math.max(0, liveSectors[segment]!);
  }
  // Nobody may take a volume for clean that is not, whatever the estimate says.
  return Math.min(logBytes, segments.volumeBytes, Math.max(1, sectors) * SECTOR_BYTES);
}
