// How much of the processor writing back may take: all of it when somebody waits for it or nobody else is there, a bounded share otherwise, so that those
// who use the volume hardly notice.
//
// Invariants:
// - A slice of work that took t ms of processor time is followed by a rest of t * (1 / share - 1) ms, but never more than REST_MAX_MS: writing back
//   always goes on. Time spent waiting for the device counts as nothing, so a slow device is kept as busy as a fast one.
// - A rest ends as soon as the share becomes 1.
// - It has no clock of its own.
//
// The constants: on 2 cores, with fio's 4 KiB reads and writes at depth 16 x 4 in the foreground (docs/write-path.md, "The pace").

/** A slice of work lasts about so long: rests are kept short by it, and what has changed is noticed after it. */
export const SLICE_MS = 2;
/** Share of one core while the volume is used and nobody waits for writing back. */
export const BASE_SHARE = 0.05;
/** The same while somebody waits for everything to be written back (`pcache flush`, `umount --flush`). */
export const FLUSH_SHARE = 0.16;
/** The volume counts as unused when no request has come for so long. */
export const IDLE_MS = 10;
export const REST_MAX_MS = 250;

/** What the pace goes by. Looked at about once a slice. */
export interface PaceSignals {
  /** Requests of all users so far. */
  requests(): number;
  /** Somebody waits for room in the cache. */
  isRoomWanted(): boolean;
  /** Somebody waits for everything to be written back. */
  isFlushWanted(): boolean;
  /** Dirty bytes as a share of the cache, 0 to 1 or a little more. */
  dirtyShare(): number;
  /** See `CacheShared`: gc_percent, as a share. */
  gcShare(): number;
}

export class WritebackPace {
  readonly #signals: PaceSignals;
  readonly #clock: () => number;
  readonly #busyClock: () => number;
  #requests = 0;
  /** When a request was noticed last. */
  #requestMs = Number.NEGATIVE_INFINITY;
  #busyBeforeMs: number;
  #endedMs = 0;
  /** Used since the slice before the last ended, thus in the last; 0: there is no rest. */
  #busyMs = 0;

  /** @param clock milliseconds of a monotonic clock; `busyClock`: of the processor time that this thread has used */
  constructor(signals: PaceSignals, clock: () => number, busyClock: () => number) {
    this.#signals = signals;
    this.#clock = clock;
    this.#busyClock = busyClock;
    this.#requests = signals.requests();
    this.#busyBeforeMs = busyClock();
  }

  /** A slice begins. Returns when it should end, by the clock. */
  beginSlice(): number {
    this.#busyMs = 0;
    return this.#clock() + SLICE_MS;
  }

  endSlice(): void {
    const busyMs = this.#busyClock();
    this.#busyMs = Math.max(0, busyMs - this.#busyBeforeMs);
    this.#busyBeforeMs = busyMs;
    this.#endedMs = this.#clock();
  }

  /** How long the present rest still is, if nothing changes; 0: the next slice may begin. */
  restLeftMs(): number {
    const share = this.share();
    if (this.#busyMs === 0 || share >= 1) return 0;
    const restMs = Math.min(REST_MAX_MS, this.#busyMs * (1 / share - 1));
    return Math.max(0, this.#endedMs + restMs - this.#clock());
  }

  /** Of one core, above 0 to 1. */
  share(): number {
    const signals = this.#signals;
    if (signals.isRoomWanted() || this.#isUnused()) return 1;
    const least = signals.isFlushWanted() ? FLUSH_SHARE : BASE_SHARE;
    // Towards gc_percent, where the collector begins to look for what was written back, it becomes all there is.
    const all = Math.max(0.1, signals.gcShare() - 0.1);
    const excess = (signals.dirtyShare() - all / 2) / (all / 2);
    return Math.min(1, Math.max(least, least + (1 - least) * excess));
  }

  #isUnused(): boolean {
    const nowMs = this.#clock();
    const requests = this.#signals.requests();
    if (requests !== this.#requests) {
      this.#requests = requests;
      this.#requestMs = nowMs;
    }
    return nowMs - this.#requestMs >= IDLE_MS;
  }
}
