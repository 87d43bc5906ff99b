// The kernel's dm-pcache as it behaves towards the media, as far as a cache that moves between it and this gateway can notice: it reads of each
// structure what the format has, keeps none of what this gateway adds, and writes it without. Simple and slow: a map from sectors to places.
//
// What it does that this gateway does not: it takes the first thing that is not a valid kset for the end of the log; it writes ksets without
// sequences; the first store of a record after an attach overwrites the copy that is current; a segment's generation moves on before key_tail
// does.

import type { CacheDevice, BackingDevice } from '../../src/device/device.js';
import { readCacheInfo, writeCacheInfo } from '../../src/media/cache-info.js';
import { KEY_FLAG_CLEAN, KeyCursor } from '../../src/media/cache-key.js';
import type { CacheKey } from '../../src/media/cache-key.js';
import { pcacheCrcOfRange } from '../../src/media/crc32c.js';
import { encodeKset, encodeLastKset, KsetHeader, ksetIsValid } from '../../src/media/kset.js';
import type { CacheSegId, PhysicalSegmentId, SegmentOffset, VolumeOffset } from '../../src/media/layout.js';
import {
  CACHE_INFO_OFFSETS,
  KEY_BYTES,
  KSET_HEADER_BYTES,
  KSET_KEYS_MAX,
  LAST_KSET_BYTES,
  PAGE_BYTES,
  SECTOR_BYTES,
  SEGMENTS_OFFSET,
  SEGMENT_DATA_BYTES,
  SEGMENT_DATA_OFFSET,
  SUBTREE_BYTES,
  SUPERBLOCK_OFFSET,
  segmentCountOf,
} from '../../src/media/layout.js';
import type { LogPosition } from '../../src/media/log-position.js';
import { samePosition } from '../../src/media/log-position.js';
import { readSegmentChain } from '../../src/media/segment-chain.js';
import { readSegmentGeneration, writeSegmentGeneration } from '../../src/media/segment-generation.js';
import { readSegmentInfo, writeSegmentInfo } from '../../src/media/segment-info.js';
import { decodeSuperblock, encodeSuperblock } from '../../src/media/superblock.js';
import type { TailName } from '../../src/media/tails.js';
import { readTail, writeTail } from '../../src/media/tails.js';
import type { Current, CurrentCopy, NoCopy } from '../../src/media/two-copy-record.js';
import { NO_COPY } from '../../src/media/two-copy-record.js';

interface Place {
  readonly segment: CacheSegId;
  readonly segmentOffset: number;
}

/** A kset that the kernel finds, with its keys; `next` is where the one after it is. */
interface FoundKset {
  readonly position: LogPosition;
  readonly next: LogPosition;
  readonly keys: readonly CacheKey[];
  readonly isLast: boolean;
}

export interface KernelFormatOptions {
  readonly dataCrc?: boolean;
  readonly gcPercent?: number;
}

/** Formats as the kernel does: it writes each record once, and touches neither the first page nor the rest of the superblock's. */
export function kernelFormat(device: CacheDevice, { dataCrc = false, gcPercent = 70 }: KernelFormatOptions = {}): void {
  const control = device.control.bytes;
  const segmentCount = segmentCountOf(device.sizeBytes);
  control.fill(0, CACHE_INFO_OFFSETS[0], SEGMENTS_OFFSET);
  for (let id = 0; id < segmentCount; id++) {
    const { bytes } = device.segment(id as PhysicalSegmentId);
    bytes.fill(0, 0, SEGMENT_DATA_OFFSET + KSET_HEADER_BYTES);
    writeSegmentInfo(bytes, { next: id + 1 < segmentCount ? ((id + 1) as PhysicalSegmentId) : undefined }, NO_COPY);
    writeSegmentGeneration(bytes, 0, NO_COPY);
  }
  const firstSegment = 0 as PhysicalSegmentId;
  const info = { firstSegment, segmentCount, dataCrc, initialised: true, mode: 'writeback', gcPercent, otherFlags: 0 } as const;
  writeCacheInfo(control, info, NO_COPY);
  const start = { cacheSegId: 0 as CacheSegId, segOff: 0 as SegmentOffset };
  writeTail(control, 'key_tail', start, NO_COPY);
  writeTail(control, 'dirty_tail', start, NO_COPY);
  encodeSuperblock(control, { flags: 0, segmentCount });
  device.persist(0, SEGMENTS_OFFSET + segmentCount * device.segment(firstSegment).bytes.length);
}

/** A cache attached to the kernel. What is written through it is durable at once. */
export class KernelModel {
  readonly #device: CacheDevice;
  readonly #backing: BackingDevice;
  readonly #physicalOf: readonly PhysicalSegmentId[];
  readonly #dataCrc: boolean;
  readonly #generations: number[];
  readonly #references: number[];
  readonly #logSegments = new Set<number>();
  readonly #cached = new Map<number, Place>();
  readonly #tails: Record<TailName, LogPosition>;
  /** Which copy of each record the next store does not go to. */
  readonly #copies = new Map<string, CurrentCopy | NoCopy>();
  #head: LogPosition;
  #staged: CacheKey[] = [];
  #dataHead: { segment: CacheSegId; offset: number } | undefined;

  /** Throws Error where the kernel would refuse, or format. */
  constructor(device: CacheDevice, backing: BackingDevice) {
    this.#device = device;
    this.#backing = backing;
    const control = device.control.bytes;
    const superblock = need(decodeSuperblock(control), 'superblock');
    const info = need(readCacheInfo(control, superblock.value.segmentCount), 'cache_info').value;
    const { firstSegment, segmentCount, dataCrc } = info;
    const chain = { firstSegment, segmentCount, deviceSegmentCount: superblock.value.segmentCount };
    this.#physicalOf = need(
      readSegmentChain(chain, (id) => readSegmentInfo(device.segment(id).bytes, superblock.value.segmentCount)),
      'chain',
    ).value;
    this.#dataCrc = dataCrc;
    this.#references = new Array<number>(segmentCount).fill(0);
    this.#generations = this.#physicalOf.map((physical, id) => {
      const read = readSegmentGeneration(device.segment(physical).bytes);
      this.#copies.set(`generation ${id}`, afterAttach(read));
      return read.ok ? read.value : 0;
    });
    const tail = (name: TailName): LogPosition => {
      const read = need(readTail(control, name, segmentCount), name);
      this.#copies.set(name, afterAttach(read));
      return read.value;
    };
    this.#tails = { key_tail: tail('key_tail'), dirty_tail: tail('dirty_tail') };
    this.#head = this.#tails.key_tail;
    this.#logSegments.add(this.#head.cacheSegId);
    for (let kset = this.#ksetAt(this.#head); kset !== undefined; kset = this.#ksetAt(this.#head)) {
      this.#head = kset.next;
      this.#logSegments.add(this.#head.cacheSegId);
      for (const key of kset.keys) this.#take(key);
    }
  }

  get keyTail(): LogPosition {
    return this.#tails.key_tail;
  }

  get dirtyTail(): LogPosition {
    return this.#tails.dirty_tail;
  }

  /** Where the next kset goes. */
  get keyHead(): LogPosition {
    return this.#head;
  }

  /** Whole sectors. What was not flushed is lost with the object. Throws Error if the cache is full. */
  write(offsetBytes: number, bytes: Uint8Array): void {
    for (let done = 0; done < bytes.length;) {
      const head = this.#room();
      const offset = offsetBytes + done;
      const length = Math.min(bytes.length - done, SEGMENT_DATA_BYTES - head.offset, SUBTREE_BYTES - (offset % SUBTREE_BYTES));
      const data = this.#bytesOf(head.segment);
      const at = SEGMENT_DATA_OFFSET + head.offset;
      data.set(bytes.subarray(done, done + length), at);
      const key: CacheKey = {
        off: offset as VolumeOffset,
        len: length,
        flags: 0,
        cacheSegId: head.segment,
        cacheSegOff: head.offset as SegmentOffset,
        segGen: this.#generations[head.segment]!,
        dataCrc: this.#dataCrc ? pcacheCrcOfRange(data, at, at + length) : 0,
        reserved: 0,
      };
      head.offset += length;
      done += length;
      this.#take(key);
      this.#staged.push(key);
      if (this.#staged.length === KSET_KEYS_MAX) this.flush();
    }
  }

  /** Appends the open kset to the log: zeros behind it first, then the kset, without a sequence. */
  flush(): void {
    if (this.#staged.length === 0) return;
    const kset = encodeKset(this.#staged.splice(0));
    if (this.#head.segOff + kset.length + LAST_KSET_BYTES > SEGMENT_DATA_BYTES) this.#nextLogSegment();
    const { cacheSegId, segOff } = this.#head;
    const data = this.#bytesOf(cacheSegId);
    const at = SEGMENT_DATA_OFFSET + segOff;
    data.fill(0, at + kset.length, at + kset.length + KSET_HEADER_BYTES);
    data.set(kset, at);
    this.#persist(cacheSegId, at, kset.length + KSET_HEADER_BYTES);
    this.#head = { cacheSegId, segOff: (segOff + kset.length) as SegmentOffset };
  }

  read(offsetBytes: number, lengthBytes: number): Uint8Array {
    const bytes = new Uint8Array(lengthBytes);
    this.#backing.read(offsetBytes, bytes, 0, lengthBytes);
    for (let at = 0; at < lengthBytes; at += SECTOR_BYTES) {
      const place = this.#cached.get((offsetBytes + at) / SECTOR_BYTES);
      if (place !== undefined) bytes.set(this.#sector(place), at);
    }
    return bytes;
  }

  /** Writes up to `ksets` ksets back, each flushed by itself, and moves dirty_tail past each. Returns how many there were. */
  writeBack(ksets = Infinity): number {
    let done = 0;
    for (; done < ksets && !samePosition(this.#tails.dirty_tail, this.#head); done++) {
      const kset = this.#ksetAt(this.#tails.dirty_tail)!;
      for (const key of kset.keys) {
        if ((key.flags & KEY_FLAG_CLEAN) !== 0 || key.segGen < this.#generations[key.cacheSegId]!) continue;
        this.#backing.write(key.off, this.#bytesOf(key.cacheSegId), SEGMENT_DATA_OFFSET + key.cacheSegOff, key.len);
      }
      this.#backing.flush();
      this.#storeTail('dirty_tail', kset.next);
    }
    return done;
  }

  /**
   * Collects up to `ksets` ksets between key_tail and dirty_tail. Returns how many there were. With `crash` it stops before it stores key_tail for the
   * last of them: what a loss of power at the worst moment leaves. The object is of no use then.
   */
  collect(ksets = Infinity, { crash = false }: { crash?: boolean } = {}): number {
    let done = 0;
    for (; done < ksets && !samePosition(this.#tails.key_tail, this.#tails.dirty_tail); done++) {
      const kset = this.#ksetAt(this.#tails.key_tail)!;
      for (const key of kset.keys) this.#drop(key);
      if (crash && done + 1 === ksets) return done + 1;
      this.#storeTail('key_tail', kset.next);
      if (kset.isLast) this.#logSegments.delete(kset.position.cacheSegId);
    }
    return done;
  }

  /** Any valid kset counts: the kernel knows no sequences. */
  #ksetAt(position: LogPosition): FoundKset | undefined {
    const { cacheSegId, segOff } = position;
    const { bytes, view } = this.#device.segment(this.#physicalOf[cacheSegId]!);
    const header = new KsetHeader();
    if (!ksetIsValid(bytes, view, SEGMENT_DATA_OFFSET, segOff, header)) return undefined;
    if (header.isLast) {
      const next = { cacheSegId: header.nextCacheSegId as CacheSegId, segOff: 0 as SegmentOffset };
      return { position, next, keys: [], isLast: true };
    }
    const cursor = new KeyCursor();
    const keys = Array.from({ length: header.keyNum }, (_, index) => {
      cursor.load(view, SEGMENT_DATA_OFFSET + segOff + KSET_HEADER_BYTES + index * KEY_BYTES);
      return cursor.toKey();
    });
    return { position, next: { cacheSegId, segOff: (segOff + header.sizeBytes) as SegmentOffset }, keys, isLast: false };
  }

  #take(key: CacheKey): void {
    this.#references[key.cacheSegId]! += 1;
    if (key.segGen < this.#generations[key.cacheSegId]!) return;
    for (let at = 0; at < key.len; at += SECTOR_BYTES) {
      this.#cached.set((key.off + at) / SECTOR_BYTES, { segment: key.cacheSegId, segmentOffset: key.cacheSegOff + at });
    }
  }

  /** Drops a key's reference; a segment without references is free from then on, its generation stored. */
  #drop(key: CacheKey): void {
    const segment = key.cacheSegId;
    this.#references[segment]! -= 1;
    if (this.#references[segment] !== 0 || this.#dataHead?.segment === segment) return;
    for (const [sector, place] of this.#cached) if (place.segment === segment) this.#cached.delete(sector);
    this.#generations[segment]! += 1;
    const { bytes } = this.#device.segment(this.#physicalOf[segment]!);
    const name = `generation ${segment}`;
    this.#copies.set(name, writeSegmentGeneration(bytes, this.#generations[segment]!, this.#copies.get(name)!));
    this.#persist(segment, 0, SEGMENT_DATA_OFFSET);
  }

  #storeTail(name: TailName, position: LogPosition): void {
    this.#copies.set(name, writeTail(this.#device.control.bytes, name, position, this.#copies.get(name)!));
    this.#device.persist(0, SEGMENTS_OFFSET);
    this.#tails[name] = position;
  }

  #nextLogSegment(): void {
    const next = this.#freeSegment();
    this.#bytesOf(next).fill(0, SEGMENT_DATA_OFFSET, SEGMENT_DATA_OFFSET + KSET_HEADER_BYTES);
    this.#persist(next, SEGMENT_DATA_OFFSET, KSET_HEADER_BYTES);
    const at = SEGMENT_DATA_OFFSET + this.#head.segOff;
    this.#bytesOf(this.#head.cacheSegId).set(encodeLastKset(next), at);
    this.#persist(this.#head.cacheSegId, at, LAST_KSET_BYTES);
    this.#logSegments.add(next);
    this.#head = { cacheSegId: next, segOff: 0 as SegmentOffset };
  }

  #room(): { segment: CacheSegId; offset: number } {
    if (this.#dataHead === undefined || this.#dataHead.offset >= SEGMENT_DATA_BYTES) {
      this.#dataHead = { segment: this.#freeSegment(), offset: 0 };
    }
    return this.#dataHead;
  }

  #freeSegment(): CacheSegId {
    const free = this.#physicalOf.findIndex(
      (_, id) => this.#references[id] === 0 && !this.#logSegments.has(id) && this.#dataHead?.segment !== id,
    );
    if (free === -1) throw new Error('the kernel model has no free segment');
    return free as CacheSegId;
  }

  #sector({ segment, segmentOffset }: Place): Uint8Array {
    const at = SEGMENT_DATA_OFFSET + segmentOffset;
    return this.#bytesOf(segment).subarray(at, at + SECTOR_BYTES);
  }

  #bytesOf(segment: CacheSegId): Uint8Array {
    return this.#device.segment(this.#physicalOf[segment]!).bytes;
  }

  #persist(segment: CacheSegId, at: number, lengthBytes: number): void {
    const physical = this.#physicalOf[segment]!;
    this.#device.persist(SEGMENTS_OFFSET + physical * this.#device.segment(physical).bytes.length + at, lengthBytes);
  }
}

function need<T extends { readonly ok: boolean }>(read: T, what: string): Extract<T, { readonly ok: true }> {
  if (!read.ok) throw new Error(`the kernel takes no cache without ${what}`);
  return read as Extract<T, { readonly ok: true }>;
}

/** So that the next store goes to the copy that is current: what the kernel does first after an attach. */
function afterAttach<T>(read: ({ readonly ok: true } & Current<T>) | { readonly ok: false }): CurrentCopy | NoCopy {
  if (!read.ok) return NO_COPY;
  return { index: read.index === 0 ? 1 : 0, seq: read.seq, otherValid: true };
}

/** Device bytes that the kernel never stores to: the first page, and all but 24 bytes of the superblock's. */
export const KERNEL_LEAVES_ALONE = [
  [0, PAGE_BYTES],
  [SUPERBLOCK_OFFSET + KSET_HEADER_BYTES, SUPERBLOCK_OFFSET + PAGE_BYTES],
] as const;
