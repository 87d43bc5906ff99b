// The background worker's thread: writes dirty data back and collects what is no longer needed.
//
// A backing device that fails loses nothing: dirty_tail stays, the batch is tried again after a pause that doubles from 100 ms to 30 s, the error
// is shown in the status from when on, and it goes away by itself when the device recovers.

import { Word } from '../cache/shared-state.js';
import { PcacheError, messageOf } from '../errors.js';
import { COUNTER } from '../shared/counters.js';
import { epoch, signal, wait } from '../shared/event-word.js';
import { DataThread, GatewayWord } from './gateway-shared.js';
import type { DataThreadStart } from './gateway-shared.js';
import { Maintenance } from './maintenance.js';
import { noteError, tellMain, threadStart } from './thread-messages.js';

const PAUSE_FIRST_MS = 100;
const PAUSE_LAST_MS = 30_000;
/** How often the thread looks around when nobody wakes it. */
const TICK_MS = 500;

const thread = new DataThread(threadStart() as DataThreadStart);
const { cache } = thread;
const { words } = thread.shared.cache;
const maintenance = new Maintenance(cache, thread.backing);
let pauseMs = 0;
let retryAtMs = 0;
/** The log itself is damaged, or the cache device fails: nothing more can be written back. */
let isBroken = false;

function writeBack(): boolean {
  if (isBroken || performance.now() < retryAtMs) return false;
  try {
    const did = maintenance.writebackStep();
    pauseMs = 0;
    if (did && thread.backingError.clear()) tellMain({ type: 'note', level: 'info', text: 'backing device: works again' });
    return did;
  } catch (error) {
    cache.counters[COUNTER.writeback_errors]! += 1;
    if (error instanceof PcacheError && (error.code === 'io' || error.code === 'no-space')) {
      pauseMs = Math.min(PAUSE_LAST_MS, Math.max(PAUSE_FIRST_MS, pauseMs * 2));
      retryAtMs = performance.now() + pauseMs;
    } else {
      isBroken = true;
    }
    if (thread.backingError.set(messageOf(error), Date.now())) noteError('writeback', error);
    return false;
  }
}

function collect(): boolean {
  try {
    return !isBroken && maintenance.gcStep();
  } catch (error) {
    isBroken = true;
    if (thread.cacheError.set(messageOf(error), Date.now())) noteError('gc', error);
    return false;
  }
}

tellMain({ type: 'ready' });
while (!thread.isSet(GatewayWord.stopBackground)) {
  const seen = epoch(words, Word.backgroundWorkEvent);
  const collected = collect();
  const written = writeBack();
  if (collected || written) continue;
  // Writers wait although nothing is there to write back or collect: what they wait for may still be staged.
  if (Atomics.load(words, Word.roomWaiters) > 0) signal(words, Word.logWorkEvent);
  wait(
    words,
    Word.backgroundWorkEvent,
    seen,
    Math.max(10, Math.min(TICK_MS, retryAtMs - performance.now() > 0 ? retryAtMs - performance.now() : TICK_MS)),
  );
}
thread.end();
tellMain({ type: 'ended' });
