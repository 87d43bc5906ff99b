// Has the supervisor know what the next engine should, in case this one dies: looks now and then whether it has changed.

import { isDeepStrictEqual } from 'node:util';
import type { Engine, KeptState } from './engine.js';

/** How late a change may be told, but for one that was asked for (`look`). */
export const KEPT_INTERVAL_MS = 1000;

export class StateKeeper {
  readonly #engine: Pick<Engine, 'snapshot' | 'backingLostBytes'>;
  readonly #tell: (kept: KeptState) => void;
  readonly #timer: NodeJS.Timeout;
  #last: KeptState | undefined;

  /** Tells at once what there is: the engine before may have told otherwise. */
  constructor(engine: Pick<Engine, 'snapshot' | 'backingLostBytes'>, tell: (kept: KeptState) => void) {
    this.#engine = engine;
    this.#tell = tell;
    this.#timer = setInterval(() => this.look(), KEPT_INTERVAL_MS).unref();
    this.look();
  }

  look(): void {
    const { writeback_paused: writebackPaused, dirty_since_ms: dirtySinceMs } = this.#engine.snapshot();
    const kept: KeptState = { writebackPaused, dirtySinceMs, backingLostBytes: this.#engine.backingLostBytes() };
    if (isDeepStrictEqual(kept, this.#last)) return;
    this.#last = kept;
    this.#tell(this.#last);
  }

  end(): void {
    clearInterval(this.#timer);
  }
}
