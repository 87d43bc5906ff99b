// A thread that works on a shared cache as fast as it can, with real locks and real waits: a user of the volume that checks what it reads, one that
// reads in order with much under way (`SimRanges`), the log worker or the background worker. It ends when it is told to, or is terminated wherever it stands.

import { parentPort, workerData } from 'node:worker_threads';
import { Cache } from '../../src/cache/cache.js';
import { Word } from '../../src/cache/shared-state.js';
import type { CacheShared } from '../../src/cache/shared-state.js';
import type { BackingDevice } from '../../src/device/device.js';
import { seededRandom } from '../../src/device/seeded-random.js';
import { BackgroundWork } from '../../src/gateway/background-work.js';
import { Maintenance } from '../../src/gateway/maintenance.js';
import { VolumeIo } from '../../src/gateway/volume-io.js';
import { PAGE_BYTES, SECTOR_BYTES } from '../../src/media/layout.js';
import { epoch, signal, wait } from '../../src/shared/event-word.js';
import { lock, unlock } from '../../src/shared/mutex.js';
import { SimCacheDevice, windowBacking } from './sim-media.js';
import { SimRanges } from './sim-ranges.js';
import type { SimBackingState, SimMediaState } from './sim-media.js';

/** Words that all threads share. */
export const StressWord = { stop: 0, hasProblem: 1, operations: 2, reads: 3, deviceLock: 4, started: 5, count: 16 } as const;
const WAIT_MS = 50;
const SECTORS_MAX = 24;
const STAMP_WORDS = 4;

export interface StressStart {
  /** Users are numbered from 1; 0 is what the volume held before. */
  readonly self: number;
  readonly role: 'user' | 'reader' | 'log' | 'background';
  readonly seed: number;
  readonly shared: CacheShared;
  readonly media: SimMediaState;
  readonly backing: SimBackingState;
  readonly words: Int32Array;
  /** By user: the number of its last write. */
  readonly issued: Int32Array;
  /** By user, then by sector: its last write there that was acknowledged, and that a flush covers. */
  readonly acknowledged: Int32Array;
  readonly flushed: Int32Array;
  readonly text: SharedArrayBuffer;
}

/** Fills a sector's 512 bytes: who wrote it, with which of its writes, and where. */
export function stamp(bytes: Uint8Array, at: number, user: number, number: number, sector: number): void {
  const words = new Int32Array(bytes.buffer, bytes.byteOffset + at, SECTOR_BYTES / 4);
  for (let word = 0; word < words.length; word += STAMP_WORDS) words.set([user, number, sector, ~number], word);
}

/** What is wrong with a sector whose user's write must not be older than `least` says; undefined if nothing is. */
export function stampProblem(
  bytes: Uint8Array,
  at: number,
  sector: number,
  issued: Int32Array,
  least: (user: number) => number,
): string | undefined {
  const words = new Int32Array(bytes.buffer, bytes.byteOffset + at, SECTOR_BYTES / 4);
  const [user, number] = words as unknown as [number, number];
  for (let word = 0; word < words.length; word += STAMP_WORDS) {
    const isWhole = words[word] === user && words[word + 1] === number && words[word + 2] === sector && words[word + 3] === ~number;
    if (!isWhole) return `sector ${sector}: it is a mixture, or another's`;
  }
  if (user < 0 || user >= issued.length || number > Atomics.load(issued, user)) return `sector ${sector}: nobody wrote that`;
  if (number < least(user))
    return `sector ${sector}: write ${number} of user ${user} is back, and its write ${least(user)} was acknowledged`;
  return undefined;
}

/** A device's sector is never half old, half new, as memory that is copied would be. */
function wholeSectors(device: BackingDevice, words: Int32Array): BackingDevice {
  const alone = (action: () => void): void => {
    lock(words, StressWord.deviceLock);
    action();
    unlock(words, StressWord.deviceLock);
  };
  return {
    ...device,
    read: (...range) => alone(() => device.read(...range)),
    write: (...range) => alone(() => device.write(...range)),
  };
}

function run(start: StressStart): void {
  const { self, role, shared, media, words, acknowledged, flushed, issued } = start;
  const cache = new Cache(shared, new SimCacheDevice(media), self, self, () => performance.now());
  const backing = wholeSectors(windowBacking(start.backing), words);
  const isStopped = (): boolean => Atomics.load(words, StressWord.stop) !== 0;
  const { words: cacheWords } = shared;
  if (role === 'log') {
    while (!isStopped()) {
      const seen = epoch(cacheWords, Word.logWorkEvent);
      if (!cache.logStep(Atomics.load(cacheWords, Word.roomWaiters) > 0 ? 0 : 20)) wait(cacheWords, Word.logWorkEvent, seen, WAIT_MS);
    }
    return;
  }
  if (role === 'background') {
    const refuse = (error: unknown): never => {
      throw error;
    };
    const work = new BackgroundWork(new Maintenance(cache, backing), () => performance.now(), {
      backingFailed: refuse,
      backingWorks: () => undefined,
      cacheFailed: (_, error) => refuse(error),
    });
    while (!isStopped()) {
      const seen = epoch(cacheWords, Word.backgroundWorkEvent);
      if (work.step()) continue;
      if (Atomics.load(cacheWords, Word.roomWaiters) > 0) signal(cacheWords, Word.logWorkEvent);
      wait(cacheWords, Word.backgroundWorkEvent, seen, WAIT_MS);
    }
    return;
  }
  if (role === 'reader') {
    readInOrder(start, cache, backing, isStopped);
    return;
  }
  const random = seededRandom(start.seed);
  const sectors = start.backing.volatile.byteLength / SECTOR_BYTES;
  const io = new VolumeIo(cache, backing, { waitForRoom: (seen) => void wait(cacheWords, Word.roomEvent, seen, WAIT_MS) });
  const buffer = new Uint8Array(SECTORS_MAX * SECTOR_BYTES);
  while (!isStopped()) {
    const count = 1 + Math.floor(random() * (random() < 0.2 ? SECTORS_MAX : 4));
    const first = Math.floor(random() * (sectors - count));
    const offset = start.backing.windowStart + first * SECTOR_BYTES;
    const choice = random();
    if (choice < 0.45) {
      const number = issued[self]! + 1;
      Atomics.store(issued, self, number);
      for (let index = 0; index < count; index++) stamp(buffer, index * SECTOR_BYTES, self, number, first + index);
      io.write(offset, count * SECTOR_BYTES, buffer, 0);
      for (let index = 0; index < count; index++) Atomics.store(acknowledged, self * sectors + first + index, number);
    } else if (choice < 0.97) {
      const before = acknowledgedIn(start, first, count);
      io.read(offset, count * SECTOR_BYTES, buffer, 0);
      for (let index = 0; index < count; index++) {
        const problem = stampProblem(buffer, index * SECTOR_BYTES, first + index, issued, (user) => before[user * count + index]!);
        if (problem !== undefined) throw new Error(`a read: ${problem}`);
      }
    } else {
      const mine = acknowledged.slice(self * sectors, (self + 1) * sectors);
      const sequence = cache.log.requestFlush();
      for (;;) {
        const seen = epoch(cacheWords, Word.flushedEvent);
        if (cache.log.isFlushed(sequence) || isStopped()) break;
        wait(cacheWords, Word.flushedEvent, seen, WAIT_MS);
      }
      if (cache.log.isFlushed(sequence)) flushed.set(mine, self * sectors);
    }
    Atomics.add(words, StressWord.operations, 1);
  }
}

/** By user, then by sector of a range: its last write there that is acknowledged by now. */
function acknowledgedIn({ acknowledged, issued, backing }: StressStart, first: number, count: number): Int32Array {
  const sectors = backing.volatile.byteLength / SECTOR_BYTES;
  const numbers = new Int32Array(issued.length * count);
  for (let at = 0; at < numbers.length; at++) {
    numbers[at] = Atomics.load(acknowledged, Math.floor(at / count) * sectors + first + (at % count));
  }
  return numbers;
}

/** Reads on and on from some place, then from another; what comes next is read ahead meanwhile. */
function readInOrder(start: StressStart, cache: Cache, backing: BackingDevice, isStopped: () => boolean): void {
  const { words, issued } = start;
  const { windowStart, volatile } = start.backing;
  const random = seededRandom(start.seed);
  const pick = (below: number): number => Math.floor(random() * below);
  const window = { startBytes: windowStart, lengthBytes: volatile.byteLength, alignmentBytes: PAGE_BYTES };
  const choices = { random, pick, step: () => undefined };
  const ranges = new SimRanges<Int32Array>(cache, backing, window, choices, (before, offset, bytes) => {
    const count = bytes.length / SECTOR_BYTES;
    const whole = bytes.slice();
    for (let index = 0; index < count; index++) {
      const sector = offset / SECTOR_BYTES + index;
      const problem = stampProblem(whole, index * SECTOR_BYTES, sector, issued, (user) => before[user * count + index]!);
      if (problem !== undefined) throw new Error(`a read in order: ${problem}`);
    }
    Atomics.add(words, StressWord.reads, 1);
  });
  const sectors = volatile.byteLength / SECTOR_BYTES;
  for (let at = 0; !isStopped();) {
    const count = Math.min(1 + pick(8), sectors - at);
    ranges.read(acknowledgedIn(start, at, count), at * SECTOR_BYTES, count * SECTOR_BYTES);
    ranges.goOn();
    at += count;
    if (at === sectors || pick(20) === 0) at = pick(sectors);
  }
  ranges.finish();
}

if (parentPort !== null) {
  const start = workerData as StressStart;
  Atomics.add(start.words, StressWord.started, 1);
  try {
    run(start);
  } catch (error) {
    const text = Buffer.from(error instanceof Error ? (error.stack ?? error.message) : String(error));
    if (Atomics.compareExchange(start.words, StressWord.hasProblem, 0, Math.min(text.length, 4000)) === 0) {
      new Uint8Array(start.text).set(text.subarray(0, 4000));
    }
  }
  parentPort.postMessage('ended');
}
