// Writes: puts payload into a data segment and its key into the cache tree and the log. Also keeps what a read miss fetched (`fill`).
//
// Invariants:
// - Payload is in place before its key is in the tree or the log.
// - A key is staged in the log and put into the tree under one hold of its subtree's lock, so both have the same order.
// - A step either does all of that or leaves no trace but unused room in a data segment.
//
// A Writer belongs to one thread. It never waits: when it finds no room it says so, and the caller calls again.

import { PcacheError } from '../errors.js';
import { SECTOR_BYTES, SEGMENT_DATA_OFFSET, SUBTREE_BYTES } from '../media/layout.js';
import type { CacheSegId } from '../media/layout.js';
import { KEY_FLAG_CLEAN } from '../media/cache-key.js';
import { pcacheCrcOfRange } from '../media/crc32c.js';
import { COUNTER } from '../shared/counters.js';
import { signal } from '../shared/event-word.js';
import { ExtentFlag, SUBTREE_SECTORS } from './extent.js';
import { ExtentCursor, Piece } from './extent-cursor.js';
import type { CacheTree } from './cache-tree.js';
import type { KsetLog } from './kset-log.js';
import type { SegmentTable } from './segment-table.js';
import { Word } from './shared-state.js';
import type { CacheShared } from './shared-state.js';

/** An insert adds two extents at most: when it splits one in the middle. */
const EXTENTS_PER_INSERT = 2;

export class Writer {
  readonly #shared: CacheShared;
  readonly #tree: CacheTree;
  readonly #segments: SegmentTable;
  readonly #log: KsetLog;
  readonly #head: number;
  readonly #counters: Float64Array;
  readonly #cursor = new ExtentCursor();
  /** Of the write in hand, if its caller gave one. */
  #sourceAddress: number | undefined;
  /** Sectors of payload that the step in hand has replaced so far. */
  #replacedSectors = 0;
  /** The sector that `beginSector` looked at: where it was, to see whether it still is there. */
  #sectorWas = { kind: Piece.gap as number, segment: 0, dataSector: 0, generation: 0, token: 0, isOwn: false };

  constructor(shared: CacheShared, tree: CacheTree, segments: SegmentTable, log: KsetLog, head: number, counters: Float64Array) {
    this.#shared = shared;
    this.#tree = tree;
    this.#segments = segments;
    this.#log = log;
    this.#head = head % shared.headCount;
    this.#counters = counters;
  }

  /**
   * Writes as much of a range as there is room for; all multiples of 512, within the volume. Returns the bytes written: less than asked
   * for means that there was no room for the rest. `waiting` says that the caller is the first of the writers that wait.
   */
  write(volumeOffset: number, lengthBytes: number, source: Uint8Array, sourceOffset: number, waiting: boolean): number {
    const subtree = Math.floor(volumeOffset / SUBTREE_BYTES);
    this.#sourceAddress = undefined;
    return this.#writeKeys(subtree, (volumeOffset - subtree * SUBTREE_BYTES) / SECTOR_BYTES, lengthBytes, source, sourceOffset, waiting);
  }

  /**
   * As `write`, for a caller that must not allocate: from a sector of a subtree on, since a number beyond 2^31 would be allocated to pass it, and with the
   * address of `source`, which nobody may change meanwhile. The cache device must be one that can `store`.
   */
  writeAt(subtree: number, sector: number, lengthBytes: number, source: Uint8Array, sourceAddress: number): number {
    this.#sourceAddress = sourceAddress;
    return this.#writeKeys(subtree, sector, lengthBytes, source, 0, false);
  }

  #writeKeys(subtree: number, sector: number, lengthBytes: number, source: Uint8Array, sourceOffset: number, waiting: boolean): number {
    let done = 0;
    let at = subtree;
    let from = sector;
    this.#replacedSectors = 0;
    while (done < lengthBytes) {
      const wanted = Math.min(lengthBytes - done, SUBTREE_BYTES - from * SECTOR_BYTES);
      const bytes = this.#writeKey(at, from, wanted, source, sourceOffset + done, waiting);
      if (bytes === 0) break;
      done += bytes;
      from += bytes / SECTOR_BYTES;
      if (from === SUBTREE_SECTORS) {
        from = 0;
        at++;
      }
    }
    if (done > 0) this.#countLookup(done / SECTOR_BYTES);
    return done;
  }

  /** Counts what was written by what the cache had of it: a hit if it replaced that many sectors of payload. */
  #countLookup(sectors: number): void {
    const replaced = this.#replacedSectors;
    this.#counters[replaced === sectors ? COUNTER.write_hits : replaced === 0 ? COUNTER.write_misses : COUNTER.write_partial_hits]! += 1;
  }

  /** Writes one key's worth, within one subtree. Returns its bytes; 0 if there was no room. */
  #writeKey(subtree: number, sector: number, wantedBytes: number, source: Uint8Array, sourceOffset: number, waiting: boolean): number {
    const segments = this.#segments;
    // Asked before room is taken, so that a write that waits for the log or the index does not use up data segments.
    if (!this.#canIndex() || !segments.reserve(this.#head, wantedBytes, waiting)) return 0;
    const segment = segments.reservedSegment;
    const segmentOffset = segments.reservedOffset;
    const bytes = segments.reservedBytes;
    const crc = this.#store(segment, segmentOffset, bytes, source, sourceOffset);
    this.#tree.lock(subtree);
    const done = this.#index(subtree, sector, bytes / SECTOR_BYTES, segment, segmentOffset, crc, 0);
    this.#tree.unlock(subtree);
    if (done) return bytes;
    segments.dropReference(segment);
    return 0;
  }

  /** Whether the log and the index had room a moment ago. */
  #canIndex(): boolean {
    return Atomics.load(this.#shared.words, Word.indexFull) === 0 && this.#log.mayAppend();
  }

  /** Copies payload into a segment. Returns its CRC if data CRC is on. */
  #store(segment: CacheSegId, segmentOffset: number, bytes: number, source: Uint8Array, sourceOffset: number): number {
    const sourceAddress = this.#sourceAddress;
    if (sourceAddress !== undefined) {
      // Where a write begins V8 has the number of its address already; for the rest it makes one.
      this.#segments.store(segment, segmentOffset, sourceOffset === 0 ? sourceAddress : sourceAddress + sourceOffset, bytes);
      // Of the source, which the processor has at hand: the target may be on its way to memory still.
      return this.#shared.dataCrc ? pcacheCrcOfRange(source, sourceOffset, sourceOffset + bytes) : 0;
    }
    const target = this.#segments.view(segment).bytes;
    const at = SEGMENT_DATA_OFFSET + segmentOffset;
    if (sourceOffset === 0 && bytes === source.length) target.set(source, at);
    else target.set(source.subarray(sourceOffset, sourceOffset + bytes), at);
    return this.#shared.dataCrc ? pcacheCrcOfRange(target, at, at + bytes) : 0;
  }

  /** Stages the key and puts it into the tree, under the subtree's lock. The reference on the segment passes to the key if it succeeds. */
  #index(
    subtree: number,
    sector: number,
    sectors: number,
    segment: CacheSegId,
    segmentOffset: number,
    crc: number,
    keyFlags: number,
  ): boolean {
    const generation = this.#shared.generationLow[segment]!;
    if (!this.#tree.reserve(subtree, EXTENTS_PER_INSERT)) {
      this.#askForIndexMemory();
      return false;
    }
    const staged = this.#log.append(
      subtree,
      sector,
      sectors * SECTOR_BYTES,
      keyFlags,
      segment,
      segmentOffset,
      generation,
      this.#shared.generationHigh[segment]!,
      crc,
    );
    if (!staged) return false;
    const flags = (keyFlags & KEY_FLAG_CLEAN) === 0 ? 0 : ExtentFlag.clean;
    if (!this.#tree.insert(subtree, sector, sectors, segment, segmentOffset / SECTOR_BYTES, generation, flags)) {
      throw new PcacheError('internal', 'cache tree: room that was reserved is not there');
    }
    this.#replacedSectors += this.#tree.replacedSectors;
    return true;
  }

  #askForIndexMemory(): void {
    Atomics.store(this.#shared.words, Word.indexFull, 1);
    signal(this.#shared.words, Word.backgroundWorkEvent);
  }

  /**
   * Keeps what was read from the backing device for a range whose gaps got placeholders of `token`: what is still a placeholder becomes a
   * clean key, and what a write has replaced meanwhile is left alone. Where there is no room, nothing is kept. In every case no
   * placeholder of `token` is left in the range. `source[sourceOffset]` is the byte at `volumeOffset`.
   */
  fill(volumeOffset: number, lengthBytes: number, token: number, source: Uint8Array, sourceOffset: number): void {
    const end = volumeOffset + lengthBytes;
    for (let position = volumeOffset; position < end;) {
      const bytes = Math.min(end - position, SUBTREE_BYTES - (position % SUBTREE_BYTES));
      this.#fillIn(position, bytes, token, source, sourceOffset + (position - volumeOffset));
      position += bytes;
    }
  }

  #fillIn(volumeOffset: number, lengthBytes: number, token: number, source: Uint8Array, sourceOffset: number): void {
    const subtree = Math.floor(volumeOffset / SUBTREE_BYTES);
    const first = (volumeOffset - subtree * SUBTREE_BYTES) / SECTOR_BYTES;
    const end = first + lengthBytes / SECTOR_BYTES;
    const segments = this.#segments;
    // A look without the payload in hand, to know how much room is wanted; the placeholder may shrink until the second look.
    for (let position = first; position < end;) {
      if (!this.#findPlaceholder(subtree, position, end - position, token)) return;
      const sector = this.#cursor.sector;
      if (segments.freeForData() <= 1 || !this.#canIndex() || !segments.reserve(this.#head, this.#cursor.sectors * SECTOR_BYTES, false))
        break;
      const segment = segments.reservedSegment;
      const segmentOffset = segments.reservedOffset;
      const bytes = segments.reservedBytes;
      const at = sourceOffset + (sector - first) * SECTOR_BYTES;
      // Data CRC is made for each piece that is left, below.
      this.#segments.view(segment).bytes.set(source.subarray(at, at + bytes), SEGMENT_DATA_OFFSET + segmentOffset);
      const sectors = bytes / SECTOR_BYTES;
      if (!this.#indexPlaceholders(subtree, sector, sectors, token, segment, segmentOffset)) break;
      position = sector + sectors;
    }
    this.dropPlaceholders(volumeOffset, lengthBytes, token);
  }

  #findPlaceholder(subtree: number, sector: number, sectors: number, token: number): boolean {
    this.#tree.lock(subtree);
    const found = this.#tree.nextPlaceholder(subtree, sector, sectors, token, this.#cursor);
    this.#tree.unlock(subtree);
    return found;
  }

  /** Makes clean keys of what is still a placeholder in the range; the caller's reference on the segment is used up. */
  #indexPlaceholders(subtree: number, sector: number, sectors: number, token: number, segment: CacheSegId, segmentOffset: number): boolean {
    const { refs } = this.#shared;
    const { bytes } = this.#segments.view(segment);
    const end = sector + sectors;
    let done = true;
    this.#tree.lock(subtree);
    for (let position = sector; position < end;) {
      if (!this.#tree.nextPlaceholder(subtree, position, end - position, token, this.#cursor)) break;
      const start = this.#cursor.sector;
      const count = this.#cursor.sectors;
      const pieceOffset = segmentOffset + (start - sector) * SECTOR_BYTES;
      const at = SEGMENT_DATA_OFFSET + pieceOffset;
      const crc = this.#shared.dataCrc ? pcacheCrcOfRange(bytes, at, at + count * SECTOR_BYTES) : 0;
      Atomics.add(refs, segment, 1);
      if (!this.#index(subtree, start, count, segment, pieceOffset, crc, KEY_FLAG_CLEAN)) {
        this.#segments.dropReference(segment);
        done = false;
        break;
      }
      this.#counters[COUNTER.fills]! += 1;
      this.#counters[COUNTER.fill_bytes]! += count * SECTOR_BYTES;
      position = start + count;
    }
    this.#tree.unlock(subtree);
    this.#segments.dropReference(segment);
    return done;
  }

  /** Removes the placeholders of `token` from a range within one or more subtrees; for a read that failed. */
  dropPlaceholders(volumeOffset: number, lengthBytes: number, token: number): void {
    const end = volumeOffset + lengthBytes;
    for (let position = volumeOffset; position < end;) {
      const bytes = Math.min(end - position, SUBTREE_BYTES - (position % SUBTREE_BYTES));
      const subtree = Math.floor(position / SUBTREE_BYTES);
      this.#tree.lock(subtree);
      const dropped = this.#tree.removePlaceholder(subtree, (position % SUBTREE_BYTES) / SECTOR_BYTES, bytes / SECTOR_BYTES, token);
      this.#tree.unlock(subtree);
      if (!dropped) throw new PcacheError('internal', 'cache tree: a placeholder could not be removed');
      position += bytes;
    }
  }

  /**
   * For a write of part of a sector: notes where the sector is now. Returns what the caller must do to get its old bytes: `cached` (they
   * are in `target` already), `missing` (read them from the backing device; a placeholder keeps watch), or `corrupt` (they can't be had).
   */
  beginSector(volumeOffset: number, target: Uint8Array): 'cached' | 'missing' | 'corrupt' {
    const subtree = Math.floor(volumeOffset / SUBTREE_BYTES);
    const sector = (volumeOffset % SUBTREE_BYTES) / SECTOR_BYTES;
    const was = this.#sectorWas;
    was.isOwn = false;
    const token = Atomics.add(this.#shared.words, Word.nextToken, 1) & 0x7fffffff;
    const tree = this.#tree;
    const cursor = this.#cursor;
    tree.lock(subtree);
    tree.find(subtree, sector, 1, cursor);
    cursor.next();
    let outcome: 'cached' | 'missing' | 'corrupt' = 'missing';
    if (cursor.kind === Piece.data && this.#segments.pin(cursor.segment, cursor.generation)) {
      was.kind = Piece.data;
      was.segment = cursor.segment;
      was.dataSector = cursor.dataSector;
      was.generation = cursor.generation;
      outcome = (cursor.flags & ExtentFlag.corrupt) === 0 ? 'cached' : 'corrupt';
      const at = SEGMENT_DATA_OFFSET + cursor.dataSector * SECTOR_BYTES;
      target.set(this.#segments.view(cursor.segment).bytes.subarray(at, at + SECTOR_BYTES));
      this.#segments.unpin(cursor.segment);
    } else if (cursor.kind === Piece.placeholder) {
      // Somebody's read miss keeps watch already.
      was.kind = Piece.placeholder;
      was.token = cursor.token;
      was.isOwn = false;
    } else {
      was.kind = tree.insertPlaceholder(subtree, sector, 1, token) ? Piece.placeholder : Piece.gap;
      was.token = token;
      was.isOwn = was.kind === Piece.placeholder;
    }
    tree.unlock(subtree);
    return outcome;
  }

  /**
   * Writes the whole sector that `beginSector` looked at, if nothing has touched it since. Returns `changed` if something has: begin again.
   */
  commitSector(volumeOffset: number, source: Uint8Array, waiting: boolean): 'done' | 'changed' | 'no-room' {
    const segments = this.#segments;
    if (this.#sectorWas.kind === Piece.gap) {
      // There was no memory for the placeholder that has to keep watch: beginning again would find none either.
      this.#askForIndexMemory();
      return 'no-room';
    }
    if (!this.#canIndex() || !segments.reserve(this.#head, SECTOR_BYTES, waiting)) return 'no-room';
    const segment = segments.reservedSegment;
    const segmentOffset = segments.reservedOffset;
    const crc = this.#store(segment, segmentOffset, SECTOR_BYTES, source, 0);
    const subtree = Math.floor(volumeOffset / SUBTREE_BYTES);
    const sector = (volumeOffset % SUBTREE_BYTES) / SECTOR_BYTES;
    this.#replacedSectors = 0;
    this.#tree.lock(subtree);
    let outcome: 'done' | 'changed' | 'no-room' = 'changed';
    if (this.#sectorIsWhereItWas(subtree, sector)) {
      outcome = this.#index(subtree, sector, 1, segment, segmentOffset, crc, 0) ? 'done' : 'no-room';
    }
    this.#tree.unlock(subtree);
    if (outcome === 'done') this.#countLookup(1);
    else segments.dropReference(segment);
    return outcome;
  }

  #sectorIsWhereItWas(subtree: number, sector: number): boolean {
    const was = this.#sectorWas;
    const cursor = this.#cursor;
    this.#tree.find(subtree, sector, 1, cursor);
    cursor.next();
    if (cursor.kind !== was.kind) return false;
    if (cursor.kind === Piece.data) {
      return cursor.segment === was.segment && cursor.dataSector === was.dataSector && cursor.generation === was.generation;
    }
    // A gap proves nothing: a write may have come, been written back and collected since. Only a placeholder keeps watch.
    return cursor.kind === Piece.placeholder && cursor.token === was.token;
  }

  /** Takes back the placeholder of a `beginSector` whose sector can't be read after all. */
  abandonSector(volumeOffset: number): void {
    if (this.#sectorWas.isOwn) this.dropPlaceholders(volumeOffset, SECTOR_BYTES, this.#sectorWas.token);
  }
}
