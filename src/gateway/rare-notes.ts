// Errors of single requests in the log. While a device fails there may be thousands a second, all alike: the first has its line at once, those that
// follow are counted, and one line in a while says how many there were.

/** The least time between two lines. */
export const NOTE_PAUSE_MS = 30_000;

export class RareNotes {
  readonly #clock: () => number;
  readonly #tell: (text: string) => void;
  #lastMs = Number.NEGATIVE_INFINITY;
  #untold = 0;

  /** `clock`: milliseconds of a monotonic clock. */
  constructor(clock: () => number, tell: (text: string) => void) {
    this.#clock = clock;
    this.#tell = tell;
  }

  note(text: string): void {
    const nowMs = this.#clock();
    if (nowMs - this.#lastMs < NOTE_PAUSE_MS) {
      this.#untold++;
      return;
    }
    const more = this.#untold === 0 ? '' : ` (and ${this.#untold} more since the last such line)`;
    this.#lastMs = nowMs;
    this.#untold = 0;
    this.#tell(`${text}${more}`);
  }
}
