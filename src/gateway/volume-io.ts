// Reads and writes of the volume that may take long: they read the backing device for what is not cached and wait for room. For
// threads that may block (the slow lane of the gateway) and for programs without FUSE (`src/index.ts`).
//
// The waiting itself is handed in: a thread sleeps until others have made room, a program with one thread makes room itself.

import type { Cache } from '../cache/cache.js';
import { PieceKind } from '../cache/piece-list.js';
import { READ_BYTES_MAX } from '../cache/reader.js';
import type { BackingDevice } from '../device/device.js';
import { PcacheError } from '../errors.js';
import { SECTOR_BYTES, SEGMENT_DATA_OFFSET } from '../media/layout.js';
import type { CacheSegId } from '../media/layout.js';
import { COUNTER } from '../shared/counters.js';
import { epoch } from '../shared/event-word.js';
import { Word } from '../cache/shared-state.js';
import { alignedBuffer } from './aligned-buffer.js';

const CHUNK_BYTES = 1024 * 1024;

export interface RoomWait {
  /** Returns when something may have changed since `seenEpoch` of Word.roomEvent. Throws PcacheError to give the write up. */
  waitForRoom(seenEpoch: number): void;
}

export class VolumeIo {
  readonly #cache: Cache;
  readonly #backing: BackingDevice;
  readonly #room: RoomWait;
  readonly #chunk = alignedBuffer(READ_BYTES_MAX);
  readonly #sector = alignedBuffer(SECTOR_BYTES);
  readonly #zeros = new Uint8Array(CHUNK_BYTES);

  constructor(cache: Cache, backing: BackingDevice, room: RoomWait) {
    this.#cache = cache;
    this.#backing = backing;
    this.#room = room;
  }

  /**
   * Fills target[targetOffset, +lengthBytes); any alignment, within the volume. What is read from the backing device is kept in the cache if
   * there is room. Throws PcacheError `io` if the backing device fails, `corrupt-data` if the cache's copy is known to be damaged.
   */
  read(volumeOffset: number, lengthBytes: number, target: Uint8Array, targetOffset: number): void {
    for (let done = 0; done < lengthBytes;) {
      const offset = volumeOffset + done;
      const bytes = Math.min(lengthBytes - done, CHUNK_BYTES);
      const start = offset - (offset % SECTOR_BYTES);
      const end = Math.ceil((offset + bytes) / SECTOR_BYTES) * SECTOR_BYTES;
      this.#readAligned(start, end - start);
      target.set(this.#chunk.subarray(offset - start, offset - start + bytes), targetOffset + done);
      done += bytes;
    }
  }

  /** Reads whole sectors, READ_BYTES_MAX at most, into `#chunk`. */
  #readAligned(volumeOffset: number, lengthBytes: number): void {
    const { reader, writer, shared, counters } = this.#cache;
    const { pieces } = reader;
    reader.begin(volumeOffset, lengthBytes, !shared.readOnly);
    const { token, missingBytes } = reader;
    counters[missingBytes === 0 ? COUNTER.read_hits : missingBytes === lengthBytes ? COUNTER.read_misses : COUNTER.read_partial_hits]! += 1;
    try {
      if (reader.corruptBytes > 0)
        throw new PcacheError('corrupt-data', `${lengthBytes} bytes at ${volumeOffset}: the cache's copy is damaged`);
      this.#copyCached(volumeOffset);
      for (let at = 0; at < pieces.count; at++) {
        if (pieces.kinds[at] !== PieceKind.missing) continue;
        const offset = pieces.volumeOffsets[at]!;
        this.#backing.read(offset, this.#chunk, offset - volumeOffset, pieces.lengths[at]!);
      }
    } catch (error) {
      if (token !== -1) writer.dropPlaceholders(volumeOffset, lengthBytes, token);
      throw error;
    } finally {
      reader.end();
    }
    if (token !== -1 && missingBytes > 0) writer.fill(volumeOffset, lengthBytes, token, this.#chunk, 0);
  }

  #copyCached(volumeOffset: number): void {
    const { reader, segments } = this.#cache;
    const { pieces } = reader;
    for (let at = 0; at < pieces.count; at++) {
      if (pieces.kinds[at] !== PieceKind.cached) continue;
      const from = SEGMENT_DATA_OFFSET + pieces.segmentOffsets[at]!;
      const { bytes } = segments.view(pieces.segments[at]! as CacheSegId);
      this.#chunk.set(bytes.subarray(from, from + pieces.lengths[at]!), pieces.volumeOffsets[at]! - volumeOffset);
    }
  }

  /**
   * Writes source[sourceOffset, +lengthBytes); any alignment, within the volume. Waits for room as often as it takes. Throws PcacheError
   * `io` or `corrupt-data` if part of a sector is written whose other part can't be had; sectors before it are written then.
   */
  write(volumeOffset: number, lengthBytes: number, source: Uint8Array, sourceOffset: number): void {
    const end = volumeOffset + lengthBytes;
    for (let position = volumeOffset; position < end;) {
      const from = sourceOffset + (position - volumeOffset);
      const inSector = position % SECTOR_BYTES;
      if (inSector !== 0 || end - position < SECTOR_BYTES) {
        const bytes = Math.min(SECTOR_BYTES - inSector, end - position);
        this.#writePartOfSector(position - inSector, inSector, bytes, source, from);
        position += bytes;
      } else {
        const bytes = Math.floor((end - position) / SECTOR_BYTES) * SECTOR_BYTES;
        this.#writeAligned(position, bytes, source, from);
        position += bytes;
      }
    }
  }

  /**
   * Makes a range read as zeros; any alignment, within the volume. What reads so already, since it is neither cached nor on the backing device,
   * is left alone: a file system that is made on a sparse file discards all of it first. Throws as `write`.
   */
  zero(volumeOffset: number, lengthBytes: number): void {
    for (let done = 0; done < lengthBytes;) {
      const bytes = Math.min(CHUNK_BYTES, lengthBytes - done);
      if (!this.#isHole(volumeOffset + done, bytes)) this.write(volumeOffset + done, bytes, this.#zeros, 0);
      done += bytes;
    }
  }

  /**
   * The cache is asked first: what it has not is either nowhere, or was written back before it was let go, and then the backing device has no
   * hole there.
   */
  #isHole(volumeOffset: number, lengthBytes: number): boolean {
    if (volumeOffset % SECTOR_BYTES !== 0 || lengthBytes % SECTOR_BYTES !== 0) return false;
    const { reader } = this.#cache;
    reader.begin(volumeOffset, lengthBytes, false);
    const isMissing = reader.missingBytes === lengthBytes;
    reader.end();
    return isMissing && this.#backing.isHole(volumeOffset, lengthBytes);
  }

  #writeAligned(volumeOffset: number, lengthBytes: number, source: Uint8Array, sourceOffset: number): void {
    const { writer } = this.#cache;
    let done = writer.write(volumeOffset, lengthBytes, source, sourceOffset, false);
    if (done === lengthBytes) return;
    this.#whileWaiting(() => {
      done += writer.write(volumeOffset + done, lengthBytes - done, source, sourceOffset + done, true);
      return done === lengthBytes;
    });
  }

  #writePartOfSector(sectorOffset: number, inSector: number, bytes: number, source: Uint8Array, sourceOffset: number): void {
    const { writer } = this.#cache;
    const sector = this.#sector;
    const attempt = (waiting: boolean): 'done' | 'changed' | 'no-room' => {
      const found = writer.beginSector(sectorOffset, sector);
      if (found === 'corrupt') throw new PcacheError('corrupt-data', `512 bytes at ${sectorOffset}: the cache's copy is damaged`);
      try {
        if (found === 'missing') this.#backing.read(sectorOffset, sector, 0, SECTOR_BYTES);
      } catch (error) {
        writer.abandonSector(sectorOffset);
        throw error;
      }
      sector.set(source.subarray(sourceOffset, sourceOffset + bytes), inSector);
      const outcome = writer.commitSector(sectorOffset, sector, waiting);
      if (outcome === 'no-room') writer.abandonSector(sectorOffset);
      return outcome;
    };
    let outcome = attempt(false);
    while (outcome === 'changed') outcome = attempt(false);
    if (outcome === 'done') return;
    this.#whileWaiting(() => {
      do outcome = attempt(true);
      while (outcome === 'changed');
      return outcome === 'done';
    });
  }

  /** Repeats a step, as one of the writers that wait for room, until it says that it is done. */
  #whileWaiting(step: () => boolean): void {
    const { shared, counters } = this.#cache;
    counters[COUNTER.cache_full_waits]! += 1;
    this.#cache.addRoomWaiter();
    try {
      for (;;) {
        // Read before the step: room that comes free during or after it changes the epoch, and the wait returns at once.
        const seen = epoch(shared.words, Word.roomEvent);
        if (step()) return;
        this.#room.waitForRoom(seen);
      }
    } finally {
      this.#cache.removeRoomWaiter();
    }
  }
}
