// The asynchronous interface: `openCache`. What a program sees is here, with all that it may rely on; how it is done is in cached-volume.ts and the files of
// the threads.

import type { Persistence } from '../device/device.js';
import { PcacheError } from '../errors.js';
import type { CounterTotals } from '../shared/counters.js';
import { CachedVolumeClient } from './cached-volume.js';
import type { CreateCacheOptions } from './messages.js';

/** Of each call that returns a promise. */
export interface CallOptions {
  /**
   * Aborting it rejects the call's promise with the signal's reason, at once. What has become of the call by then:
   * - If no thread had begun it, it never happens.
   * - A read or a flush changes nothing that could be seen.
   * - A write or a discard happened as a whole, or not at all, or stopped part of the way: then each sector of 512 bytes is either as it was or as it was
   *   to be, and those that are new are the first of the range, as they would be after the death of the program in the middle of it. Only a write that waits
   *   for room, or a discard of more than 4 MiB, can still be stopped once it has begun.
   * - Whatever it does is done before any later call about the same bytes.
   */
  readonly signal?: AbortSignal | undefined;
}

/** Which cache over which backing device, and how. */
export interface OpenCacheOptions extends CallOptions {
  /** A file or block device that `openCache` (with `create`), `pcache format` or the kernel made; 96 MiB to 1 TiB. */
  readonly cachePath: string;
  /** The slow file or block device below; 512 bytes to 16 TiB, a multiple of 512. */
  readonly backingPath: string;
  /**
   * Make the cache if there is nothing at `cachePath`: a file of `sizeBytes`, 96 MiB to 1 TiB, a multiple of 512, all of it allocated. A cache that is there
   * is used as it is. Of several programs that make it at the same moment, one succeeds at most.
   */
  readonly create?: (CreateCacheOptions & { readonly sizeBytes: number }) | undefined;
  /** Change nothing on either device; what is missed is not kept. Default false. */
  readonly readOnly?: boolean | undefined;
  /** Accept another backing device of the same size, or one that was written to after the cache was closed, and remember it. Default false. */
  readonly adopt?: boolean | undefined;
}

/**
 * - `open`: all is well.
 * - `cache-full`: writers wait for writeback to free a segment.
 * - `backing-error`: the backing device fails. It is tried again, ever more slowly up to every 30 s; writes are taken while there is room.
 * - `cache-error`: the cache device fails. Flushes, and writes without room, are rejected with `io` until the cache is opened anew.
 * - `failed`: a thread has failed. Every call is rejected with `internal`; `close`, then open anew.
 * - `closed`: closed, or being closed.
 */
export type CacheState = 'open' | 'cache-full' | 'backing-error' | 'cache-error' | 'failed' | 'closed';

/** What a cache does, at one moment. A copy: it does not change. */
export interface CacheStats {
  readonly state: CacheState;
  /** What is wrong now; undefined if nothing is. `sinceMs`: when it was first seen, milliseconds since 1970. */
  readonly lastError: { readonly device: 'cache' | 'backing'; readonly message: string; readonly sinceMs: number } | undefined;
  /** Size of the volume, that is of the backing device. */
  readonly sizeBytes: number;
  /**
   * Bytes of the volume whose newest data only the cache has, 0 to sizeBytes: what would be lost with it. Each counts once, however often it was written over.
   * 0 only if there are none, and never too few; while there are some, cached data that is clean may be counted too.
   */
  readonly dirtyBytes: number;
  /** Volume bytes that are answered from the cache, dirty ones included. */
  readonly cachedBytes: number;
  /** Segments of 16 MiB that the cache has, and those in use. */
  readonly segments: number;
  readonly segmentsUsed: number;
  /** GC starts when more than this share of the segments is in use, 0 to 90 percent. */
  readonly gcPercent: number;
  /** Whether the cache has a checksum of all payload, see CreateCacheOptions.dataCrc. */
  readonly dataCrc: boolean;
  /** `memory`: the cache is a file on tmpfs, and what is not written back is lost with the machine's power. `synced`: a flush makes it durable. */
  readonly persistence: Persistence;
  /** Whether it was opened with OpenCacheOptions.readOnly. */
  readonly readOnly: boolean;
  /** Since the cache was opened. Those with `_bytes` count bytes, the others requests, keys, ksets or segments; the names are those of `pcache status --json`. */
  readonly counters: CounterTotals;
}

/**
 * A volume: a cache over its backing device, both locked until `close`. Offsets and lengths are bytes of the volume, of any alignment; what is aligned to 512
 * is faster. A call may be made at any time, without waiting for those before.
 *
 * Order: calls about the same bytes take effect in the order in which they are made, except that a read may also see writes that are called while it is under
 * way. Reads that are in the cache do not wait for the backing device, nor for reads that do.
 *
 * Every promise may be rejected with the signal's reason, or with a PcacheError whose `code` is:
 * - `usage`: the arguments are wrong, or not within the volume;
 * - `permission`: a change to a cache that was opened read-only;
 * - `closed`: `close` was called before;
 * - `internal`: a thread of the cache has failed, which is a bug. Nothing that was acknowledged is lost. Close, and open anew;
 * - those named at each call.
 *
 * An open cache does not keep the process alive by itself; calls that are under way do, and so does closing. A program that ends, or dies, without `close`
 * loses nothing that was acknowledged.
 */
export interface CachedVolume extends AsyncDisposable {
  /** Bytes of the volume. */
  readonly sizeBytes: number;
  /** At this moment, as CacheStats.dirtyBytes: each byte counts once. */
  readonly dirtyBytes: number;
  /**
   * Reads `lengthBytes`, 0 to 1 GiB, at `offsetBytes`, into memory that is the caller's. What the backing device was read for is kept in the cache if there
   * is room. Rejects with `io` if the backing device fails, `corrupt-data` if the cache's copy is known to be damaged (with data CRC); then all of it fails.
   */
  read(offsetBytes: number, lengthBytes: number, options?: CallOptions): Promise<Uint8Array<ArrayBuffer>>;
  /**
   * Writes `bytes`, 0 to 1 GiB of them, at `offsetBytes`. When the promise is fulfilled the write is seen by every later read, and survives the death of the
   * process; after a later `flush` it survives loss of power. Waits for room if the cache is full of data that is not written back.
   *
   * The bytes are copied before the call returns, so the memory can be used again at once; but those in a SharedArrayBuffer are not copied, and must stay as
   * they are until the promise is settled and, after an abort, until a later call about the same bytes is.
   *
   * Rejects with `io` or `no-space` if there is no room and writing back fails, or if part of a sector is written whose other part can't be read;
   * `corrupt-data` likewise. Part of it may be written then, see CallOptions.signal.
   */
  write(offsetBytes: number, bytes: Uint8Array, options?: CallOptions): Promise<void>;
  /**
   * Makes a range read as zeros. It is written as such, and takes room in the cache, except where neither cache nor a sparse backing file has anything; the
   * backing device does not hear of it. Rejects as `write` does.
   */
  discard(offsetBytes: number, lengthBytes: number, options?: CallOptions): Promise<void>;
  /**
   * When it is fulfilled, every write and discard that was called before survives loss of power, as far as the cache device does (CacheStats.persistence).
   * Rejects with `io` if the cache device fails; then every later flush does until the cache is opened anew. An abort does not stop it.
   */
  flush(options?: CallOptions): Promise<void>;
  /**
   * Writes to the backing device, durably, everything that was written before the call; after it, and while nothing else is written, the cache may be lost.
   * Until then `dirtyBytes` tells how far it is. Rejects with `io` or `no-space` if either device fails: nothing is lost by that, and what is left is tried
   * again. An abort does not stop it.
   */
  writeBackAll(options?: CallOptions): Promise<void>;
  /** What the cache does, at this moment; read from memory that the threads share, without waiting for anything. Never throws. */
  stats(): CacheStats;
  /**
   * Waits for the calls that were made before, makes everything durable, marks the cache as closed in order, and unlocks both devices. Dirty data stays in the
   * cache, see `writeBackAll`. Any number of calls; all of them get the outcome of the first. Rejects with `io` if the cache device fails; the devices are
   * unlocked all the same, and nothing is lost that was flushed. An abort ends the waiting, not the closing.
   */
  close(options?: CallOptions): Promise<void>;
  /** `close`, for `await using`. */
  [Symbol.asyncDispose](): Promise<void>;
}

/**
 * Opens a cache over its backing device, in threads of its own: nothing of it blocks the caller's event loop.
 *
 * ```ts
 * await using volume = await openCache({ cachePath: '/fast/cache.pmem', backingPath: '/slow/disk.img' });
 * await volume.write(4096, bytes);   // survives the death of the program
 * await volume.flush();              // survives loss of power
 * ```
 *
 * Four threads, about 40 MiB. The time it takes grows with the log, up to seconds for a large cache after a crash.
 *
 * @returns the volume. Rejects with the signal's reason if that is aborted: the devices are let go of as soon as the opening has come to its end. Rejects with
 * PcacheError `not-found`, `permission`, `in-use`, `not-a-cache`, `damaged`, `mismatch` (another backing device, or one of another size), `unsupported`,
 * `too-small`, `no-space`, `usage`, `holds-data` (with `create`, and somebody else made the file at the same moment), `io`: then both devices are unlocked, and
 * but for `io` nothing on them was changed. `internal` for a bug.
 */
export async function openCache(options: OpenCacheOptions): Promise<CachedVolume> {
  for (const name of ['cachePath', 'backingPath'] as const) {
    if (typeof options[name] !== 'string' || options[name] === '') throw new PcacheError('usage', `openCache: ${name} must be a path`);
  }
  return await CachedVolumeClient.open(
    {
      cachePath: options.cachePath,
      backingPath: options.backingPath,
      readOnly: options.readOnly ?? false,
      adopt: options.adopt ?? false,
      create: options.create,
    },
    options.signal,
  );
}
