// The way of a slot back to the ring whose entry it is, from whichever thread has answered its request: only the ring's own thread may commit the
// answer.
//
// No wake-up is missed: the ring's thread says that it is about to sleep before it looks for slots for the last time; whoever gives one back puts
// it in place before it looks whether the thread sleeps. The wake-up is a write to an eventfd, which the ring itself reads: so the thread
// wakes as it does for a request.

import { WakeEvent, closeWakeEvent, createWakeEvent } from '../device/wake-event.js';
import { IntRing } from '../shared/int-ring.js';
import type { IntRingState } from '../shared/int-ring.js';

const ASLEEP = 0;

/** Structured-cloneable. */
export interface RingReturnState {
  readonly eventFd: number;
  /** Tuples: slot. */
  readonly slots: IntRingState;
  /** One word: 1 while the ring's thread sleeps, or is about to. */
  readonly words: Int32Array<SharedArrayBuffer>;
}

/** `slotCount`: slots that may be on the way back at a time. */
export function createRingReturn(slotCount: number): RingReturnState {
  return {
    eventFd: createWakeEvent(),
    slots: IntRing.create(slotCount, 1).state,
    words: new Int32Array(new SharedArrayBuffer(4)),
  };
}

export function destroyRingReturn(state: RingReturnState): void {
  closeWakeEvent(state.eventFd);
}

/** As one thread sees it. */
export class RingReturn {
  readonly state: RingReturnState;
  readonly #slots: IntRing;
  readonly #tuple = new Int32Array(1);
  readonly #event: WakeEvent;

  constructor(state: RingReturnState) {
    this.state = state;
    this.#slots = IntRing.attach(state.slots);
    this.#event = new WakeEvent(state.eventFd);
  }

  /** Gives a slot back. Any thread. */
  give(slot: number): void {
    this.#tuple[0] = slot;
    this.#slots.push(this.#tuple);
    if (Atomics.load(this.state.words, ASLEEP) === 1) this.wake();
  }

  /** Has the ring's thread look around. Any thread. */
  wake(): void {
    this.#event.wake();
  }

  /** The next slot that came back; -1 if there is none. The ring's thread. */
  take(): number {
    if (this.#slots.length === 0) return -1;
    return this.#slots.pop(this.#tuple) ? this.#tuple[0]! : -1;
  }

  /** Says that the thread is about to sleep. @returns whether it may: nothing has come back */
  fallAsleep(): boolean {
    Atomics.store(this.state.words, ASLEEP, 1);
    return this.#slots.length === 0;
  }

  /** Says that it is awake. */
  wakeUp(): void {
    Atomics.store(this.state.words, ASLEEP, 0);
  }
}
