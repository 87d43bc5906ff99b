// The miss thread's program: reads for which the backing device is needed, many under way at a time. It sleeps in the queue of the device while something is
// under way, and takes new requests each time that something has come of it; else it sleeps until there is a request.
//
// Invariants: a request is begun in order of arrival and answered once. One whose range is being read already waits for that, once, and then looks again.

import type { BackingQueue } from '../device/backing-queue.js';
import { addressOf, mmap, munmap, view } from '../device/libc.js';
import { MAP_ANONYMOUS, MAP_PRIVATE, PROT_READ, PROT_WRITE } from '../device/linux-constants.js';
import { MISSES_MAX, RING_DEPTH } from '../gateway/miss-server.js';
import { RangeReads } from '../gateway/range-reads.js';
import type { RangeRead } from '../gateway/range-reads.js';
import { PAGE_BYTES, SECTOR_BYTES } from '../media/layout.js';
import { COUNTER } from '../shared/counters.js';
import { epoch, wait } from '../shared/event-word.js';
import { failureAnswer } from './messages.js';
import type { Request } from './messages.js';
import { Answers, runServingThread, threadData } from './thread-start.js';
import { COUNTER_SLICE, HEAD, LibraryWord, nextMessage } from './thread-shared.js';
import type { LibraryThread } from './thread-shared.js';

const CHUNK_BYTES = 1024 * 1024;
/** A sector at each end, and what makes it whole pages. */
const BUFFER_BYTES = CHUNK_BYTES + 2 * PAGE_BYTES;
const WAIT_MS = 1000;

interface Miss {
  readonly request: Request;
  readonly result: Uint8Array<ArrayBuffer>;
  /** Bytes of it that are there. */
  done: number;
  hasWaited: boolean;
}

class Misses {
  readonly #thread: LibraryThread;
  readonly #queue: BackingQueue;
  readonly #reads: RangeReads;
  readonly #inbox = threadData.inbox[0]!;
  readonly #answers = new Answers();
  /** By tag. */
  readonly #misses: (Miss | undefined)[] = [];
  readonly #freeTags: number[] = [];
  /** Tags to begin again, before new ones. */
  readonly #again: number[] = [];
  /** Memory that the device reads into; not V8's, so that it stays if this thread dies of an error. */
  readonly #buffers: Uint8Array[] = [];

  constructor(thread: LibraryThread) {
    this.#thread = thread;
    this.#queue = thread.backing.queue(RING_DEPTH);
    this.#reads = new RangeReads(thread.cache, this.#queue, thread.backing.handle.alignment.offsetBytes);
  }

  serve(): void {
    const { words } = threadData.threadWords;
    for (;;) {
      const seen = epoch(words, LibraryWord.misses);
      const isLastPass = this.#thread.isSet(LibraryWord.stopLanes);
      const isAbandoned = this.#thread.isSet(LibraryWord.abandon);
      if (!isAbandoned) this.#beginRequests();
      this.#reads.submit();
      this.#answers.send();
      if (this.#reads.demanded > 0) this.#queue.wait(1);
      else if (isLastPass || isAbandoned) break;
      else if (this.#again.length === 0) wait(words, LibraryWord.misses, seen, WAIT_MS);
      for (let read = this.#reads.harvest(); read !== undefined; read = this.#reads.harvest()) this.#finish(read);
    }
    this.#queue.close();
    for (const buffer of this.#buffers) munmap(addressOf(buffer), BUFFER_BYTES);
  }

  #beginRequests(): void {
    while (this.#reads.demanded < MISSES_MAX) {
      const tag = this.#again.shift() ?? this.#newTag();
      if (tag === undefined) return;
      this.#begin(tag);
    }
  }

  #newTag(): number | undefined {
    const request = nextMessage(this.#inbox) as Request | undefined;
    if (request === undefined) return undefined;
    const tag = this.#freeTags.pop() ?? this.#misses.length;
    this.#misses[tag] = { request, result: new Uint8Array(request.length), done: 0, hasWaited: false };
    return tag;
  }

  #begin(tag: number): void {
    const miss = this.#misses[tag]!;
    const { request } = miss;
    if (this.#thread.isAborted(request.slot)) {
      this.#forget(tag);
      this.#answers.add({ id: request.id });
      return;
    }
    const offset = request.offset + miss.done;
    const start = offset - (offset % SECTOR_BYTES);
    const end = Math.ceil((offset + this.#chunkBytes(miss)) / SECTOR_BYTES) * SECTOR_BYTES;
    const other = miss.hasWaited ? undefined : this.#reads.overlapping(start, end);
    if (other !== undefined) {
      miss.hasWaited = true;
      other.waiters.push(tag);
      return;
    }
    const buffer = this.#buffers.pop() ?? newBuffer();
    try {
      const read = this.#reads.begin(tag, start, end, buffer, start - (start % PAGE_BYTES), false);
      if (read.isDone) this.#finish(read);
    } catch (error) {
      this.#fail(tag, error);
    }
  }

  #chunkBytes({ request, done }: Miss): number {
    return Math.min(request.length - done, CHUNK_BYTES);
  }

  #finish(read: RangeRead): void {
    const { tag, error, target, baseBytes, waiters } = read;
    const miss = this.#misses[tag]!;
    const { request, result } = miss;
    this.#again.push(...waiters);
    this.#reads.release(read);
    if (error !== undefined) {
      this.#buffers.push(target);
      this.#fail(tag, error);
      return;
    }
    const bytes = this.#chunkBytes(miss);
    const from = request.offset + miss.done - baseBytes;
    result.set(target.subarray(from, from + bytes), miss.done);
    this.#buffers.push(target);
    miss.done += bytes;
    if (miss.done < request.length) {
      this.#again.unshift(tag);
      return;
    }
    const { counters } = this.#thread.cache;
    counters[COUNTER.reads]! += 1;
    counters[COUNTER.read_bytes]! += request.length;
    this.#forget(tag);
    this.#answers.add({ id: request.id, bytes: result });
  }

  #fail(tag: number, error: unknown): void {
    const { id } = this.#misses[tag]!.request;
    this.#thread.cache.counters[COUNTER.read_errors]! += 1;
    this.#forget(tag);
    this.#answers.add(failureAnswer(id, error));
  }

  #forget(tag: number): void {
    this.#misses[tag] = undefined;
    this.#freeTags.push(tag);
  }
}

function newBuffer(): Uint8Array {
  return new Uint8Array(view(mmap(BUFFER_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), BUFFER_BYTES));
}

runServingThread(HEAD.misses, COUNTER_SLICE.miss, (thread) => {
  new Misses(thread).serve();
  return undefined;
});
