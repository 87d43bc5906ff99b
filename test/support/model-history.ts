// What a volume may hold after a loss: a list of writes in order, the flushes among them, and the two questions that the promises ask.
//
// All places are bytes of one window of the volume. `base` is what the window held before the first write of the list, and is itself as good
// as flushed. Writes are numbered from 0; "state n" is base with the first n writes.

import { SECTOR_BYTES } from '../../src/media/layout.js';
import { firstDifference, sameBytes, sectorsOf } from './model-rig.js';

export interface WriteRecord {
  readonly offset: number;
  readonly bytes: Uint8Array;
  /** Made of more than one key, or not acknowledged: a loss may cut it off at a sector's end. */
  readonly canTear: boolean;
}

export class WriteHistory {
  #base: Uint8Array;
  #writes: WriteRecord[] = [];
  /** Writes that a flush which returned covers. */
  #flushed = 0;
  /** Each flush that returned: how many writes came before it; ascending. */
  #flushes: number[] = [0];

  constructor(base: Uint8Array) {
    this.#base = base.slice();
  }

  get length(): number {
    return this.#writes.length;
  }

  write(record: WriteRecord): void {
    this.#writes.push(record);
  }

  /** A flush has returned. */
  flush(): void {
    this.#flushed = this.#writes.length;
    if (this.#flushes.at(-1) !== this.#writes.length) this.#flushes.push(this.#writes.length);
  }

  /** State of all writes. */
  state(): Uint8Array {
    return this.#stateAt(this.#writes.length);
  }

  #stateAt(count: number): Uint8Array {
    const state = this.#base.slice();
    for (const { offset, bytes } of this.#writes.slice(0, count)) state.set(bytes, offset);
    return state;
  }

  /**
   * Promise 4 (and 3): `content` is state n for some n that covers every flush, or has a write that can tear cut off after it. The history
   * goes on from there: what came later is forgotten. `atLeast`: writes that must be there in any case (for the death of the process: all).
   * Returns what is wrong, undefined if nothing is.
   */
  cutToPrefix(content: Uint8Array, atLeast = this.#flushed): string | undefined {
    const state = this.#stateAt(atLeast);
    let found: { count: number; torn: WriteRecord | undefined } | undefined;
    for (let count = atLeast; count <= this.#writes.length; count++) {
      if (sameBytes(state, content)) found = { count, torn: undefined };
      const next = this.#writes[count];
      if (next === undefined) break;
      const torn = next.canTear ? tornAsIn(content, state, next) : undefined;
      if (torn !== undefined) found = { count, torn };
      state.set(next.bytes, next.offset);
    }
    if (found === undefined) return this.#describe(content, state, atLeast);
    this.#writes.length = found.count;
    if (found.torn !== undefined) this.#writes.push(found.torn);
    this.#flushes = this.#flushes.filter((count) => count <= this.#writes.length);
    return undefined;
  }

  #describe(content: Uint8Array, last: Uint8Array, atLeast: number): string {
    const at = firstDifference(content, last) ?? 0;
    const known = this.#writes.findLastIndex(({ offset, bytes }) => {
      const from = Math.max(at, offset);
      return (
        from === at && at < offset + bytes.length && sameBytes(bytes.subarray(at - offset, at - offset + 16), content.subarray(at, at + 16))
      );
    });
    return (
      `no prefix of ${this.#writes.length} writes (${atLeast} of them must be there) is what the volume holds; ` +
      `at ${at} it holds what ${known === -1 ? 'none of them' : `write ${known}`} wrote`
    );
  }

  /**
   * Promise 5: each sector of `content` is as some flush left it, or as a write of the interval after that flush left it; one flush for all.
   * With `forget`, the flushes before it are forgotten: a durable backing device does not go back. Returns what is wrong.
   */
  checkInterval(content: Uint8Array, forget: boolean): string | undefined {
    const state = this.#base.slice();
    let fewest = Number.MAX_SAFE_INTEGER;
    for (const [index, start] of this.#flushes.entries()) {
      const end = this.#flushes[index + 1] ?? this.#writes.length;
      const atFlush = forget ? state.slice() : undefined;
      const strange = new Set<number>();
      for (let sector = 0; sector < content.length / SECTOR_BYTES; sector++) if (!sameSector(state, content, sector)) strange.add(sector);
      for (const { offset, bytes } of this.#writes.slice(start, end)) {
        state.set(bytes, offset);
        const sectors = sectorsOf(offset, bytes.length);
        for (let sector = sectors.first; sector < sectors.end; sector++) if (sameSector(state, content, sector)) strange.delete(sector);
      }
      if (strange.size === 0) {
        if (atFlush !== undefined) this.#forget(index, start, atFlush);
        return undefined;
      }
      fewest = Math.min(fewest, strange.size);
    }
    return `the backing device is not one flush and the interval after it: in the best case ${fewest} sectors are from elsewhere`;
  }

  #forget(flushes: number, writes: number, base: Uint8Array): void {
    this.#flushes = this.#flushes.slice(flushes).map((count) => count - writes);
    this.#writes.splice(0, writes);
    this.#flushed = Math.max(0, this.#flushed - writes);
    this.#base = base;
  }

  /** Everything so far is on the backing device. */
  restart(): void {
    this.#base = this.state();
    this.#writes = [];
    this.#flushed = 0;
    this.#flushes = [0];
  }
}

function sameSector(a: Uint8Array, b: Uint8Array, sector: number): boolean {
  const start = sector * SECTOR_BYTES;
  return sameBytes(a.subarray(start, start + SECTOR_BYTES), b.subarray(start, start + SECTOR_BYTES));
}

/** The part of `write` that `content` holds if it is `state` with that write cut off at a sector's end. */
function tornAsIn(content: Uint8Array, state: Uint8Array, write: WriteRecord): WriteRecord | undefined {
  const whole = state.slice();
  whole.set(write.bytes, write.offset);
  const at = firstDifference(content, whole);
  if (at === undefined) return undefined;
  const cut = at - (at % SECTOR_BYTES) - write.offset;
  if (cut <= 0 || cut >= write.bytes.length) return undefined;
  const torn = { offset: write.offset, bytes: write.bytes.slice(0, cut), canTear: false };
  const cutState = state.slice();
  cutState.set(torn.bytes, torn.offset);
  return sameBytes(content, cutState) ? torn : undefined;
}
