// How long a user waits when an engine is killed: from a prober's last completion before to its first one after, and what else holds it up in the second
// after the kill. Beside it, for comparison, the same without a kill: a machine under load has pauses of its own.

import { fileURLToPath } from 'node:url';
import { Job, waitUntil } from '../support/mounted-commands.js';

const PROBER = fileURLToPath(new URL('./pause-prober.js', import.meta.url));
/** A kill is held responsible for the gaps of so much time after it. */
const WINDOW_MS = 1000;
/** A stretch without a kill before it and within it that is so long is compared. */
const CALM_MS = 3000;

interface Gap {
  readonly startMs: number;
  readonly endMs: number;
}

export interface Pauses {
  /** One for each kill, in milliseconds. */
  readonly afterKillMs: readonly number[];
  /** Of these, of kills with no other within a second: an engine that served died, and its successor lived to answer. */
  readonly aloneMs: readonly number[];
  /** One for each kill before which it was calm for long enough. */
  readonly withoutKillMs: readonly number[];
}

export class PauseProbe {
  readonly #job: Job;
  readonly #killsMs: number[] = [];

  /** Starts to probe `file`, in the 256 KiB from `offsetBytes` on, which must be there. */
  constructor(file: string, offsetBytes: number) {
    this.#job = new Job(process.execPath, [PROBER, file, String(offsetBytes)]);
  }

  /** An engine was killed at `killedMs` of machineMs. */
  note(killedMs: number): void {
    this.#killsMs.push(killedMs);
  }

  /** Waits until the prober had something completed that was held up by the last kill. Rejects if that takes too long. */
  async goesOn(timeoutMs: number): Promise<void> {
    const killedMs = this.#killsMs.at(-1) ?? 0;
    const hasGoneOn = (): boolean => killedMs === 0 || this.failure !== undefined || this.#lastCompletionMs > killedMs;
    await waitUntil(hasGoneOn, 'something is answered after a kill', timeoutMs);
  }

  get #lastCompletionMs(): number {
    const { stdout } = this.#job;
    const end = stdout.lastIndexOf('\n');
    const line = stdout.slice(stdout.lastIndexOf('\n', end - 1) + 1, end);
    return Number(line.split(' ')[2] ?? 0);
  }

  /** What was wrong; undefined if nothing. */
  get failure(): string | undefined {
    const last = this.#job.stdout.trimEnd().split('\n').at(-1) ?? '';
    if (last.startsWith('failed')) return `the prober: ${last}`;
    return this.#job.ended ? 'the prober ended' : undefined;
  }

  kill(): void {
    this.#job.child.kill('SIGKILL');
  }

  async end(): Promise<Pauses> {
    await this.#job.end();
    const gaps = this.#job.stdout
      .split('\n')
      .filter((line) => line.startsWith('gap '))
      .map((line) => line.split(' ').map(Number))
      .map(([, startMs, endMs]): Gap => ({ startMs: startMs!, endMs: endMs! }));
    const longest = (fromMs: number): number => {
      const within = gaps.filter(({ startMs, endMs }) => endMs > fromMs && startMs < fromMs + WINDOW_MS);
      return Math.max(0, ...within.map(({ startMs, endMs }) => endMs - startMs));
    };
    const lastMs = gaps.at(-1)?.endMs ?? 0;
    // The very last kill may not have been followed by a completion yet.
    const afterKillMs = this.#killsMs.filter((killedMs) => killedMs < lastMs).map(longest);
    const isAlone = (killedMs: number, index: number): boolean =>
      killedMs - (this.#killsMs[index - 1] ?? -Infinity) > WINDOW_MS && (this.#killsMs[index + 1] ?? Infinity) - killedMs > WINDOW_MS;
    const aloneMs = this.#killsMs.filter((killedMs, index) => killedMs < lastMs && isAlone(killedMs, index)).map(longest);
    const withoutKillMs = this.#killsMs
      .filter((killedMs, index) => killedMs - (this.#killsMs[index - 1] ?? killedMs) > CALM_MS)
      .map((killedMs) => longest(killedMs - WINDOW_MS - 5));
    return { afterKillMs, aloneMs, withoutKillMs };
  }
}
