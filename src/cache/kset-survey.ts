// What can be said of the keys of ksets by looking at them and their payload alone: whether a key is plain, which almost all are. Done by whichever thread has
// time, and changes nothing; what becomes of the keys is decided by the thread that opens the cache, in their order.
//
// A key is plain if it keeps every rule of the format, its generation is the one that its segment's record has, and, with data CRC, its payload is good.

import { KeyCursor, validateKey } from '../media/cache-key.js';
import type { KeyLimits } from '../media/cache-key.js';
import { pcacheCrcOfRange } from '../media/crc32c.js';
import { KEY_BYTES, KSET_HEADER_BYTES, SECTOR_BYTES, SUBTREE_BYTES } from '../media/layout.js';
import type { CacheSegId } from '../media/layout.js';
import type { LogSource } from '../media/log-walk.js';
import { ExtentFlag, packPlace, packRange } from './extent.js';
import { PIECE_KIND_WORD, PIECE_WORDS, PieceKind, RESULT_WORDS } from './replay-crew.js';
import type { Piece } from './replay-crew.js';

// Words of a piece.
const KSET_COUNT_WORD = 1;
const KEY_COUNT_WORD = 2;
const FIRST_KSET_WORD = 4;
/** Of a kset: segment, offset, keys, and 1 if what it has may be dirty. */
const KSET_WORDS = 4;
/** Of a key in the result: its subtree, or NOT_PLAIN; its range with flags; its place. As in an extent. */
export const SURVEY_WORDS = 3;
export const NOT_PLAIN = -1;

export const PIECE_KSETS_MAX = (PIECE_WORDS - FIRST_KSET_WORD) / KSET_WORDS;
export const PIECE_KEYS_MAX = RESULT_WORDS / SURVEY_WORDS;

export interface SurveyedKset {
  readonly cacheSegId: CacheSegId;
  readonly segOff: number;
  readonly keys: number;
  readonly isDirty: boolean;
}

export function ksetCountOf({ piece }: Piece): number {
  return piece[KSET_COUNT_WORD]!;
}

export function keyCountOf({ piece }: Piece): number {
  return piece[KEY_COUNT_WORD]!;
}

export function beginPiece({ piece }: Piece): void {
  piece[PIECE_KIND_WORD] = PieceKind.ksets;
  piece[KSET_COUNT_WORD] = 0;
  piece[KEY_COUNT_WORD] = 0;
}

export function addKset({ piece }: Piece, cacheSegId: CacheSegId, segOff: number, keys: number, isDirty: boolean): void {
  const at = FIRST_KSET_WORD + piece[KSET_COUNT_WORD]! * KSET_WORDS;
  piece[at] = cacheSegId;
  piece[at + 1] = segOff;
  piece[at + 2] = keys;
  piece[at + 3] = isDirty ? 1 : 0;
  piece[KSET_COUNT_WORD]! += 1;
  piece[KEY_COUNT_WORD]! += keys;
}

export function ksetOf({ piece }: Piece, index: number): SurveyedKset {
  const at = FIRST_KSET_WORD + index * KSET_WORDS;
  return { cacheSegId: piece[at]! as CacheSegId, segOff: piece[at + 1]!, keys: piece[at + 2]!, isDirty: piece[at + 3] === 1 };
}

export interface SurveyInput {
  readonly limits: KeyLimits;
  /** By cache_seg_id, as their records say. */
  readonly generations: Float64Array;
  readonly dataCrc: boolean;
}

export class KsetSurvey {
  readonly #log: Pick<LogSource, 'data'>;
  readonly #input: SurveyInput;
  readonly #key = new KeyCursor();

  constructor(log: Pick<LogSource, 'data'>, input: SurveyInput) {
    this.#log = log;
    this.#input = input;
  }

  run(slot: Piece): void {
    const { result } = slot;
    const key = this.#key;
    let at = 0;
    for (let index = 0; index < ksetCountOf(slot); index++) {
      const { cacheSegId, segOff, keys } = ksetOf(slot, index);
      const { view, base } = this.#log.data(cacheSegId);
      let keyAt = base + segOff + KSET_HEADER_BYTES;
      for (let i = 0; i < keys; i++, keyAt += KEY_BYTES, at += SURVEY_WORDS) {
        key.load(view, keyAt);
        if (!this.#isPlain(key)) {
          result[at] = NOT_PLAIN;
          continue;
        }
        const subtree = Math.floor(key.off / SUBTREE_BYTES);
        const sector = (key.off - subtree * SUBTREE_BYTES) / SECTOR_BYTES;
        result[at] = subtree;
        result[at + 1] = packRange(sector, key.len / SECTOR_BYTES, key.isClean ? ExtentFlag.clean : 0);
        result[at + 2] = packPlace(key.cacheSegId as CacheSegId, key.cacheSegOff / SECTOR_BYTES);
      }
    }
  }

  #isPlain(key: KeyCursor): boolean {
    const { limits, generations, dataCrc } = this.#input;
    if (validateKey(key, limits) !== undefined || key.segGen !== generations[key.cacheSegId]) return false;
    if (!dataCrc) return true;
    const { bytes, base } = this.#log.data(key.cacheSegId as CacheSegId);
    const at = base + key.cacheSegOff;
    return pcacheCrcOfRange(bytes, at, at + key.len) === key.dataCrc;
  }
}
