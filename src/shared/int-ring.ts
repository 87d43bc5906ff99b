// A bounded queue of tuples of 32-bit integers, for any number of producers and consumers in any threads.
//
// All of it is in one SharedArrayBuffer: a header, then `capacity` slots of `width` words. Invariants, under the mutex:
// - 0 <= length <= capacity, 0 <= head < capacity; the tuples are in slots head, head + 1, ... (modulo capacity), oldest first.
// - The event is signalled after a tuple is in place and the mutex is free again, once for each tuple. So a consumer that read the epoch
//   before it found the ring empty can't sleep through a push (see event-word).
// Nothing is allocated by push, pop and length.

import { PcacheError } from '../errors.js';
import { epoch, EVENT_WORDS, signal, signalOne, wait } from './event-word.js';
import { lock, unlock } from './mutex.js';

const MUTEX = 0;
const HEAD = 1;
const LENGTH = 2;
const CAPACITY = 3;
const WIDTH = 4;
const NOT_EMPTY = 5;
/** A cache line, so that the first slot does not share one with the mutex. */
const HEADER_WORDS = 16;

if (NOT_EMPTY + EVENT_WORDS > HEADER_WORDS) throw new PcacheError('internal', 'int-ring: the header does not hold its words');

/** What another thread needs to attach; structured-cloneable. */
export interface IntRingState {
  readonly words: SharedArrayBuffer;
}

export class IntRing {
  readonly state: IntRingState;
  /** Tuples that the ring holds at most. */
  readonly capacity: number;
  /** Words in a tuple. */
  readonly width: number;
  readonly #words: Int32Array;

  private constructor(state: IntRingState) {
    this.state = state;
    this.#words = new Int32Array(state.words);
    this.capacity = this.#words[CAPACITY]!;
    this.width = this.#words[WIDTH]!;
  }

  /** A new, empty ring of `capacity` tuples (1 or more) of `width` words (1 or more). */
  static create(capacity: number, width: number): IntRing {
    if (!Number.isInteger(capacity) || !Number.isInteger(width) || capacity < 1 || width < 1) {
      throw new PcacheError('internal', `int-ring: ${capacity} tuples of ${width} words make no ring`);
    }
    const words = new Int32Array(new SharedArrayBuffer((HEADER_WORDS + capacity * width) * 4));
    words[CAPACITY] = capacity;
    words[WIDTH] = width;
    return new IntRing({ words: words.buffer });
  }

  /** The same ring, for this thread. */
  static attach(state: IntRingState): IntRing {
    return new IntRing(state);
  }

  /** Tuples in the ring at this moment. */
  get length(): number {
    return Atomics.load(this.#words, LENGTH);
  }

  /** Appends the first `width` words of `tuple`; false if the ring is full. Wakes one waiting consumer. */
  push(tuple: Int32Array): boolean {
    const words = this.#words;
    const width = this.width;
    lock(words, MUTEX);
    const length = words[LENGTH]!;
    if (length === this.capacity) {
      unlock(words, MUTEX);
      return false;
    }
    let slot = words[HEAD]! + length;
    if (slot >= this.capacity) slot -= this.capacity;
    const base = HEADER_WORDS + slot * width;
    for (let i = 0; i < width; i++) words[base + i] = tuple[i]!;
    Atomics.store(words, LENGTH, length + 1);
    unlock(words, MUTEX);
    signalOne(words, NOT_EMPTY);
    return true;
  }

  /** Takes the oldest tuple into the first `width` words of `into`; false if the ring is empty (`into` is untouched). Never waits. */
  pop(into: Int32Array): boolean {
    const words = this.#words;
    const width = this.width;
    lock(words, MUTEX);
    const length = words[LENGTH]!;
    if (length === 0) {
      unlock(words, MUTEX);
      return false;
    }
    const head = words[HEAD]!;
    const base = HEADER_WORDS + head * width;
    for (let i = 0; i < width; i++) into[i] = words[base + i]!;
    words[HEAD] = head + 1 === this.capacity ? 0 : head + 1;
    Atomics.store(words, LENGTH, length - 1);
    unlock(words, MUTEX);
    return true;
  }

  /**
   * Sleeps while the ring is empty, for `timeoutMs` at most (Infinity: no limit).
   *
   * Each push wakes one sleeper, so a thread that gets `true` must pop, or call `wakeAll` if it won't. Another consumer may be
   * faster: `pop` can still find nothing.
   * @returns whether the ring was not empty just now; false means that the time passed, that `wakeAll` was called, or that another
   * consumer was faster.
   */
  waitNotEmpty(timeoutMs: number): boolean {
    const seen = epoch(this.#words, NOT_EMPTY);
    if (!this.#isEmpty()) return true;
    wait(this.#words, NOT_EMPTY, seen, timeoutMs);
    return !this.#isEmpty();
  }

  /** Ends every `waitNotEmpty` that is going on, so that its thread can look for other news (an order to stop). */
  wakeAll(): void {
    signal(this.#words, NOT_EMPTY);
  }

  #isEmpty(): boolean {
    return Atomics.load(this.#words, LENGTH) === 0;
  }
}
