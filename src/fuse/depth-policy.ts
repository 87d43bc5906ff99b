// Whether answers are held back for more of them to be sent together: while so many requests wait that holding back costs nobody anything. Where few are under
// way, those who wait for an answer are the ones who would bring the next request. Knows no kernel; the transport does the reading.
//
// Invariants: it begins shallow; deep only after a run of requests of which nearly all were there without waiting; shallow again when, for a while, most batches
// had fewer than DEEP_ANSWERS. Each time that was soon, the next run must be twice as long, up to a bound.

/** Requests that must be found together for it to pay: more than a few users who wait for one each. With four of them, holding back cost a tenth of their rate. */
const DEEP_ANSWERS = 6;
/** Batches that are large enough count up to so many, small ones down to 0, which is the end. */
const SCORE_BEGIN = 4;
const SCORE_MAX = 16;
const RUN_MIN = 16;
/** A mistake costs a few batches, so it may come once in so many requests. */
const RUN_MAX = 512;
/** What one that was not there takes from the run. */
const RUN_LOSS = 32;
/** A deep time of fewer batches was a mistake. */
const BATCHES_ENOUGH = 64;

export class DepthPolicy {
  #isDeep = false;
  /** While shallow: requests that were there, less RUN_LOSS for each that was not; and how many are wanted. */
  #run = 0;
  #runWanted = RUN_MIN;
  /** While deep: batches, and how well they went. */
  #batches = 0;
  #score = 0;

  /** Whether to hold answers back. */
  get isDeep(): boolean {
    return this.#isDeep;
  }

  /**
   * It was tried to take a request without waiting.
   * @param found whether there was one; @param held answers that were held back for it
   */
  tried(found: boolean, held: number): void {
    if (!this.#isDeep) {
      this.#run = found ? this.#run + 1 : Math.max(0, this.#run - RUN_LOSS);
      if (this.#run >= this.#runWanted) this.#begin();
    } else if (!found && held > 0) {
      this.#note(held >= DEEP_ANSWERS);
    } else if (found && held === 0) {
      // The batch before was full.
      this.#note(true);
    }
  }

  #note(isLarge: boolean): void {
    this.#batches++;
    this.#score = isLarge ? Math.min(SCORE_MAX, this.#score + 1) : this.#score - 1;
    if (this.#score === 0) this.#end();
  }

  #begin(): void {
    this.#isDeep = true;
    this.#batches = 0;
    this.#score = SCORE_BEGIN;
  }

  #end(): void {
    this.#isDeep = false;
    this.#run = 0;
    this.#runWanted = this.#batches < BATCHES_ENOUGH ? Math.min(RUN_MAX, this.#runWanted * 2) : RUN_MIN;
  }
}
