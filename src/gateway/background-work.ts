// What the background worker does, in bounded steps, and what it makes of failures. It has neither a thread nor a clock of its own, so a test can
// run it step by step.
//
// Invariants:
// - A backing device that fails loses nothing: dirty_tail stays and the batch is written and flushed again as a whole, after a pause that doubles
//   from 100 ms to 30 s. A flush that fails says nothing about what was written before it, so no part of the batch counts.
// - A backing device that was cut, shorter than the volume, ends writing back for good: it is looked at twice a second, before and after each batch, and
//   when somebody asks (`look`). The collector goes on.
// - A cache device that fails, or a log that is damaged, ends all background work: no dirty_tail moves and no segment is freed, since nothing that
//   would be stored about it counts as durable.
// - While writing back is paused nothing of it is begun or gone on with; what was submitted completes by itself. Whoever waits for it, for a flush or for
//   room, overrides the pause, so a pause holds nobody up for ever. The collector is never paused.
// - With a pace, a step writes back no longer than a slice, and nothing while it rests; the collector never rests.

import { PcacheError } from '../errors.js';
import type { Maintenance } from './maintenance.js';
import type { WritebackPace } from './writeback-pace.js';

export const PAUSE_FIRST_MS = 100;
export const PAUSE_LAST_MS = 30_000;
/** The length of the backing device is looked at so often. */
export const LOOK_MS = 500;

/** Pauses between attempts, each twice as long as the one before. Times are milliseconds of a monotonic clock. */
export class RetryPause {
  #pauseMs = 0;
  #endMs = Number.NEGATIVE_INFINITY;

  failed(nowMs: number): void {
    this.#pauseMs = Math.min(PAUSE_LAST_MS, Math.max(PAUSE_FIRST_MS, this.#pauseMs * 2));
    this.#endMs = nowMs + this.#pauseMs;
  }

  worked(): void {
    this.#pauseMs = 0;
    this.#endMs = Number.NEGATIVE_INFINITY;
  }

  /** 0 if there is no pause, or it is over. */
  leftMs(nowMs: number): number {
    return Math.max(0, this.#endMs - nowMs);
  }
}

/** Who is told of failures. */
export interface FailureReports {
  /** Called for every attempt that failed, and once when the backing device was found cut (`mismatch`). */
  backingFailed(error: unknown): void;
  /** A batch reached the backing device; called whether or not one failed before. */
  backingWorks(): void;
  /** Called once. */
  cacheFailed(what: 'writeback' | 'gc', error: unknown): void;
}

export class BackgroundWork {
  readonly #maintenance: Maintenance;
  readonly #clock: () => number;
  readonly #reports: FailureReports;
  readonly #pace: WritebackPace | undefined;
  readonly #isPaused: () => boolean;
  readonly #pause = new RetryPause();
  #isEnded = false;
  #isBackingCut = false;
  #lookedMs = Number.NEGATIVE_INFINITY;

  /** @param pace without it a step writes a batch as a whole, and nothing rests; @param isPaused a user has paused it, and nobody waits for it */
  constructor(
    maintenance: Maintenance,
    clock: () => number,
    reports: FailureReports,
    pace?: WritebackPace,
    isPaused: () => boolean = () => false,
  ) {
    this.#isPaused = isPaused;
    this.#maintenance = maintenance;
    this.#clock = clock;
    this.#reports = reports;
    this.#pace = pace;
  }

  /** How long the present pause still is; 0 if there is none. */
  get pauseLeftMs(): number {
    return this.#isEnded ? 0 : this.#pause.leftMs(this.#clock());
  }

  /** How long writing back rests; 0 if it doesn't. It may end earlier, so it is to be asked again every few milliseconds. */
  get restLeftMs(): number {
    return this.#isEnded ? 0 : (this.#pace?.restLeftMs() ?? 0);
  }

  /** Somebody else found that the cache device fails. */
  end(): void {
    this.#isEnded = true;
  }

  /**
   * One step of the collector if it is wanted, and one batch, or a slice of one, unless there is a pause or a rest. Returns whether anything was done.
   * Never throws.
   */
  step(): boolean {
    if (this.#clock() - this.#lookedMs >= LOOK_MS) this.look();
    const collected = this.#collect();
    return this.#writeBack() || collected;
  }

  /** Looks whether the backing device is as long as the volume; if not, it has failed. Never throws. */
  look(): void {
    this.#lookedMs = this.#clock();
    if (this.#isBackingCut) return;
    try {
      this.#maintenance.requireWholeBacking();
    } catch (error) {
      this.#failBacking(error);
    }
  }

  #failBacking(error: unknown): void {
    this.#isBackingCut = this.#maintenance.isBackingCut;
    if (!this.#isBackingCut) this.#pause.failed(this.#clock());
    this.#reports.backingFailed(error);
  }

  #collect(): boolean {
    if (this.#isEnded) return false;
    try {
      return this.#maintenance.gcStep();
    } catch (error) {
      this.#endWith('gc', error);
      return false;
    }
  }

  #writeBack(): boolean {
    if (this.#isEnded || this.#isBackingCut || this.pauseLeftMs > 0 || this.restLeftMs > 0 || this.#isPaused()) return false;
    try {
      const outcome = this.#maintenance.writebackPart(this.#pace?.beginSlice() ?? Infinity, this.#clock);
      if (outcome === 'done') {
        this.#pause.worked();
        this.#reports.backingWorks();
      }
      if (outcome !== 'none') this.#pace?.endSlice();
      return outcome !== 'none';
    } catch (error) {
      if (this.#maintenance.isBackingFailure && error instanceof PcacheError) {
        this.#failBacking(error);
      } else {
        this.#endWith('writeback', error);
      }
      return false;
    }
  }

  #endWith(what: 'writeback' | 'gc', error: unknown): void {
    this.#isEnded = true;
    this.#reports.cacheFailed(what, error);
  }
}
