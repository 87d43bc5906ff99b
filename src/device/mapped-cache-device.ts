// The cache device in memory: a file, a file on tmpfs, or a block device, mapped once with mmap(2) and viewed by every thread.
//
// Invariants:
// - The mapping is shared and covers the control area and whole segments only, which lie within the file. Files opened for writing are
//   preallocated. So no store can fault.
// - The process that maps it (`openCacheDevice`, `adoptCacheDevice`) unmaps it; a thread that attached only lets go of its views. Whoever
//   closes the owner has made sure that no other thread still uses a view: touching unmapped memory kills the process.
// - A read-only device is mapped read-only: a store through its views kills the process too. Nothing can change such a cache.
// - A device that failed to persist once fails always, for every thread of the process, until it is opened anew. The kernel tells of a failed write
//   once, to whoever asks first, and takes the pages for clean from then on: a later msync that succeeds has not written them. So calls of
//   msync exclude each other, and none that comes after the failure, or beside it, can return as if all were well.
// - Views are made in windows of just under 4 GiB, the most there can be (see `libc.view` for why), and cut into segments when first asked for.
//   Hence a segment's `bytes` do not start at 0 of their `buffer`.

import * as fs from 'node:fs';
import { dirname } from 'node:path';
import { PcacheError } from '../errors.js';
import { CACHE_BYTES_MAX, CACHE_BYTES_MIN, PAGE_BYTES, SEGMENTS_OFFSET, SEGMENT_BYTES, segmentCountOf } from '../media/layout.js';
import type { PhysicalSegmentId } from '../media/layout.js';
import { exactSize } from '../media/size-text.js';
import type { CacheDevice, Persistence, SegmentView } from './device.js';
import { dataEndOf } from './data-end.js';
import { findDataBySamples } from './data-samples.js';
import { attempt, openDeviceFile } from './device-file.js';
import type { DeviceFile } from './device-file.js';
import { errno } from './errno-codes.js';
import { HugePageGatherer, mmapForHugePages } from './huge-pages.js';
import { copyMemory, fileSystemOf, madvise, mmapAt, msync, munmap, view } from './libc.js';
import {
  MADV_NORMAL,
  MADV_RANDOM,
  MAP_ANONYMOUS,
  MAP_FIXED,
  MAP_NORESERVE,
  MAP_PRIVATE,
  MAP_SHARED,
  PROT_READ,
  PROT_WRITE,
  RAMFS_MAGIC,
  TMPFS_MAGIC,
} from './linux-constants.js';
import { preallocate } from './preallocate.js';
import { errnoOf, systemError, systemErrorFrom } from './system-error.js';

/** All that another thread or a child process needs to use a mapped cache device; structured-cloneable and JSON. */
export interface CacheDeviceHandle {
  /** For messages. */
  readonly path: string;
  /** Of the open, locked file; another process gets it by inheritance, perhaps with another number. */
  readonly fd: number;
  readonly sizeBytes: number;
  readonly persistence: Persistence;
  readonly readOnly: boolean;
  /** See `CacheDevice.dataEnd`, `CacheDevice.lostFrom`. */
  readonly dataEnd?: number | undefined;
  readonly lostFrom?: number | undefined;
  /** Of the mapping in this process. */
  readonly address: number;
  /** Words: 1 while some thread persists; the errno with which one failed, or 0. */
  readonly persistState: SharedArrayBuffer;
}

/** What a process that inherits the descriptor needs; JSON. */
export type InheritedCacheDevice = Omit<CacheDeviceHandle, 'address' | 'persistState' | 'lostFrom'>;

const PERSISTING = 0;
const FAILED_ERRNO = 1;

/** Just under 4 GiB, where ArrayBuffers end. */
const WINDOW_SEGMENTS = 255;

/**
 * Creates and preallocates a cache file of zeros that only its owner can read; durable when it returns. Throws PcacheError `holds-data` if the
 * path exists, `no-space` if the disk is full, `too-small` or `usage` for a size out of range; then no file is left. `onProgress` is called first when the
 * file is there.
 */
export function createCacheFile(path: string, sizeBytes: number, onProgress?: (doneBytes: number, totalBytes: number) => void): void {
  if (!Number.isSafeInteger(sizeBytes) || sizeBytes % 512 !== 0) {
    throw new PcacheError('usage', `${path}: a cache of ${sizeBytes} bytes: the size must be a multiple of 512`);
  }
  requireCacheSize(path, sizeBytes);
  if (fs.existsSync(path)) throw new PcacheError('holds-data', `${path}: exists already`);
  const fd = attempt(path, () => fs.openSync(path, fs.constants.O_RDWR | fs.constants.O_CREAT | fs.constants.O_EXCL, 0o600));
  try {
    onProgress?.(0, sizeBytes);
    attempt(path, () => fs.ftruncateSync(fd, sizeBytes));
    preallocate(path, fd, sizeBytes, true, onProgress);
    attempt(path, () => fs.fsyncSync(fd));
    syncDirectory(dirname(path));
  } catch (error) {
    fs.closeSync(fd);
    fs.unlinkSync(path);
    throw error;
  }
  fs.closeSync(fd);
}

export interface OpenCacheDeviceOptions {
  readOnly?: boolean;
  /** For readers: `none` reads beside a writer. */
  lock?: 'shared' | 'none';
  /** Take what is too small for a cache, but not for its records and a segment: what is left of one that was cut. */
  takesCut?: boolean;
  /** Asked before a file with a hole at its end is allocated, with a read-only view of it; if it says no, the hole stays. Default: yes. */
  mayAllocate?: (device: CacheDevice) => boolean;
  /** Hears how far the allocation of a sparse file is. */
  onAllocated?: (doneBytes: number, totalBytes: number) => void;
}

/**
 * Opens, locks and maps a cache device. Throws PcacheError `not-found`, `permission`, `in-use`, `too-small`, `unsupported`, or `no-space` if a sparse
 * file opened for writing can't be allocated. Looks at nothing on the media.
 */
export function openCacheDevice(path: string, options: OpenCacheDeviceOptions = {}): MappedCacheDevice {
  const readOnly = options.readOnly ?? false;
  const file = openDeviceFile(path, { readOnly, ...(options.lock === undefined ? {} : { lock: options.lock }) });
  try {
    if (options.takesCut !== true || file.sizeBytes < SEGMENTS_OFFSET + SEGMENT_BYTES) requireCacheSize(path, file.sizeBytes);
    // Beside a writer it says nothing.
    const isAsked = file.kind === 'file' && options.lock !== 'none';
    const dataEnd = isAsked ? attempt(path, () => dataEndOf(file.fd, file.sizeBytes)) : file.sizeBytes;
    const isKept = !readOnly && dataEnd < mappedBytesOf(file.sizeBytes) && !allows(options.mayAllocate, file, dataEnd);
    if (!readOnly && file.kind === 'file' && !isKept) preallocate(path, file.fd, file.sizeBytes, false, options.onAllocated);
    const { type } = attempt(path, () => fileSystemOf(file.fd));
    // A block device's file system is the one its node is on, devtmpfs: that says nothing about the device.
    const inMemory = file.kind === 'file' && (type === TMPFS_MAGIC || type === RAMFS_MAGIC);
    const handle = {
      path,
      fd: file.fd,
      sizeBytes: file.sizeBytes,
      persistence: inMemory ? ('memory' as const) : ('synced' as const),
      readOnly,
    };
    return adoptCacheDevice(dataEnd < mappedBytesOf(file.sizeBytes) ? { ...handle, dataEnd } : handle);
  } catch (error) {
    fs.closeSync(file.fd);
    throw error;
  }
}

function allows(mayAllocate: OpenCacheDeviceOptions['mayAllocate'], { path, fd, sizeBytes }: DeviceFile, dataEnd: number): boolean {
  if (mayAllocate === undefined || fs.fstatSync(fd).blocks * 512 >= sizeBytes) return true;
  const { address, lengthBytes } = mapFile({ path, fd, sizeBytes, readOnly: true, dataEnd });
  try {
    const handle = { path, fd, sizeBytes, persistence: 'synced' as const, readOnly: true, dataEnd, address };
    return mayAllocate(attachCacheDevice({ ...handle, persistState: new SharedArrayBuffer(8) }));
  } finally {
    munmap(address, lengthBytes);
  }
}

/** Maps a device whose descriptor this process inherited. The lock came with it. */
export function adoptCacheDevice(handle: InheritedCacheDevice): MappedCacheDevice {
  const { address } = mapFile(handle);
  return new MappedCacheDevice({ ...handle, address, persistState: new SharedArrayBuffer(8) }, true);
}

function mapFile({ path, fd, sizeBytes, readOnly, dataEnd }: Omit<InheritedCacheDevice, 'persistence'>): {
  address: number;
  lengthBytes: number;
} {
  const protection = readOnly ? PROT_READ : PROT_READ | PROT_WRITE;
  const lengthBytes = mappedBytesOf(sizeBytes);
  const address = attempt(`${path}: map`, () => mmapForHugePages(lengthBytes, protection, MAP_SHARED, fd));
  if (readOnly && dataEnd !== undefined) leaveHole(path, address, dataEnd, lengthBytes);
  return { address, lengthBytes };
}

/** Zeros of this process's own, where nothing of the file was ever written: that it has a hole there is still seen after a look at it. */
function leaveHole(path: string, address: number, dataEnd: number, lengthBytes: number): void {
  const start = Math.ceil(dataEnd / PAGE_BYTES) * PAGE_BYTES;
  const flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED;
  if (start < lengthBytes) attempt(`${path}: map`, () => mmapAt(address + start, lengthBytes - start, PROT_READ, flags, -1, 0));
}

/** Views, in another thread of the process, what that process has mapped. The owner must outlive it. */
export function attachCacheDevice(handle: CacheDeviceHandle): MappedCacheDevice {
  return new MappedCacheDevice(handle, false);
}

export class MappedCacheDevice implements CacheDevice {
  readonly handle: CacheDeviceHandle;
  readonly sizeBytes: number;
  readonly segmentCount: number;
  readonly persistence: Persistence;
  readonly readOnly: boolean;
  dataEnd: number | undefined;
  readonly lostFrom: number | undefined;
  /** msync looks at no page that is clean, and ends with a flush of the device's own cache, which is most of what it costs. */
  readonly persistsSpans = true;
  readonly control: SegmentView;
  readonly #address: number;
  readonly #mappedBytes: number;
  readonly #owner: boolean;
  readonly #persistState: Int32Array;
  readonly #windows: (ArrayBuffer | undefined)[] = [];
  readonly #segments: (SegmentView | undefined)[];
  #open = true;

  /** Use `openCacheDevice`, `adoptCacheDevice` or `attachCacheDevice`. */
  constructor(handle: CacheDeviceHandle, owner: boolean) {
    this.handle = handle;
    this.sizeBytes = handle.sizeBytes;
    this.segmentCount = segmentCountOf(handle.sizeBytes);
    this.persistence = handle.persistence;
    this.readOnly = handle.readOnly;
    this.dataEnd = handle.dataEnd;
    this.lostFrom = handle.lostFrom;
    this.#address = handle.address;
    this.#mappedBytes = mappedBytesOf(handle.sizeBytes);
    this.#owner = owner;
    this.#persistState = new Int32Array(handle.persistState);
    this.#segments = new Array<SegmentView | undefined>(this.segmentCount).fill(undefined);
    this.control = viewOf(view(handle.address, SEGMENTS_OFFSET), 0, SEGMENTS_OFFSET);
  }

  segment(id: PhysicalSegmentId): SegmentView {
    return this.#segments[id] ?? this.#makeSegment(id);
  }

  addressOf(deviceOffset: number): number {
    return this.#address + deviceOffset;
  }

  store(id: PhysicalSegmentId, offset: number, sourceAddress: number, lengthBytes: number): void {
    copyMemory(this.#address + SEGMENTS_OFFSET + id * SEGMENT_BYTES + offset, sourceAddress, lengthBytes);
  }

  persist(deviceOffset: number, lengthBytes: number): void {
    if (!(deviceOffset >= 0 && lengthBytes >= 0 && deviceOffset + lengthBytes <= this.#mappedBytes)) {
      throw new RangeError(`persist: ${lengthBytes} bytes at ${deviceOffset}: beyond the ${this.#mappedBytes} bytes mapped`);
    }
    this.#requireOpen();
    if (this.persistence === 'memory' || lengthBytes === 0) return;
    const start = deviceOffset - (deviceOffset % PAGE_BYTES);
    const state = this.#persistState;
    // A wake-up can't be missed: wait returns at once if the word is no longer 1, and whoever sets it to 0 notifies after that.
    while (Atomics.compareExchange(state, PERSISTING, 0, 1) !== 0) Atomics.wait(state, PERSISTING, 1);
    try {
      if (state[FAILED_ERRNO] !== 0) {
        throw systemError(`${this.handle.path}: nothing counts as durable since a sync failed`, state[FAILED_ERRNO]!, 'io');
      }
      this.#sync(start, deviceOffset + lengthBytes);
    } finally {
      Atomics.store(state, PERSISTING, 0);
      Atomics.notify(state, PERSISTING, 1);
    }
  }

  #sync(start: number, end: number): void {
    try {
      msync(this.#address + start, end - start);
    } catch (error) {
      this.#persistState[FAILED_ERRNO] = errnoOf(error) ?? errno.EIO;
      throw systemErrorFrom(`${this.handle.path}: sync of ${end - start} bytes at ${start}`, error, 'io');
    }
  }

  findData(): number | undefined {
    this.#requireOpen();
    return attempt(this.handle.path, () => findDataBySamples(this.handle.fd));
  }

  expectAccess(pattern: 'scattered' | 'normal'): void {
    this.#requireOpen();
    madvise(this.#address, this.#mappedBytes, pattern === 'scattered' ? MADV_RANDOM : MADV_NORMAL);
  }

  /** What gathers this device's memory into huge pages; undefined if that is not for it: a file on a disk, or a read-only one. Not after `close`. */
  hugePageGatherer(): HugePageGatherer | undefined {
    this.#requireOpen();
    if (this.persistence !== 'memory' || this.readOnly) return undefined;
    return new HugePageGatherer(this.#address, this.#mappedBytes);
  }

  /** All of that at once: 0.7 s a GiB where there were small pages. */
  gatherHugePages(onProgress: (doneBytes: number, totalBytes: number) => void = () => undefined): void {
    const gatherer = this.hugePageGatherer();
    while (gatherer?.step() === true) onProgress(gatherer.progress.doneBytes, gatherer.progress.totalBytes);
  }

  close(): void {
    if (!this.#open) return;
    this.#open = false;
    this.#windows.length = 0;
    this.#segments.fill(undefined);
    if (!this.#owner) return;
    munmap(this.#address, this.#mappedBytes);
    fs.closeSync(this.handle.fd);
  }

  #makeSegment(id: PhysicalSegmentId): SegmentView {
    if (!(Number.isInteger(id) && id >= 0 && id < this.segmentCount)) {
      throw new RangeError(`segment: ${id}: the device has ${this.segmentCount}`);
    }
    this.#requireOpen();
    const windowIndex = Math.floor(id / WINDOW_SEGMENTS);
    const first = windowIndex * WINDOW_SEGMENTS;
    const segments = Math.min(WINDOW_SEGMENTS, this.segmentCount - first);
    this.#windows[windowIndex] ??= view(this.#address + SEGMENTS_OFFSET + first * SEGMENT_BYTES, segments * SEGMENT_BYTES);
    const made = viewOf(this.#windows[windowIndex], (id - first) * SEGMENT_BYTES, SEGMENT_BYTES);
    this.#segments[id] = made;
    return made;
  }

  #requireOpen(): void {
    if (!this.#open) throw new PcacheError('closed', `${this.handle.path}: cache device: closed`);
  }
}

function viewOf(buffer: ArrayBuffer, offset: number, lengthBytes: number): SegmentView {
  return {
    bytes: new Uint8Array(buffer, offset, lengthBytes),
    words: new Int32Array(buffer, offset, lengthBytes / 4),
    view: new DataView(buffer, offset, lengthBytes),
  };
}

function mappedBytesOf(sizeBytes: number): number {
  return SEGMENTS_OFFSET + segmentCountOf(sizeBytes) * SEGMENT_BYTES;
}

function requireCacheSize(path: string, sizeBytes: number): void {
  const mib = 1024 * 1024;
  if (sizeBytes < CACHE_BYTES_MIN) {
    throw new PcacheError('too-small', `${path}: ${exactSize(sizeBytes)}: a cache needs ${CACHE_BYTES_MIN / mib} MiB or more`);
  }
  if (sizeBytes > CACHE_BYTES_MAX) {
    throw new PcacheError('unsupported', `${path}: ${exactSize(sizeBytes)}: a cache has ${CACHE_BYTES_MAX / mib ** 2} TiB at most`);
  }
}

function syncDirectory(path: string): void {
  const fd = attempt(path, () => fs.openSync(path, fs.constants.O_RDONLY | fs.constants.O_DIRECTORY));
  try {
    attempt(path, () => fs.fsyncSync(fd));
  } finally {
    fs.closeSync(fd);
  }
}
