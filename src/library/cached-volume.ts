// The caller's side of an open cache: turns calls into requests and answers into settled promises.
//
// Invariants:
// - A call stays in `#calls` until its answer has come, also if its caller has been told of an abort before: its slot, and what it does, are not free earlier.
// - Once a thread has failed, every call is rejected, and `#failure` says why; no answer is waited for any more.
// - While there are calls, one thread is referenced, and keeps the process alive.

import { NumberWord, SegmentState, Word } from '../cache/shared-state.js';
import { PcacheError, messageOf } from '../errors.js';
import { dirtyBytesOf } from '../gateway/dirty-segments.js';
import { SharedText } from '../gateway/shared-text.js';
import { SECTOR_BYTES } from '../media/layout.js';
import { sumCounters } from '../shared/counters.js';
import { errorFromPlain } from './messages.js';
import type { Answer, OpenPlan, Request } from './messages.js';
import type { CachedVolume, CacheState, CacheStats, CallOptions } from './open-cache.js';
import { ThreadGroup } from './thread-group.js';
import { ABORT_SLOTS, LibraryWord, NO_ABORT_SLOT } from './thread-shared.js';
import type { OpenedShared } from './thread-shared.js';

/** Of one call: what is larger would keep the front thread from others for too long. */
export const CALL_BYTES_MAX = 1024 ** 3;

interface Call {
  readonly resolve: (bytes: Uint8Array<ArrayBuffer> | undefined) => void;
  readonly reject: (reason: unknown) => void;
  readonly slot: number;
  readonly signal: AbortSignal | undefined;
}

export class CachedVolumeClient implements CachedVolume {
  readonly #threads: ThreadGroup;
  readonly #path: string;
  readonly #opened: OpenedShared;
  readonly #calls = new Map<number, Call>();
  readonly #callsOf = new Map<AbortSignal, Set<Call>>();
  readonly #freeSlots: number[] = [];
  #slotsMade = 0;
  #nextId = 0;
  #outbox: Request[] = [];
  #outboxMemory: ArrayBuffer[] = [];
  #failure: PcacheError | undefined;
  #closing: Promise<void> | undefined;
  /** Resolved when `#calls` is empty, if someone waits for that. */
  #onIdle: (() => void) | undefined;

  /** Throws as `openCache`. Tests have threads of their own started. */
  static async open(
    plan: OpenPlan,
    signal: AbortSignal | undefined,
    startThreads = (): ThreadGroup => new ThreadGroup(plan),
  ): Promise<CachedVolumeClient> {
    signal?.throwIfAborted();
    const threads = startThreads();
    const opening = threads.opened.then((opened) => new CachedVolumeClient(threads, plan, opened));
    return await withSignal(opening, signal, (volume) => volume.close());
  }

  private constructor(threads: ThreadGroup, plan: OpenPlan, opened: OpenedShared) {
    this.#threads = threads;
    this.#path = plan.cachePath;
    this.#opened = opened;
    threads.onAnswers = (answers) => {
      for (const answer of answers) this.#settle(answer);
    };
    threads.onFailure = (thread, error) => this.#fail(thread, error);
    threads.unref();
  }

  get sizeBytes(): number {
    return this.#opened.cache.volumeBytes;
  }

  get dirtyBytes(): number {
    const { cache } = this.#opened;
    return dirtyBytesOf(cache, cache.numbers[NumberWord.dirtyBytes]!, cache.numbers[NumberWord.writtenSequence]!);
  }

  async read(offsetBytes: number, lengthBytes: number, options: CallOptions = {}): Promise<Uint8Array<ArrayBuffer>> {
    this.#checkRange('read', offsetBytes, lengthBytes, CALL_BYTES_MAX);
    return (await this.#call('read', offsetBytes, lengthBytes, undefined, options))!;
  }

  async write(offsetBytes: number, bytes: Uint8Array, options: CallOptions = {}): Promise<void> {
    if (!(bytes instanceof Uint8Array)) throw new PcacheError('usage', 'write: the bytes must be a Uint8Array');
    this.#checkRange('write', offsetBytes, bytes.length, CALL_BYTES_MAX);
    this.#checkWritable('write');
    await this.#call('write', offsetBytes, bytes.length, bytes, options);
  }

  async discard(offsetBytes: number, lengthBytes: number, options: CallOptions = {}): Promise<void> {
    this.#checkRange('discard', offsetBytes, lengthBytes, Number.MAX_SAFE_INTEGER);
    this.#checkWritable('discard');
    await this.#call('discard', offsetBytes, lengthBytes, undefined, options);
  }

  async flush(options: CallOptions = {}): Promise<void> {
    this.#checkWritable('flush');
    await this.#call('flush', 0, 0, undefined, options);
  }

  async writeBackAll(options: CallOptions = {}): Promise<void> {
    this.#checkWritable('write back');
    await this.#call('write-back', 0, 0, undefined, options);
  }

  stats(): CacheStats {
    const { cache, persistence } = this.#opened;
    const { words } = cache;
    let cachedSectors = 0;
    for (let segment = 0; segment < cache.segmentCount; segment++) {
      if (cache.state[segment] === SegmentState.data) cachedSectors += Math.max(0, cache.liveSectors[segment]!);
    }
    return {
      state: this.#state(),
      lastError: this.#lastError(),
      sizeBytes: this.sizeBytes,
      dirtyBytes: this.dirtyBytes,
      cachedBytes: cachedSectors * SECTOR_BYTES,
      segments: cache.segmentCount,
      segmentsUsed: cache.segmentCount - Atomics.load(words, Word.freeSegments),
      gcPercent: Atomics.load(words, Word.gcPercent),
      dataCrc: cache.dataCrc,
      persistence,
      readOnly: cache.readOnly,
      counters: sumCounters(cache.counters),
    };
  }

  async close({ signal }: CallOptions = {}): Promise<void> {
    this.#closing ??= this.#close();
    await withSignal(this.#closing, signal);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  #state(): CacheState {
    if (this.#failure !== undefined) return 'failed';
    if (this.#closing !== undefined) return 'closed';
    const { words, backingError } = this.#threads.threadWords;
    if (Atomics.load(words, LibraryWord.cacheFailed) !== 0) return 'cache-error';
    if (new SharedText(backingError).get() !== undefined) return 'backing-error';
    return Atomics.load(this.#opened.cache.words, Word.roomWaiters) > 0 ? 'cache-full' : 'open';
  }

  #lastError(): CacheStats['lastError'] {
    const { cacheError, backingError } = this.#threads.threadWords;
    const cache = new SharedText(cacheError).get();
    if (cache !== undefined) return { device: 'cache', message: cache.text, sinceMs: cache.sinceMs };
    const backing = new SharedText(backingError).get();
    return backing === undefined ? undefined : { device: 'backing', message: backing.text, sinceMs: backing.sinceMs };
  }

  #checkRange(what: string, offsetBytes: number, lengthBytes: number, lengthMax: number): void {
    const areIntegers = Number.isSafeInteger(offsetBytes) && Number.isSafeInteger(lengthBytes) && offsetBytes >= 0 && lengthBytes >= 0;
    if (!areIntegers || offsetBytes + lengthBytes > this.sizeBytes) {
      throw new PcacheError(
        'usage',
        `${what}: ${lengthBytes} bytes at ${offsetBytes} are not within the ${this.sizeBytes} bytes of the volume`,
      );
    }
    if (lengthBytes > lengthMax) throw new PcacheError('usage', `${what}: ${lengthBytes} bytes: a call may have ${lengthMax} at most`);
  }

  #checkWritable(what: string): void {
    if (this.#opened.cache.readOnly) throw new PcacheError('permission', `${what}: the cache was opened read-only`);
  }

  #call(
    op: Request['op'],
    offset: number,
    length: number,
    bytes: Uint8Array | undefined,
    { signal }: CallOptions,
  ): Promise<Uint8Array<ArrayBuffer> | undefined> {
    if (this.#failure !== undefined) throw this.#failure;
    if (this.#closing !== undefined) throw new PcacheError('closed', `${op}: the cache is closed`);
    signal?.throwIfAborted();
    return new Promise((resolve, reject) => {
      const id = this.#nextId++;
      const slot = signal === undefined ? NO_ABORT_SLOT : this.#takeSlot();
      if (this.#calls.size === 0) this.#threads.ref();
      const call: Call = { resolve, reject, slot, signal };
      this.#calls.set(id, call);
      if (signal !== undefined) this.#listen(signal, call);
      this.#post({ id, op, offset, length, slot, ...(bytes === undefined ? {} : { bytes: this.#memoryOf(bytes) }) });
    });
  }

  /** One listener for all calls of a signal: of more than a few Node warns. */
  #listen(signal: AbortSignal, call: Call): void {
    const calls = this.#callsOf.get(signal);
    if (calls !== undefined) {
      calls.add(call);
      return;
    }
    this.#callsOf.set(signal, new Set([call]));
    signal.addEventListener('abort', this.#onAbort);
  }

  readonly #onAbort = (event: Event): void => {
    const signal = event.target as AbortSignal;
    for (const { slot, reject } of this.#callsOf.get(signal) ?? []) {
      if (slot !== NO_ABORT_SLOT) Atomics.store(this.#threads.threadWords.aborted, slot, 1);
      reject(signal.reason);
    }
  };

  #unlisten(signal: AbortSignal, call: Call): void {
    const calls = this.#callsOf.get(signal)!;
    calls.delete(call);
    if (calls.size > 0) return;
    this.#callsOf.delete(signal);
    signal.removeEventListener('abort', this.#onAbort);
  }

  /** The bytes in memory that the front thread may have: shared as it is, or a copy that is handed over. */
  #memoryOf(bytes: Uint8Array): Uint8Array {
    if (bytes.buffer instanceof SharedArrayBuffer) return bytes;
    // Not `bytes.slice`, which in a Buffer shares the memory.
    const copy = new Uint8Array(bytes);
    this.#outboxMemory.push(copy.buffer);
    return copy;
  }

  /** Requests that are made one after the other go in one message. */
  #post(request: Request): void {
    this.#outbox.push(request);
    if (this.#outbox.length > 1) return;
    queueMicrotask(() => {
      const requests = this.#outbox;
      const memory = this.#outboxMemory;
      this.#outbox = [];
      this.#outboxMemory = [];
      if (this.#failure === undefined) this.#threads.request(requests, memory);
    });
  }

  #takeSlot(): number {
    const slot = this.#freeSlots.pop();
    if (slot !== undefined) return slot;
    return this.#slotsMade < ABORT_SLOTS ? this.#slotsMade++ : NO_ABORT_SLOT;
  }

  #settle({ id, bytes, error }: Answer): void {
    const call = this.#calls.get(id);
    if (call === undefined) return;
    this.#forget(id, call);
    // A call that was aborted is rejected already, and this changes nothing.
    if (error === undefined) call.resolve(bytes);
    else call.reject(errorFromPlain(error));
  }

  #forget(id: number, call: Call): void {
    const { slot, signal } = call;
    this.#calls.delete(id);
    if (signal !== undefined) this.#unlisten(signal, call);
    if (slot !== NO_ABORT_SLOT) {
      Atomics.store(this.#threads.threadWords.aborted, slot, 0);
      this.#freeSlots.push(slot);
    }
    if (this.#calls.size > 0) return;
    if (this.#onIdle === undefined) this.#threads.unref();
    this.#onIdle?.();
  }

  #fail(thread: string, error: unknown): void {
    this.#failure = new PcacheError('internal', `cache ${this.#path}: its ${thread} thread failed: ${messageOf(error)}`, {
      cause: error,
      hint: 'Nothing that was acknowledged is lost. Close it and open it again.',
    });
    for (const [id, call] of this.#calls) {
      call.reject(this.#failure);
      this.#forget(id, call);
    }
  }

  async #close(): Promise<void> {
    this.#threads.ref();
    const hadFailed = this.#failure !== undefined;
    if (this.#calls.size > 0) await new Promise<void>((resolve) => (this.#onIdle = resolve));
    await this.#threads.end();
    if (!hadFailed && this.#hasFailed()) throw this.#failure!;
  }

  #hasFailed(): boolean {
    return this.#failure !== undefined;
  }
}

/**
 * The promise's outcome, or the signal's reason, whichever comes first. In the latter case what the promise comes to is given to `dispose`, and nobody hears of
 * its errors.
 */
async function withSignal<T>(promise: Promise<T>, signal: AbortSignal | undefined, dispose?: (value: T) => Promise<void>): Promise<T> {
  if (signal === undefined) return await promise;
  return await new Promise<T>((resolve, reject) => {
    const onAbort = (): void => {
      reject(signal.reason as Error);
      if (dispose !== undefined) promise.then(dispose).catch(() => undefined);
    };
    if (signal.aborted) onAbort();
    else signal.addEventListener('abort', onAbort, { once: true });
    void promise.then(resolve, reject).finally(() => signal.removeEventListener('abort', onAbort));
  });
}
