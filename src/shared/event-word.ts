// An event that threads wait for: an epoch that counts signals, and the number of threads that wait for it to change.
//
// The rule that makes a missed wake-up impossible: read the epoch, THEN check the condition, THEN wait on the epoch that was read.
// Whoever makes the condition true does so before it signals. So if the check came too early to see the condition, the signal comes after
// the epoch was read, and the wait finds another epoch and returns at once.
//
//     for (;;) {
//       const seen = event.epoch();
//       if (condition()) break;
//       event.wait(seen, timeoutMs);
//     }
//
// `signal` spares the call into the futex when nobody waits, and that loses nothing either. A waiter counts itself before Atomics.wait
// compares the epoch; a signaller changes the epoch before it reads the count. Atomics are one total order: either the signaller sees the
// waiter and notifies it, or the waiter counted itself after the epoch had changed and its comparison fails.

/** 32-bit words that an event takes: the epoch, then the count of waiters. */
export const EVENT_WORDS = 2;

const WAITERS = 1;

export class EventWord {
  readonly #words: Int32Array;
  readonly #index: number;

  /** The event at `words[index]` and `words[index + 1]`, on a SharedArrayBuffer; all zeros is a valid new event. */
  constructor(words: Int32Array, index: number) {
    this.#words = words;
    this.#index = index;
  }

  /** The number of signals so far, modulo 2^32. */
  epoch(): number {
    return Atomics.load(this.#words, this.#index);
  }

  /** Wakes every thread that waits. What it announces must have been stored before. */
  signal(): void {
    this.#signal(Infinity);
  }

  /**
   * Wakes one of the threads that wait. Only for events that any one of the waiters can deal with: one that is woken and then does not
   * look leaves the others asleep until the next signal or their timeout.
   */
  signalOne(): void {
    this.#signal(1);
  }

  /**
   * Sleeps while the epoch is `seenEpoch`, for `timeoutMs` at most (Infinity: no limit).
   * @returns false if the time passed without a signal.
   */
  wait(seenEpoch: number, timeoutMs: number): boolean {
    const words = this.#words;
    const index = this.#index;
    Atomics.add(words, index + WAITERS, 1);
    const outcome = Atomics.wait(words, index, seenEpoch, timeoutMs);
    Atomics.sub(words, index + WAITERS, 1);
    return outcome !== 'timed-out';
  }

  #signal(threads: number): void {
    Atomics.add(this.#words, this.#index, 1);
    if (Atomics.load(this.#words, this.#index + WAITERS) !== 0) Atomics.notify(this.#words, this.#index, threads);
  }
}
