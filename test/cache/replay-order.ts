// What tests of shared replays and their helpers tell each other.

import type { ReplayJob } from '../../src/cache/replay-helper.js';
import type { SimMediaState } from '../support/sim-media.js';

/**
 * - `good`: as a real one.
 * - `fails`: throws in the middle of a piece.
 * - `ends`: the thread is gone in the middle of a piece, without a word.
 * - `stops`: does nothing for a while in the middle of a piece, then goes on.
 */
export type Conduct = 'good' | 'fails' | 'ends' | 'stops';

export const HelperWord = {
  /** Helpers that have joined. */
  joined: 0,
  /** Segments that they have asked for. */
  segments: 1,
  /** Helpers that have misbehaved. */
  misconducts: 2,
  /** Helpers that have come to their end. */
  left: 3,
  count: 4,
} as const;

export interface HelperOrder {
  readonly job: ReplayJob;
  readonly media: SimMediaState;
  readonly conduct: Conduct;
  readonly words: Int32Array;
}

export const FAILURE = 'a helper that fails on order';
