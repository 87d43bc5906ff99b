// A short text with a time in shared memory, that one thread stores and any reads: what is wrong right now. Empty when nothing is.

import { lock, unlock } from '../shared/mutex.js';

const TEXT_BYTES = 1024;
const LOCK = 0;
const LENGTH = 1;
const HEAD_BYTES = 16;
const SINCE = 1;

export interface Noted {
  readonly text: string;
  /** When the text was first set, milliseconds since 1970. */
  readonly sinceMs: number;
}

export function createSharedText(): SharedArrayBuffer {
  return new SharedArrayBuffer(HEAD_BYTES + TEXT_BYTES);
}

export class SharedText {
  readonly #words: Int32Array;
  readonly #since: Float64Array;
  readonly #bytes: Uint8Array;

  constructor(memory: SharedArrayBuffer) {
    this.#words = new Int32Array(memory, 0, 2);
    this.#since = new Float64Array(memory, 0, 2);
    this.#bytes = new Uint8Array(memory, HEAD_BYTES);
  }

  /** Sets the text, cut at 1 KiB; the time stays that of the first of a series of texts. Returns whether there was none before. */
  set(text: string, nowMs: number): boolean {
    const encoded = new TextEncoder().encode(text).subarray(0, TEXT_BYTES);
    lock(this.#words, LOCK);
    const isFirst = this.#words[LENGTH] === 0;
    if (isFirst) this.#since[SINCE] = nowMs;
    this.#bytes.set(encoded);
    this.#words[LENGTH] = encoded.length;
    unlock(this.#words, LOCK);
    return isFirst;
  }

  /** Returns whether there was a text. */
  clear(): boolean {
    if (!this.isSet) return false;
    lock(this.#words, LOCK);
    const wasSet = this.#words[LENGTH] !== 0;
    this.#words[LENGTH] = 0;
    unlock(this.#words, LOCK);
    return wasSet;
  }

  get isSet(): boolean {
    return Atomics.load(this.#words, LENGTH) !== 0;
  }

  get(): Noted | undefined {
    lock(this.#words, LOCK);
    const bytes = Uint8Array.from(this.#bytes.subarray(0, this.#words[LENGTH]));
    const sinceMs = this.#since[SINCE]!;
    unlock(this.#words, LOCK);
    return bytes.length === 0 ? undefined : { text: new TextDecoder().decode(bytes), sinceMs };
  }
}
