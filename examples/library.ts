// A key-value log on a cached disk, from a program, without FUSE and without root:
//
//     node dist/examples/library.js CACHE BACKING [RECORDS]
//
// CACHE and BACKING are made if they do not exist. It appends records as fast as they can be acknowledged, makes them durable in groups, reads some back,
// and can be interrupted with Ctrl-C at any time: what it said was durable is. A program of its own imports from 'pcache-gateway' instead of '../src/index.js'.

import { existsSync, truncateSync, writeFileSync } from 'node:fs';
import { pathToFileURL } from 'node:url';
import { PcacheError, openCache } from '../src/index.js';
import type { CachedVolume } from '../src/index.js';

const MIB = 1024 * 1024;
const CACHE_BYTES = 96 * MIB;
const BACKING_BYTES = 256 * MIB;
const RECORD_BYTES = 1000;
/** Writes under way at a time. */
const DEPTH = 16;
/** Records that are made durable together. */
const GROUP = 1000;

/** Returns how many records are durable: all of them, or fewer if the signal came first. Rejects with PcacheError. */
export async function appendRecords(volume: CachedVolume, records: number, signal: AbortSignal): Promise<number> {
  let durable = 0;
  while (durable < records && !signal.aborted) {
    const end = Math.min(durable + GROUP, records);
    let next = durable;
    const lane = async (): Promise<void> => {
      // `write` has copied the record when it returns, and has a promise for when it is in the cache.
      while (next < end) await volume.write(next * RECORD_BYTES, record(next++), { signal });
    };
    try {
      await Promise.all(Array.from({ length: DEPTH }, lane));
      // From here on the group survives loss of power, if the cache device does.
      await volume.flush({ signal });
    } catch (error) {
      if (error !== signal.reason) throw error;
      break;
    }
    durable = end;
  }
  return durable;
}

function record(number: number): Uint8Array {
  return Buffer.from(`record ${number} `.padEnd(RECORD_BYTES, '.'));
}

async function run(cachePath: string, backingPath: string, records: number, signal: AbortSignal): Promise<void> {
  if (!existsSync(backingPath)) {
    writeFileSync(backingPath, '', { mode: 0o600 });
    truncateSync(backingPath, BACKING_BYTES);
  }
  // Locks both until the end of this block, where it is closed in order.
  await using volume = await openCache({ cachePath, backingPath, create: { sizeBytes: CACHE_BYTES, dataCrc: true }, signal });
  const durable = await appendRecords(volume, records, signal);
  console.log(`${durable} records are durable${signal.aborted ? ' (interrupted)' : ''}`);
  if (durable === 0) return;

  const last = await volume.read((durable - 1) * RECORD_BYTES, RECORD_BYTES);
  console.log(`the last of them: ${Buffer.from(last).toString().replace(/\.+$/, '')}`);
  const { dirtyBytes, counters } = volume.stats();
  console.log(`${counters.writes} writes, ${counters.flushes} flushes; ${Math.round(dirtyBytes / 1024)} KiB are in the cache alone`);
  // From here on the backing device has everything, and the cache may be lost.
  await volume.writeBackAll();
  console.log(`${volume.dirtyBytes} bytes are in the cache alone`);
}

async function main([cachePath, backingPath, records = '20000']: string[]): Promise<number> {
  if (cachePath === undefined || backingPath === undefined || !/^\d+$/.test(records)) {
    console.error('usage: library CACHE BACKING [RECORDS]');
    return 2;
  }
  const interruption = new AbortController();
  process.once('SIGINT', () => interruption.abort());
  try {
    await run(cachePath, backingPath, Math.min(Number(records), BACKING_BYTES / RECORD_BYTES), interruption.signal);
    return 0;
  } catch (error) {
    // What the system or the library refuses is a message; anything else is a bug of this program.
    if (!(error instanceof PcacheError)) throw error;
    console.error(`library: ${error.message}${error.hint === undefined ? '' : ` (${error.hint})`}`);
    return 1;
  }
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) process.exitCode = await main(process.argv.slice(2));
