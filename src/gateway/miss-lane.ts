// The lane on which READs go that need the backing device. Its workers are either threads that take a request each and block (they wait for the ring of
// requests itself), or one thread that has many under way and sleeps in an io_uring, which this lane wakes through an eventfd.
//
// No wake-up is missed: the thread says that it is about to sleep before it looks for requests for the last time; whoever pushes one puts it in place before
// it looks whether the thread sleeps. Of those who push while it sleeps, one pays for a system call; while it is awake, nobody does.

import { WakeEvent, createWakeEvent } from '../device/wake-event.js';
import { IntRing } from '../shared/int-ring.js';
import type { IntRingState } from '../shared/int-ring.js';

/** 1 while the one thread sleeps, or is about to. */
const ASLEEP = 0;
const EVENT_FD = 1;
/** UNDECIDED until the first worker has claimed the lane. */
const MODE = 2;
const UNDECIDED = 0;
const RINGED = 1;
const BLOCKING = 2;

/** Structured-cloneable. */
export interface MissLaneState {
  /** Tuples: slot. */
  readonly requests: IntRingState;
  readonly words: Int32Array<SharedArrayBuffer>;
}

/** `slotCount`: requests that may be on the lane at a time. */
export function createMissLane(slotCount: number): MissLaneState {
  return { requests: IntRing.create(slotCount, 1).state, words: new Int32Array(new SharedArrayBuffer(12)) };
}

/** As one thread sees it. */
export class MissLane {
  /** For threads that block. */
  readonly requests: IntRing;
  readonly #words: Int32Array<SharedArrayBuffer>;
  #event: WakeEvent | undefined;

  constructor(state: MissLaneState) {
    this.requests = IntRing.attach(state.requests);
    this.#words = state.words;
  }

  get length(): number {
    return this.requests.length;
  }

  push(tuple: Int32Array): boolean {
    const isPushed = this.requests.push(tuple);
    this.#wake();
    return isPushed;
  }

  /** Has every worker look around. */
  wakeAll(): void {
    this.requests.wakeAll();
    this.#wake();
  }

  /** Whether the lane has the one thread with a ring; known once its first worker is ready. */
  get hasRing(): boolean {
    return Atomics.load(this.#words, MODE) === RINGED;
  }

  /** For its workers: makes the ring if the caller is the first of them. @returns undefined if it is to block, as all others are then */
  claim<Ring>(makeRing: () => Ring | undefined): Ring | undefined {
    if (Atomics.compareExchange(this.#words, MODE, UNDECIDED, RINGED) !== UNDECIDED) return undefined;
    const ring = makeRing();
    if (ring === undefined) Atomics.store(this.#words, MODE, BLOCKING);
    return ring;
  }

  /**
   * For the one thread: from now on it is woken through the eventfd that is returned. That stays open for as long as the process lives, since a wake-up may be
   * on its way at any time.
   */
  listen(): number {
    const eventFd = createWakeEvent();
    Atomics.store(this.#words, EVENT_FD, eventFd);
    return eventFd;
  }

  /** Says that the one thread is about to sleep. @returns whether it may: there is no request */
  fallAsleep(): boolean {
    Atomics.store(this.#words, ASLEEP, 1);
    return this.requests.length === 0;
  }

  wakeUp(): void {
    Atomics.store(this.#words, ASLEEP, 0);
  }

  #wake(): void {
    if (Atomics.load(this.#words, ASLEEP) === 0 || Atomics.compareExchange(this.#words, ASLEEP, 1, 0) === 0) return;
    this.#event ??= new WakeEvent(Atomics.load(this.#words, EVENT_FD));
    this.#event.wake();
  }
}
