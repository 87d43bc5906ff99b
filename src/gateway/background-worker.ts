// The background worker's thread: writes dirty data back, at a pace that leaves the processor to those who use the volume, and collects what is no longer
// needed, as BackgroundWork says. An error of the backing
// device is in the status from its first failure until a batch gets through, and has one line in the log at each end.

import { Word } from '../cache/shared-state.js';
import { messageOf } from '../errors.js';
import { COUNTER } from '../shared/counters.js';
import { epoch, signal, wait } from '../shared/event-word.js';
import { BackgroundWork } from './background-work.js';
import type { FailureReports } from './background-work.js';
import { DataThread, GatewayNumber, GatewayWord } from './gateway-shared.js';
import type { DataThreadStart } from './gateway-shared.js';
import { Maintenance } from './maintenance.js';
import { noteError, tellMain, threadStart } from './thread-messages.js';
import { WritebackPace } from './writeback-pace.js';
import { CachePaceSignals, threadBusyClock } from './writeback-signals.js';

/** How often the thread looks around when nobody wakes it. */
const TICK_MS = 500;
/** It does not look around more often than this. */
const TICK_MIN_MS = 10;
/** While writing back rests, it looks after so long whether anything has changed. Events don't wake it then: under load there is one each moment. */
const REST_TICK_MS = 4;

const thread = new DataThread(threadStart() as DataThreadStart);
const { cache } = thread;
const { words } = thread.shared.cache;
const clock = (): number => performance.now();
const isFlushWanted = (): boolean => thread.isSet(GatewayWord.flushWaiters);
const signals = new CachePaceSignals(thread.shared.cache, isFlushWanted);
const pace = new WritebackPace(signals, clock, threadBusyClock());
const isPaused = (): boolean => thread.isSet(GatewayWord.writebackPaused) && !signals.isRoomWanted() && !signals.isFlushWanted();
/** Taken of a batch that is tried again: whether that is progress is known when it is done. */
let retriedBytes = 0;
const maintenance = new Maintenance(cache, thread.backing, (bytes) => {
  if (thread.backingError.isSet) retriedBytes += bytes;
  else thread.shared.numbers[GatewayNumber.writebackTaken]! += bytes;
});
const reports: FailureReports = {
  backingFailed(error) {
    cache.counters[COUNTER.writeback_errors]! += 1;
    const isFirst = thread.backingError.set(messageOf(error), Date.now());
    if (maintenance.isBackingCut) noteError('writeback, which ends', error);
    else if (isFirst) noteError('writeback, which goes on when the device does', error);
  },
  backingWorks() {
    if (!thread.backingError.clear()) return;
    thread.shared.numbers[GatewayNumber.writebackTaken]! += retriedBytes;
    retriedBytes = 0;
    tellMain({ type: 'note', level: 'info', text: 'backing device: works again' });
  },
  cacheFailed(what, error) {
    if (thread.failCache(error)) noteError(`${what}, which ends: the cache device`, error);
  },
};
const work = new BackgroundWork(maintenance, clock, reports, pace, isPaused);
/** Whoever waits for it waits for what was true when it asked. */
function lookIfWanted(): void {
  const { words: flags } = thread.shared;
  const wanted = Atomics.load(flags, GatewayWord.looksWanted);
  if (wanted === Atomics.load(flags, GatewayWord.looksDone)) return;
  work.look();
  Atomics.store(flags, GatewayWord.looksDone, wanted);
  signal(words, Word.backgroundWorkEvent);
}

const restWord = new Int32Array(new SharedArrayBuffer(4));

tellMain({ type: 'ready' });
while (!thread.isSet(GatewayWord.stopBackground)) {
  const seen = epoch(words, Word.backgroundWorkEvent);
  if (thread.isSet(GatewayWord.cacheFailed)) work.end();
  lookIfWanted();
  if (work.step()) continue;
  const restMs = work.restLeftMs;
  if (restMs > 0) {
    Atomics.wait(restWord, 0, 0, Math.min(REST_TICK_MS, restMs));
    continue;
  }
  // Writers wait although nothing is there to write back or collect: what they wait for may still be staged.
  if (Atomics.load(words, Word.roomWaiters) > 0) signal(words, Word.logWorkEvent);
  const pauseMs = work.pauseLeftMs;
  wait(words, Word.backgroundWorkEvent, seen, Math.max(TICK_MIN_MS, Math.min(TICK_MS, pauseMs > 0 ? pauseMs : TICK_MS)));
}
maintenance.close();
// For whoever says at the end that the backing device has everything.
work.look();
thread.end();
tellMain({ type: 'ended' });
