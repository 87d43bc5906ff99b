// What is dirty is written back when the volume was unmounted and its gateway is about to end: option flush_on_stop. Nobody uses the volume any more, so
// nothing becomes dirty meanwhile. Whatever can't be written back stays in the cache, as it would without the option.

import { messageOf } from '../errors.js';
import type { Engine, FlushProgress } from './engine.js';
import type { Logger } from './log.js';

const LOG_INTERVAL_MS = 10_000;
/** Whoever watches hears of progress this often. */
const TELL_INTERVAL_MS = 500;

export class LastFlush {
  readonly #engine: Engine;
  readonly #log: Logger;
  readonly #tell: (progress: FlushProgress) => void;
  #giveUp: () => void = () => undefined;
  #loggedMs = -Infinity;
  #toldMs = -Infinity;

  constructor(engine: Engine, log: Logger, tell: (progress: FlushProgress) => void) {
    this.#engine = engine;
    this.#log = log;
    this.#tell = tell;
  }

  /** Ends the waiting: the rest stays dirty. */
  giveUp(): void {
    this.#giveUp();
  }

  /** Returns why not everything was written back; undefined if it was, or this was given up. Never rejects. */
  async run(): Promise<Error | undefined> {
    const gaveUp = new Promise<'gave-up'>((resolve) => (this.#giveUp = () => resolve('gave-up')));
    const flushed = this.#engine
      .flush((progress) => this.#hear(progress))
      .then(
        () => undefined,
        (error: unknown) => (error instanceof Error ? error : new Error(messageOf(error))),
      );
    const outcome = await Promise.race([flushed, gaveUp]);
    const dirtyBytes = this.#engine.snapshot().dirty_bytes;
    if (outcome === 'gave-up') this.#log.warn({ dirtyBytes }, 'asked to end at once: the writing back is given up');
    else if (outcome !== undefined) this.#log.error({ dirtyBytes, error: messageOf(outcome) }, 'dirty data could not be written back');
    return outcome === 'gave-up' ? undefined : outcome;
  }

  #hear(progress: FlushProgress): void {
    const nowMs = performance.now();
    if (nowMs - this.#toldMs >= TELL_INTERVAL_MS) {
      this.#toldMs = nowMs;
      this.#tell(progress);
    }
    if (nowMs - this.#loggedMs < LOG_INTERVAL_MS) return;
    this.#loggedMs = nowMs;
    this.#log.info({ ...progress }, 'writing back before the end');
  }
}
