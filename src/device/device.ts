// What the rest of the program knows of the two devices. Implementations: `mapped-cache-device` and `simulated-cache-device`,
// `file-backing-device` and `simulated-backing-device`.

import type { BackingQueue } from './backing-queue.js';
import type { BackingPrint } from '../media/backing-print.js';
import type { PhysicalSegmentId } from '../media/layout.js';

/** One segment of the cache device, seen through several views of the same 16 MiB of memory. */
export interface SegmentView {
  readonly bytes: Uint8Array;
  readonly words: Int32Array;
  readonly view: DataView;
}

/**
 * How far the memory of a cache device survives by itself.
 * - `memory`: tmpfs or ramfs; as durable as it gets the moment it is stored, so `persist` does nothing.
 * - `synced`: a file or block device; `persist` is msync(2).
 */
export type Persistence = 'memory' | 'synced';

/**
 * The cache device: memory that outlives the process. Everything stored through the views is seen at once by every thread that maps the
 * device, and survives the death of the process; it survives loss of power once `persist` has returned for it.
 */
export interface CacheDevice {
  readonly sizeBytes: number;
  /** Segments that fit on the device (see `segmentCountOf`); the superblock may say fewer. */
  readonly segmentCount: number;
  readonly persistence: Persistence;
  readonly readOnly: boolean;
  /**
   * Of a file, when it was opened: nothing was ever written from here to its end (see `device/data-end`). Not there: its data goes to the end, or nobody knows.
   * Whoever writes the whole device anew takes it away.
   */
  dataEnd?: number | undefined;
  /** Of a private copy of what was cut: from here on the copy has zeros, for what is lost. Not there: all is as on the device. */
  readonly lostFrom?: number | undefined;
  /** Device bytes 0x0000 to 0x4FFF. */
  readonly control: SegmentView;
  /** The view of a segment; made when first asked for, then always the same object. Throws RangeError for an id out of range. */
  segment(id: PhysicalSegmentId): SegmentView;
  /** Address of a device offset in this process, for iovecs; 0 where the device is no mapping (simulation). */
  addressOf(deviceOffset: number): number;
  /** Copies from an address of this process into a segment, within it; allocates no more than a number. Only a mapping can. */
  store?(id: PhysicalSegmentId, offset: number, sourceAddress: number, lengthBytes: number): void;
  /**
   * Makes a range durable; returns when it is. Widened to whole pages as needed. Throws PcacheError `io` if the device fails. Nothing counts as durable
   * after that: a mapped device fails always then, until it is opened anew.
   */
  persist(deviceOffset: number, lengthBytes: number): void;
  /**
   * A persist costs by the call, and for what is not durable of the range; so one over a span is cheaper than one for each of the ranges in it. Where it is
   * not there, ranges are persisted for themselves: a simulation then makes nothing durable that was not asked for.
   */
  readonly persistsSpans?: true;
  /**
   * A hint, for the whole device and until the next one: `scattered` before a few bytes of each of many segments are read, so that the system
   * does not read far ahead at each (megabytes, on some block devices); `normal` otherwise.
   */
  expectAccess(pattern: 'scattered' | 'normal'): void;
  /** Offset of something that is not zero, looked for in samples of all of the device (`device/data-samples`); `undefined` if none of them has any. */
  findData?(): number | undefined;
  close(): void;
}

/** The slow device below. Calls block; offsets and lengths are multiples of 512 bytes, within the device. */
export interface BackingDevice {
  readonly sizeBytes: number;
  readonly readOnly: boolean;
  /** Stable identity, see `backing-identity`; what the gateway header remembers. */
  readonly identity: string;
  /** Fills target[targetOffset, +lengthBytes). Throws PcacheError `io` with errno; a short read is an error. */
  read(offsetBytes: number, target: Uint8Array, targetOffset: number, lengthBytes: number): void;
  /** Throws PcacheError `io` (`no-space` for ENOSPC) with errno; a short write is an error. */
  write(offsetBytes: number, source: Uint8Array, sourceOffset: number, lengthBytes: number): void;
  /**
   * Whether a range is known to read as zeros without a look at it, such as a hole of a sparse file. False if that can't be told. What is written
   * at the same time may or may not count.
   */
  isHole(offsetBytes: number, lengthBytes: number): boolean;
  /** Makes everything written durable. Throws PcacheError `io`; after a failure nothing written since the last good flush counts as durable. */
  flush(): void;
  /**
   * What it can be recognised by (`media/backing-print`). `durable`: what it is of is made durable before, the time of change included. Throws
   * PcacheError `io`. Without it a change by others is not noticed.
   */
  print?(options: { durable: boolean }): BackingPrint;
  /**
   * Throws PcacheError `mismatch` if the device is shorter than when it was opened, or was found to be so before by whoever shares it: what it has lost
   * nobody knows, even when it has its length again. One system call. Without it that is not noticed.
   */
  requireWhole?(): void;
  /** How much of it was missing when `requireWhole` found the most of it missing; 0: never. */
  readonly lostBytes?: number;
  /** For `openBackingQueue`: takes up to `depth` requests at a time. Without it each is done when it is submitted. */
  queue?(depth: number): BackingQueue;
  /** For `openWriteQueue`. */
  writeQueue?(depth: number): BackingQueue;
  close(): void;
}
