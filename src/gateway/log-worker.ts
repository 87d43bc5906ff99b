// The log worker's thread: closes ksets, makes them durable, has the gateway header say so, and answers the FSYNCs that wait for that. Flushes that arrive
// while it works share the next pass.
//
// If the cache device can't make something durable, nothing after it counts as durable either: every flush from then on gets EIO (the device's
// next success would not bring back what it dropped), until the volume is mounted anew.

import { sendAnswer } from '../fuse/answer.js';
import { Word } from '../cache/shared-state.js';
import { messageOf } from '../errors.js';
import { errno } from '../device/errno-codes.js';
import { COUNTER } from '../shared/counters.js';
import { epoch, wait } from '../shared/event-word.js';
import { LOOK_MS } from './background-work.js';
import { DirtyTracker } from './dirty-tracker.js';
import { DataThread, GatewayWord, lastWriteMs } from './gateway-shared.js';
import type { DataThreadStart } from './gateway-shared.js';
import { noteError, tellMain, threadStart } from './thread-messages.js';

/** A kset is closed at this age at the latest. */
const KSET_AGE_MS = 1000;
/** How often the age is looked at when nothing else happens. */
const TICK_MS = 250;

interface WaitingFlush {
  readonly slot: number;
  readonly sequence: number;
}

const thread = new DataThread(threadStart() as DataThreadStart);
const { cache, flushes, slots, shared } = thread;
const { words } = shared.cache;
const tuple = new Int32Array(3);
const waiting: WaitingFlush[] = [];
let lookedMs = Number.NEGATIVE_INFINITY;
const tracker = new DirtyTracker(shared);

function takeFlushes(): void {
  while (flushes.pop(tuple)) waiting.push({ slot: tuple[0]!, sequence: tuple[2]! * 2 ** 32 + (tuple[1]! >>> 0) });
}

/** Answers the flushes that are done, or all of them with an errno. */
function answerFlushes(failure: number): void {
  let kept = 0;
  for (const flush of waiting) {
    if (failure === 0 && !cache.log.isFlushed(flush.sequence)) {
      waiting[kept++] = flush;
      continue;
    }
    if (failure !== 0) cache.counters[COUNTER.flush_errors]! += 1;
    const slot = slots.slot(flush.slot);
    const malformed = slot.reopen();
    sendAnswer(slot, malformed === 0 ? -failure : malformed);
    thread.times.answeredLater(slot);
    slots.give(slot);
  }
  waiting.length = kept;
}

/** A read-only volume has no background worker that would notice a backing device that was cut. */
function lookAtBacking(isLastPass: boolean): void {
  const nowMs = performance.now();
  if (nowMs - lookedMs < LOOK_MS && !isLastPass) return;
  lookedMs = nowMs;
  try {
    thread.backing.requireWhole();
  } catch (error) {
    if (thread.backingError.set(messageOf(error), Date.now())) noteError('backing device', error);
  }
}

/** One pass. Returns whether there was something to do. */
function step(): boolean {
  if (thread.isSet(GatewayWord.cacheFailed)) return false;
  // A writer that waits for room may wait for what is staged: its segments come free only after it is written back.
  const hurry = Atomics.load(words, Word.roomWaiters) > 0;
  try {
    return cache.logStep(hurry ? 0 : KSET_AGE_MS);
  } catch (error) {
    if (thread.failCache(error)) noteError('cache device, whose flushes fail from now on', error);
    return false;
  }
}

/** Makes everything durable; the last thing this thread does. */
function closeLog(): void {
  const sequence = cache.log.requestFlush();
  while (!cache.log.isFlushed(sequence) && !thread.isSet(GatewayWord.cacheFailed)) step();
}

tellMain({ type: 'ready' });
while (true) {
  const seen = epoch(words, Word.logWorkEvent);
  const isLastPass = thread.isSet(GatewayWord.stopLog);
  takeFlushes();
  lastWriteMs(shared.numbers);
  tracker.round();
  if (shared.cache.readOnly) lookAtBacking(isLastPass);
  else if (isLastPass) closeLog();
  const didSomething = !shared.cache.readOnly && step();
  answerFlushes(thread.isSet(GatewayWord.cacheFailed) ? errno.EIO : 0);
  if (isLastPass && waiting.length === 0) break;
  if (!didSomething) wait(words, Word.logWorkEvent, seen, TICK_MS);
}
thread.end();
tellMain({ type: 'ended' });
