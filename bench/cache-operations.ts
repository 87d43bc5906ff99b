// What the cache itself costs a request, without FUSE: one thread, a cache on /dev/shm (or in the folder given), 4 KiB at random places.
// Prints the median over the rounds, in nanoseconds. Nothing is asserted: machines differ and are noisy, so compare two builds in one run.
//
//     npm run build && node dist/bench/cache-operations.js [FOLDER]

import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { SimulatedBackingDevice } from '../src/device/simulated-backing-device.js';
import { openCacheDevice } from '../src/device/mapped-cache-device.js';
import { InlineVolume } from '../src/gateway/inline-volume.js';
import { createCache } from '../src/index.js';

const MIB = 1024 * 1024;
const CACHE_BYTES = 1024 * MIB;
/** Half the cache, so that nothing has to be collected while the clock runs. */
const WORKING_SET_BYTES = 128 * MIB;
const BLOCK_BYTES = 4096;
const OPERATIONS = 60_000;
const ROUNDS = 7;
/** Keys between two passes of the log worker. */
const LOG_EVERY = 2048;

interface Figures {
  readonly writeNs: number;
  readonly logNs: number;
  readonly lookupNs: number;
}

function randomOffset(): number {
  return Math.floor(Math.random() * (WORKING_SET_BYTES / BLOCK_BYTES)) * BLOCK_BYTES;
}

function round(volume: InlineVolume, block: Uint8Array): Figures {
  const cache = volume.caches[0]!;
  let logMs = 0;
  const writeStart = performance.now();
  for (let i = 0; i < OPERATIONS; i++) {
    if (cache.writer.write(randomOffset(), BLOCK_BYTES, block, 0, false) !== BLOCK_BYTES) throw new Error('bench: the cache is full');
    if (i % LOG_EVERY !== 0) continue;
    const logStart = performance.now();
    while (volume.logStep());
    logMs += performance.now() - logStart;
  }
  const writeMs = performance.now() - writeStart - logMs;
  const lookupStart = performance.now();
  for (let i = 0; i < OPERATIONS; i++) {
    cache.reader.begin(randomOffset(), BLOCK_BYTES, false);
    cache.reader.end();
  }
  const lookupMs = performance.now() - lookupStart;
  volume.writeBackAll();
  while (volume.gcStep());
  const perOperation = 1e6 / OPERATIONS;
  return { writeNs: writeMs * perOperation, logNs: logMs * perOperation, lookupNs: lookupMs * perOperation };
}

function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)]!;
}

function run(folder: string, dataCrc: boolean): void {
  const path = join(folder, 'cache.pmem');
  createCache(path, CACHE_BYTES, { dataCrc });
  const device = openCacheDevice(path);
  const backing = new SimulatedBackingDevice({ sizeBytes: CACHE_BYTES });
  const volume = new InlineVolume(device, backing, {
    adopt: false,
    bootId: '0'.repeat(36),
    writers: 1,
    readOnly: false,
    newUuid: randomBytes(16),
    nowMs: Date.now(),
    clock: () => performance.now(),
  });
  const block = randomBytes(BLOCK_BYTES);
  const rounds = Array.from({ length: ROUNDS }, () => round(volume, block));
  const shown = (name: keyof Figures): string => `${Math.round(median(rounds.map((figures) => figures[name])))} ns`;
  process.stdout.write(
    `data CRC ${dataCrc ? 'on ' : 'off'}: write ${shown('writeNs')}, of the log worker ${shown('logNs')} a key, lookup ${shown('lookupNs')}\n`,
  );
  volume.close();
  device.close();
  rmSync(path);
}

const folder = mkdtempSync(join(process.argv[2] ?? '/dev/shm', 'pcache-bench-'));
try {
  run(folder, false);
  run(folder, true);
} finally {
  rmSync(folder, { recursive: true, force: true });
}
