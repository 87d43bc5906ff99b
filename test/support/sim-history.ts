// What a volume may hold: every version of every sector of a window, in the order of the log.
//
// The order is taken from the moment at which a key was staged, the bytes from what the user wrote, so neither is read off the media. Keys are numbered from
// 1; version 0 of a sector is what the backing device held at first. "State n" is what the first n keys made of it. A version that key a made and key b
// replaced is seen in the states from a to b - 1, so whether a content is one state, or one flush and its interval, is two comparisons a sector. A write that
// has a byte or two of a sector may leave it as it was: versions in a row that are the same count as one, since nobody can tell them apart.

import { SECTOR_BYTES } from '../../src/media/layout.js';
import { KEY_FLAG_CLEAN } from '../../src/media/cache-key.js';
import { EventKind, bytesOfOperation } from './sim-events.js';

interface Version {
  readonly key: number;
  readonly operation: number;
  readonly bytes: Uint8Array;
  /** Where the key says that the sector's payload is. */
  readonly segment: number;
  readonly segmentOffset: number;
}

interface Operation {
  readonly offset: number;
  readonly length: number;
  /** Bytes of it that are in the log. */
  staged: number;
  lastKey: number;
  /** Infinity until it is acknowledged. */
  acknowledgedTick: number;
}

interface Barrier {
  /** Keys in the log before it. */
  readonly keys: number;
  readonly flush: number;
  hasReturned: boolean;
}

/** States that a content can be: from `from` up to, not including, `to`; and of which sectors that is. */
interface Span {
  readonly from: number;
  readonly fromSector: number;
  readonly to: number;
  readonly toSector: number;
}

/** Index of the first of the versions in a row, up to the one at `index`, that have the same bytes. */
function firstOfSame(versions: readonly Version[], index: number): number {
  let first = index;
  while (first > 0 && Buffer.compare(versions[first - 1]!.bytes, versions[index]!.bytes) === 0) first--;
  return first;
}

export class SimHistory {
  readonly sectors: number;
  /** Keys in the log so far. */
  keys = 0;
  /** Keys that a flush which returned covers. */
  flushedKeys = 0;
  /** The first thing that a user saw and must not see. */
  problem: string | undefined;
  reads = 0;
  writes = 0;
  flushes = 0;
  faults = 0;
  /** Clean keys: what read misses kept. */
  fills = 0;
  readonly #versions: Version[][] = [];
  #operations = new Map<number, Operation>();
  /** Acknowledged operations of which something is not in the log. */
  #unstaged = new Set<number>();
  /** In order of the log. */
  #barriers: Barrier[] = [{ keys: 0, flush: 0, hasReturned: true }];
  #acknowledged: { tick: number; keys: number }[] = [];
  #positions = new Map<number, number>();
  #seen: { key: number; tick: number }[] = [];

  constructor(content: Uint8Array) {
    this.sectors = content.length / SECTOR_BYTES;
    for (let sector = 0; sector < this.sectors; sector++) {
      const bytes = content.slice(sector * SECTOR_BYTES, (sector + 1) * SECTOR_BYTES);
      this.#versions.push([{ key: 0, operation: 0, bytes, segment: -1, segmentOffset: 0 }]);
      this.#seen.push({ key: 0, tick: 0 });
    }
  }

  onEvent(kind: number, tick: number, values: Int32Array, bytes: Uint8Array): void {
    switch (kind) {
      case EventKind.write:
        this.writes++;
        this.#operations.set(values[0]!, {
          offset: values[1]!,
          length: values[2]!,
          staged: 0,
          lastKey: 0,
          acknowledgedTick: Infinity,
        });
        return;
      case EventKind.key:
        this.#onKey(values);
        return;
      case EventKind.acknowledged:
        this.#onAcknowledged(values[0]!, tick);
        return;
      case EventKind.barrier:
        this.#barriers.push({ keys: this.keys, flush: values[0]!, hasReturned: false });
        return;
      case EventKind.flushed:
        this.flushes++;
        this.#onFlushed(values[0]!, values[1]!);
        return;
      case EventKind.read:
        this.reads++;
        this.#onRead(values[0]!, tick, values[1]!, bytes);
        return;
      case EventKind.position:
        this.notePosition(values[0]!, values[1]!, this.keys - values[2]!);
        return;
      case EventKind.fault:
        this.faults++;
        return;
      case EventKind.problem:
        this.#report(Buffer.from(bytes).toString());
        return;
    }
  }

  #report(problem: string): void {
    this.problem ??= problem;
  }

  #onKey(values: Int32Array): void {
    const [asked, offset, length, flags, segment, segmentOffset] = values as unknown as [number, number, number, number, number, number];
    this.keys++;
    if ((flags & KEY_FLAG_CLEAN) !== 0) {
      this.fills++;
      return;
    }
    const number = [asked, ...this.#unstaged].find((candidate) => this.#covers(candidate, offset, length)) ?? 0;
    const operation = this.#operations.get(number);
    if (operation === undefined) {
      this.#report(`a key for ${length} bytes at ${offset} that no write asked for`);
      return;
    }
    const from = Math.max(offset, operation.offset);
    const to = Math.min(offset + length, operation.offset + operation.length);
    const source = bytesOfOperation(number, operation.length);
    for (let at = offset; at < offset + length; at += SECTOR_BYTES) {
      const versions = this.#versions[at / SECTOR_BYTES]!;
      const bytes = versions.at(-1)!.bytes.slice();
      const first = Math.max(at, from);
      const end = Math.min(at + SECTOR_BYTES, to);
      bytes.set(source.subarray(first - operation.offset, end - operation.offset), first - at);
      versions.push({ key: this.keys, operation: number, bytes, segment, segmentOffset: segmentOffset + at - offset });
    }
    operation.staged += to - from;
    operation.lastKey = this.keys;
    if (operation.staged === operation.length) this.#unstaged.delete(number);
  }

  #covers(number: number, offset: number, length: number): boolean {
    const operation = this.#operations.get(number);
    if (operation === undefined) return false;
    const start = operation.offset - (operation.offset % SECTOR_BYTES);
    const end = Math.ceil((operation.offset + operation.length) / SECTOR_BYTES) * SECTOR_BYTES;
    return offset >= start && offset + length <= end;
  }

  #onAcknowledged(number: number, tick: number): void {
    const operation = this.#operations.get(number)!;
    operation.acknowledgedTick = tick;
    if (operation.staged < operation.length) this.#unstaged.add(number);
    this.#acknowledged.push({ tick, keys: Math.max(operation.lastKey, this.#acknowledged.at(-1)?.keys ?? 0) });
  }

  #onFlushed(began: number, flush: number): void {
    const barrier = this.#barriers.findLast((other) => other.flush === flush);
    if (barrier !== undefined) barrier.hasReturned = true;
    const covered = this.#acknowledged.findLast(({ tick }) => tick <= began);
    this.flushedKeys = Math.max(this.flushedKeys, covered?.keys ?? 0);
  }

  /** Promise 1: each sector is a version that was not replaced by a write which was acknowledged before the read began, nor older than what a read before saw. */
  #onRead(began: number, tick: number, offset: number, bytes: Uint8Array): void {
    const end = offset + bytes.length;
    for (let sector = Math.floor(offset / SECTOR_BYTES); sector * SECTOR_BYTES < end; sector++) {
      const start = sector * SECTOR_BYTES;
      const from = Math.max(offset, start);
      const to = Math.min(end, start + SECTOR_BYTES);
      const is = bytes.subarray(from - offset, to - offset);
      const version = this.#allowedVersion(sector, began, is, from - start);
      const seen = this.#seen[sector]!;
      if (version === undefined) {
        this.#report(`a read of sector ${sector} got ${this.#describe(sector, is, from - start)}`);
        return;
      }
      if (to - from === SECTOR_BYTES && version.key > seen.key) this.#seen[sector] = { key: version.key, tick };
    }
  }

  #allowedVersion(sector: number, began: number, is: Uint8Array, within: number): Version | undefined {
    const versions = this.#versions[sector]!;
    const seen = this.#seen[sector]!;
    for (let index = versions.length - 1; index >= 0; index--) {
      const version = versions[index]!;
      if (began >= seen.tick && version.key < seen.key) return undefined;
      if (Buffer.compare(version.bytes.subarray(within, within + is.length), is) === 0) return version;
      const acknowledged = this.#operations.get(version.operation)?.acknowledgedTick ?? 0;
      if (acknowledged <= began) return undefined;
    }
    return undefined;
  }

  #describe(sector: number, is: Uint8Array, within: number): string {
    const versions = this.#versions[sector]!;
    const found = versions.findLastIndex((version) => Buffer.compare(version.bytes.subarray(within, within + is.length), is) === 0);
    if (found === -1) return 'bytes that nobody wrote there';
    return `version ${found} of ${versions.length} (of key ${versions[found]!.key}, replaced by key ${versions[found + 1]?.key ?? 'none'})`;
  }

  /** The place in the log before which there are `keys` keys. */
  notePosition(segment: number, offset: number, keys: number): void {
    this.#positions.set(segment * 2 ** 25 + offset, keys);
  }

  keysBefore(segment: number, offset: number): number | undefined {
    return this.#positions.get(segment * 2 ** 25 + offset);
  }

  #spanOf(content: Uint8Array): Span | string {
    let from = 0;
    let fromSector = 0;
    let to = Infinity;
    let toSector = 0;
    for (let sector = 0; sector < this.sectors; sector++) {
      const is = content.subarray(sector * SECTOR_BYTES, (sector + 1) * SECTOR_BYTES);
      const versions = this.#versions[sector]!;
      let index = versions.length - 1;
      while (index >= 0 && Buffer.compare(versions[index]!.bytes, is) !== 0) index--;
      if (index < 0) return `sector ${sector} holds bytes that nobody wrote there`;
      const { key } = versions[firstOfSame(versions, index)]!;
      const next = versions[index + 1]?.key ?? Infinity;
      if (key > from) [from, fromSector] = [key, sector];
      if (next < to) [to, toSector] = [next, sector];
    }
    return { from, fromSector, to, toSector };
  }

  /** Promises 2 to 4: `content` is state n, with n at least `atLeast`. Returns n, or what is wrong. */
  prefixOf(content: Uint8Array, atLeast: number): number | string {
    const span = this.#spanOf(content);
    if (typeof span === 'string') return span;
    const { from, to, fromSector, toSector } = span;
    const count = Math.min(to - 1, this.keys);
    if (count < from)
      return `no prefix: sector ${fromSector} has what key ${from} wrote, but sector ${toSector} does not have what key ${to} wrote`;
    if (count < atLeast) return `sector ${toSector} does not have what key ${to} wrote, and ${atLeast} keys must be there`;
    return count;
  }

  /** Of all that was acknowledged, what is not in the log; undefined if all is. */
  unstagedProblem(): string | undefined {
    const [number] = this.#unstaged;
    return number === undefined ? undefined : `write ${number} was acknowledged, and the log does not have all of it`;
  }

  /**
   * Promise 5: `content` is some flush and nothing but writes of the interval after it; and nothing is missing that the first `writtenBack` keys wrote.
   * Returns what is wrong.
   */
  intervalProblem(content: Uint8Array, writtenBack: number): string | undefined {
    const span = this.#spanOf(content);
    if (typeof span === 'string') return span;
    const { from, to, fromSector, toSector } = span;
    if (to <= writtenBack)
      return `sector ${toSector} does not have what key ${to} wrote, and dirty_tail says that ${writtenBack} keys are written back`;
    const index = this.#barriers.findLastIndex(({ keys }) => keys < to);
    const nextBarrier = this.#barriers[index + 1]?.keys ?? Infinity;
    if (from <= nextBarrier) return undefined;
    return (
      `sector ${toSector} does not have what key ${to} wrote, but sector ${fromSector} has what key ${from} wrote, ` +
      `and between them is the barrier after key ${nextBarrier}`
    );
  }

  /**
   * A sector whose newest version in state n is of a key, and where that key has its payload; undefined if the one drawn has none, or if an older version,
   * elsewhere, has the same bytes.
   */
  payloadIn(count: number, random: () => number): { sector: number; version: Version; sectorsOfKey: number[] } | undefined {
    const sector = Math.floor(random() * this.sectors);
    const versions = this.#versions[sector]!;
    const index = versions.findLastIndex(({ key }) => key <= count);
    const version = versions[index]!;
    if (version.segment === -1 || firstOfSame(versions, index) !== index) return undefined;
    const sectorsOfKey = this.#versions.flatMap((others, other) => (others.some(({ key }) => key === version.key) ? [other] : []));
    return { sector, version, sectorsOfKey };
  }

  /** State n, as bytes. */
  state(count: number): Uint8Array {
    const content = new Uint8Array(this.sectors * SECTOR_BYTES);
    for (let sector = 0; sector < this.sectors; sector++) {
      content.set(this.#versions[sector]!.findLast(({ key }) => key <= count)!.bytes, sector * SECTOR_BYTES);
    }
    return content;
  }

  /**
   * The cache was opened again and holds state n: what came later never was. The opening is as good as a flush. `backing`: what the backing device
   * holds, durably, if that is known; versions older than that are forgotten.
   */
  goOnFrom(count: number, tick: number, backing: Uint8Array | undefined): void {
    for (let sector = 0; sector < this.sectors; sector++) {
      const is = backing?.subarray(sector * SECTOR_BYTES, (sector + 1) * SECTOR_BYTES);
      const kept = this.#versions[sector]!.filter(({ key }) => key <= count);
      const inBacking = kept.findLastIndex(({ bytes }) => is !== undefined && Buffer.compare(bytes, is) === 0);
      this.#versions[sector] = kept.slice(firstOfSame(kept, Math.max(0, inBacking)));
      this.#seen[sector] = { key: kept.at(-1)!.key, tick };
    }
    this.keys = count;
    this.flushedKeys = count;
    this.#operations = new Map();
    this.#unstaged = new Set();
    this.#acknowledged = [];
    // A flush that had not returned has promised nothing, and its mark may have died with the process.
    this.#barriers = this.#barriers.filter(({ keys, hasReturned }) => hasReturned && keys < count);
    this.#barriers.push({ keys: count, flush: 0, hasReturned: true });
    for (const [place, keys] of this.#positions) if (keys > count) this.#positions.delete(place);
  }
}
