// The background thread's program: writes dirty data back at a pace that leaves the processor to those who use the cache, collects what is no longer needed,
// and carries out, in order, what the front thread could not do at once: writes that wait for room or for the rest of a sector, discards, reads and flushes
// that came behind these, and writing everything back.
//
// A write that waits for room makes it here. If that fails because the backing device does, the write fails: a promise that is never settled would be worse.
// What is dirty stays in the cache and is tried again.

import { Word, NumberWord } from '../cache/shared-state.js';
import { PcacheError, messageOf } from '../errors.js';
import { BackgroundWork } from '../gateway/background-work.js';
import type { FailureReports } from '../gateway/background-work.js';
import { Maintenance } from '../gateway/maintenance.js';
import { VolumeIo } from '../gateway/volume-io.js';
import { WritebackPace } from '../gateway/writeback-pace.js';
import { CachePaceSignals, threadBusyClock } from '../gateway/writeback-signals.js';
import { COUNTER } from '../shared/counters.js';
import { epoch, signal, wait } from '../shared/event-word.js';
import { failureAnswer, plainError } from './messages.js';
import type { Answer, FlushOrder, Request } from './messages.js';
import { Answers, runServingThread, threadData } from './thread-start.js';
import { COUNTER_SLICE, HEAD, LibraryWord, NO_ABORT_SLOT, nextMessage, tell } from './thread-shared.js';
import type { LibraryThread } from './thread-shared.js';

/** How often the thread looks around when nobody wakes it. */
const TICK_MS = 500;
/** It does not look around more often than this. */
const TICK_MIN_MS = 10;
/** While writing back rests, it looks after so long whether anything has changed. */
const REST_TICK_MS = 4;
/** Between two of these it looks whether the caller still wants the discard. */
const DISCARD_STEP_BYTES = 4 * 1024 * 1024;
const NOTHING_IS_LOST = 'Nothing is lost: what is not written back stays in the cache and is tried again.';

/** The caller does not wait any more. */
class Aborted extends Error {}

const ERROR_COUNTERS = { read: COUNTER.read_errors, write: COUNTER.write_errors, discard: COUNTER.write_errors } as const;

class Background {
  readonly #thread: LibraryThread;
  readonly #words: Int32Array;
  readonly #threadWords = threadData.threadWords.words;
  readonly #io: VolumeIo;
  readonly #maintenance: Maintenance;
  readonly #work: BackgroundWork;
  readonly #answers = new Answers();
  readonly #writeBackWaiters: FlushOrder[] = [];
  /** Of the last attempt to write back; undefined once one succeeds. */
  #backingFailure: PcacheError | undefined;
  /** Of the request in hand. */
  #abortSlot = NO_ABORT_SLOT;

  constructor(thread: LibraryThread) {
    const { cache } = thread;
    this.#thread = thread;
    this.#words = cache.shared.words;
    this.#io = new VolumeIo(cache, thread.backing, { waitForRoom: (seenEpoch) => this.#waitForRoom(seenEpoch) });
    this.#maintenance = new Maintenance(cache, thread.backing);
    const clock = (): number => performance.now();
    const isWriteBackWanted = (): boolean => this.#writeBackWaiters.length > 0;
    const pace = new WritebackPace(new CachePaceSignals(cache.shared, isWriteBackWanted), clock, threadBusyClock());
    this.#work = new BackgroundWork(this.#maintenance, clock, this.#reports(), pace);
  }

  serve(): void {
    const words = this.#words;
    for (;;) {
      const seen = epoch(words, Word.backgroundWorkEvent);
      const seenLate = epoch(this.#threadWords, LibraryWord.late);
      if (this.#isSet(LibraryWord.abandon)) break;
      const isLastPass = this.#isSet(LibraryWord.stopLanes);
      const request = nextMessage(threadData.inbox[0]!) as Request | undefined;
      if (request !== undefined) this.#take(request);
      if (this.#writeBackWaiters.length > 0) this.#answerWriteBackWaiters();
      if (request !== undefined) continue;
      if (isLastPass) break;
      if (this.#isSet(LibraryWord.cacheFailed)) this.#work.end();
      if (this.#work.step()) continue;
      const restMs = this.#work.restLeftMs;
      if (restMs > 0) {
        wait(this.#threadWords, LibraryWord.late, seenLate, Math.min(REST_TICK_MS, restMs));
        continue;
      }
      const pauseMs = this.#work.pauseLeftMs;
      wait(words, Word.backgroundWorkEvent, seen, Math.max(TICK_MIN_MS, Math.min(TICK_MS, pauseMs > 0 ? pauseMs : TICK_MS)));
    }
    this.#maintenance.close();
  }

  #isSet(word: number): boolean {
    return this.#thread.isSet(word);
  }

  #reports(): FailureReports {
    const { cache, backingError } = this.#thread;
    return {
      backingFailed: (error) => {
        cache.counters[COUNTER.writeback_errors]! += 1;
        backingError.set(messageOf(error), Date.now());
        this.#backingFailure =
          error instanceof PcacheError ? error : new PcacheError('io', `writeback: ${messageOf(error)}`, { cause: error });
      },
      backingWorks: () => {
        this.#backingFailure = undefined;
        backingError.clear();
      },
      cacheFailed: (_what, error) => this.#thread.failCache(error),
    };
  }

  #waitForRoom(seenEpoch: number): void {
    this.#stopIfAborted();
    // Only at the end of the process, or after a failure, are there calls under way when this is set.
    if (this.#isSet(LibraryWord.abandon)) throw new PcacheError('closed', 'no room: the cache is given up');
    if (this.#isSet(LibraryWord.cacheFailed)) throw this.#thread.cacheFailure('no room, and none will come');
    if (this.#work.step()) return;
    if (this.#backingFailure !== undefined) throw backingError('no room, and it can not be made', this.#backingFailure);
    // What is waited for may still be staged.
    signal(this.#words, Word.logWorkEvent);
    wait(this.#words, Word.roomEvent, seenEpoch, TICK_MIN_MS);
  }

  #stopIfAborted(): void {
    if (this.#thread.isAborted(this.#abortSlot)) throw new Aborted();
  }

  #take(request: Request): void {
    this.#abortSlot = request.slot;
    try {
      const answer = this.#carryOut(request);
      if (answer !== undefined) this.#answers.add(answer);
    } catch (error) {
      if (error instanceof Aborted) {
        this.#answers.add({ id: request.id });
      } else {
        const { counters } = this.#thread.cache;
        if (request.op in ERROR_COUNTERS) counters[ERROR_COUNTERS[request.op as keyof typeof ERROR_COUNTERS]]! += 1;
        this.#answers.add(failureAnswer(request.id, error));
      }
    } finally {
      this.#abortSlot = NO_ABORT_SLOT;
    }
    // Before the answer: who hears of it finds the way through the front thread free.
    Atomics.add(this.#threadWords, LibraryWord.lateDone, 1);
    this.#answers.send();
  }

  /** Returns the answer, or undefined if it is still to come. */
  #carryOut(request: Request): Answer | undefined {
    const { id, op, offset, length, bytes } = request;
    const { counters } = this.#thread.cache;
    this.#stopIfAborted();
    if (op === 'read') {
      const result = new Uint8Array(length);
      this.#io.read(offset, length, result, 0);
      counters[COUNTER.reads]! += 1;
      counters[COUNTER.read_bytes]! += length;
      return { id, bytes: result };
    }
    if (op === 'write') {
      this.#io.write(offset, length, bytes!, 0);
      counters[COUNTER.writes]! += 1;
      counters[COUNTER.write_bytes]! += length;
      return { id };
    }
    if (op === 'discard') {
      this.#discard(offset, length);
      return { id };
    }
    const order: FlushOrder = { id, sequence: this.#thread.cache.log.requestFlush() };
    if (op === 'flush') {
      counters[COUNTER.flushes]! += 1;
      tell(threadData.toLog!, order, this.#words, Word.logWorkEvent);
    } else {
      this.#writeBackWaiters.push(order);
    }
    return undefined;
  }

  #discard(offset: number, length: number): void {
    const { counters } = this.#thread.cache;
    for (let done = 0; done < length; done += DISCARD_STEP_BYTES) {
      this.#stopIfAborted();
      this.#io.zero(offset + done, Math.min(DISCARD_STEP_BYTES, length - done));
    }
    counters[COUNTER.discards]! += 1;
    counters[COUNTER.discard_bytes]! += length;
  }

  #answerWriteBackWaiters(): void {
    const { numbers } = this.#thread.cache.shared;
    const waiters = this.#writeBackWaiters;
    let kept = 0;
    for (const order of waiters) {
      const { id } = order;
      if (this.#isSet(LibraryWord.cacheFailed)) this.#answers.add({ id, error: plainError(this.#thread.cacheFailure('write back')) });
      else if (numbers[NumberWord.writtenSequence]! >= order.sequence) this.#answers.add({ id });
      else if (this.#backingFailure !== undefined)
        this.#answers.add({ id, error: plainError(backingError('write back', this.#backingFailure)) });
      else waiters[kept++] = order;
    }
    waiters.length = kept;
    this.#answers.send();
  }
}

function backingError(what: string, { code, message, errno, hint = NOTHING_IS_LOST }: PcacheError): PcacheError {
  return new PcacheError(code, `${what}: ${message}`, { hint, ...(errno === undefined ? {} : { errno }) });
}

runServingThread(HEAD.writes, COUNTER_SLICE.background, (thread) => {
  new Background(thread).serve();
  return undefined;
});
