// The two processes of measure-replay.ts:
//
//     replay-child make CACHE KEYS BYTES     makes a cache whose log holds so many keys, none of which covers another, at random places
//     replay-child open CACHE KEYS [ALONE]   opens it and prints ReplayFigures; with any ALONE, in one thread
//
// An engine has threads that are loaded and wait while it opens its cache, and help; so does the second of these.

import { randomBytes } from 'node:crypto';
import { writeSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { CacheTree } from '../src/cache/cache-tree.js';
import { openCacheDevice } from '../src/device/mapped-cache-device.js';
import { SimulatedBackingDevice } from '../src/device/simulated-backing-device.js';
import { InlineVolume } from '../src/gateway/inline-volume.js';
import { ParkedThreads } from '../src/gateway/parked-threads.js';
import { exitWithoutThreads } from '../src/gateway/process-exit.js';
import { replayHelpers } from '../src/gateway/replay-helpers.js';
import { threadKinds } from '../src/gateway/thread-kinds.js';
import { createCache } from '../src/index.js';

export interface ReplayFigures {
  /** From an open device to a cache that can be used. */
  readonly seconds: number;
  readonly extents: number;
  /** All memory that the index has ever touched. */
  readonly indexBytes: number;
  /** In blocks of extents that are in use now. */
  readonly usedBytes: number;
}

const SECTOR_BYTES = 512;
const BLOCK_BYTES = 4096;
/** Odd, so that multiplying by it, modulo a power of two, visits every block once, in an order that looks random. */
const STRIDE = 0x9e37_79b1;
/** Keys between two passes of the log worker. */
const LOG_EVERY = 1024;
/** The arena's own books: a byte for each 48 of extents. */
const ARENA_UNIT_BYTES = 48;

function open(path: string, keys: number, threads?: ParkedThreads): { volume: InlineVolume; blocks: number; seconds: number } {
  const blocks = 2 ** Math.ceil(Math.log2(keys));
  const device = openCacheDevice(path);
  const startMs = performance.now();
  const volume = new InlineVolume(device, new SimulatedBackingDevice({ sizeBytes: blocks * BLOCK_BYTES }), {
    adopt: false,
    bootId: '0'.repeat(36),
    writers: 1,
    readOnly: false,
    newUuid: randomBytes(16),
    nowMs: Date.now(),
    clock: () => performance.now(),
    ...(threads === undefined ? {} : { helpers: replayHelpers(threads, device.handle) }),
  });
  return { volume, blocks, seconds: (performance.now() - startMs) / 1000 };
}

function make(path: string, keys: number, cacheBytes: number): void {
  createCache(path, cacheBytes);
  const { volume, blocks } = open(path, keys);
  const { writer } = volume.caches[0]!;
  const sector = randomBytes(SECTOR_BYTES);
  for (let i = 0; i < keys; i++) {
    const block = (Math.imul(i, STRIDE) >>> 0) % blocks;
    if (writer.write(block * BLOCK_BYTES, SECTOR_BYTES, sector, 0, false) !== SECTOR_BYTES) throw new Error('replay: the cache is full');
    if (i % LOG_EVERY === 0) while (volume.logStep());
  }
  volume.close();
}

async function openAgain(path: string, keys: number, isAlone: boolean): Promise<ReplayFigures> {
  const threads = new ParkedThreads();
  const cores = availableParallelism();
  if (!isAlone) await threads.park(threadKinds({ queues: cores, queuesFirst: 1, readOnly: false }));
  const { volume, seconds } = open(path, keys, isAlone ? undefined : threads);
  const { shared } = volume.opened;
  const { extents, touchedBytes, usedBytes } = CacheTree.attach(shared.tree, shared.generationLow).stats();
  // Nothing is closed: the next one is to find the log as it is.
  return { seconds, extents, usedBytes, indexBytes: touchedBytes * (1 + 1 / ARENA_UNIT_BYTES) + shared.tree.subtrees.byteLength };
}

const [order, path = '', keys = '', third = ''] = process.argv.slice(2);
if (order === 'make') {
  make(path, Number(keys), Number(third));
} else if (order === 'open') {
  writeSync(1, JSON.stringify(await openAgain(path, Number(keys), third !== '')));
  // Nobody tells the threads that wait to go on.
  exitWithoutThreads(0);
}
