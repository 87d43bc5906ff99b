// Dirty keys whose payload is damaged (its data CRC does not match). They are not written to the backing device, and they are not dropped:
// dropping one would let a read fall through to the backing device's old bytes. So what is still current of such a key is logged again
// behind everything, before dirty_tail passes it, and its range answers EIO until something new is written there.
//
// A key that is logged again gets a CRC that its payload can't match: the inverse of the payload's own. So it stays what it is.

import { COUNTER } from '../shared/counters.js';
import { SECTOR_BYTES, SEGMENT_DATA_OFFSET, SUBTREE_BYTES } from '../media/layout.js';
import type { CacheSegId } from '../media/layout.js';
import type { CacheKey, KeyCursor } from '../media/cache-key.js';
import { pcacheCrcOfRange } from '../media/crc32c.js';
import type { Cache } from './cache.js';
import { ExtentFlag } from './extent.js';
import { ExtentCursor, Piece } from './extent-cursor.js';
import { Word } from './shared-state.js';

export class Quarantine {
  readonly #cache: Cache;
  readonly #keys: CacheKey[] = [];
  readonly #cursor = new ExtentCursor();

  constructor(cache: Cache) {
    this.#cache = cache;
  }

  begin(): void {
    this.#keys.length = 0;
  }

  /** Takes a damaged key in. Returns false if there is no index memory to mark its range; then it is not in, and readers don't know yet. */
  add(key: KeyCursor): boolean {
    if (!this.#markCorrupt(key)) return false;
    this.#keys.push(key.toKey());
    return true;
  }

  #markCorrupt(key: KeyCursor): boolean {
    const { tree, shared, counters } = this.#cache;
    const subtree = Math.floor(key.off / SUBTREE_BYTES);
    const sector = (key.off - subtree * SUBTREE_BYTES) / SECTOR_BYTES;
    const segment = key.cacheSegId as CacheSegId;
    const sectors = key.len / SECTOR_BYTES;
    tree.lock(subtree);
    tree.find(subtree, sector, sectors, this.#cursor);
    let isNew = false;
    let isMarked = true;
    while (this.#cursor.next()) isNew ||= this.#isOf(key, sector) && (this.#cursor.flags & ExtentFlag.corrupt) === 0;
    if (isNew) {
      const generation = shared.generationLow[segment]!;
      isMarked = tree.setFlags(subtree, sector, sectors, segment, key.cacheSegOff / SECTOR_BYTES, generation, ExtentFlag.corrupt, 0);
      if (isMarked) counters[COUNTER.corrupt_keys]! += 1;
      else Atomics.store(shared.words, Word.indexFull, 1);
    }
    tree.unlock(subtree);
    return isMarked;
  }

  /** Whether the cursor's piece still is the payload of `key`, which starts at `sector` of the subtree. */
  #isOf(key: KeyCursor | CacheKey, sector: number): boolean {
    const cursor = this.#cursor;
    return (
      cursor.kind === Piece.data &&
      cursor.segment === key.cacheSegId &&
      cursor.dataSector - key.cacheSegOff / SECTOR_BYTES === cursor.sector - sector
    );
  }

  /** Logs again what is still current of the batch's damaged keys. Returns false if there was no room for all of it. */
  commit(): boolean {
    while (this.#keys.length > 0) {
      if (!this.#logAgain(this.#keys[0]!)) return false;
      this.#keys.shift();
    }
    return true;
  }

  #logAgain(key: CacheKey): boolean {
    const { tree, shared, segments, log } = this.#cache;
    const subtree = Math.floor(key.off / SUBTREE_BYTES);
    const first = (key.off - subtree * SUBTREE_BYTES) / SECTOR_BYTES;
    let done = true;
    tree.lock(subtree);
    tree.find(subtree, first, key.len / SECTOR_BYTES, this.#cursor);
    while (done && this.#cursor.next()) {
      if (!this.#isOf(key, first)) continue;
      const { sector, sectors, dataSector, segment, generation } = this.#cursor;
      const at = SEGMENT_DATA_OFFSET + dataSector * SECTOR_BYTES;
      const crc = ~pcacheCrcOfRange(segments.view(segment).bytes, at, at + sectors * SECTOR_BYTES);
      Atomics.add(shared.refs, segment, 1);
      done = log.append(
        subtree,
        sector,
        sectors * SECTOR_BYTES,
        0,
        segment,
        dataSector * SECTOR_BYTES,
        generation,
        shared.generationHigh[segment]!,
        crc,
      );
      if (!done) segments.dropReference(segment);
    }
    tree.unlock(subtree);
    return done;
  }
}
