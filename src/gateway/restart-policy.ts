// How often an engine may die before the supervisor gives up: a crash that comes back at once is not cured by one more start.

const DEATHS_MAX = 5;
const WINDOW_MS = 60_000;

export class RestartPolicy {
  readonly #deathsMax: number;
  readonly #windowMs: number;
  readonly #deathsMs: number[] = [];

  /** At most so many deaths within so many milliseconds. */
  constructor(deathsMax = DEATHS_MAX, windowMs = WINDOW_MS) {
    this.#deathsMax = deathsMax;
    this.#windowMs = windowMs;
  }

  /** Notes a death at `nowMs` (any clock that doesn't go back) and says whether to start again: not at the fifth death within a minute. */
  shouldRestart(nowMs: number): boolean {
    this.#deathsMs.push(nowMs);
    while (this.#deathsMs[0]! <= nowMs - this.#windowMs) this.#deathsMs.shift();
    return this.#deathsMs.length < this.#deathsMax;
  }
}
