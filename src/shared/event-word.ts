// An event that threads wait for: an epoch that counts signals, and the number of threads that wait for it to change.
//
// The rule that makes a missed wake-up impossible: read the epoch, THEN check the condition, THEN wait on the epoch that was read.
// Whoever makes the condition true does so before it signals. So if the check came too early to see the condition, the signal comes after
// the epoch was read, and the wait finds another epoch and returns at once.
//
//     for (;;) {
//       const seen = epoch(words, index);
//       if (condition()) break;
//       wait(words, index, seen, timeoutMs);
//     }
//
// `signal` spares the call into the futex when nobody waits, and that loses nothing either. A waiter counts itself before Atomics.wait
// compares the epoch; a signaller changes the epoch before it reads the count. Atomics are one total order: either the signaller sees the
// waiter and notifies it, or the waiter counted itself after the epoch had changed and its comparison fails.
//
// An event is two words on a SharedArrayBuffer, `words[index]` and `words[index + 1]`; zeros are a valid new event.

/** 32-bit words that an event takes: the epoch, then the count of waiters. */
export const EVENT_WORDS = 2;

const WAITERS = 1;

/** The number of signals so far, as a 32-bit integer that wraps. */
export function epoch(words: Int32Array, index: number): number {
  return Atomics.load(words, index);
}

/** Wakes every thread that waits. What the signal announces must have been stored before. */
export function signal(words: Int32Array, index: number): void {
  signalSome(words, index, Infinity);
}

/**
 * Wakes one of the threads that wait. Only for events that any one of the waiters can deal with: one that is woken and then does not
 * look leaves the others asleep until the next signal or their timeout.
 */
export function signalOne(words: Int32Array, index: number): void {
  signalSome(words, index, 1);
}

/**
 * Sleeps while the epoch is `seenEpoch`, for `timeoutMs` at most (Infinity: no limit).
 * @returns false if the time passed without a signal.
 */
export function wait(words: Int32Array, index: number, seenEpoch: number, timeoutMs: number): boolean {
  Atomics.add(words, index + WAITERS, 1);
  const outcome = Atomics.wait(words, index, seenEpoch, timeoutMs);
  Atomics.sub(words, index + WAITERS, 1);
  return outcome !== 'timed-out';
}

/** As `wait`, for a thread that must not block. */
export async function waitAsync(words: Int32Array, index: number, seenEpoch: number, timeoutMs: number): Promise<boolean> {
  Atomics.add(words, index + WAITERS, 1);
  const waiting = Atomics.waitAsync(words, index, seenEpoch, timeoutMs);
  const outcome = waiting.async ? await waiting.value : waiting.value;
  Atomics.sub(words, index + WAITERS, 1);
  return outcome !== 'timed-out';
}

function signalSome(words: Int32Array, index: number, threads: number): void {
  Atomics.add(words, index, 1);
  if (Atomics.load(words, index + WAITERS) !== 0) Atomics.notify(words, index, threads);
}
