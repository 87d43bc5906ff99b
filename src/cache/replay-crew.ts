// Work of a replay that several threads share: pieces that the thread that opens the cache puts down and takes the results of, in order, and that
// whoever has time does in between, it as well as its helpers.
//
// Invariants:
// - What a helper does to a piece is to read, and to write a result into the piece's slot. It is used only as a whole, and only by the one thread that opens
//   the cache; so what is made of it does not depend on who did it, or when.
// - That thread never needs a helper. A piece that nobody has begun it does by itself. One that a helper has begun it does by itself too if it has nothing else
//   to do and that takes more than a moment; the slot is lost then until the helper gives it back. So a helper that is late, never comes, fails, is held up,
//   or is gone, costs that moment. As many slots as there are helpers can be lost at a time, so there are fewer helpers than slots.
// - A slot is free, filled, claimed by a helper (or by the opening thread, for a piece out of turn), done, failed, lost, or given back. Pieces are taken from
//   one another by compareExchange alone.
// - No helper begins anything after `close`; if that returns true, none will touch the cache any more.

import { sharedInt32 } from './shared-state.js';

/** Words of a slot: what is to be done, then the result. */
export const PIECE_WORDS = 2048;
export const RESULT_WORDS = 8192 * 3;
const SLOT_WORDS = PIECE_WORDS + RESULT_WORDS;
/** 3.3 MiB in all, and work for some 20 ms. */
const SLOTS = 32;
export const HELPERS_MAX = 24;

/** Word of a piece: which kind of work it is. The others are its own. */
export const PIECE_KIND_WORD = 0;
export const PieceKind = { ksets: 0, subtrees: 1 } as const;

const PUBLISHED = 0;
const NEXT = 1;
const CLOSED = 2;
const INSIDE = 3;
/** Slots by the order in which they were filled: a ring. */
const QUEUE = 16;
const STATES = QUEUE + SLOTS;

const FREE = 0;
const FILLED = 1;
const CLAIMED = 2;
const DONE = 3;
const FAILED = 4;
const LOST = 5;
const GIVEN_BACK = 6;

/** How often a helper that waits looks whether it is still wanted, should it have missed that. */
const HELPER_WAIT_MS = 1000;
/** How long a piece that is being done is waited for if there is nothing else to do: longer than almost any takes. */
const PATIENCE_MS = 2;
/** How long helpers are waited for where the cache is not to be used: a large piece on a slow device takes a second. */
const LEAVING_MS = 3000;

/** What threads need to join; structured-cloneable. */
export interface CrewState {
  readonly words: Int32Array;
  readonly slots: Int32Array;
}

export interface Piece {
  readonly piece: Int32Array;
  readonly result: Int32Array;
}

/** Of the thread that opens the cache: what becomes of pieces of one kind. All are called in the order of the pieces, but for `run`. */
export interface PieceWork {
  /** As a helper would. */
  run(slot: Piece): void;
  /** Uses what `run` left. */
  take(slot: Piece): void;
  /** Both at once, without the detour by a result. */
  doAll(slot: Piece): void;
}

/** By PieceKind. */
export type Works = Readonly<Record<number, PieceWork>>;

function slotsOf({ slots }: CrewState): Piece[] {
  return Array.from({ length: SLOTS }, (_, slot) => ({
    piece: slots.subarray(slot * SLOT_WORDS, slot * SLOT_WORDS + PIECE_WORDS),
    result: slots.subarray(slot * SLOT_WORDS + PIECE_WORDS, (slot + 1) * SLOT_WORDS),
  }));
}

/** The side of the thread that opens the cache. */
export class ReplayCrew {
  readonly state: CrewState = { words: sharedInt32(STATES + SLOTS), slots: sharedInt32(SLOTS * SLOT_WORDS) };
  readonly #words = this.state.words;
  readonly #slots = slotsOf(this.state);
  readonly #works: Works;
  readonly #free = Array.from({ length: SLOTS }, (_, slot) => slot);
  /** Filled and not taken yet, the oldest first. */
  readonly #pending: number[] = [];
  #lost: number[] = [];

  constructor(works: Works) {
    this.#works = works;
  }

  /** A piece to fill and to publish; what is pending is gone on with until there is one. */
  nextSlot(): Piece {
    if (this.#lost.length > 0) this.#takeBack();
    while (this.#free.length === 0) this.#step();
    return this.#slots[this.#free.at(-1)!]!;
  }

  /** Puts down the piece that `nextSlot` gave. */
  publish(): void {
    const slot = this.#free.pop()!;
    const words = this.#words;
    Atomics.store(words, STATES + slot, FILLED);
    this.#pending.push(slot);
    const published = words[PUBLISHED]!;
    Atomics.store(words, QUEUE + (published % SLOTS), slot);
    Atomics.store(words, PUBLISHED, published + 1);
    Atomics.notify(words, PUBLISHED);
  }

  /** Returns when all pieces have been taken. */
  drain(): void {
    while (this.#pending.length > 0) this.#step();
  }

  /** Sends the helpers away, whatever was done. */
  dismiss(): void {
    Atomics.store(this.#words, CLOSED, 1);
    Atomics.notify(this.#words, PUBLISHED);
  }

  /** The same, and waits until they are gone. Returns whether they are gone; false if one is in the middle of something and does not come to its end. */
  close(): boolean {
    const words = this.#words;
    this.dismiss();
    for (let inside = Atomics.load(words, INSIDE); inside > 0; inside = Atomics.load(words, INSIDE)) {
      if (Atomics.wait(words, INSIDE, inside, LEAVING_MS) === 'timed-out') return false;
    }
    return true;
  }

  /** Brings the oldest piece nearer to its end, or another one while that is being done. */
  #step(): void {
    const slot = this.#pending[0]!;
    const at = STATES + slot;
    const state = Atomics.load(this.#words, at);
    if (state === DONE) this.#end(slot, false);
    else if (state === FAILED || this.#claim(slot)) this.#end(slot, true);
    else if (!this.#runAnother()) this.#await(slot);
  }

  #workOf({ piece }: Piece): PieceWork {
    return this.#works[piece[PIECE_KIND_WORD]!]!;
  }

  #claim(slot: number): boolean {
    return Atomics.compareExchange(this.#words, STATES + slot, FILLED, CLAIMED) === FILLED;
  }

  #end(slot: number, doAll: boolean): void {
    this.#pending.shift();
    const data = this.#slots[slot]!;
    if (doAll) this.#workOf(data).doAll(data);
    else this.#workOf(data).take(data);
    if (this.#lost.includes(slot)) return;
    Atomics.store(this.#words, STATES + slot, FREE);
    this.#free.push(slot);
  }

  /** The newest that nobody has begun: helpers come from the other end. */
  #runAnother(): boolean {
    for (let i = this.#pending.length - 1; i > 0; i--) {
      const slot = this.#pending[i]!;
      if (!this.#claim(slot)) continue;
      const data = this.#slots[slot]!;
      this.#workOf(data).run(data);
      Atomics.store(this.#words, STATES + slot, DONE);
      return true;
    }
    return false;
  }

  #await(slot: number): void {
    const at = STATES + slot;
    if (Atomics.wait(this.#words, at, CLAIMED, PATIENCE_MS) !== 'timed-out') return;
    if (Atomics.compareExchange(this.#words, at, CLAIMED, LOST) !== CLAIMED) return;
    this.#lost.push(slot);
    this.#end(slot, true);
  }

  #takeBack(): void {
    const isBack = (slot: number): boolean => Atomics.compareExchange(this.#words, STATES + slot, GIVEN_BACK, FREE) === GIVEN_BACK;
    this.#lost = this.#lost.filter((slot) => {
      if (!isBack(slot)) return true;
      this.#free.push(slot);
      return false;
    });
  }
}

/** How many helpers may be touching the cache. */
export function helpersInside({ words }: CrewState): number {
  return Atomics.load(words, INSIDE);
}

/** How many pieces helpers have reached for. */
export function piecesReached({ words }: CrewState): number {
  return Atomics.load(words, NEXT);
}

/**
 * The side of a helper: does pieces until the crew is closed; returns at once if it is already. `begin` makes what does a piece, and is called once, and only
 * while the crew is open. Whatever that throws goes on to the caller; its piece is done by somebody else.
 */
export function helpCrew(state: CrewState, begin: () => (slot: Piece) => void): void {
  const { words } = state;
  Atomics.add(words, INSIDE, 1);
  try {
    if (Atomics.load(words, CLOSED) !== 0) return;
    const slots = slotsOf(state);
    const run = begin();
    for (;;) {
      const published = Atomics.load(words, PUBLISHED);
      if (Atomics.load(words, CLOSED) !== 0) return;
      const next = Atomics.load(words, NEXT);
      if (next === published) Atomics.wait(words, PUBLISHED, published, HELPER_WAIT_MS);
      else if (Atomics.compareExchange(words, NEXT, next, next + 1) === next) {
        // The slot may stand for a later piece by now, which is as good.
        runSlot(words, Atomics.load(words, QUEUE + (next % SLOTS)), slots, run);
      }
    }
  } finally {
    Atomics.sub(words, INSIDE, 1);
    Atomics.notify(words, INSIDE);
  }
}

function runSlot(words: Int32Array, slot: number, slots: readonly Piece[], run: (slot: Piece) => void): void {
  const at = STATES + slot;
  if (Atomics.compareExchange(words, at, FILLED, CLAIMED) !== FILLED) return;
  let end = FAILED;
  try {
    run(slots[slot]!);
    end = DONE;
  } finally {
    if (Atomics.compareExchange(words, at, CLAIMED, end) === LOST) Atomics.store(words, at, GIVEN_BACK);
    Atomics.notify(words, at);
  }
}
