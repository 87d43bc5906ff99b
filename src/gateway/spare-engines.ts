// Engine processes that wait to be needed, with their programs loaded and their threads parked: when the engine dies, what is left to do is to open the
// cache. Each costs some memory, and nothing while all goes well; so there is one, and two for a minute after an engine died, which may not have been its
// last death: another spare takes a second to make.
//
// Invariants:
// - A spare holds nothing of the volume until it is taken (see EngineChild), so it can't keep a lock, a descriptor or a mount.
// - They are made one after the other, and only when an engine has been serving for a moment: what makes a spare must not hold up who is served.
// - A spare that dies is replaced after a pause that doubles, so a machine on which none can live is not kept busy with them.
// - None is left when `end` has resolved. If the supervisor is killed, each sees its channel close, and ends.

import type { EngineChild } from './engine-child.js';
import type { Logger } from './log.js';

const COUNT = 1;
const COUNT_AFTER_DEATH = 2;
const PAUSE_FIRST_MS = 1000;
const PAUSE_LAST_MS = 5 * 60_000;

export interface SpareTimes {
  /** From when the engine is ready to when a spare is made: long enough for what waited to be served, short enough for an engine that dies again soon. */
  readonly calmMs: number;
  /** From one spare to the next: about as long as it takes to load one. */
  readonly nextMs: number;
  /** How long there is one more after a death. */
  readonly afterDeathMs: number;
}

/** `afterDeathMs` is as long as the supervisor counts deaths, see RestartPolicy. */
const TIMES: SpareTimes = { calmMs: 300, nextMs: 1000, afterDeathMs: 60_000 };

/** What is asked of an engine before it is taken. */
export type Spare = Pick<EngineChild, 'pid' | 'hasEnded' | 'ended' | 'kill'>;

export class SpareEngines<T extends Spare = EngineChild> {
  readonly #make: () => T;
  readonly #log: Logger;
  readonly #times: SpareTimes;
  readonly #children: T[] = [];
  /** Killed, but not gone yet. */
  readonly #leaving = new Set<T>();
  #wantedCount = COUNT;
  #timer: NodeJS.Timeout | undefined;
  #afterDeathTimer: NodeJS.Timeout | undefined;
  #pauseMs = 0;
  #hasEnded = false;

  /** `make` starts a process, which prepares itself. */
  constructor(make: () => T, log: Logger, times: SpareTimes = TIMES) {
    this.#make = make;
    this.#log = log;
    this.#times = times;
  }

  /** The engine serves: sees to it that there will be spares. */
  want(): void {
    this.#schedule(this.#times.calmMs);
  }

  /** The engine died: the oldest spare, ready or nearly so; undefined if there is none. The caller sees to its end from now on. */
  take(): T | undefined {
    clearTimeout(this.#timer);
    this.#wantMoreForAWhile();
    for (let child = this.#children.shift(); child !== undefined; child = this.#children.shift()) {
      if (child.hasEnded) continue;
      this.#pauseMs = 0;
      return child;
    }
    return undefined;
  }

  /** Kills them, and makes no others. */
  async end(): Promise<void> {
    this.#hasEnded = true;
    clearTimeout(this.#timer);
    clearTimeout(this.#afterDeathTimer);
    this.#letGo(0);
    await Promise.all([...this.#leaving].map((child) => child.ended));
  }

  #wantMoreForAWhile(): void {
    clearTimeout(this.#afterDeathTimer);
    this.#wantedCount = COUNT_AFTER_DEATH;
    this.#afterDeathTimer = setTimeout(() => {
      this.#wantedCount = COUNT;
      this.#letGo(COUNT);
    }, this.#times.afterDeathMs);
  }

  /** All but the first so many. */
  #letGo(keptCount: number): void {
    for (const child of this.#children.splice(keptCount)) {
      this.#leaving.add(child);
      child.kill();
      void child.ended.then(() => this.#leaving.delete(child));
    }
  }

  #schedule(delayMs: number): void {
    clearTimeout(this.#timer);
    if (this.#hasEnded || this.#children.length >= this.#wantedCount) return;
    this.#timer = setTimeout(() => this.#start(), delayMs);
  }

  #start(): void {
    const child = this.#make();
    this.#children.push(child);
    this.#log.debug({ sparePid: child.pid }, 'started a spare engine');
    this.#schedule(this.#times.nextMs);
    void child.ended.then((how) => {
      const index = this.#children.indexOf(child);
      // Taken or let go meanwhile: its death is no longer that of a spare.
      if (index < 0) return;
      this.#children.splice(index, 1);
      this.#pauseMs = Math.min(PAUSE_LAST_MS, Math.max(PAUSE_FIRST_MS, this.#pauseMs * 2));
      this.#log.warn({ how, pauseMs: this.#pauseMs }, 'a spare engine died');
      this.#schedule(this.#pauseMs);
    });
  }
}
