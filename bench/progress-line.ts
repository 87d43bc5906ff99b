// One line on a terminal that says what is being measured and how long it will take; elsewhere nothing.

const NOT_BEFORE = 0.02;

export class ProgressLine {
  readonly #stream: NodeJS.WriteStream;
  #startMs = performance.now();
  #isShown = false;

  constructor(stream: NodeJS.WriteStream = process.stderr) {
    this.#stream = stream;
  }

  /** `done`: the share of the run that is behind, 0 to 1; while it is 0, the time that passes says nothing about the rest. */
  show(what: string, done: number): void {
    if (!this.#stream.isTTY) return;
    if (done === 0) this.#startMs = performance.now();
    const width = Math.max(20, this.#stream.columns || 80) - 1;
    this.#stream.write(
      `\r\u001b[K${`${Math.floor(done * 100)} % | ${timeLeft(performance.now() - this.#startMs, done)} | ${what}`.slice(0, width)}`,
    );
    this.#isShown = true;
  }

  /** Takes the line away, so that something else can be written. */
  clear(): void {
    if (this.#isShown) this.#stream.write('\r\u001b[K');
    this.#isShown = false;
  }

  /** A line that stays. */
  note(text: string): void {
    this.clear();
    this.#stream.write(`${text}\n`);
  }
}

/** From what the share that is done has taken. */
export function timeLeft(elapsedMs: number, done: number): string {
  if (done < NOT_BEFORE) return 'time left unknown';
  const seconds = Math.round((elapsedMs * (1 - done)) / done / 1000);
  return seconds < 90 ? `${seconds} s left` : `${Math.round(seconds / 60)} min left`;
}
