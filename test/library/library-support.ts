// Caches for tests of the library: files in a folder that is gone when the test is over, opened as a program opens them.

import { truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { ExecutionContext } from 'ava';
import { openCache } from '../../src/index.js';
import type { CachedVolume, OpenCacheOptions } from '../../src/index.js';
import { memoryFolder, temporaryFolder } from '../support/tmp.js';

export const MIB = 1 << 20;
/** The smallest cache there is. */
export const CACHE_BYTES = 96 * MIB;

export interface Files {
  readonly cachePath: string;
  readonly backingPath: string;
}

export function files(t: ExecutionContext, backingBytes = 256 * MIB): Files {
  const folder = memoryFolder(t) ?? temporaryFolder(t);
  const backingPath = join(folder, 'backing.img');
  writeFileSync(backingPath, '');
  truncateSync(backingPath, backingBytes);
  return { cachePath: join(folder, 'cache.pmem'), backingPath };
}

/** Opens a cache, made if it is not there, and closes it when the test is over, if it still is open. */
export async function opened(t: ExecutionContext, paths: Files, options: Partial<OpenCacheOptions> = {}): Promise<CachedVolume> {
  const volume = await openCache({ ...paths, create: { sizeBytes: CACHE_BYTES }, ...options });
  t.teardown(() => volume.close().catch((error: unknown) => t.log('closed:', String(error))));
  return volume;
}

/** A seeded source of integers from 0 to below `limit`. */
export function integers(seed: number): (limit: number) => number {
  let state = seed;
  return (limit) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * limit);
  };
}

export function filled(lengthBytes: number, value: number): Uint8Array<ArrayBuffer> {
  return new Uint8Array(lengthBytes).fill(value);
}

/** Whether two pieces of memory are alike; a comparison that prints nothing of them. */
export function areAlike(one: Uint8Array, other: Uint8Array): boolean {
  return Buffer.compare(one, other) === 0;
}
