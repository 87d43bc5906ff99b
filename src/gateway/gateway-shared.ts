// What the data threads of an engine share beside the cache's own state: the request slots, the lanes on which a request that can't be
// answered at once goes on, and a few words. Posted to each worker as it starts.
//
// Lanes. A queue worker never blocks: what would, it hands on, and takes the next request.
// - misses: READs for which the backing device must be read. One miss worker has many of them under way; where io_uring is forbidden, several have one each.
// - writes: WRITEs that found no room, that write part of a sector, or came behind such; and FALLOCATEs. One worker takes them in order of
//   arrival, so writers that wait for room are served in order.
// - flushes: FSYNCs whose kset is not durable yet. The log worker answers them.

import { Cache } from '../cache/cache.js';
import type { CacheShared } from '../cache/shared-state.js';
import type { BackingDeviceHandle } from '../device/file-backing-device.js';
import { attachBackingDevice } from '../device/file-backing-device.js';
import type { CacheDeviceHandle } from '../device/mapped-cache-device.js';
import { attachCacheDevice } from '../device/mapped-cache-device.js';
import type { RequestSlotsHandle } from '../fuse/request-slots.js';
import { RequestSlots } from '../fuse/request-slots.js';
import { IntRing } from '../shared/int-ring.js';
import type { IntRingState } from '../shared/int-ring.js';
import { NumberWord, Word, sharedFloat64, sharedInt32 } from '../cache/shared-state.js';
import { messageOf } from '../errors.js';
import { counterSlicesOf } from '../shared/counters.js';
import { signal } from '../shared/event-word.js';
import { createLatency } from '../shared/latency.js';
import type { LatencyState } from '../shared/latency.js';
import { createDirtySegments } from './dirty-segments.js';
import type { DirtySegmentsState } from './dirty-segments.js';
import { createDirtyTimes } from './dirty-times.js';
import type { DirtyTimesState } from './dirty-times.js';
import { MissLane, createMissLane } from './miss-lane.js';
import type { MissLaneState } from './miss-lane.js';
import { RequestTimes } from './request-times.js';
import { SharedText, createSharedText } from './shared-text.js';
import type { StatusFacts } from './status.js';
import { createTextFiles } from './text-files.js';
import type { TextFilesState } from './text-files.js';

/** Int32 words. */
export const GatewayWord = {
  /** Not 0: queue workers return before the next request. */
  stopQueues: 0,
  /** Not 0: the lanes' workers answer what they have and end. */
  stopLanes: 1,
  /** Not 0: the background worker ends after its step, the log worker once everything is durable. */
  stopBackground: 2,
  stopLog: 3,
  /**
   * Not 0: the cache device could not make something durable, or the log is damaged. From then on flushes get EIO, nothing is written back or
   * collected, and writes for which there is no room get EIO too. Reads, and writes for which there is room, go on.
   */
  cacheFailed: 4,
  /** How many wait for everything to be written back. */
  flushWaiters: 5,
  /** Not 0: nothing is written back unless somebody waits for it; see WritebackOrder. */
  writebackPaused: 6,
  /** Not 0: the volume is to be unmounted when its users are gone. */
  unmountWanted: 7,
  /** How often it was asked for that the background worker looks at the length of the backing device, and which of these times it has. */
  looksWanted: 8,
  looksDone: 9,
  count: 10,
} as const;

export const GatewayNumber = {
  /** When the volume was last written, milliseconds since 1970, or WRITTEN_JUST_NOW; see `lastWriteMs`. */
  lastWriteMs: 0,
  /** Bytes of batches that the backing device has taken, of the one under way too; less again if that fails. Written by the background worker. */
  writebackTaken: 1,
  /** Bytes a second, of the last few seconds. Written by the log worker. */
  writebackRate: 2,
  count: 3,
} as const;

/** In place of `lastWriteMs`: the clock costs a write more than its key does, so whoever next asks for the time looks at it. */
export const WRITTEN_JUST_NOW = -1;

/** When the volume was last written, milliseconds since 1970: exact to the time since the last call. The log worker calls it on each of its rounds. */
export function lastWriteMs(numbers: Float64Array): number {
  if (numbers[GatewayNumber.lastWriteMs] === WRITTEN_JUST_NOW) numbers[GatewayNumber.lastWriteMs] = Date.now();
  return numbers[GatewayNumber.lastWriteMs]!;
}

/** See GatewayWord.cacheFailed. Wakes all who wait for what will not come any more. Returns whether this is the first that is known of it. */
export function failCache({ words, cache, cacheError }: GatewayShared, error: unknown): boolean {
  const isFirst = Atomics.compareExchange(words, GatewayWord.cacheFailed, 0, 1) === 0;
  // The first says what happened; what fails later, fails because of it.
  if (isFirst) new SharedText(cacheError).set(messageOf(error), Date.now());
  for (const event of [Word.logWorkEvent, Word.backgroundWorkEvent, Word.roomEvent]) signal(cache.words, event);
  return isFirst;
}

export interface GatewayShared {
  readonly cache: CacheShared;
  readonly cacheDevice: CacheDeviceHandle;
  readonly backingDevice: BackingDeviceHandle;
  readonly slots: RequestSlotsHandle;
  readonly misses: MissLaneState;
  /** Tuples: slot, progress (bytes of a WRITE, chunks of a FALLOCATE). */
  readonly writes: IntRingState;
  /** Tuples: slot, low and high half of the sequence to wait for. */
  readonly flushes: IntRingState;
  readonly words: Int32Array<SharedArrayBuffer>;
  readonly numbers: Float64Array;
  readonly cacheError: SharedArrayBuffer;
  readonly backingError: SharedArrayBuffer;
  readonly textFiles: TextFilesState;
  readonly latency: LatencyState;
  readonly dirtyTimes: DirtyTimesState;
  readonly dirtySegments: DirtySegmentsState;
  readonly facts: StatusFacts;
}

export type GatewaySharedParts = Pick<GatewayShared, 'cache' | 'cacheDevice' | 'backingDevice' | 'slots' | 'facts'> & {
  /** For what is dirty already, see DirtyTimes; by default since the volume was mounted. */
  readonly dirtySinceMs?: number;
};

export function createGatewayShared({ dirtySinceMs, ...parts }: GatewaySharedParts): GatewayShared {
  const { count } = parts.slots;
  const numbers = sharedFloat64(GatewayNumber.count);
  numbers[GatewayNumber.lastWriteMs] = parts.facts.startedMs;
  return {
    ...parts,
    // A slot is on one lane at a time, so none of them can overflow.
    misses: createMissLane(count),
    writes: IntRing.create(count, 2).state,
    flushes: IntRing.create(count, 3).state,
    words: sharedInt32(GatewayWord.count) as Int32Array<SharedArrayBuffer>,
    numbers,
    cacheError: createSharedText(),
    backingError: createSharedText(),
    textFiles: createTextFiles(),
    latency: createLatency(counterSlicesOf(parts.cache.counters), count),
    dirtyTimes: createDirtyTimes(parts.cache.numbers[NumberWord.openSequence]!, dirtySinceMs ?? parts.facts.startedMs),
    dirtySegments: createDirtySegments(parts.cache),
  };
}

/** What a data thread is given when it starts. */
export interface DataThreadStart {
  readonly shared: GatewayShared;
  /** Its data head, and its slice of the counters and of the histograms. */
  readonly head: number;
  readonly counterSlice: number;
}

/** A data thread's view of everything. */
export class DataThread {
  readonly shared: GatewayShared;
  readonly cache: Cache;
  readonly backing: ReturnType<typeof attachBackingDevice>;
  readonly slots: RequestSlots;
  readonly misses: MissLane;
  readonly writes: IntRing;
  readonly flushes: IntRing;
  readonly times: RequestTimes;
  readonly cacheError: SharedText;
  readonly backingError: SharedText;

  constructor({ shared, head, counterSlice }: DataThreadStart) {
    this.shared = shared;
    this.cache = new Cache(
      shared.cache,
      attachCacheDevice(shared.cacheDevice),
      head,
      counterSlice,
      () => performance.timeOrigin + performance.now(),
    );
    this.backing = attachBackingDevice(shared.backingDevice);
    this.slots = new RequestSlots(shared.slots);
    this.misses = new MissLane(shared.misses);
    this.writes = IntRing.attach(shared.writes);
    this.flushes = IntRing.attach(shared.flushes);
    this.times = new RequestTimes(shared.latency, counterSlice);
    this.cacheError = new SharedText(shared.cacheError);
    this.backingError = new SharedText(shared.backingError);
  }

  /** As `failCache`. */
  failCache(error: unknown): boolean {
    return failCache(this.shared, error);
  }

  isSet(word: number): boolean {
    return Atomics.load(this.shared.words, word) !== 0;
  }

  /** Lets go of what this thread alone holds (its bounce buffer); the devices stay open for the others. */
  end(): void {
    this.backing.close();
  }
}
