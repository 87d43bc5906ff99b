// The backing device: a file or a block device, read and written past the page cache where possible.
//
// Invariants:
// - Every call either moves all its bytes or throws.
// - Direct I/O goes straight to the caller's memory if offset, length and address suit the device; otherwise through an aligned buffer of this
//   object's own, in pieces.
// - A write that ends inside a block of the device reads that block first. Sectors of one block may belong to different writers, so such
//   writes exclude each other through a lock that all objects of the process for this device share. Writes of whole blocks need no lock: writers of
//   overlapping ranges keep out of each other's way themselves.

import * as fs from 'node:fs';
import { PcacheError } from '../errors.js';
import type { BackingPrint } from '../media/backing-print.js';
import { PRINT_BYTES_MAX } from '../media/backing-print.js';
import { pcacheCrc } from '../media/crc32c.js';
import { SECTOR_BYTES, VOLUME_BYTES_MAX } from '../media/layout.js';
import { backingIdentityOf } from './backing-identity.js';
import { SynchronousBackingQueue } from './backing-queue.js';
import type { BackingQueue } from './backing-queue.js';
import { BackingAio } from './backing-aio.js';
import { BackingRing } from './backing-ring.js';
import { hidesShortWrites, type DirectDevice } from './direct-queue.js';
import type { BackingDevice } from './device.js';
import { attempt, openDeviceFile } from './device-file.js';
import { BUFFERED, enableDirectIo, type IoAlignment } from './direct-io.js';
import { errno } from './errno-codes.js';
import { addressOf, lseek, mmap, munmap, pread, pwrite, view } from './libc.js';
import { MAP_ANONYMOUS, MAP_PRIVATE, PROT_READ, PROT_WRITE, SEEK_DATA, SEEK_END } from './linux-constants.js';
import { errnoOf, systemError, systemErrorFrom } from './system-error.js';

/** All that another thread of the process needs to use a backing device; structured-cloneable. */
export interface BackingDeviceHandle {
  /** For messages. */
  readonly path: string;
  readonly fd: number;
  readonly sizeBytes: number;
  readonly readOnly: boolean;
  readonly identity: string;
  readonly alignment: IoAlignment;
  /** One word: 1 while some thread rewrites part of a block. */
  readonly blockLock: SharedArrayBuffer;
  /** One float: see `BackingDevice.lostBytes`. */
  readonly lostBytes: SharedArrayBuffer;
}

/** What a child process that inherits the descriptor needs; JSON. */
export type InheritedBackingDevice = Omit<BackingDeviceHandle, 'blockLock' | 'lostBytes'>;

export interface OpenBackingDeviceOptions {
  readOnly?: boolean;
  /** `auto`: direct I/O if the device takes it (default); `never`: through the page cache. */
  direct?: 'auto' | 'never';
  /** For readers: `none` reads beside a writer. */
  lock?: 'shared' | 'none';
}

/** What to do about a device that was cut. */
export const CUT_HINT =
  'What is dirty stays in the cache. Unmount, bring the content back from a copy, then pcache recover CACHE BACKING --adopt writes what is dirty to it.';

const BOUNCE_BYTES = 1024 * 1024;

/**
 * Opens and locks a backing device; its size must be a multiple of 512. Throws PcacheError `not-found`, `permission`, `in-use`, `too-small` or `unsupported`.
 */
export function openBackingDevice(path: string, options: OpenBackingDeviceOptions = {}): FileBackingDevice {
  const readOnly = options.readOnly ?? false;
  const file = openDeviceFile(path, { readOnly, ...(options.lock === undefined ? {} : { lock: options.lock }) });
  try {
    requireVolumeSize(path, file.sizeBytes);
    const identity = attempt(path, () => backingIdentityOf(file));
    const alignment = options.direct === 'never' ? BUFFERED : attempt(path, () => enableDirectIo(file));
    return adoptBackingDevice({ path, fd: file.fd, sizeBytes: file.sizeBytes, readOnly, identity, alignment });
  } catch (error) {
    fs.closeSync(file.fd);
    throw error;
  }
}

/** A device whose descriptor this process inherited; lock and O_DIRECT came with it. It closes the descriptor. `lostBytes`: known of it already. */
export function adoptBackingDevice(inherited: InheritedBackingDevice, lostBytes = 0): FileBackingDevice {
  const lost = new SharedArrayBuffer(8);
  new Float64Array(lost)[0] = lostBytes;
  return new FileBackingDevice({ ...inherited, blockLock: new SharedArrayBuffer(4), lostBytes: lost }, true);
}

/** Another object for the same device, for another thread of the process. It leaves the descriptor open. */
export function attachBackingDevice(handle: BackingDeviceHandle): FileBackingDevice {
  return new FileBackingDevice(handle, false);
}

export class FileBackingDevice implements BackingDevice {
  readonly handle: BackingDeviceHandle;
  readonly sizeBytes: number;
  readonly readOnly: boolean;
  readonly identity: string;
  readonly #fd: number;
  readonly #owner: boolean;
  readonly #alignmentBytes: number;
  readonly #memoryAlignmentBytes: number;
  readonly #lock: Int32Array;
  readonly #lost: Float64Array;
  #bounceAddress = 0;
  #bounce = new Uint8Array(0);
  /** The ArrayBuffer that was used last, and where it is: callers mostly use the same one again. */
  #lastBuffer: ArrayBufferLike | undefined;
  #lastBufferAddress = 0;
  #open = true;

  /** Use `openBackingDevice`, `adoptBackingDevice` or `attachBackingDevice`. */
  constructor(handle: BackingDeviceHandle, owner: boolean) {
    this.handle = handle;
    this.sizeBytes = handle.sizeBytes;
    this.readOnly = handle.readOnly;
    this.identity = handle.identity;
    this.#fd = handle.fd;
    this.#owner = owner;
    this.#alignmentBytes = handle.alignment.offsetBytes;
    this.#memoryAlignmentBytes = handle.alignment.memoryBytes;
    this.#lock = new Int32Array(handle.blockLock);
    this.#lost = new Float64Array(handle.lostBytes);
  }

  read(offsetBytes: number, target: Uint8Array, targetOffset: number, lengthBytes: number): void {
    this.#check(offsetBytes, target, targetOffset, lengthBytes);
    const address = this.#usableAddress(offsetBytes, target, targetOffset, lengthBytes);
    if (address !== 0 && this.#readInto(address, lengthBytes, offsetBytes, true)) return;
    this.#makeBounce();
    const end = offsetBytes + lengthBytes;
    for (let position = offsetBytes; position < end;) {
      const start = position - (position % this.#alignmentBytes);
      const pieceEnd = Math.min(end, start + BOUNCE_BYTES);
      this.#readInto(this.#bounceAddress, this.#roundUp(pieceEnd) - start, start, false);
      target.set(this.#bounce.subarray(position - start, pieceEnd - start), targetOffset + position - offsetBytes);
      position = pieceEnd;
    }
  }

  write(offsetBytes: number, source: Uint8Array, sourceOffset: number, lengthBytes: number): void {
    this.#check(offsetBytes, source, sourceOffset, lengthBytes);
    const address = this.#usableAddress(offsetBytes, source, sourceOffset, lengthBytes);
    if (address !== 0 && this.#writeFrom(address, lengthBytes, offsetBytes, true)) return;
    this.#makeBounce();
    const wholeBlocks = offsetBytes % this.#alignmentBytes === 0 && lengthBytes % this.#alignmentBytes === 0;
    if (!wholeBlocks) this.#lockBlocks();
    try {
      this.#writeThroughBounce(offsetBytes, source, sourceOffset, lengthBytes);
    } finally {
      if (!wholeBlocks) this.#unlockBlocks();
    }
  }

  isHole(offsetBytes: number, lengthBytes: number): boolean {
    this.#requireOpen();
    // Nothing here depends on the descriptor's own offset, which this moves. A block device answers EINVAL.
    const data = lseek(this.#fd, offsetBytes, SEEK_DATA);
    return data === -errno.ENXIO || data >= offsetBytes + lengthBytes;
  }

  flush(): void {
    this.#requireOpen();
    try {
      // For a block device the same as fsync; for a file it includes what is needed to find the data again.
      fs.fdatasyncSync(this.#fd);
    } catch (error) {
      throw systemErrorFrom(`${this.handle.path}: flush`, error, codeOfNumber(errnoOf(error) ?? errno.EIO));
    }
  }

  print({ durable }: { durable: boolean }): BackingPrint {
    this.#requireOpen();
    const start = new Uint8Array(Math.min(PRINT_BYTES_MAX, this.sizeBytes));
    try {
      // Not fdatasync: a loss of power must not put the time back.
      if (durable) fs.fsyncSync(this.#fd);
      this.read(0, start, 0, start.length);
      const stat = fs.fstatSync(this.#fd, { bigint: true });
      const print = { bytes: start.length, crc: pcacheCrc(start) };
      // That of a device node is not moved by writes.
      if (!stat.isFile() || stat.mtimeNs < 1_000_000_000n) return print;
      return {
        ...print,
        changed: { seconds: Number(stat.mtimeNs / 1_000_000_000n), nanoseconds: Number(stat.mtimeNs % 1_000_000_000n) },
      };
    } catch (error) {
      if (error instanceof PcacheError) throw error;
      throw systemErrorFrom(this.handle.path, error, codeOfNumber(errnoOf(error) ?? errno.EIO));
    }
  }

  get lostBytes(): number {
    return this.#lost[0]!;
  }

  requireWhole(): void {
    this.#requireOpen();
    // Of files and block devices alike. A block device that is gone has 0 bytes: its requests fail, and it may come back as it was.
    const length = lseek(this.#fd, 0, SEEK_END);
    const isGone = length < 0 || (length === 0 && fs.fstatSync(this.#fd).isBlockDevice());
    if (!isGone && this.sizeBytes - length > this.lostBytes) this.#lost[0] = this.sizeBytes - length;
    if (this.lostBytes > 0) {
      throw new PcacheError(
        'mismatch',
        `${this.handle.path} became ${this.lostBytes} bytes shorter than the volume: it was cut while in use`,
        { hint: CUT_HINT },
      );
    }
  }

  queue(depth: number): BackingQueue {
    return this.ring(depth) ?? new SynchronousBackingQueue(this, depth);
  }

  /** For the calling thread; undefined where there is no io_uring. Close it before the device. */
  ring(depth: number): BackingRing | undefined {
    this.#requireOpen();
    try {
      return new BackingRing(this.#directDevice(), depth);
    } catch (error) {
      if (error instanceof PcacheError) return undefined;
      throw error;
    }
  }

  /** For the calling thread: through Linux AIO where there is that. Close it before the device. */
  writeQueue(depth: number): BackingQueue {
    this.#requireOpen();
    try {
      return new BackingAio(this.#directDevice(), depth);
    } catch (error) {
      if (error instanceof PcacheError) return new SynchronousBackingQueue(this, depth);
      throw error;
    }
  }

  close(): void {
    if (!this.#open) return;
    this.#open = false;
    this.#lastBuffer = undefined;
    this.#bounce = new Uint8Array(0);
    if (this.#bounceAddress !== 0) munmap(this.#bounceAddress, BOUNCE_BYTES);
    if (this.#owner) fs.closeSync(this.#fd);
  }

  #directDevice(): DirectDevice {
    return {
      device: this,
      fd: this.#fd,
      hidesShortWrites: hidesShortWrites(this.#fd),
      directAddress: (offsetBytes, memory, memoryOffset, lengthBytes) => {
        this.#check(offsetBytes, memory, memoryOffset, lengthBytes);
        return this.#usableAddress(offsetBytes, memory, memoryOffset, lengthBytes);
      },
      progressOf: (result, wantedBytes) => this.#progressOf(result, wantedBytes),
      failure: (what, lengthBytes, offsetBytes, result) => this.#failure(what, lengthBytes, offsetBytes, result),
      flushFailure: (number) => systemError(`${this.handle.path}: flush`, number, codeOfNumber(number)),
    };
  }

  #writeThroughBounce(offsetBytes: number, source: Uint8Array, sourceOffset: number, lengthBytes: number): void {
    const end = offsetBytes + lengthBytes;
    for (let position = offsetBytes; position < end;) {
      const start = position - (position % this.#alignmentBytes);
      const pieceEnd = Math.min(end, start + BOUNCE_BYTES);
      const blocksEnd = this.#roundUp(pieceEnd);
      if (position > start) this.#readInto(this.#bounceAddress, this.#alignmentBytes, start, false);
      const lastBlock = blocksEnd - this.#alignmentBytes;
      if (pieceEnd < blocksEnd && !(position > start && lastBlock === start)) {
        this.#readInto(this.#bounceAddress + lastBlock - start, this.#alignmentBytes, lastBlock, false);
      }
      const from = sourceOffset + position - offsetBytes;
      this.#bounce.set(source.subarray(from, from + pieceEnd - position), position - start);
      this.#writeFrom(this.#bounceAddress, blocksEnd - start, start, false);
      position = pieceEnd;
    }
  }

  /** True when all is read; false if `mayRefuse` and the kernel can't do I/O to this memory. */
  #readInto(address: number, lengthBytes: number, offsetBytes: number, mayRefuse: boolean): boolean {
    for (let done = 0; done < lengthBytes;) {
      const result = pread(this.#fd, address + done, lengthBytes - done, offsetBytes + done);
      if (result === -errno.EINTR) continue;
      if (mayRefuse && (result === -errno.EINVAL || result === -errno.EFAULT)) return false;
      const progress = this.#progressOf(result, lengthBytes - done);
      if (progress <= 0) throw this.#failure('read', lengthBytes, offsetBytes, result);
      done += progress;
    }
    return true;
  }

  #writeFrom(address: number, lengthBytes: number, offsetBytes: number, mayRefuse: boolean): boolean {
    for (let done = 0; done < lengthBytes;) {
      const result = pwrite(this.#fd, address + done, lengthBytes - done, offsetBytes + done);
      if (result === -errno.EINTR) continue;
      if (mayRefuse && (result === -errno.EINVAL || result === -errno.EFAULT)) return false;
      const progress = this.#progressOf(result, lengthBytes - done);
      if (progress <= 0) throw this.#failure('write', lengthBytes, offsetBytes, result);
      done += progress;
    }
    return true;
  }

  /** After a partial transfer direct I/O can only go on from a whole block. */
  #progressOf(result: number, wantedBytes: number): number {
    return result <= 0 || result === wantedBytes ? result : result - (result % this.#alignmentBytes);
  }

  #failure(what: string, lengthBytes: number, offsetBytes: number, result: number): PcacheError {
    const call = `${this.handle.path}: ${what} of ${lengthBytes} bytes at ${offsetBytes}`;
    if (result >= 0) return new PcacheError('io', `${call}: the device ended early`, { errno: errno.EIO });
    return systemError(call, -result, codeOfNumber(-result));
  }

  /** Where the memory is, if I/O can go straight there; else 0. */
  #usableAddress(offsetBytes: number, memory: Uint8Array, memoryOffset: number, lengthBytes: number): number {
    if (offsetBytes % this.#alignmentBytes !== 0 || lengthBytes % this.#alignmentBytes !== 0) return 0;
    if (memory.buffer !== this.#lastBuffer) {
      const address = addressOf(memory);
      this.#lastBufferAddress = address === 0 ? 0 : address - memory.byteOffset;
      this.#lastBuffer = memory.buffer;
    }
    if (this.#lastBufferAddress === 0) return 0;
    const address = this.#lastBufferAddress + memory.byteOffset + memoryOffset;
    return address % this.#memoryAlignmentBytes === 0 ? address : 0;
  }

  #roundUp(bytes: number): number {
    const over = bytes % this.#alignmentBytes;
    return over === 0 ? bytes : bytes + this.#alignmentBytes - over;
  }

  #makeBounce(): void {
    if (this.#bounceAddress !== 0) return;
    this.#bounceAddress = mmap(BOUNCE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    this.#bounce = new Uint8Array(view(this.#bounceAddress, BOUNCE_BYTES));
  }

  #lockBlocks(): void {
    // A wake-up can't be missed: wait returns at once if the word is no longer 1, and whoever sets it to 0 notifies after that.
    while (Atomics.compareExchange(this.#lock, 0, 0, 1) !== 0) Atomics.wait(this.#lock, 0, 1);
  }

  #unlockBlocks(): void {
    Atomics.store(this.#lock, 0, 0);
    Atomics.notify(this.#lock, 0, 1);
  }

  #check(offsetBytes: number, memory: Uint8Array, memoryOffset: number, lengthBytes: number): void {
    this.#requireOpen();
    const whole = Number.isInteger(memoryOffset) && offsetBytes % SECTOR_BYTES === 0 && lengthBytes % SECTOR_BYTES === 0;
    const inside = offsetBytes >= 0 && lengthBytes >= 0 && offsetBytes + lengthBytes <= this.sizeBytes;
    if (!whole || !inside || memoryOffset < 0 || memoryOffset + lengthBytes > memory.length) {
      throw new RangeError(
        `${lengthBytes} bytes at ${offsetBytes}, from ${memoryOffset} of ${memory.length} bytes of memory: not sectors within ${this.sizeBytes} bytes`,
      );
    }
  }

  #requireOpen(): void {
    if (!this.#open) throw new PcacheError('closed', `${this.handle.path}: backing device: closed`);
  }
}

function codeOfNumber(number: number): 'io' | 'no-space' {
  return number === errno.ENOSPC || number === errno.EDQUOT ? 'no-space' : 'io';
}

function requireVolumeSize(path: string, sizeBytes: number): void {
  if (sizeBytes < SECTOR_BYTES) throw new PcacheError('too-small', `${path}: ${sizeBytes} bytes: a volume needs ${SECTOR_BYTES} or more`);
  if (sizeBytes % SECTOR_BYTES !== 0) {
    throw new PcacheError('unsupported', `${path}: ${sizeBytes} bytes: the size of a volume must be a multiple of ${SECTOR_BYTES}`);
  }
  if (sizeBytes > VOLUME_BYTES_MAX) {
    throw new PcacheError('unsupported', `${path}: ${sizeBytes} bytes: a volume has ${VOLUME_BYTES_MAX / 1024 ** 4} TiB at most`);
  }
}
