// What a crash can take: the memory of a simulated cache device and backing device, shared by threads, each with its durable copy.
//
// Invariants:
// - Of each segment only the first `segmentDataBytes` of data (and what ends the log behind them) are used, so everything that can differ between
//   two devices is small: it is compared and copied as a whole, and nothing has to be remembered about what was stored where.
// - `persist` makes durable what stood there when it was called, no more: what others store meanwhile may be lost.

import { SECTOR_BYTES, SEGMENT_BYTES, SEGMENT_DATA_OFFSET, SEGMENTS_OFFSET } from '../../src/media/layout.js';
import type { PhysicalSegmentId } from '../../src/media/layout.js';
import type { BackingDevice, CacheDevice, SegmentView } from '../../src/device/device.js';

const PAGE = 4096;
const LINE = 64;

export interface SimMediaState {
  readonly volatile: SharedArrayBuffer;
  readonly durable: SharedArrayBuffer;
  readonly segmentCount: number;
  readonly segmentDataBytes: number;
}

export function createMedia(segmentCount: number, segmentDataBytes: number): SimMediaState {
  const bytes = SEGMENTS_OFFSET + segmentCount * SEGMENT_BYTES;
  return { volatile: new SharedArrayBuffer(bytes), durable: new SharedArrayBuffer(bytes), segmentCount, segmentDataBytes };
}

function viewOf(buffer: SharedArrayBuffer, start: number, lengthBytes: number): SegmentView {
  return {
    bytes: new Uint8Array(buffer, start, lengthBytes),
    words: new Int32Array(buffer, start, lengthBytes / 4),
    view: new DataView(buffer, start, lengthBytes),
  };
}

/** A cache device over such memory, for one thread. Hooks are called around a persist. */
export class SimCacheDevice implements CacheDevice {
  readonly sizeBytes: number;
  readonly segmentCount: number;
  readonly persistence = 'synced';
  readonly readOnly = false;
  readonly control: SegmentView;
  readonly volatile: Uint8Array;
  readonly durable: Uint8Array;
  /** Before anything becomes durable; may throw, and then nothing does. */
  onPersist: ((deviceOffset: number, lengthBytes: number) => void) | undefined;
  /** Between the look at what is stored and its being durable. */
  duringPersist: (() => void) | undefined;
  /** A bug to plant: ranges that do not become durable. */
  loses: ((deviceOffset: number) => boolean) | undefined;
  readonly #buffer: SharedArrayBuffer;
  readonly #segments = new Map<number, SegmentView>();
  readonly #usedBytes: number;

  /** @param sizeBytes what it says its size is: the index of the cache is sized after it */
  constructor(state: SimMediaState, sizeBytes = state.volatile.byteLength) {
    this.sizeBytes = sizeBytes;
    this.segmentCount = state.segmentCount;
    this.#buffer = state.volatile;
    this.volatile = new Uint8Array(state.volatile);
    this.durable = new Uint8Array(state.durable);
    this.control = viewOf(state.volatile, 0, SEGMENTS_OFFSET);
    // Room for the header that ends the log, in whole pages.
    this.#usedBytes = Math.ceil((SEGMENT_DATA_OFFSET + state.segmentDataBytes + 64) / PAGE) * PAGE;
  }

  segment(id: PhysicalSegmentId): SegmentView {
    let view = this.#segments.get(id);
    if (view === undefined) this.#segments.set(id, (view = viewOf(this.#buffer, SEGMENTS_OFFSET + id * SEGMENT_BYTES, SEGMENT_BYTES)));
    return view;
  }

  addressOf(): number {
    return 0;
  }

  persist(deviceOffset: number, lengthBytes: number): void {
    this.onPersist?.(deviceOffset, lengthBytes);
    if (this.loses?.(deviceOffset) === true) return;
    const copies: { at: number; bytes: Uint8Array }[] = [];
    this.#forEachUsed(deviceOffset, deviceOffset + lengthBytes, (from, to) => {
      copies.push({ at: from, bytes: this.volatile.slice(from, to) });
    });
    this.duringPersist?.();
    for (const { at, bytes } of copies) this.durable.set(bytes, at);
  }

  expectAccess(): void {
    // Nothing is read ahead here.
  }

  close(): void {
    // The memory is the test's.
  }

  /** Both copies as those of another device of the same shape. */
  copyFrom(volatile: Uint8Array, durable: Uint8Array): void {
    this.#forEachUsed(0, Infinity, (from, to) => {
      this.volatile.set(volatile.subarray(from, to), from);
      this.durable.set(durable.subarray(from, to), from);
    });
  }

  /** Whether what is used of two memories is the same. */
  isSame(a: Uint8Array, b: Uint8Array): boolean {
    let same = true;
    this.#forEachUsed(0, Infinity, (from, to) => (same &&= Buffer.compare(a.subarray(from, to), b.subarray(from, to)) === 0));
    return same;
  }

  /** Loss of power: of what is not durable some units are kept, as `random` decides; what comes of it is both copies. */
  losePower(random: () => number): void {
    const keep = lossOf(random);
    this.#forEachUsed(0, Infinity, (from, to) => {
      if (Buffer.compare(this.volatile.subarray(from, to), this.durable.subarray(from, to)) === 0) return;
      for (let page = from; page < to; page += PAGE) this.#losePage(page, Math.min(to, page + PAGE), random, keep);
    });
  }

  #losePage(from: number, to: number, random: () => number, loss: Loss): void {
    const { volatile, durable } = this;
    if (Buffer.compare(volatile.subarray(from, to), durable.subarray(from, to)) === 0) return;
    const fate = loss.unitBytes === PAGE ? random() : 1;
    if (fate < 1 - loss.tornPages) {
      if (random() < loss.keptShare) durable.set(volatile.subarray(from, to), from);
      else volatile.set(durable.subarray(from, to), from);
      return;
    }
    for (let line = from; line < to; line += LINE) {
      if (Buffer.compare(volatile.subarray(line, line + LINE), durable.subarray(line, line + LINE)) === 0) continue;
      if (random() < loss.keptShare) durable.set(volatile.subarray(line, line + LINE), line);
      else volatile.set(durable.subarray(line, line + LINE), line);
    }
  }

  /** The used parts of [from, to), in order. */
  #forEachUsed(from: number, to: number, action: (from: number, to: number) => void): void {
    if (from < SEGMENTS_OFFSET) action(from, Math.min(to, SEGMENTS_OFFSET));
    const first = Math.max(0, Math.floor((from - SEGMENTS_OFFSET) / SEGMENT_BYTES));
    for (let id = first; id < this.segmentCount; id++) {
      const start = SEGMENTS_OFFSET + id * SEGMENT_BYTES;
      if (start >= to) return;
      const partFrom = Math.max(from, start);
      const partTo = Math.min(to, start + this.#usedBytes);
      if (partFrom < partTo) action(partFrom, partTo);
    }
  }
}

interface Loss {
  readonly unitBytes: number;
  /** Share of pages that are torn at lines. */
  readonly tornPages: number;
  /** Share of units of which the new content is kept. */
  readonly keptShare: number;
}

function lossOf(random: () => number): Loss {
  const kept = [0, 0.05, 0.5, 0.5, 0.5, 0.8, 0.95, 1][Math.floor(random() * 8)]!;
  return { unitBytes: random() < 0.5 ? LINE : PAGE, tornPages: random() < 0.5 ? 0.33 : 0, keptShare: kept };
}

export interface SimBackingState {
  readonly volatile: SharedArrayBuffer;
  readonly durable: SharedArrayBuffer;
  /** A byte a sector: 0 durable, 1 written since the last flush, 2 written, and a flush since then has failed: no later one makes it durable. */
  readonly marks: SharedArrayBuffer;
  readonly volumeBytes: number;
  readonly windowStart: number;
}

export const SectorMark = { durable: 0, written: 1, dropped: 2 } as const;

/** Only a window of the volume exists; everything else is zeros and must not be written. */
export function createBacking(volumeBytes: number, windowStart: number, windowBytes: number): SimBackingState {
  const buffer = (): SharedArrayBuffer => new SharedArrayBuffer(windowBytes);
  return { volatile: buffer(), durable: buffer(), marks: new SharedArrayBuffer(windowBytes / SECTOR_BYTES), volumeBytes, windowStart };
}

/** What the window of the backing device holds after a loss of power. */
export function backingAfterLoss(state: SimBackingState, random: () => number): Uint8Array {
  const content = new Uint8Array(state.durable).slice();
  const volatile = new Uint8Array(state.volatile);
  const marks = new Uint8Array(state.marks);
  const { keptShare } = lossOf(random);
  for (let sector = 0; sector < marks.length; sector++) {
    if (marks[sector] === SectorMark.durable || random() >= keptShare) continue;
    content.set(volatile.subarray(sector * SECTOR_BYTES, (sector + 1) * SECTOR_BYTES), sector * SECTOR_BYTES);
  }
  return content;
}

/** The backing device as it is seen, without anything that fails or is lost. */
export function windowBacking({ volatile, volumeBytes, windowStart }: SimBackingState): BackingDevice {
  const content = new Uint8Array(volatile);
  return {
    sizeBytes: volumeBytes,
    readOnly: false,
    identity: 'simulated:0',
    read: (offset, target, at, length) => target.set(content.subarray(offset - windowStart, offset - windowStart + length), at),
    write: (offset, source, at, length) => content.set(source.subarray(at, at + length), offset - windowStart),
    isHole: () => false,
    flush: () => undefined,
    close: () => undefined,
  };
}
