// A simulated thread: a worker that runs the product's code over shared memory, and stops at the end of each step (see `SimTurns`). It is a
// user of the volume, the log worker or the background worker, as the engine has them.

import { parentPort, workerData } from 'node:worker_threads';
import { Cache } from '../../src/cache/cache.js';
import { KsetLog } from '../../src/cache/kset-log.js';
import { NumberWord, Word } from '../../src/cache/shared-state.js';
import type { CacheShared } from '../../src/cache/shared-state.js';
import type { BackingDevice } from '../../src/device/device.js';
import { errno } from '../../src/device/errno-codes.js';
import { OutOfOrderQueue } from '../../src/device/simulated-backing-queue.js';
import { SimulatedCrash } from '../../src/device/simulated-cache-device.js';
import { systemError } from '../../src/device/system-error.js';
import { PcacheError } from '../../src/errors.js';
import { BackgroundWork } from '../../src/gateway/background-work.js';
import type { FailureReports } from '../../src/gateway/background-work.js';
import { Maintenance } from '../../src/gateway/maintenance.js';
import { VolumeIo } from '../../src/gateway/volume-io.js';
import { WritebackPace } from '../../src/gateway/writeback-pace.js';
import { CachePaceSignals } from '../../src/gateway/writeback-signals.js';
import { PAGE_BYTES, SECTOR_BYTES, SUBTREE_BYTES } from '../../src/media/layout.js';
import { epoch, signal } from '../../src/shared/event-word.js';
import { observeLocks } from '../../src/shared/mutex.js';
import { plantInThread, rememberClasses } from './sim-bugs.js';
import type { SimBug } from './sim-bugs.js';
import { EventKind, SimEvents, bytesOfOperation } from './sim-events.js';
import type { SimEventsState } from './sim-events.js';
import { stepBetweenWords } from './sim-fine-steps.js';
import { SectorMark, SimCacheDevice } from './sim-media.js';
import type { SimBackingState, SimMediaState } from './sim-media.js';
import { SimRanges } from './sim-ranges.js';
import { Reason, SimTurns, SimWord } from './sim-turns.js';
import type { SimTurnsState } from './sim-turns.js';

export interface SimThreadStart {
  readonly self: number;
  readonly role: 'user' | 'log' | 'background';
  readonly turns: SimTurnsState;
  readonly events: SimEventsState;
}

/** A life: from an opening of the cache to its end. */
export interface SimLife {
  readonly bug: SimBug | undefined;
  readonly shared: CacheShared;
  readonly media: SimMediaState;
  readonly backing: SimBackingState;
  readonly operations: number;
  /** Largest write and read. */
  readonly bytesMax: number;
  /** Shares of 100: writes, flushes, reads; the rest pauses. */
  readonly writes: number;
  readonly flushes: number;
  readonly reads: number;
  /** Of the reads, the share of 100 that go the engine's way, with read-ahead (`SimRanges`). */
  readonly ranges: number;
  /** Chance in 100 that a step ends where words are used without a lock (`stepBetweenWords`). */
  readonly fine: number;
  /** Shares of 100 of the writes that are whole sectors; and that go to few places. */
  readonly aligned: number;
  readonly hot: number;
}

const KSET_AGE_MS = 1000;
const LOG_TICK_MS = 250;
const BACKGROUND_TICK_MS = 500;
const REST_TICK_MS = 4;
const ROOM_TICK_MS = 1000;
/** Not shorter, so that no two operations write the same bytes by accident. */
const WRITE_BYTES_MIN = 16;

const start = workerData as SimThreadStart;
const turns = new SimTurns(start.turns, start.self);
const events = new SimEvents(turns.words, start.events);
const { words: simWords } = turns;

/** What this thread is about, for what the observer sees. */
const now = { operation: 0, flush: 0, appending: undefined as readonly number[] | undefined, isFlushing: false, before: 0, position: -1 };
let life: SimLife | undefined;

function isAbout(error: unknown, ...codes: string[]): error is PcacheError {
  return error instanceof PcacheError && codes.includes(error.code);
}

function observe(shared: CacheShared): void {
  const { words, numbers } = shared;
  // Sequences have up to 48 bits: only their lower part goes with the keys into one number.
  const moved = (): number => (numbers[NumberWord.openSequence]! % 2 ** 32) * 256 + words[Word.openKeys]!;
  observeLocks({
    beforeLock(lockWords, index) {
      turns.step();
      while (Atomics.load(lockWords, index) !== 0) turns.waitForLock();
      if (lockWords === words && index === Word.logLock) now.before = moved();
    },
    afterUnlock(lockWords, index) {
      turns.lockFreed();
      if (lockWords === words && index === Word.logLock) noteLog(words, moved() !== now.before);
      turns.step();
    },
  });
}

/** The log lock was freed: says what has changed under it, before anybody else can change more. */
function noteLog(words: Int32Array, hasMoved: boolean): void {
  if (now.appending !== undefined && hasMoved) events.add(EventKind.key, [now.operation, ...now.appending]);
  if (now.isFlushing) events.add(EventKind.barrier, [now.flush]);
  const segment = words[Word.openSegment]!;
  const offset = words[Word.openOffset]!;
  const position = segment * 2 ** 25 + offset;
  if (hasMoved || position !== now.position) events.add(EventKind.position, [segment, offset, words[Word.openKeys]!]);
  now.position = position;
}

/** The methods whose effect on the log is watched. */
function watchLog(): void {
  const prototype = KsetLog.prototype;
  /* eslint-disable @typescript-eslint/unbound-method -- they are called with the `this` they are called with */
  const { append, requestFlush } = prototype;
  /* eslint-enable @typescript-eslint/unbound-method */
  prototype.append = function (this: KsetLog, subtree, sector, lengthBytes, keyFlags, segment, segmentOffset, low, high, crc) {
    const { windowStart } = life!.backing;
    now.appending = [subtree * SUBTREE_BYTES + sector * SECTOR_BYTES - windowStart, lengthBytes, keyFlags, segment, segmentOffset];
    try {
      return append.call(this, subtree, sector, lengthBytes, keyFlags, segment, segmentOffset, low, high, crc);
    } finally {
      now.appending = undefined;
    }
  };
  prototype.requestFlush = function (this: KsetLog) {
    now.isFlushing = true;
    try {
      return requestFlush.call(this);
    } finally {
      now.isFlushing = false;
    }
  };
}

function fails(chance: number): boolean {
  const failed = turns.random() * 100_000 < simWords[chance]!;
  if (failed) events.add(EventKind.fault, []);
  return failed;
}

function cacheDevice(media: SimMediaState): SimCacheDevice {
  const device = new SimCacheDevice(media);
  device.onPersist = () => {
    turns.judge(Reason.persist);
    turns.step();
    if (fails(SimWord.cacheFaults)) throw systemError('simulated cache device: persist', errno.EIO, 'io');
  };
  device.duringPersist = () => turns.step();
  return device;
}

function backingDevice(state: SimBackingState): BackingDevice {
  const volatile = new Uint8Array(state.volatile);
  const durable = new Uint8Array(state.durable);
  const marks = new Uint8Array(state.marks);
  const begin = (what: string): void => {
    turns.step();
    if (fails(SimWord.backingFaults)) throw systemError(`simulated backing device: ${what}`, errno.EIO, 'io');
  };
  const place = (offset: number, length: number): number => {
    const at = offset - state.windowStart;
    if (at < 0 || at + length > volatile.length)
      throw new RangeError(`${length} bytes at ${offset} of the backing device: nobody wrote there`);
    return at;
  };
  const put = (at: number, bytes: Uint8Array): void => {
    volatile.set(bytes, at);
    marks.fill(SectorMark.written, at / SECTOR_BYTES, (at + bytes.length) / SECTOR_BYTES);
  };
  /** What a flush that is submitted now covers. */
  const writtenSectors = (): number[] => [...marks.keys()].filter((sector) => marks[sector] === SectorMark.written);
  const flushSectors = (sectors: readonly number[]): void => {
    turns.judge(Reason.flush);
    turns.step();
    const hasFailed = fails(SimWord.backingFaults);
    for (const sector of sectors) {
      // A flush that fails may leave what it was about undone for ever, and the next one says nothing of it.
      marks[sector] = hasFailed ? SectorMark.dropped : SectorMark.durable;
      const from = sector * SECTOR_BYTES;
      if (!hasFailed) durable.set(volatile.subarray(from, from + SECTOR_BYTES), from);
    }
    turns.step();
    if (hasFailed) throw systemError('simulated backing device: flush', errno.EIO, 'io');
  };
  const read: BackingDevice['read'] = (offset, target, targetOffset, length) => {
    begin('read');
    const at = place(offset, length);
    // Half of it is looked at before the other half.
    const half = Math.floor(turns.random() * (length / SECTOR_BYTES)) * SECTOR_BYTES;
    target.set(volatile.subarray(at, at + half), targetOffset);
    if (half > 0) turns.step();
    target.set(volatile.subarray(at + half, at + length), targetOffset + half);
  };
  const write: BackingDevice['write'] = (offset, source, sourceOffset, length) => {
    begin('write');
    const at = place(offset, length);
    // Half of it is there before the other half.
    const half = Math.floor(turns.random() * (length / SECTOR_BYTES)) * SECTOR_BYTES;
    put(at, source.subarray(sourceOffset, sourceOffset + half));
    turns.step();
    put(at + half, source.subarray(sourceOffset + half, sourceOffset + length));
  };
  const startFlush = (): (() => void) => {
    const sectors = writtenSectors();
    return () => flushSectors(sectors);
  };
  return {
    sizeBytes: state.volumeBytes,
    readOnly: false,
    identity: 'simulated:0',
    isHole: () => false,
    read,
    write,
    flush: () => flushSectors(writtenSectors()),
    writeQueue: (depth) => new OutOfOrderQueue({ read, write, startFlush }, depth, () => turns.random()),
    close: () => undefined,
  };
}

class User {
  readonly #life: SimLife;
  readonly #cache: Cache;
  readonly #io: VolumeIo;
  readonly #ranges: SimRanges<number>;
  readonly #buffer: Uint8Array;

  constructor(given: SimLife, cache: Cache, backing: BackingDevice) {
    this.#life = given;
    this.#cache = cache;
    this.#io = new VolumeIo(cache, backing, {
      waitForRoom(seenEpoch) {
        if (simWords[SimWord.cacheFailed] !== 0) throw new PcacheError('io', 'no room, and none will come: the cache device fails');
        turns.waitForEvent(Word.roomEvent, seenEpoch, ROOM_TICK_MS);
      },
    });
    const { windowStart, volatile } = given.backing;
    // By thread, not by chance: before the first turn nobody may draw.
    const window = {
      startBytes: windowStart,
      lengthBytes: volatile.byteLength,
      alignmentBytes: start.self % 2 === 0 ? SECTOR_BYTES : PAGE_BYTES,
    };
    this.#ranges = new SimRanges(cache, backing, window, turns, (began, offset, bytes) => {
      events.add(EventKind.read, [began, offset, bytes.length], bytes);
    });
    this.#buffer = new Uint8Array(given.bytesMax + SECTOR_BYTES);
  }

  run(): void {
    for (let left = this.#life.operations; left > 0; left--) {
      const choice = turns.pick(100);
      const { writes, flushes, reads } = this.#life;
      if (choice < writes) this.#write();
      else if (choice < writes + flushes) this.#flush();
      else if (choice < writes + flushes + reads) this.#read();
      else turns.waitForEvent(-1, 0, turns.random() * 2000);
      this.#ranges.goOn();
      simWords[SimWord.progressAtStep] = simWords[SimWord.steps]!;
      if (events.isHalfFull) turns.judge(Reason.events);
    }
    this.#ranges.finish();
  }

  /** A range of the window. */
  #range(bytesMin: number): { offset: number; length: number } {
    const windowBytes = this.#life.backing.volatile.byteLength;
    const isAligned = turns.pick(100) < this.#life.aligned;
    const spread = turns.pick(100) < this.#life.hot ? Math.min(windowBytes, 4096) : windowBytes;
    const first = (windowBytes - spread) / 2;
    let offset = first + turns.pick(spread);
    let length = bytesMin + turns.pick(turns.pick(4) === 0 ? this.#life.bytesMax - bytesMin : 2048);
    if (isAligned) {
      offset -= offset % SECTOR_BYTES;
      length = Math.ceil(length / SECTOR_BYTES) * SECTOR_BYTES;
    }
    length = Math.min(length, this.#life.bytesMax);
    if (offset + length > windowBytes) offset = windowBytes - length;
    return { offset, length };
  }

  #write(): void {
    const { offset, length } = this.#range(WRITE_BYTES_MIN);
    const operation = ++simWords[SimWord.operations]!;
    events.add(EventKind.write, [operation, offset, length]);
    now.operation = operation;
    try {
      this.#io.write(this.#life.backing.windowStart + offset, length, bytesOfOperation(operation, length), 0);
      events.add(EventKind.acknowledged, [operation]);
    } catch (error) {
      if (!isAbout(error, 'io')) throw error;
      events.add(EventKind.failed, [operation]);
    } finally {
      now.operation = 0;
    }
  }

  #read(): void {
    const { offset, length } = this.#range(1);
    if (turns.pick(100) < this.#life.ranges) {
      this.#ranges.read(events.tick, offset, length);
      return;
    }
    const began = events.tick;
    try {
      this.#io.read(this.#life.backing.windowStart + offset, length, this.#buffer, 0);
      events.add(EventKind.read, [began, offset, length], this.#buffer.subarray(0, length));
    } catch (error) {
      if (!isAbout(error, 'io')) throw error;
    }
  }

  #flush(): void {
    const { log, shared } = this.#cache;
    const began = events.tick;
    now.flush = ++simWords[SimWord.operations]!;
    const { flush } = now;
    const sequence = log.requestFlush();
    now.flush = 0;
    for (;;) {
      const seen = epoch(shared.words, Word.flushedEvent);
      if (simWords[SimWord.cacheFailed] !== 0) return;
      if (log.isFlushed(sequence)) break;
      turns.waitForEvent(Word.flushedEvent, seen, ROOM_TICK_MS);
    }
    events.add(EventKind.flushed, [began, flush]);
  }
}

function failCache(words: Int32Array): void {
  simWords[SimWord.cacheFailed] = 1;
  signal(words, Word.flushedEvent);
  signal(words, Word.roomEvent);
}

/** As `gateway/log-worker`. */
function runLog(cache: Cache): never {
  const { words } = cache.shared;
  for (;;) {
    const seen = epoch(words, Word.logWorkEvent);
    let did = false;
    try {
      const hurry = Atomics.load(words, Word.roomWaiters) > 0;
      if (simWords[SimWord.cacheFailed] === 0) did = cache.logStep(hurry ? 0 : KSET_AGE_MS);
    } catch (error) {
      if (!isAbout(error, 'io')) throw error;
      failCache(words);
    }
    if (!did) turns.waitForEvent(Word.logWorkEvent, seen, LOG_TICK_MS);
  }
}

/** As `gateway/background-worker`. */
function runBackground(cache: Cache, backing: BackingDevice): never {
  const { words } = cache.shared;
  const clock = (): number => turns.clockMs;
  const pace = new WritebackPace(new CachePaceSignals(cache.shared, () => turns.pick(4) === 0), clock, clock);
  const reports: FailureReports = {
    backingFailed: (error) => refuseOthers(error),
    backingWorks: () => undefined,
    cacheFailed(_, error) {
      refuseOthers(error);
      failCache(words);
    },
  };
  const work = new BackgroundWork(new Maintenance(cache, backing), clock, reports, pace);
  const refuseOthers = (error: unknown): void => {
    if (!isAbout(error, 'io')) throw error;
  };
  for (;;) {
    const seen = epoch(words, Word.backgroundWorkEvent);
    if (simWords[SimWord.cacheFailed] !== 0) work.end();
    if (work.step()) continue;
    const restMs = work.restLeftMs;
    if (restMs > 0) {
      turns.waitForEvent(-1, 0, Math.min(REST_TICK_MS, restMs));
      continue;
    }
    if (Atomics.load(words, Word.roomWaiters) > 0) signal(words, Word.logWorkEvent);
    turns.waitForEvent(Word.backgroundWorkEvent, seen, work.pauseLeftMs > 0 ? work.pauseLeftMs : BACKGROUND_TICK_MS);
  }
}

function live(given: SimLife): void {
  life = given;
  now.position = -1;
  const device = cacheDevice(given.media);
  const backing = backingDevice(given.backing);
  const restoreClasses = rememberClasses();
  const planted = plantInThread(given.bug, start.role, device, backing, given.shared, turns);
  if (given.fine > 0) stepBetweenWords(turns, given.fine);
  const cache = new Cache(given.shared, planted.device, start.self, start.self, () => turns.clockMs);
  const user = start.role === 'user' ? new User(given, cache, planted.backing) : undefined;
  const background = start.role === 'background' ? (): never => runBackground(cache, planted.backing) : undefined;
  parentPort!.postMessage('ready');
  try {
    turns.begin(given.shared.words);
    observe(given.shared);
    if (user !== undefined) user.run();
    else if (background !== undefined) background();
    else runLog(cache);
  } catch (error) {
    if (!(error instanceof SimulatedCrash)) {
      const text = error instanceof Error ? `${error.name}: ${error.message}\n${error.stack ?? ''}` : String(error);
      events.add(EventKind.problem, [], Buffer.from(text));
      if (simWords[SimWord.isOver] === 0) {
        try {
          turns.judge(Reason.problem);
        } catch (second) {
          if (!(second instanceof SimulatedCrash)) throw second;
        }
      }
    }
  } finally {
    observeLocks(undefined);
    restoreClasses();
    turns.done(start.role === 'user');
  }
}

watchLog();
parentPort!.on('message', live);
