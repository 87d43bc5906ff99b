// Makes a cache file.

import { randomBytes } from 'node:crypto';
import { unlinkSync } from 'node:fs';
import { formatCache } from '../cache/format.js';
import { createCacheFile, openCacheDevice } from '../device/mapped-cache-device.js';
import { GC_PERCENT_DEFAULT } from '../media/layout.js';
import type { CreateCacheOptions } from './messages.js';

/**
 * Creates a cache file, with all of its room allocated, and formats it. Blocks the calling thread (on tmpfs some 0.7 s a GiB); `openCache` with `create`
 * does it in a thread of its own.
 *
 * @param path of a file that does not exist; it is made with mode 600
 * @param sizeBytes 96 MiB to 1 TiB, a multiple of 512
 * @param options by default no data CRC, and garbage is collected when more than 70 percent of the segments are in use
 * @throws PcacheError `holds-data` if the path exists, `no-space`, `too-small`, `unsupported` (too large), `usage`, `permission`, `not-found`; then no file
 * is left
 */
export function createCache(path: string, sizeBytes: number, options: CreateCacheOptions = {}): void {
  createCacheFile(path, sizeBytes);
  try {
    formatFile(path, options);
  } catch (error) {
    unlinkSync(path);
    throw error;
  }
}

function formatFile(path: string, options: CreateCacheOptions): void {
  const device = openCacheDevice(path);
  try {
    formatCache(device, {
      dataCrc: options.dataCrc ?? false,
      gcPercent: options.gcPercent ?? GC_PERCENT_DEFAULT,
      uuid: randomBytes(16),
      nowMs: Date.now(),
    });
    device.gatherHugePages();
  } finally {
    device.close();
  }
}
