// Several real threads, of which one runs at a time: a scheduler in shared memory, driven by a seed.
//
// What runs between two calls of `step` is a step; `step` is called before each lock is taken, after each is freed, around each persist and around each call
// of the backing device. There the running thread draws who goes on, by a generator whose state is shared, and hands over. So a run is a function of
// its seed. The judge (the thread of the test) is handed the turn at places that matter, looks at everything while it stands still, and gives
// the turn back.
//
// A thread that waits, for a lock, an event or the clock, is not drawn until it can go on. If none can, the clock is put on to the next time that
// somebody waits for; if there is none, the judge is told: that is a deadlock.
//
// Every wait is bounded: a thread that does not get its turn within WAIT_MS ends with an error.

import { SimulatedCrash } from '../../src/device/simulated-cache-device.js';

export const SimWord = {
  randomState: 0,
  /** Steps since the life began, and at which the judge wants the turn next. */
  steps: 1,
  judgeAtStep: 2,
  /** 1: the life is over, each thread ends at its next turn. */
  isOver: 3,
  /** Why the judge has the turn: one of `Reason`; and the thread that handed it over. */
  reason: 4,
  handedBy: 5,
  /** Events since the run began, and 32-bit words of them that the judge has not taken yet. */
  tick: 6,
  eventWords: 7,
  /** 1: the cache device has failed, flushes fail. */
  cacheFailed: 8,
  /** Numbers of operations, given out in order. */
  operations: 9,
  /** Step at which an operation ended last. */
  progressAtStep: 10,
  /** How the next thread is drawn: one of `Policy`, and the chance in 1000 that a thread goes on. */
  policy: 11,
  keepPerMille: 12,
  /** How much the clock moves on with a step, at most, in microseconds. */
  tickMicros: 13,
  /** Chances in 100,000 that a call fails: of the cache device, of the backing device. */
  cacheFaults: 14,
  backingFaults: 15,
  /** Users of the volume that are not done yet. */
  usersLeft: 18,
  /** Chance in 100,000 that a thread sleeps at the end of a step, and for how many milliseconds at most. */
  stalls: 16,
  stallMs: 17,
  threads: 24,
  perThread: 8,
} as const;

/** Words of a thread, from SimWord.threads + thread * perThread. */
const ThreadWord = { state: 0, event: 1, epoch: 2, weight: 3, wake: 4 } as const;

/** 0: the clock, in milliseconds; from 8: until when each thread waits. */
const CLOCK = 0;
const DEADLINES = 8;

const ThreadState = { running: 0, lock: 1, event: 2, done: 3 } as const;

export const Policy = { weights: 0, priorities: 1 } as const;

export const Reason = { none: 0, step: 1, persist: 2, flush: 3, events: 4, done: 5, deadlock: 6, stuck: 7, problem: 8 } as const;

/** Number of the judge. */
export const THREADS_MAX = 8;
const JUDGE = THREADS_MAX;
const WAIT_MS = 30_000;
/** No operation has ended for so long: something waits for ever. */
const STUCK_STEPS = 400_000;

export interface SimTurnsState {
  readonly words: Int32Array;
  readonly numbers: Float64Array;
  readonly threads: number;
}

export function createTurns(threads: number): SimTurnsState {
  return {
    words: new Int32Array(new SharedArrayBuffer((SimWord.threads + (THREADS_MAX + 1) * SimWord.perThread) * 4)),
    numbers: new Float64Array(new SharedArrayBuffer((DEADLINES + THREADS_MAX) * 8)),
    threads,
  };
}

function at(thread: number, word: number): number {
  return SimWord.threads + thread * SimWord.perThread + word;
}

/** The generator of `seededRandom`, with its state in shared memory. */
function nextRandom(words: Int32Array): number {
  let state = words[SimWord.randomState]!;
  state ^= state << 13;
  state ^= state >>> 17;
  state ^= state << 5;
  words[SimWord.randomState] = state;
  return (state >>> 0) / 2 ** 32;
}

function sleepUntilWoken(words: Int32Array, thread: number): boolean {
  const wake = at(thread, ThreadWord.wake);
  while (Atomics.load(words, wake) === 0) if (Atomics.wait(words, wake, 0, WAIT_MS) === 'timed-out') return false;
  Atomics.store(words, wake, 0);
  return true;
}

function wakeUp(words: Int32Array, thread: number): void {
  Atomics.store(words, at(thread, ThreadWord.wake), 1);
  Atomics.notify(words, at(thread, ThreadWord.wake));
}

/** The scheduler as one simulated thread sees it. */
export class SimTurns {
  readonly self: number;
  readonly words: Int32Array;
  readonly #numbers: Float64Array;
  readonly #threads: number;
  /** The cache's words, in which events are. */
  #cacheWords: Int32Array = new Int32Array(0);

  constructor(state: SimTurnsState, self: number) {
    this.words = state.words;
    this.#numbers = state.numbers;
    this.#threads = state.threads;
    this.self = self;
  }

  get clockMs(): number {
    return this.#numbers[CLOCK]!;
  }

  random(): number {
    return nextRandom(this.words);
  }

  pick(below: number): number {
    return Math.floor(nextRandom(this.words) * below);
  }

  /** A life begins: waits for the first turn. */
  begin(cacheWords: Int32Array): void {
    this.#cacheWords = cacheWords;
    this.#sleep();
  }

  /** The end of a step. Throws SimulatedCrash if the life is over. */
  step(): void {
    const { words } = this;
    if (words[SimWord.isOver] !== 0) throw new SimulatedCrash();
    words[SimWord.steps]! += 1;
    this.#numbers[CLOCK]! += (nextRandom(words) * words[SimWord.tickMicros]!) / 1000;
    if (words[SimWord.steps]! >= words[SimWord.judgeAtStep]!) this.judge(Reason.step);
    if (words[SimWord.steps]! - words[SimWord.progressAtStep]! > STUCK_STEPS) this.judge(Reason.stuck);
    if (nextRandom(words) * 100_000 < words[SimWord.stalls]!) {
      this.waitForEvent(-1, 0, nextRandom(words) * words[SimWord.stallMs]!);
      return;
    }
    const next = this.#draw();
    if (next !== this.self) this.#handOver(next);
  }

  /** Lets the judge look. */
  judge(reason: number): void {
    this.words[SimWord.reason] = reason;
    this.words[SimWord.handedBy] = this.self;
    wakeUp(this.words, JUDGE);
    this.#sleep();
  }

  /** Waits until somebody frees a lock. */
  waitForLock(): void {
    this.#waitAs(ThreadState.lock);
  }

  lockFreed(): void {
    for (let thread = 0; thread < this.#threads; thread++) {
      const state = at(thread, ThreadWord.state);
      if (this.words[state] === ThreadState.lock) this.words[state] = ThreadState.running;
    }
  }

  /** Waits until an event's epoch is another than the one seen, or the time has passed. */
  waitForEvent(event: number, seenEpoch: number, timeoutMs: number): void {
    this.words[at(this.self, ThreadWord.event)] = event;
    this.words[at(this.self, ThreadWord.epoch)] = seenEpoch;
    this.#numbers[DEADLINES + this.self] = this.clockMs + timeoutMs;
    this.#waitAs(ThreadState.event);
  }

  /** The thread has nothing more to do in this life; the last user tells the judge. */
  done(isUser: boolean): void {
    this.words[at(this.self, ThreadWord.state)] = ThreadState.done;
    if (isUser) this.words[SimWord.usersLeft]! -= 1;
    const isLast = this.words[SimWord.isOver] !== 0 || this.words[SimWord.usersLeft]! <= 0;
    const next = isLast ? -1 : this.#draw();
    if (next === -1) {
      this.words[SimWord.reason] = Reason.done;
      this.words[SimWord.handedBy] = this.self;
      wakeUp(this.words, JUDGE);
    } else {
      wakeUp(this.words, next);
    }
  }

  #waitAs(state: number): void {
    const { words } = this;
    if (words[SimWord.isOver] !== 0) throw new SimulatedCrash();
    words[at(this.self, ThreadWord.state)] = state;
    const next = this.#draw();
    if (next === -1) this.judge(Reason.deadlock);
    else if (next !== this.self) this.#handOver(next);
    words[at(this.self, ThreadWord.state)] = ThreadState.running;
    if (words[SimWord.isOver] !== 0) throw new SimulatedCrash();
  }

  #handOver(next: number): void {
    wakeUp(this.words, next);
    this.#sleep();
  }

  #sleep(): void {
    if (!sleepUntilWoken(this.words, this.self)) throw new Error(`simulated thread ${this.self}: it does not get its turn`);
    if (this.words[SimWord.isOver] !== 0) throw new SimulatedCrash();
  }

  #canRun(thread: number): boolean {
    const { words } = this;
    const state = words[at(thread, ThreadWord.state)]!;
    if (state !== ThreadState.event) return state === ThreadState.running;
    const event = words[at(thread, ThreadWord.event)]!;
    const signalled = event >= 0 && Atomics.load(this.#cacheWords, event) !== words[at(thread, ThreadWord.epoch)];
    return signalled || this.#numbers[DEADLINES + thread]! <= this.clockMs;
  }

  /** Who goes on; -1 if nobody ever can. */
  #draw(): number {
    const { words } = this;
    if (words[SimWord.policy] === Policy.priorities) return this.#drawByPriority();
    if (nextRandom(words) * 1000 < words[SimWord.keepPerMille]! && this.#canRun(this.self)) return this.self;
    let total = 0;
    for (let thread = 0; thread < this.#threads; thread++) if (this.#canRun(thread)) total += words[at(thread, ThreadWord.weight)]!;
    if (total === 0) return this.#skipTime() ? this.#draw() : -1;
    let left = nextRandom(words) * total;
    let last = -1;
    for (let thread = 0; thread < this.#threads && left >= 0; thread++) {
      if (!this.#canRun(thread)) continue;
      left -= words[at(thread, ThreadWord.weight)]!;
      last = thread;
    }
    return last;
  }

  /** The one with the highest weight; now and then another gets to be the highest. */
  #drawByPriority(): number {
    const { words } = this;
    if (nextRandom(words) * 1000 >= words[SimWord.keepPerMille]!)
      words[at(this.pick(this.#threads), ThreadWord.weight)] = 1 + this.pick(1000);
    let best = -1;
    for (let thread = 0; thread < this.#threads; thread++) {
      if (this.#canRun(thread) && (best === -1 || words[at(thread, ThreadWord.weight)]! > words[at(best, ThreadWord.weight)]!))
        best = thread;
    }
    if (best !== -1) return best;
    return this.#skipTime() ? this.#drawByPriority() : -1;
  }

  /** Nobody can run: puts the clock on to when the first one can. */
  #skipTime(): boolean {
    let first = Infinity;
    for (let thread = 0; thread < this.#threads; thread++) {
      if (this.words[at(thread, ThreadWord.state)] === ThreadState.event) first = Math.min(first, this.#numbers[DEADLINES + thread]!);
    }
    if (first === Infinity) return false;
    this.words[SimWord.steps]! += 1;
    this.#numbers[CLOCK] = Math.max(this.clockMs, first);
    return true;
  }
}

/** The scheduler as the judge sees it. */
export class JudgeTurns {
  readonly words: Int32Array;
  readonly #numbers: Float64Array;
  readonly #threads: number;

  constructor(state: SimTurnsState) {
    this.words = state.words;
    this.#numbers = state.numbers;
    this.#threads = state.threads;
  }

  get clockMs(): number {
    return this.#numbers[CLOCK]!;
  }

  /** Before a life: `random` chooses how threads are drawn. */
  reset(random: () => number, threads: number, users: number): void {
    const { words } = this;
    words[SimWord.usersLeft] = users;
    words[SimWord.randomState] = Math.floor(random() * 2 ** 32) | 1;
    words[SimWord.steps] = 0;
    words[SimWord.progressAtStep] = 0;
    words[SimWord.isOver] = 0;
    words[SimWord.cacheFailed] = 0;
    words[SimWord.policy] = random() < 0.3 ? Policy.priorities : Policy.weights;
    words[SimWord.keepPerMille] =
      words[SimWord.policy] === Policy.priorities
        ? [999, 990, 900][Math.floor(random() * 3)]!
        : [0, 600, 900, 970][Math.floor(random() * 4)]!;
    words[SimWord.tickMicros] = [5, 100, 2000][Math.floor(random() * 3)]!;
    words[SimWord.stalls] = [0, 300, 2000][Math.floor(random() * 3)]!;
    words[SimWord.stallMs] = [5, 100, 2000][Math.floor(random() * 3)]!;
    for (let thread = 0; thread <= THREADS_MAX; thread++) {
      words[at(thread, ThreadWord.state)] = thread < threads ? ThreadState.running : ThreadState.done;
      words[at(thread, ThreadWord.weight)] = [2, 30, 100, 100, 300][Math.floor(random() * 5)]!;
      words[at(thread, ThreadWord.wake)] = 0;
    }
  }

  /** Gives the turn to a thread and waits until the judge is wanted again. Returns why. */
  run(thread: number): number {
    wakeUp(this.words, thread);
    return sleepUntilWoken(this.words, JUDGE) ? this.words[SimWord.reason]! : Reason.stuck;
  }

  get handedBy(): number {
    return this.words[SimWord.handedBy]!;
  }

  /** Ends a life: each thread that is not done gets a last turn, in which it unwinds. */
  end(): void {
    this.words[SimWord.isOver] = 1;
    for (let thread = 0; thread < this.#threads; thread++) {
      if (this.words[at(thread, ThreadWord.state)] !== ThreadState.done) this.run(thread);
    }
  }
}
