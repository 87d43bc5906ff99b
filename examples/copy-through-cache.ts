// Copies a file into a cached volume from a program, without FUSE and without root:
//
//     node dist/examples/copy-through-cache.js SOURCE CACHE BACKING
//
// CACHE and BACKING are made if they do not exist; BACKING ends up holding SOURCE, padded with zeros to whole sectors. A program of its own
// imports from 'pcache-gateway' instead of '../src/index.js'.

import { closeSync, existsSync, fstatSync, ftruncateSync, openSync, readSync } from 'node:fs';
import { pathToFileURL } from 'node:url';
import { PcacheError, createCache, openVolume } from '../src/index.js';

/** The smallest cache there is. */
const CACHE_BYTES = 96 * 1024 * 1024;
const CHUNK_BYTES = 1024 * 1024;
const SECTOR_BYTES = 512;

export interface CopyResult {
  copiedBytes: number;
  /** Of these, what only the cache had when the copy was durable. */
  dirtyBytes: number;
}

/** Throws PcacheError: its `code` says what kind of failure it is, its message what failed and why. */
export function copyThroughCache(sourcePath: string, cachePath: string, backingPath: string): CopyResult {
  const source = openSync(sourcePath, 'r');
  try {
    const { size } = fstatSync(source);
    if (!existsSync(cachePath)) createCache(cachePath, CACHE_BYTES, { dataCrc: true });
    if (!existsSync(backingPath)) makeBackingFile(backingPath, size);

    // Locks both until `close`: a second open, or a mount, is refused with the code `in-use`.
    const volume = openVolume({ cachePath, backingPath });
    try {
      const chunk = new Uint8Array(CHUNK_BYTES);
      for (let offset = 0; offset < size;) {
        const length = readSync(source, chunk, 0, CHUNK_BYTES, offset);
        if (length === 0) break;
        // From here on the bytes survive the death of this process.
        volume.write(offset, chunk.subarray(0, length));
        offset += length;
      }
      // From here on they survive loss of power, if the cache device does.
      volume.flush();
      const { dirtyBytes } = volume;
      // From here on the backing device has them, and the cache may be lost.
      volume.writeBackAll();
      return { copiedBytes: size, dirtyBytes };
    } finally {
      volume.close();
    }
  } finally {
    closeSync(source);
  }
}

/** A volume is a whole number of sectors, and at least one. */
function makeBackingFile(path: string, contentBytes: number): void {
  const file = openSync(path, 'wx', 0o600);
  ftruncateSync(file, Math.max(1, Math.ceil(contentBytes / SECTOR_BYTES)) * SECTOR_BYTES);
  closeSync(file);
}

function main([sourcePath, cachePath, backingPath]: string[]): number {
  if (sourcePath === undefined || cachePath === undefined || backingPath === undefined) {
    console.error('usage: copy-through-cache SOURCE CACHE BACKING');
    return 2;
  }
  try {
    const { copiedBytes, dirtyBytes } = copyThroughCache(sourcePath, cachePath, backingPath);
    console.log(`${copiedBytes} bytes copied; ${dirtyBytes} were in the cache alone before they were written back`);
    return 0;
  } catch (error) {
    // What the system or the library refuses is a message; anything else is a bug of this program.
    if (!(error instanceof PcacheError) && !(error instanceof Error && 'code' in error)) throw error;
    console.error(`copy-through-cache: ${error.message}`);
    return 1;
  }
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) process.exitCode = main(process.argv.slice(2));
