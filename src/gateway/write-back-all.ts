// Waits until everything that is dirty now is on the backing device: what `pcache flush` and the last flush of a mount do in the engine's main thread, which
// touches no device itself. Ends with success only if the background worker has looked at the length of the backing device after this was asked for.

import type { Cache } from '../cache/cache.js';
import { NumberWord, Word } from '../cache/shared-state.js';
import { CUT_HINT } from '../device/file-backing-device.js';
import { PcacheError } from '../errors.js';
import { epoch, signal, waitAsync } from '../shared/event-word.js';
import type { FlushProgress } from './engine.js';
import { FlushGauge } from './flush-gauge.js';
import { GatewayNumber, GatewayWord } from './gateway-shared.js';
import type { GatewayShared } from './gateway-shared.js';
import { SharedText } from './shared-text.js';

/** Progress is told this often, or when the background worker has done something. */
const TICK_MS = 50;

/** Rejects with PcacheError `io`, `mismatch` (the backing device was cut), `closed`. `cache`: of the calling thread. */
export async function writeBackAll(
  shared: GatewayShared,
  cache: Cache,
  isStopping: () => boolean,
  onProgress: (progress: FlushProgress) => void,
): Promise<void> {
  const { words, numbers } = shared.cache;
  const takenBytes = (): number => shared.numbers[GatewayNumber.writebackTaken]!;
  Atomics.add(shared.words, GatewayWord.flushWaiters, 1);
  try {
    const bytesTotal = cache.dirtyBytes;
    const gauge = new FlushGauge(bytesTotal, numbers[NumberWord.passedBytes]!, takenBytes());
    const target = cache.log.requestFlush();
    const look = Atomics.add(shared.words, GatewayWord.looksWanted, 1) + 1;
    let lastLeft = -1;
    signal(words, Word.backgroundWorkEvent);
    for (;;) {
      const seen = epoch(words, Word.backgroundWorkEvent);
      if (numbers[NumberWord.writtenSequence]! >= target && !isBefore(Atomics.load(shared.words, GatewayWord.looksDone), look)) break;
      if (isStopping()) throw new PcacheError('closed', 'flush: the volume was unmounted');
      if (Atomics.load(shared.words, GatewayWord.cacheFailed) !== 0) {
        throw new PcacheError('io', `flush: ${new SharedText(shared.cacheError).get()?.text ?? 'the cache device fails'}`);
      }
      throwBackingError(shared);
      const bytesLeft = gauge.leftBytes(numbers[NumberWord.passedBytes]!, takenBytes());
      if (bytesLeft !== lastLeft) onProgress({ bytesTotal, bytesLeft });
      lastLeft = bytesLeft;
      // Only then: of two who wait here, each would wake the other.
      if (!(await waitAsync(words, Word.backgroundWorkEvent, seen, TICK_MS))) signal(words, Word.backgroundWorkEvent);
    }
    if (isCut(shared)) throwBackingError(shared);
    onProgress({ bytesTotal, bytesLeft: 0 });
  } finally {
    Atomics.sub(shared.words, GatewayWord.flushWaiters, 1);
  }
}

function throwBackingError(shared: GatewayShared): void {
  const error = new SharedText(shared.backingError).get();
  if (error === undefined) return;
  if (isCut(shared)) throw new PcacheError('mismatch', `flush: ${error.text}`, { hint: CUT_HINT });
  throw new PcacheError('io', `flush: ${error.text}`, { hint: 'Nothing is lost: it stays in the cache and is tried again.' });
}

function isCut({ backingDevice }: GatewayShared): boolean {
  return new Float64Array(backingDevice.lostBytes)[0]! > 0;
}

/** Of counters that wrap around. */
function isBefore(count: number, other: number): boolean {
  return ((count - other) | 0) < 0;
}
