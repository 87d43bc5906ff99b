// What another thread does for one that replays a log: it surveys ksets, and lays keys of a subtree over each other. It reads the cache and the index, and
// writes into slots alone (replay-crew.ts).

import type { CacheDevice } from '../device/device.js';
import { SEGMENT_DATA_OFFSET } from '../media/layout.js';
import type { CacheSegId, PhysicalSegmentId } from '../media/layout.js';
import type { SegmentData } from '../media/log-walk.js';
import { CacheTree } from './cache-tree.js';
import type { CacheTreeState } from './cache-tree.js';
import { IndexPieces } from './index-builder.js';
import { KsetSurvey } from './kset-survey.js';
import type { SurveyInput } from './kset-survey.js';
import { PIECE_KIND_WORD, PieceKind, helpCrew } from './replay-crew.js';
import type { CrewState } from './replay-crew.js';
import type { KeyColumns } from './subtree-build.js';

/** Structured-cloneable, all of it on shared memory. */
export interface ReplayJob {
  readonly crew: CrewState;
  readonly survey: SurveyInput;
  /** By cache_seg_id, as in CacheShared. */
  readonly physicalOf: Int32Array;
  readonly generationLow: Int32Array;
  readonly tree: CacheTreeState;
  readonly keys: KeyColumns;
}

/** Threads that may help. */
export interface ReplayHelpers {
  /**
   * Asks them, HELPERS_MAX at most, to call `helpReplay`. Returns at once; they may come late or never. Not called for a short log.
   */
  start(job: ReplayJob): void;
  /** They are asked if the log is so long, see SHARED_FROM_KEYS. A test wants them for any. */
  readonly fromKeys?: number;
}

/** Helps until it is not needed any more; returns at once if that is so already. `attach` gives this thread's view of the cache device. */
export function helpReplay(job: ReplayJob, attach: () => CacheDevice): void {
  helpCrew(job.crew, () => {
    const device = attach();
    const data = (segment: CacheSegId): SegmentData => {
      const { bytes, view } = device.segment(job.physicalOf[segment]! as PhysicalSegmentId);
      return { bytes, view, base: SEGMENT_DATA_OFFSET };
    };
    const survey = new KsetSurvey({ data }, job.survey);
    const index = new IndexPieces(CacheTree.attach(job.tree, job.generationLow), job.keys);
    return (slot) => {
      if (slot.piece[PIECE_KIND_WORD] === PieceKind.ksets) survey.run(slot);
      else index.run(slot);
    };
  });
}
