// When a queue worker looks for its next request again and again for a few microseconds before it sleeps: while that pays. Knows no clock and no kernel;
// the transports do the looking.
//
// Invariants: polling is begun only by a worker that had a request not long ago, since each wait begins with a request or with the start; a wait polls once at
// most, for `limitUs`, and then sleeps for as long as it takes. So an idle worker uses no CPU, whatever the policy thinks.
// After MISSES_MAX waits in a row that polled in vain, the worker only sleeps, for a number of waits that doubles each time, and then tries again.

const MISSES_MAX = 2;
const PAUSE_MIN = 16;
const PAUSE_MAX = 4096;

export class PollPolicy {
  /** How long a wait polls at most; 0: never. */
  readonly limitUs: number;
  #misses = 0;
  /** Waits that only sleep, before polling is tried again. */
  #left = 0;
  #pause = PAUSE_MIN;

  constructor(limitUs: number) {
    this.limitUs = limitUs;
  }

  /** Whether the wait that comes now is to poll first. Say afterwards how it went: `polled` or `slept`. */
  get polls(): boolean {
    return this.limitUs > 0 && this.#left === 0;
  }

  /** A wait polled. @param found whether a request came meanwhile */
  polled(found: boolean): void {
    if (found) {
      this.#misses = 0;
      this.#pause = PAUSE_MIN;
      return;
    }
    if (++this.#misses < MISSES_MAX) return;
    this.#misses = 0;
    this.#left = this.#pause;
    this.#pause = Math.min(PAUSE_MAX, this.#pause * 2);
  }

  /** A wait, or a request that was there already, while the policy does not poll. */
  slept(): void {
    if (this.#left > 0) this.#left--;
  }
}
