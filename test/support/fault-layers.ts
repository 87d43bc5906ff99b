// Faults for tests, as layers that are put over a device, one over another as needed. Each is switched by its fields, does nothing until told to,
// and takes its chances from the random numbers it is given, so that a seed repeats a run. Layers keep what a device promises: a call either does
// all it says or throws PcacheError `io` (`no-space` for ENOSPC); only LostFlush lies, which no caller can notice.
//
// The other kind of fault, which reaches the system calls of a whole gateway, is in fault-mount.ts.

import { PcacheError } from '../../src/errors.js';
import type { BackingDevice, CacheDevice } from '../../src/device/device.js';
import { errno, errnoName } from '../../src/device/errno-codes.js';
import { systemError } from '../../src/device/system-error.js';
import { PAGE_BYTES, SECTOR_BYTES, SEGMENTS_OFFSET, SEGMENT_BYTES } from '../../src/media/layout.js';
import type { PhysicalSegmentId } from '../../src/media/layout.js';
import { layerOver } from './model-rig.js';

export type CallKind = 'read' | 'write' | 'flush';

/** A layer that passes everything on; the others override what they spoil. */
export class BackingLayer implements BackingDevice {
  protected readonly below: BackingDevice;

  constructor(below: BackingDevice) {
    this.below = below;
  }

  get sizeBytes(): number {
    return this.below.sizeBytes;
  }

  get readOnly(): boolean {
    return this.below.readOnly;
  }

  get identity(): string {
    return this.below.identity;
  }

  read(offsetBytes: number, target: Uint8Array, targetOffset: number, lengthBytes: number): void {
    this.below.read(offsetBytes, target, targetOffset, lengthBytes);
  }

  write(offsetBytes: number, source: Uint8Array, sourceOffset: number, lengthBytes: number): void {
    this.below.write(offsetBytes, source, sourceOffset, lengthBytes);
  }

  isHole(offsetBytes: number, lengthBytes: number): boolean {
    return this.below.isHole(offsetBytes, lengthBytes);
  }

  flush(): void {
    this.below.flush();
  }

  close(): void {
    this.below.close();
  }
}

function failure(what: string, number: number): PcacheError {
  return systemError(`faulty backing device: ${what}`, number, number === errno.ENOSPC ? 'no-space' : 'io');
}

/** Calls of some kinds fail with an errno, each with some probability. With `after` they take effect first: whoever called can't know. */
export class ErrorLayer extends BackingLayer {
  kinds: ReadonlySet<CallKind> = new Set();
  probability = 1;
  number: number = errno.EIO;
  after = false;
  /** Called when a flush fails: what the device then makes of all that was written since the last one. */
  onFailedFlush: (() => void) | undefined;
  /** Calls that failed. */
  failed = 0;
  readonly #random: () => number;

  constructor(below: BackingDevice, random: () => number = () => 0) {
    super(below);
    this.#random = random;
  }

  override read(offsetBytes: number, target: Uint8Array, targetOffset: number, lengthBytes: number): void {
    this.#run('read', () => super.read(offsetBytes, target, targetOffset, lengthBytes));
  }

  override write(offsetBytes: number, source: Uint8Array, sourceOffset: number, lengthBytes: number): void {
    this.#run('write', () => super.write(offsetBytes, source, sourceOffset, lengthBytes));
  }

  override flush(): void {
    this.#run('flush', () => super.flush());
  }

  #run(kind: CallKind, call: () => void): void {
    const fails = this.kinds.has(kind) && this.#random() < this.probability;
    if (!fails || this.after) call();
    if (!fails) return;
    this.failed++;
    if (kind === 'flush') this.onFailedFlush?.();
    throw failure(kind, this.number);
  }
}

/** Each call takes some time, on whatever clock `pass` moves. */
export class DelayLayer extends BackingLayer {
  delayMs = 0;
  readonly #pass: (ms: number) => void;

  constructor(below: BackingDevice, pass: (ms: number) => void) {
    super(below);
    this.#pass = pass;
  }

  override read(offsetBytes: number, target: Uint8Array, targetOffset: number, lengthBytes: number): void {
    this.#pass(this.delayMs);
    super.read(offsetBytes, target, targetOffset, lengthBytes);
  }

  override write(offsetBytes: number, source: Uint8Array, sourceOffset: number, lengthBytes: number): void {
    this.#pass(this.delayMs);
    super.write(offsetBytes, source, sourceOffset, lengthBytes);
  }

  override flush(): void {
    this.#pass(this.delayMs);
    super.flush();
  }
}

/**
 * A device that ends early: of a read or write of several sectors the first part is done, at random, and then the call fails, as a device's user is told
 * of a short transfer that could not be continued.
 */
export class ShortLayer extends BackingLayer {
  probability = 0;
  /** Calls that were cut short. */
  cut = 0;
  readonly #random: () => number;

  constructor(below: BackingDevice, random: () => number) {
    super(below);
    this.#random = random;
  }

  override read(offsetBytes: number, target: Uint8Array, targetOffset: number, lengthBytes: number): void {
    this.#run('read', lengthBytes, (length) => super.read(offsetBytes, target, targetOffset, length));
  }

  override write(offsetBytes: number, source: Uint8Array, sourceOffset: number, lengthBytes: number): void {
    this.#run('write', lengthBytes, (length) => super.write(offsetBytes, source, sourceOffset, length));
  }

  #run(kind: CallKind, lengthBytes: number, call: (lengthBytes: number) => void): void {
    if (this.#random() >= this.probability) {
      call(lengthBytes);
      return;
    }
    this.cut++;
    const sectors = Math.floor(this.#random() * (lengthBytes / SECTOR_BYTES));
    if (sectors > 0) call(sectors * SECTOR_BYTES);
    throw failure(`${kind} of ${lengthBytes} bytes at an early end`, errno.EIO);
  }
}

/** Says that it has flushed, and has not. Nobody can notice before the power is lost. */
export class LostFlushLayer extends BackingLayer {
  active = false;
  lost = 0;

  override flush(): void {
    if (this.active) this.lost++;
    else super.flush();
  }
}

/** A sparse file on a full disk: what it has can be overwritten, and nothing new is taken once the room is used up. */
export class FullLayer extends BackingLayer {
  /** Bytes that holes may still take. */
  roomBytes = Number.POSITIVE_INFINITY;
  /** Writes that found no room. */
  refused = 0;

  override write(offsetBytes: number, source: Uint8Array, sourceOffset: number, lengthBytes: number): void {
    const needs = this.isHole(offsetBytes, lengthBytes) ? lengthBytes : 0;
    if (needs > this.roomBytes) {
      this.refused++;
      throw failure(`write of ${lengthBytes} bytes at ${offsetBytes}`, errno.ENOSPC);
    }
    this.roomBytes -= needs;
    super.write(offsetBytes, source, sourceOffset, lengthBytes);
  }
}

/** A device that is pulled out and put back: nothing works meanwhile. What was written and not flushed may be lost with it, if `lose` is given. */
export class GoneLayer extends BackingLayer {
  #isGone = false;
  /** Calls while it was gone. */
  missed = 0;

  leave(lose?: () => void): void {
    this.#isGone = true;
    lose?.();
  }

  comeBack(): void {
    this.#isGone = false;
  }

  override read(offsetBytes: number, target: Uint8Array, targetOffset: number, lengthBytes: number): void {
    this.#require('read');
    super.read(offsetBytes, target, targetOffset, lengthBytes);
  }

  override write(offsetBytes: number, source: Uint8Array, sourceOffset: number, lengthBytes: number): void {
    this.#require('write');
    super.write(offsetBytes, source, sourceOffset, lengthBytes);
  }

  override isHole(offsetBytes: number, lengthBytes: number): boolean {
    return !this.#isGone && super.isHole(offsetBytes, lengthBytes);
  }

  override flush(): void {
    this.#require('flush');
    super.flush();
  }

  #require(kind: CallKind): void {
    if (!this.#isGone) return;
    this.missed++;
    throw failure(`${kind} of a device that is gone`, errno.ENXIO);
  }
}

/** How a cache device fails, see `failingCache`. */
export interface CacheFaults {
  readonly device: CacheDevice;
  /** The next so many calls of persist fail. */
  failNext: number;
  /** Calls that failed. */
  failed: number;
  /** Pages that the device dropped and that were not stored anew. */
  readonly droppedPages: () => number;
}

/**
 * A cache device whose persist fails like that of Linux: the failure is told once, and the pages concerned are clean from then on. They still
 * show what was stored, but a later persist that succeeds does not make them durable, unless they were stored anew meanwhile.
 * With `stays`, later calls fail too, as those of a mapped device do.
 */
export function failingCache(below: CacheDevice, { stays = false }: { stays?: boolean } = {}): CacheFaults {
  const dropped = new Map<number, Buffer>();
  const persistPages = (start: number, end: number): void => {
    for (let page = start; page < end; page += PAGE_BYTES) {
      const old = dropped.get(page);
      if (old !== undefined && old.equals(pageAt(below, page))) continue;
      dropped.delete(page);
      below.persist(page, PAGE_BYTES);
    }
  };
  const faults: CacheFaults = {
    failNext: 0,
    failed: 0,
    droppedPages: () => dropped.size,
    device: layerOver(below, {
      persist: (offset, length) => {
        const start = offset - (offset % PAGE_BYTES);
        if (faults.failNext > 0 || (stays && faults.failed > 0)) {
          faults.failNext = Math.max(0, faults.failNext - 1);
          faults.failed++;
          for (let page = start; page < offset + length; page += PAGE_BYTES) dropped.set(page, Buffer.from(pageAt(below, page)));
          throw new PcacheError('io', `faulty cache device: sync of ${length} bytes at ${offset}: ${errnoName(errno.EIO)}`, {
            errno: errno.EIO,
          });
        }
        persistPages(start, offset + length);
      },
    }),
  };
  return faults;
}

function pageAt(device: CacheDevice, offset: number): Uint8Array {
  if (offset < SEGMENTS_OFFSET) return device.control.bytes.subarray(offset, offset + PAGE_BYTES);
  const segment = Math.floor((offset - SEGMENTS_OFFSET) / SEGMENT_BYTES) as PhysicalSegmentId;
  const within = (offset - SEGMENTS_OFFSET) % SEGMENT_BYTES;
  return device.segment(segment).bytes.subarray(within, within + PAGE_BYTES);
}
