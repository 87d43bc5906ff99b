// A second engine process that waits to be needed, with its program loaded and its threads parked: when the engine dies, what is left to do is to open
// the cache. Costs some memory, and nothing while all goes well.
//
// Invariants:
// - The spare holds nothing of the volume until it is taken (see EngineChild), so it can't keep a lock, a descriptor or a mount.
// - There is one at most, and it is made only when an engine has been serving for a moment: what makes a spare must not hold up who is served.
// - A spare that dies is replaced after a pause that doubles, so a machine on which none can live is not kept busy with them.
// - None is left when `end` has resolved. If the supervisor is killed, the spare sees its channel close, and ends.

import type { EngineChild } from './engine-child.js';
import type { Logger } from './log.js';

/** After the engine is ready. Long enough for what waited to be served, short enough for an engine that dies again soon. */
const CALM_MS = 300;
const PAUSE_FIRST_MS = 1000;
const PAUSE_LAST_MS = 5 * 60_000;

export class SpareEngine {
  readonly #make: () => EngineChild;
  readonly #log: Logger;
  #child: EngineChild | undefined;
  #timer: NodeJS.Timeout | undefined;
  #pauseMs = 0;
  #hasEnded = false;

  /** `make` starts a process, which prepares itself. */
  constructor(make: () => EngineChild, log: Logger) {
    this.#make = make;
    this.#log = log;
  }

  /** The engine serves: sees to it that there will be a spare. */
  want(): void {
    this.#schedule(CALM_MS);
  }

  /** The spare, ready or nearly so; undefined if there is none. The caller sees to its end from now on. */
  take(): EngineChild | undefined {
    clearTimeout(this.#timer);
    const child = this.#child;
    this.#child = undefined;
    if (child?.hasEnded !== false) return undefined;
    this.#pauseMs = 0;
    return child;
  }

  /** Kills it, and makes no other. */
  async end(): Promise<void> {
    this.#hasEnded = true;
    const child = this.take();
    child?.kill();
    await child?.ended;
  }

  #schedule(delayMs: number): void {
    if (this.#hasEnded || this.#child !== undefined) return;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#start(), delayMs);
  }

  #start(): void {
    const child = this.#make();
    this.#child = child;
    this.#log.debug({ sparePid: child.pid }, 'started a spare engine');
    void child.ended.then((how) => {
      // Taken meanwhile: its death is that of an engine.
      if (this.#child !== child) return;
      this.#child = undefined;
      this.#pauseMs = Math.min(PAUSE_LAST_MS, Math.max(PAUSE_FIRST_MS, this.#pauseMs * 2));
      this.#log.warn({ how, pauseMs: this.#pauseMs }, 'the spare engine died');
      this.#schedule(this.#pauseMs);
    });
  }
}
