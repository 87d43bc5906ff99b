// The contents of `stats.json` and `metrics`, as they were when each was opened: a reader that takes several reads sees one state, whichever
// threads serve them. The last few openings are kept in shared memory; a handle that is older than that reads as stale.

import { lock, unlock } from '../shared/mutex.js';

const OPENINGS = 32;
/** The metrics are 12 KiB and the name of the mount point a hundred times. What is not used of it costs nothing. */
const TEXT_BYTES = 128 * 1024;
const NEWLINE = 10;
const LOCK = 0;
const NEXT_HANDLE = 1;
/** Two words an opening: handle, length. */
const TABLE = 2;

export interface TextFilesState {
  readonly words: SharedArrayBuffer;
  readonly texts: SharedArrayBuffer;
}

export function createTextFiles(): TextFilesState {
  const state = {
    words: new SharedArrayBuffer((TABLE + OPENINGS * 2) * 4),
    texts: new SharedArrayBuffer(OPENINGS * TEXT_BYTES),
  };
  new Int32Array(state.words)[NEXT_HANDLE] = 1;
  return state;
}

export class TextFiles {
  readonly #words: Int32Array;
  readonly #texts: Uint8Array;

  constructor(state: TextFilesState) {
    this.#words = new Int32Array(state.words);
    this.#texts = new Uint8Array(state.texts);
  }

  /** Keeps a text (of more than 128 KiB, the lines that fit) and returns the handle to read it by, 1 or more. */
  open(text: string): number {
    const words = this.#words;
    const whole = new TextEncoder().encode(text);
    const encoded = whole.length <= TEXT_BYTES ? whole : whole.subarray(0, whole.lastIndexOf(NEWLINE, TEXT_BYTES - 1) + 1);
    lock(words, LOCK);
    const handle = words[NEXT_HANDLE]!;
    words[NEXT_HANDLE] = handle === 0x7fffffff ? 1 : handle + 1;
    const place = handle % OPENINGS;
    words[TABLE + place * 2] = handle;
    words[TABLE + place * 2 + 1] = encoded.length;
    this.#texts.set(encoded, place * TEXT_BYTES);
    unlock(words, LOCK);
    return handle;
  }

  /** Copies up to `lengthBytes` from `offsetBytes` of an opened text. Returns how many; -1 if the handle is too old. */
  read(handle: number, offsetBytes: number, lengthBytes: number, target: Uint8Array): number {
    const words = this.#words;
    const place = handle % OPENINGS;
    lock(words, LOCK);
    const length = words[TABLE + place * 2] === handle ? words[TABLE + place * 2 + 1]! : -1;
    const count = length < 0 ? -1 : Math.max(0, Math.min(lengthBytes, length - offsetBytes));
    if (count > 0) {
      const start = place * TEXT_BYTES + offsetBytes;
      target.set(this.#texts.subarray(start, start + count));
    }
    unlock(words, LOCK);
    return count;
  }
}
