// The log thread's program: closes ksets, makes them durable, and answers the flushes that wait for that; flushes that come meanwhile share the next pass.
//
// If the cache device can't make something durable, nothing after it counts as durable either: every flush from then on fails, until the cache is opened anew.

import { Word } from '../cache/shared-state.js';
import type { PcacheError } from '../errors.js';
import { COUNTER } from '../shared/counters.js';
import { epoch, wait } from '../shared/event-word.js';
import { plainError } from './messages.js';
import type { FlushOrder } from './messages.js';
import { Answers, runServingThread, threadData } from './thread-start.js';
import { COUNTER_SLICE, HEAD, LibraryWord, nextMessage } from './thread-shared.js';
import type { LibraryThread } from './thread-shared.js';

/** A kset is closed at this age at the latest. */
const KSET_AGE_MS = 1000;
/** How often the age is looked at when nothing else happens. */
const TICK_MS = 250;

class Log {
  readonly #thread: LibraryThread;
  readonly #answers = new Answers();
  readonly #waiting: FlushOrder[] = [];

  constructor(thread: LibraryThread) {
    this.#thread = thread;
  }

  /** Returns what went wrong if not everything is durable. */
  serve(): PcacheError | undefined {
    const thread = this.#thread;
    const { words } = thread.cache.shared;
    for (;;) {
      const seen = epoch(words, Word.logWorkEvent);
      if (thread.isSet(LibraryWord.abandon)) return undefined;
      const isLastPass = thread.isSet(LibraryWord.stopLog);
      this.#takeOrders();
      if (isLastPass) this.#closeLog();
      const didSomething = this.#step();
      this.#answerFlushes();
      if (isLastPass && this.#waiting.length === 0) break;
      if (!didSomething) wait(words, Word.logWorkEvent, seen, TICK_MS);
    }
    return thread.isSet(LibraryWord.cacheFailed) ? thread.cacheFailure('close') : undefined;
  }

  #takeOrders(): void {
    for (const port of threadData.inbox) {
      for (let order = nextMessage(port); order !== undefined; order = nextMessage(port)) this.#waiting.push(order as FlushOrder);
    }
  }

  #answerFlushes(): void {
    const { cache } = this.#thread;
    const hasFailed = this.#thread.isSet(LibraryWord.cacheFailed);
    let kept = 0;
    for (const order of this.#waiting) {
      if (hasFailed) {
        cache.counters[COUNTER.flush_errors]! += 1;
        this.#answers.add({ id: order.id, error: plainError(this.#thread.cacheFailure('flush')) });
      } else if (cache.log.isFlushed(order.sequence)) {
        this.#answers.add({ id: order.id });
      } else {
        this.#waiting[kept++] = order;
      }
    }
    this.#waiting.length = kept;
    this.#answers.send();
  }

  /** One pass. Returns whether there was something to do. */
  #step(): boolean {
    const { cache } = this.#thread;
    if (this.#thread.isSet(LibraryWord.cacheFailed)) return false;
    // A writer that waits for room may wait for what is staged: its segments come free only after it is written back.
    const hurry = Atomics.load(cache.shared.words, Word.roomWaiters) > 0;
    try {
      return cache.logStep(hurry ? 0 : KSET_AGE_MS);
    } catch (error) {
      this.#thread.failCache(error);
      return false;
    }
  }

  /** Makes everything durable; the last thing this thread does. */
  #closeLog(): void {
    const { log } = this.#thread.cache;
    const sequence = log.requestFlush();
    while (!log.isFlushed(sequence) && !this.#thread.isSet(LibraryWord.cacheFailed)) this.#step();
  }
}

runServingThread(HEAD.writes, COUNTER_SLICE.log, (thread) => new Log(thread).serve());
