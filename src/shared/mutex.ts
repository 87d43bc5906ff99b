// A mutex in one 32-bit word of a SharedArrayBuffer, after Drepper's "Futexes Are Tricky" (mutex 2).
//
// The word is 0 (free), 1 (held, nobody waits) or 2 (held, somebody may wait). Invariants:
// - Only a thread that moved the word from 0 to 1 or 2 holds the mutex; only the holder stores 0.
// - A thread sleeps only on the value 2, and it stored that 2 itself just before. So a sleeper's mutex always reads 2, or has been
//   unlocked by somebody who read 2 and therefore notifies.
//
// No wake-up is missed: Atomics.wait compares and falls asleep in one step with respect to Atomics.notify. If the holder unlocks before that
// step, the word is not 2 any more and the wait returns at once; if after, the holder's exchange returned 2 and its notify finds the sleeper.
// A thread that was woken, or came through the slow path, takes the mutex as 2, because it can't know whether it left others asleep: the
// price is at most one notify too many, never one too few.
//
// The mutex is not recursive and has no owner: a thread that dies while it holds one leaves it held. Threads here die only with their process.

import { PcacheError } from '../errors.js';

const FREE = 0;
const HELD = 1;
const CONTENDED = 2;

/** Loads before a thread goes to sleep: about a microsecond, several times what is done under a subtree's lock. */
const SPIN_COUNT = 400;

/** Sees every lock of this thread; a simulation decides there who runs. */
export interface LockObserver {
  /** Before a lock is taken; `lock` takes it as soon as this returns, if it is free then. */
  beforeLock(words: Int32Array, index: number): void;
  /** After a lock was freed. */
  afterUnlock(words: Int32Array, index: number): void;
}

/** Undefined but in simulations: the price of it is a load and a comparison. */
let observer: LockObserver | undefined;

/** For simulations: `watcher` sees this thread's locks from now on, until it is undefined again. */
export function observeLocks(watcher: LockObserver | undefined): void {
  observer = watcher;
}

/** Takes the mutex at `words[index]`; spins for about a microsecond, then sleeps until it is free. */
export function lock(words: Int32Array, index: number): void {
  if (observer !== undefined) observer.beforeLock(words, index);
  if (Atomics.compareExchange(words, index, FREE, HELD) !== FREE) lockContended(words, index);
}

/** Takes the mutex if it is free; false if it is not. */
export function tryLock(words: Int32Array, index: number): boolean {
  return Atomics.compareExchange(words, index, FREE, HELD) === FREE;
}

/** Frees a mutex that the caller holds and wakes one sleeper, if there may be one. Throws PcacheError `internal` if it was free. */
export function unlock(words: Int32Array, index: number): void {
  const before = Atomics.exchange(words, index, FREE);
  if (before !== HELD) unlockContended(words, index, before);
  if (observer !== undefined) observer.afterUnlock(words, index);
}

function lockContended(words: Int32Array, index: number): void {
  for (let spins = 0; spins < SPIN_COUNT; spins++) {
    // Only a load while it is held: an exchange would pull the cache line away from the holder.
    if (Atomics.load(words, index) === FREE && Atomics.compareExchange(words, index, FREE, HELD) === FREE) return;
  }
  while (Atomics.exchange(words, index, CONTENDED) !== FREE) Atomics.wait(words, index, CONTENDED);
}

function unlockContended(words: Int32Array, index: number, before: number): void {
  if (before !== CONTENDED) throw new PcacheError('internal', `mutex ${index}: unlocked while its word was ${before}`);
  Atomics.notify(words, index, 1);
}
