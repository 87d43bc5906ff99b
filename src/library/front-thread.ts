// The front thread's program: opens the cache, takes every request in order of the calls, and answers at once what memory alone can answer. The rest it passes
// on (thread-shared.ts), so that it holds nobody up.
//
// Order. Calls that concern the same bytes take effect in the order in which they are made, but for reads, which may see a write that is called while they are
// under way. While the background thread has writes, later writes, discards, flushes and calls of write-back go behind them, and so do reads of the same bytes.

import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mayAllocate } from '../cache/allocation-look.js';
import { printAtClose, printNow } from '../cache/changed-backing.js';
import { openCache } from '../cache/open.js';
import { READ_BYTES_MAX } from '../cache/reader.js';
import type { BackingDevice } from '../device/device.js';
import { openBackingDevice } from '../device/file-backing-device.js';
import type { FileBackingDevice } from '../device/file-backing-device.js';
import { openCacheDevice } from '../device/mapped-cache-device.js';
import type { MappedCacheDevice } from '../device/mapped-cache-device.js';
import { Word } from '../cache/shared-state.js';
import { PcacheError } from '../errors.js';
import { copyCachedPieces } from '../gateway/copy-pieces.js';
import { hostBootId } from '../gateway/host-boot-id.js';
import { VolumeIo } from '../gateway/volume-io.js';
import { SECTOR_BYTES } from '../media/layout.js';
import { COUNTER } from '../shared/counters.js';
import { signal } from '../shared/event-word.js';
import { createCache } from './create-cache.js';
import { failureAnswer, plainError } from './messages.js';
import type { CloseOrder, FlushOrder, OpenPlan, Request } from './messages.js';
import { Answers, runThread, tellCaller, threadData, toCaller } from './thread-start.js';
import { COUNTER_SLICE, HEAD, LibraryThread, LibraryWord, tell, threadClock, waitForMessage } from './thread-shared.js';
import type { OpenedShared } from './thread-shared.js';

const CHUNK_BYTES = 1024 * 1024;
/** Answers go out when there are so many, also if more requests came in the same message. */
const ANSWERS_MAX = 64;

/** What can't be done at once: thrown by what stands in for the backing device and for waiting. */
class Later extends Error {}

function later(): never {
  throw new Later();
}

/** A backing device for a thread that must not wait for one. */
function absentBackingDevice({ sizeBytes, readOnly, identity }: BackingDevice): BackingDevice {
  return { sizeBytes, readOnly, identity, read: later, write: later, isHole: later, flush: later, close: () => undefined };
}

/** Ranges of the requests that the background thread has, oldest first. */
class LateRanges {
  readonly #words: Int32Array;
  readonly #ranges: { readonly start: number; readonly end: number }[] = [];
  #issued = 0;

  constructor(words: Int32Array) {
    this.#words = words;
  }

  add({ offset, length }: Request): void {
    this.#issued = (this.#issued + 1) | 0;
    this.#ranges.push({ start: offset, end: offset + length });
  }

  get isEmpty(): boolean {
    const left = (this.#issued - Atomics.load(this.#words, LibraryWord.lateDone)) | 0;
    if (this.#ranges.length > left) this.#ranges.splice(0, this.#ranges.length - left);
    return left === 0;
  }

  overlaps({ offset, length }: Request): boolean {
    return !this.isEmpty && this.#ranges.some(({ start, end }) => start < offset + length && offset < end);
  }
}

class Front {
  readonly #thread: LibraryThread;
  readonly #io: VolumeIo;
  readonly #late: LateRanges;
  readonly #answers = new Answers();
  readonly #sectors = new Uint8Array(READ_BYTES_MAX);

  constructor(thread: LibraryThread) {
    this.#thread = thread;
    this.#io = new VolumeIo(thread.cache, absentBackingDevice(thread.backing), { waitForRoom: later });
    this.#late = new LateRanges(threadData.threadWords.words);
  }

  takeAll(requests: readonly Request[]): void {
    for (const request of requests) {
      this.#take(request);
      if (this.#answers.count >= ANSWERS_MAX) this.#answers.send();
    }
    this.#answers.send();
  }

  #take(request: Request): void {
    const { id, slot } = request;
    if (this.#thread.isAborted(slot)) {
      this.#answers.add({ id });
      return;
    }
    try {
      if (request.op === 'read') this.#read(request);
      else if (request.op === 'write') this.#write(request);
      else if (request.op === 'flush') this.#flush(request);
      else this.#passOn(request);
    } catch (error) {
      this.#answers.add(failureAnswer(id, error));
    }
  }

  #read(request: Request): void {
    if (this.#late.overlaps(request)) {
      this.#passOn(request);
      return;
    }
    const bytes = new Uint8Array(request.length);
    for (let done = 0; done < request.length;) {
      const length = Math.min(request.length - done, CHUNK_BYTES);
      if (!this.#readCached(request.offset + done, length, bytes, done)) {
        tell(threadData.toMiss!, request, threadData.threadWords.words, LibraryWord.misses);
        return;
      }
      done += length;
    }
    const { counters } = this.#thread.cache;
    counters[COUNTER.reads]! += 1;
    counters[COUNTER.read_hits]! += 1;
    counters[COUNTER.read_bytes]! += request.length;
    this.#answers.add({ id: request.id, bytes });
  }

  /** Returns false if part of the range is not cached, or damaged. */
  #readCached(offset: number, length: number, target: Uint8Array, targetOffset: number): boolean {
    const { cache } = this.#thread;
    const { reader } = cache;
    const start = offset - (offset % SECTOR_BYTES);
    const end = Math.ceil((offset + length) / SECTOR_BYTES) * SECTOR_BYTES;
    reader.begin(start, end - start, false);
    try {
      if (reader.missingBytes > 0 || reader.corruptBytes > 0) return false;
      if (end - start === length) {
        copyCachedPieces(cache, target, offset - targetOffset);
      } else {
        copyCachedPieces(cache, this.#sectors, start);
        target.set(this.#sectors.subarray(offset - start, offset - start + length), targetOffset);
      }
      return true;
    } finally {
      reader.end();
    }
  }

  #write(request: Request): void {
    if (!this.#late.isEmpty || !this.#tryWrite(request)) {
      this.#passOn(request);
      return;
    }
    const { counters } = this.#thread.cache;
    counters[COUNTER.writes]! += 1;
    counters[COUNTER.write_bytes]! += request.length;
    this.#answers.add({ id: request.id });
  }

  /** Returns false if all of it is to be written by the background thread; part of it may be written already. */
  #tryWrite({ offset, length, bytes }: Request): boolean {
    if (offset % SECTOR_BYTES === 0 && length % SECTOR_BYTES === 0) {
      return this.#thread.cache.writer.write(offset, length, bytes!, 0, false) === length;
    }
    try {
      this.#io.write(offset, length, bytes!, 0);
      return true;
    } catch (error) {
      if (error instanceof Later) return false;
      throw error;
    }
  }

  #flush(request: Request): void {
    if (!this.#late.isEmpty) {
      this.#passOn(request);
      return;
    }
    const { cache } = this.#thread;
    cache.counters[COUNTER.flushes]! += 1;
    const order: FlushOrder = { id: request.id, sequence: cache.log.requestFlush() };
    tell(threadData.toLog!, order, cache.shared.words, Word.logWorkEvent);
  }

  #passOn(request: Request): void {
    this.#late.add(request);
    tell(threadData.toBackground!, request, threadData.threadWords.words, LibraryWord.late);
    signal(this.#thread.cache.shared.words, Word.backgroundWorkEvent);
  }
}

interface Opened {
  readonly device: MappedCacheDevice;
  readonly backing: FileBackingDevice;
  readonly shared: OpenedShared;
  readonly corruptKeys: number;
}

/** Throws PcacheError; then nothing is held. */
function open(plan: OpenPlan): Opened {
  if (plan.create !== undefined && !existsSync(plan.cachePath)) {
    // A cache that is made for nothing would stay.
    openBackingDevice(plan.backingPath, { readOnly: plan.readOnly }).close();
    createCache(plan.cachePath, plan.create.sizeBytes, plan.create);
  }
  const device = openCacheDevice(plan.cachePath, { readOnly: plan.readOnly, mayAllocate });
  try {
    return openOver(device, plan);
  } catch (error) {
    device.close();
    throw error;
  }
}

function openOver(device: MappedCacheDevice, { backingPath, readOnly, adopt }: OpenPlan): Opened {
  const backing = openBackingDevice(backingPath, { readOnly });
  try {
    const { shared, replay } = openCache(device, {
      volumeBytes: backing.sizeBytes,
      backingIdentity: backing.identity,
      backingPrint: () => printNow(backing),
      adopt,
      bootId: hostBootId(),
      writers: HEAD.count,
      counterSlices: COUNTER_SLICE.count,
      readOnly,
      newUuid: randomBytes(16),
      nowMs: Date.now(),
      clock: threadClock,
    });
    const opened = { cache: shared, cacheDevice: device.handle, backingDevice: backing.handle, persistence: device.persistence };
    return { device, backing, shared: opened, corruptKeys: replay.corruptKeys };
  } catch (error) {
    backing.close();
    throw error;
  }
}

/** Until the caller's thread says that this is all, which it does when the others have ended. */
function serve({ device, backing, shared, corruptKeys }: Opened): void {
  const thread = new LibraryThread(threadData.threadWords, shared, HEAD.writes, COUNTER_SLICE.front);
  thread.cache.counters[COUNTER.corrupt_keys]! += corruptKeys;
  const front = new Front(thread);
  tellCaller({ type: 'opened', opened: shared });
  for (;;) {
    const message = waitForMessage(toCaller, threadData.threadWords.words, LibraryWord.requests) as
      readonly Request[] | CloseOrder | undefined;
    if (message === undefined) {
      tellCaller({ type: 'ended' });
      return;
    }
    if ('markClean' in message) {
      close(thread, message, device, backing);
      return;
    }
    front.takeAll(message);
  }
}

function close(thread: LibraryThread, { markClean }: CloseOrder, device: MappedCacheDevice, backing: FileBackingDevice): void {
  let failure: PcacheError | undefined;
  try {
    if (markClean) thread.cache.markClean(printAtClose(backing));
  } catch (error) {
    if (!(error instanceof PcacheError)) throw error;
    failure = error;
  } finally {
    thread.backing.close();
    backing.close();
    device.close();
    Atomics.store(threadData.threadWords.words, LibraryWord.devicesClosed, 1);
  }
  tellCaller({ type: 'ended', ...(failure === undefined ? {} : { error: plainError(failure) }) });
}

runThread(() => {
  let opened: Opened;
  try {
    opened = open(threadData.plan!);
  } catch (error) {
    if (!(error instanceof PcacheError)) throw error;
    tellCaller({ type: 'refused', error: plainError(error) });
    return;
  }
  serve(opened);
});
