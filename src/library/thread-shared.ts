// What the threads of a cache that was opened by `openCache` share, and how they talk. They are those of the gateway without FUSE (docs/library.md):
// the front thread opens the cache and takes every request; what would hold up the next one it passes on to the miss thread (reads of the backing
// device), the background thread (writes that wait for room or for the rest of a sector, discards; writeback and GC), or the log thread (flushes).
//
// Invariants:
// - A message is in its port before the receiver's event is signalled, and a receiver reads the event's epoch before it looks into its ports. So no message
//   is missed, and threads sleep in `wait` alone.
// - Each request is answered exactly once, by the thread that has it, to the caller's thread directly.
// - Nothing here is about the media: whoever dies, what was acknowledged is in the cache device's memory.

import { receiveMessageOnPort } from 'node:worker_threads';
import type { MessagePort } from 'node:worker_threads';
import { Cache } from '../cache/cache.js';
import { Word } from '../cache/shared-state.js';
import type { CacheShared } from '../cache/shared-state.js';
import type { Persistence } from '../device/device.js';
import { attachBackingDevice } from '../device/file-backing-device.js';
import type { BackingDeviceHandle, FileBackingDevice } from '../device/file-backing-device.js';
import { attachCacheDevice } from '../device/mapped-cache-device.js';
import type { CacheDeviceHandle } from '../device/mapped-cache-device.js';
import { PcacheError, messageOf } from '../errors.js';
import { SharedText, createSharedText } from '../gateway/shared-text.js';
import { epoch, signal, wait } from '../shared/event-word.js';

/** Int32 words. The first ones are events of `shared/event-word`, two words each. */
export const LibraryWord = {
  /** For the front thread: there are requests. */
  requests: 0,
  /** For the miss thread. */
  misses: 2,
  /** For threads that wait to be told what to work on. */
  start: 4,
  /** For the background thread while it rests from writing back: there is a request. (Events of the cache come too often to wake it then.) */
  late: 12,
  /** Not 0: the miss and the background thread end when they have answered what they have. */
  stopLanes: 6,
  /** Not 0: the log thread ends once everything is durable. */
  stopLog: 7,
  /** Not 0: the cache device could not make something durable, or the log is damaged. Flushes fail from then on, and so do writes without room. */
  cacheFailed: 8,
  /** Requests that the background thread is done with, modulo 2^32. */
  lateDone: 9,
  /** Not 0: every thread ends as soon as nothing of it is under way any more, and leaves the rest as if the process had died. */
  abandon: 10,
  /** Threads that have not come to the end of their programs. */
  running: 11,
  /** 1 once the front thread has closed both devices. */
  devicesClosed: 14,
  count: 16,
} as const;

/** Requests with an AbortSignal that can be called back at a time; those beyond are carried out all the same. */
export const ABORT_SLOTS = 4096;
export const NO_ABORT_SLOT = -1;

/** Slices of the counters. */
export const COUNTER_SLICE = { front: 0, miss: 1, log: 2, background: 3, count: 4 } as const;
/** Data heads: one for writes, one for what misses bring in. */
export const HEAD = { writes: 0, misses: 1, count: 2 } as const;

/** Exists before the cache is opened. Structured-cloneable. */
export interface ThreadWords {
  readonly words: Int32Array;
  /** By slot: 1 if the request's caller does not wait any more. */
  readonly aborted: Int32Array;
  readonly cacheError: SharedArrayBuffer;
  readonly backingError: SharedArrayBuffer;
}

export function createThreadWords(): ThreadWords {
  return {
    words: new Int32Array(new SharedArrayBuffer(LibraryWord.count * 4)),
    aborted: new Int32Array(new SharedArrayBuffer(ABORT_SLOTS * 4)),
    cacheError: createSharedText(),
    backingError: createSharedText(),
  };
}

/** What the front thread has opened. Structured-cloneable. */
export interface OpenedShared {
  readonly cache: CacheShared;
  readonly cacheDevice: CacheDeviceHandle;
  readonly backingDevice: BackingDeviceHandle;
  readonly persistence: Persistence;
}

/** Milliseconds; the same in all threads, since they compare times. */
export function threadClock(): number {
  return performance.timeOrigin + performance.now();
}

/** A thread's view of everything, once the cache is open. */
export class LibraryThread {
  readonly cache: Cache;
  readonly backing: FileBackingDevice;
  readonly cacheError: SharedText;
  readonly backingError: SharedText;
  readonly #threadWords: ThreadWords;

  constructor(threadWords: ThreadWords, opened: OpenedShared, head: number, counterSlice: number) {
    this.#threadWords = threadWords;
    this.cache = new Cache(opened.cache, attachCacheDevice(opened.cacheDevice), head, counterSlice, threadClock);
    this.backing = attachBackingDevice(opened.backingDevice);
    this.cacheError = new SharedText(threadWords.cacheError);
    this.backingError = new SharedText(threadWords.backingError);
  }

  isSet(word: number): boolean {
    return Atomics.load(this.#threadWords.words, word) !== 0;
  }

  isAborted(slot: number): boolean {
    return slot !== NO_ABORT_SLOT && Atomics.load(this.#threadWords.aborted, slot) !== 0;
  }

  /** See LibraryWord.cacheFailed. Wakes all who wait for what will not come any more. */
  failCache(error: unknown): void {
    // The first says what happened; what fails later, fails because of it.
    if (Atomics.compareExchange(this.#threadWords.words, LibraryWord.cacheFailed, 0, 1) === 0)
      this.cacheError.set(messageOf(error), Date.now());
    for (const event of [Word.logWorkEvent, Word.backgroundWorkEvent, Word.roomEvent]) signal(this.cache.shared.words, event);
  }

  /** Of a call that can't succeed since the cache device fails. */
  cacheFailure(what: string): PcacheError {
    return new PcacheError('io', `${what}: ${this.cacheError.get()?.text ?? 'the cache device fails'}`);
  }
}

/** Sends a message to a thread that waits for `event`. */
export function tell(port: MessagePort, message: unknown, words: Int32Array, event: number, transfer: ArrayBuffer[] = []): void {
  port.postMessage(message, transfer);
  signal(words, event);
}

/** The next message of a port, without waiting; undefined if there is none. */
export function nextMessage(port: MessagePort): unknown {
  return (receiveMessageOnPort(port) as { message: unknown } | undefined)?.message;
}

/** Bounded, so that a mistake would cost time, not a hang. */
const WAIT_MS = 1000;

/** Waits for a message; undefined if there will be none (LibraryWord.abandon). */
export function waitForMessage(port: MessagePort, words: Int32Array, event: number): unknown {
  for (;;) {
    const seen = epoch(words, event);
    if (Atomics.load(words, LibraryWord.abandon) !== 0) return undefined;
    const message = nextMessage(port);
    if (message !== undefined) return message;
    wait(words, event, seen, WAIT_MS);
  }
}
