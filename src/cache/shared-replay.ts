// A replay that other threads help with. What they find out of keys is taken in the order of the log; any key that is not plain is looked at once more, by
// the code of a replay without helpers, which alone decides what becomes of such.

import { KeyCursor } from '../media/cache-key.js';
import { KEY_BYTES, KSET_HEADER_BYTES } from '../media/layout.js';
import type { CacheSegId } from '../media/layout.js';
import type { CacheMedia } from './cache-media.js';
import type { CacheTree } from './cache-tree.js';
import type { IndexBuilder } from './index-builder.js';
import {
  KsetSurvey,
  NOT_PLAIN,
  PIECE_KEYS_MAX,
  PIECE_KSETS_MAX,
  SURVEY_WORDS,
  addKset,
  beginPiece,
  keyCountOf,
  ksetCountOf,
  ksetOf,
} from './kset-survey.js';
import { PieceKind, ReplayCrew } from './replay-crew.js';
import type { Piece, PieceWork } from './replay-crew.js';
import type { ReplayHelpers } from './replay-helper.js';
import { sharedFloat64 } from './shared-state.js';
import type { CacheShared } from './shared-state.js';

/** With payload to compare: half a MiB of it or, if its keys are large, up to half a GiB. */
const PIECE_KSETS_WITH_PAYLOAD = 1;
const PIECE_KSETS_WITHOUT = 32;

/** What becomes of keys, called in their order. */
export interface KeyTaker {
  add(key: KeyCursor, isDirty: boolean): void;
  /** The same for a plain key (see kset-survey.ts); `range` and `place` as in an extent. */
  addPlain(subtree: number, range: number, place: number, isDirty: boolean): void;
}

export class SharedReplay implements PieceWork {
  readonly #media: CacheMedia;
  readonly #taker: KeyTaker;
  readonly #builder: IndexBuilder;
  readonly #survey: KsetSurvey;
  readonly #crew: ReplayCrew;
  readonly #ksetsMax: number;
  readonly #key = new KeyCursor();
  #filling: Piece | undefined;
  /** Keys of pieces that were published, and of the one being filled, that may not be put down yet. */
  #keysAhead = 0;

  /** Asks the helpers. What has been put down so far is kept. */
  constructor(media: CacheMedia, shared: CacheShared, tree: CacheTree, builder: IndexBuilder, taker: KeyTaker, helpers: ReplayHelpers) {
    this.#media = media;
    this.#taker = taker;
    this.#builder = builder;
    const generations = sharedFloat64(shared.segmentCount);
    generations.set(media.generations);
    const { volumeBytes, segmentCount, dataCrc } = shared;
    const survey = { limits: { volumeBytes, segmentCount }, generations, dataCrc };
    this.#survey = new KsetSurvey(media.log, survey);
    this.#ksetsMax = Math.min(PIECE_KSETS_MAX, dataCrc ? PIECE_KSETS_WITH_PAYLOAD : PIECE_KSETS_WITHOUT);
    const keys = builder.share();
    const works = { [PieceKind.ksets]: this, [PieceKind.subtrees]: builder };
    this.#crew = new ReplayCrew(works);
    const { physicalOf, generationLow } = shared;
    helpers.start({ crew: this.#crew.state, survey, physicalOf, generationLow, tree: tree.state, keys });
  }

  /** The next kset of the log; its keys may be added later. */
  addKset(cacheSegId: CacheSegId, segOff: number, keys: number, isDirty: boolean): void {
    if (this.#filling !== undefined && keyCountOf(this.#filling) + keys > PIECE_KEYS_MAX) this.#publish();
    if (this.#keysAhead + keys > this.#builder.roomKeys) this.#makeRoom();
    if (this.#filling === undefined) {
      this.#filling = this.#crew.nextSlot();
      beginPiece(this.#filling);
    }
    addKset(this.#filling, cacheSegId, segOff, keys, isDirty);
    this.#keysAhead += keys;
    if (ksetCountOf(this.#filling) >= this.#ksetsMax) this.#publish();
  }

  /** Returns when the keys of all ksets have been added. */
  drain(): void {
    this.#publish();
    this.#crew.drain();
  }

  /** Brings all that was put down into the tree. Returns false if there is no memory for the index. */
  finish(): boolean {
    this.drain();
    return this.#builder.finish(this.#crew);
  }

  /** Sends the helpers away. They may still read the cache for a moment, and change nothing. */
  dismiss(): void {
    this.#crew.dismiss();
  }

  /** The same, and waits until they are gone. Returns false if one does not go. */
  close(): boolean {
    return this.#crew.close();
  }

  run(slot: Piece): void {
    this.#survey.run(slot);
  }

  take(slot: Piece): void {
    const { result } = slot;
    const taker = this.#taker;
    this.#keysAhead -= keyCountOf(slot);
    let at = 0;
    for (let index = 0; index < ksetCountOf(slot); index++) {
      const { cacheSegId, segOff, keys, isDirty } = ksetOf(slot, index);
      for (let i = 0; i < keys; i++, at += SURVEY_WORDS) {
        const subtree = result[at]!;
        if (subtree === NOT_PLAIN) this.#addKey(cacheSegId, segOff, i, isDirty);
        else taker.addPlain(subtree, result[at + 1]!, result[at + 2]!, isDirty);
      }
    }
  }

  doAll(slot: Piece): void {
    this.#keysAhead -= keyCountOf(slot);
    for (let index = 0; index < ksetCountOf(slot); index++) {
      const { cacheSegId, segOff, keys, isDirty } = ksetOf(slot, index);
      for (let i = 0; i < keys; i++) this.#addKey(cacheSegId, segOff, i, isDirty);
    }
  }

  #addKey(cacheSegId: CacheSegId, segOff: number, index: number, isDirty: boolean): void {
    const { view, base } = this.#media.log.data(cacheSegId);
    this.#key.load(view, base + segOff + KSET_HEADER_BYTES + index * KEY_BYTES);
    this.#taker.add(this.#key, isDirty);
  }

  #publish(): void {
    if (this.#filling !== undefined) this.#crew.publish();
    this.#filling = undefined;
  }

  /** So that the builder need not make any in the middle of a piece, when the crew does something else. */
  #makeRoom(): void {
    this.drain();
    // What is left undone for want of memory shows at the end.
    this.#builder.finish(this.#crew);
  }
}
