// A cache device without a device: memory with a second, durable copy, which can lose power.
//
// Invariants:
// - `persist` copies exactly the range asked for to the durable copy, no matter what page it is in: a program may rely on no more.
// - What was stored and not persisted may or may not be durable after a crash, each unit for itself and in any order, as with a cache of
//   the processor (64 bytes) or of the kernel (4 KiB pages, which a device may tear).
// - Only segments that were asked for take memory; all others are zeros.
// - It is used by one thread, and `addressOf` is 0.

import { PcacheError } from '../errors.js';
import { CACHE_BYTES_MIN, PAGE_BYTES, SEGMENTS_OFFSET, SEGMENT_BYTES, segmentCountOf } from '../media/layout.js';
import type { PhysicalSegmentId } from '../media/layout.js';
import type { CacheDevice, Persistence, SegmentView } from './device.js';

/** Thrown by a hook to end the program under test where it stands; the test then calls `crash` or `killProcess` and opens the device again. */
export class SimulatedCrash extends Error {
  constructor(message = 'simulated crash') {
    super(message);
    this.name = 'SimulatedCrash';
  }
}

export interface SimulatedCacheDeviceOptions {
  /** Default CACHE_BYTES_MIN. */
  sizeBytes?: number;
  /** Default `synced`. With `memory`, whatever is stored is durable, and `persist` only counts. */
  persistence?: Persistence;
  readOnly?: boolean;
}

/** Smallest thing that reaches the durable copy as a whole: a processor's cache line, or a page. */
export type CrashUnitBytes = 64 | 4096;
const LINE_BYTES = 64;

interface Region {
  readonly view: SegmentView;
  readonly durable: Uint8Array;
}

export class SimulatedCacheDevice implements CacheDevice {
  readonly sizeBytes: number;
  readonly segmentCount: number;
  readonly persistence: Persistence;
  readonly readOnly: boolean;
  readonly control: SegmentView;
  /**
   * Called before each `persist` does anything, with its number, counted from 1. May throw: a SimulatedCrash, or a PcacheError `io` for a device that
   * fails. Then nothing becomes durable by this call.
   */
  onPersist: ((n: number, deviceOffset: number, lengthBytes: number) => void) | undefined;
  readonly #control: Region;
  readonly #segments = new Map<number, Region>();
  #persists = 0;
  #open = true;

  constructor(options: SimulatedCacheDeviceOptions = {}) {
    this.sizeBytes = options.sizeBytes ?? CACHE_BYTES_MIN;
    this.segmentCount = segmentCountOf(this.sizeBytes);
    this.persistence = options.persistence ?? 'synced';
    this.readOnly = options.readOnly ?? false;
    this.#control = newRegion(SEGMENTS_OFFSET);
    this.control = this.#control.view;
  }

  /** Calls of `persist` so far. */
  get persists(): number {
    return this.#persists;
  }

  /** Segments that take memory, in order. */
  get touchedSegments(): PhysicalSegmentId[] {
    return [...this.#segments.keys()].sort((a, b) => a - b) as PhysicalSegmentId[];
  }

  segment(id: PhysicalSegmentId): SegmentView {
    return this.#region(id).view;
  }

  addressOf(): number {
    return 0;
  }

  persist(deviceOffset: number, lengthBytes: number): void {
    this.#requireOpen();
    const end = deviceOffset + lengthBytes;
    const limit = SEGMENTS_OFFSET + this.segmentCount * SEGMENT_BYTES;
    if (!(deviceOffset >= 0 && lengthBytes >= 0 && end <= limit)) {
      throw new RangeError(`persist: ${lengthBytes} bytes at ${deviceOffset}: beyond the ${limit} bytes of the device`);
    }
    this.#persists++;
    this.onPersist?.(this.#persists, deviceOffset, lengthBytes);
    for (let position = deviceOffset; position < end;) {
      const { region, start, lengthBytes: regionBytes } = this.#regionAt(position);
      const pieceEnd = Math.min(end, start + regionBytes);
      // A segment nobody asked for is zeros in both copies.
      region?.durable.set(region.view.bytes.subarray(position - start, pieceEnd - start), position - start);
      position = pieceEnd;
    }
  }

  /** Nothing is read ahead here. */
  expectAccess(): void {
    this.#requireOpen();
  }

  close(): void {
    this.#open = false;
  }

  /**
   * Loss of power. Each unit that differs from its durable content keeps the old, takes the new, or, if it is a page, is a mixture of old and new
   * lines, as `random` (0 to below 1) decides. What comes of it is then both what is seen and what is durable; the device is open again.
   */
  crash(random: () => number, unitBytes: CrashUnitBytes = PAGE_BYTES): void {
    this.#open = true;
    for (const region of this.#regions()) {
      if (this.persistence === 'synced') crashRegion(region, random, unitBytes);
      region.durable.set(region.view.bytes);
    }
  }

  /** Death of the process only: everything stored is still seen, nothing more is durable; the device is open again. */
  killProcess(): void {
    this.#open = true;
  }

  /** Damage: flips one bit in each of `count` bytes of the range, in what is seen and what is durable. */
  corrupt(random: () => number, deviceOffset: number, lengthBytes: number, count = 1): void {
    for (let i = 0; i < count; i++) {
      const position = deviceOffset + Math.floor(random() * lengthBytes);
      const { region, start } = this.#regionAt(position, true);
      const bit = 1 << Math.floor(random() * 8);
      region.view.bytes[position - start]! ^= bit;
      region.durable[position - start]! ^= bit;
    }
  }

  /** Another device with the same two contents: what becomes of a crash here can be tried while the first one goes on. Hooks are not copied. */
  fork(): SimulatedCacheDevice {
    const copy = new SimulatedCacheDevice({ sizeBytes: this.sizeBytes, persistence: this.persistence, readOnly: this.readOnly });
    copyRegion(this.#control, copy.#control);
    for (const [id, region] of this.#segments) copyRegion(region, copy.#region(id));
    return copy;
  }

  #region(id: number): Region {
    const known = this.#segments.get(id);
    if (known !== undefined && this.#open) return known;
    if (!(Number.isInteger(id) && id >= 0 && id < this.segmentCount)) {
      throw new RangeError(`segment: ${id}: the device has ${this.segmentCount}`);
    }
    this.#requireOpen();
    const made = newRegion(SEGMENT_BYTES);
    this.#segments.set(id, made);
    return made;
  }

  #regionAt(deviceOffset: number, make: true): { region: Region; start: number; lengthBytes: number };
  #regionAt(deviceOffset: number): { region: Region | undefined; start: number; lengthBytes: number };
  #regionAt(deviceOffset: number, make = false): { region: Region | undefined; start: number; lengthBytes: number } {
    if (deviceOffset < SEGMENTS_OFFSET) return { region: this.#control, start: 0, lengthBytes: SEGMENTS_OFFSET };
    const id = Math.floor((deviceOffset - SEGMENTS_OFFSET) / SEGMENT_BYTES);
    const region = make ? this.#region(id) : this.#segments.get(id);
    return { region, start: SEGMENTS_OFFSET + id * SEGMENT_BYTES, lengthBytes: SEGMENT_BYTES };
  }

  /** In order of place, so that the same random numbers mean the same crash. */
  *#regions(): Iterable<Region> {
    yield this.#control;
    for (const id of this.touchedSegments) yield this.#segments.get(id)!;
  }

  #requireOpen(): void {
    if (!this.#open) throw new PcacheError('closed', 'simulated cache device: closed');
  }
}

function newRegion(lengthBytes: number): Region {
  const buffer = new ArrayBuffer(lengthBytes);
  const view = { bytes: new Uint8Array(buffer), words: new Int32Array(buffer), view: new DataView(buffer) };
  return { view, durable: new Uint8Array(lengthBytes) };
}

function copyRegion(from: Region, to: Region): void {
  to.view.bytes.set(from.view.bytes);
  to.durable.set(from.durable);
}

/** Leaves in the view what the crash leaves. */
function crashRegion(region: Region, random: () => number, unitBytes: CrashUnitBytes): void {
  const volatile = region.view.bytes;
  const { durable } = region;
  if (Buffer.compare(volatile, durable) === 0) return;
  for (let page = 0; page < volatile.length; page += PAGE_BYTES) {
    if (!differs(volatile, durable, page, PAGE_BYTES)) continue;
    const fate = random() * 3;
    if (unitBytes === PAGE_BYTES && fate < 1) keepOld(volatile, durable, page, PAGE_BYTES);
    if (unitBytes === PAGE_BYTES && fate < 2) continue;
    for (let line = page; line < page + PAGE_BYTES; line += LINE_BYTES) {
      if (differs(volatile, durable, line, LINE_BYTES) && random() < 0.5) keepOld(volatile, durable, line, LINE_BYTES);
    }
  }
}

function differs(a: Uint8Array, b: Uint8Array, offset: number, lengthBytes: number): boolean {
  return Buffer.compare(a.subarray(offset, offset + lengthBytes), b.subarray(offset, offset + lengthBytes)) !== 0;
}

function keepOld(volatile: Uint8Array, durable: Uint8Array, offset: number, lengthBytes: number): void {
  volatile.set(durable.subarray(offset, offset + lengthBytes), offset);
}
