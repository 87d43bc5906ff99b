// What simulated threads tell the judge: a list in shared memory, in the order in which it happened. The judge takes all of it when it has the turn.

import { SimWord } from './sim-turns.js';

export const EventKind = {
  /** A write begins: operation, offset, length (bytes of the window). */
  write: 1,
  /** A key is in the log: operation (0: none), offset, length, key flags, segment, segment offset. */
  key: 2,
  /** A write was acknowledged: operation. */
  acknowledged: 3,
  /** A write failed, and nobody was promised anything: operation. */
  failed: 4,
  /** A flush asked for its barrier: number of the flush, 0 if it is nobody's. */
  barrier: 5,
  /** A flush returned: the tick at which it was asked for, its number. */
  flushed: 6,
  /** A read: the tick at which it began, offset, length; then the bytes. */
  read: 7,
  /** Where the open kset is: segment, segment offset, keys in it. */
  position: 8,
  /** The cache device or the backing device failed. */
  fault: 9,
  /** Something that must not happen: the text follows. */
  problem: 10,
} as const;

export interface SimEventsState {
  readonly buffer: SharedArrayBuffer;
}

const EVENT_BYTES = 4 * 1024 * 1024;
const HEADER_WORDS = 9;

export function createEvents(): SimEventsState {
  return { buffer: new SharedArrayBuffer(EVENT_BYTES) };
}

export class SimEvents {
  readonly #words: Int32Array;
  readonly #list: Int32Array;
  readonly #bytes: Uint8Array;

  constructor(words: Int32Array, state: SimEventsState) {
    this.#words = words;
    this.#list = new Int32Array(state.buffer);
    this.#bytes = new Uint8Array(state.buffer);
  }

  /** Events so far, in the whole run. */
  get tick(): number {
    return this.#words[SimWord.tick]!;
  }

  get isHalfFull(): boolean {
    return this.#words[SimWord.eventWords]! * 4 > EVENT_BYTES / 2;
  }

  add(kind: number, values: readonly number[], bytes?: Uint8Array): void {
    const at = this.#words[SimWord.eventWords]!;
    const length = bytes?.length ?? 0;
    if ((at + HEADER_WORDS) * 4 + length > EVENT_BYTES) throw new Error('simulation: the list of events is full');
    this.#list[at] = kind;
    this.#list[at + 1] = ++this.#words[SimWord.tick]!;
    this.#list[at + 2] = length;
    for (let index = 0; index < HEADER_WORDS - 3; index++) this.#list[at + 3 + index] = values[index] ?? 0;
    if (bytes !== undefined) this.#bytes.set(bytes, (at + HEADER_WORDS) * 4);
    this.#words[SimWord.eventWords] = at + HEADER_WORDS + Math.ceil(length / 4);
  }

  /** Calls back with each event, and empties the list. `values` and `bytes` are good during the call. */
  take(onEvent: (kind: number, tick: number, values: Int32Array, bytes: Uint8Array) => void): void {
    const end = this.#words[SimWord.eventWords]!;
    for (let at = 0; at < end;) {
      const length = this.#list[at + 2]!;
      const start = (at + HEADER_WORDS) * 4;
      onEvent(
        this.#list[at]!,
        this.#list[at + 1]!,
        this.#list.subarray(at + 3, at + HEADER_WORDS),
        this.#bytes.subarray(start, start + length),
      );
      at += HEADER_WORDS + Math.ceil(length / 4);
    }
    this.#words[SimWord.eventWords] = 0;
  }
}

/** `length` bytes that no other operation writes anywhere. */
export function bytesOfOperation(operation: number, length: number): Uint8Array {
  const words = new Int32Array(Math.ceil(length / 4));
  let state = Math.imul(operation ^ 0x2545f491, 0x9e3779b1) | 1;
  for (let at = 0; at < words.length; at++) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    words[at] = Math.imul(state, 0x85ebca6b);
  }
  return new Uint8Array(words.buffer, 0, length);
}
