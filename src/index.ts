// The public API: a cache as a program sees it, without FUSE. Everything runs in the calling thread and blocks; a program that wants a volume that
// others can use mounts it (`pcache mount`).
//
//     import { openVolume } from 'pcache-gateway';
//     const volume = openVolume({ cachePath: '/fast/cache.pmem', backingPath: '/slow/disk.img' });
//     volume.write(4096, bytes);
//     volume.flush();
//     volume.close();

import { randomBytes } from 'node:crypto';
import { formatCache } from './cache/format.js';
import { openBackingDevice } from './device/file-backing-device.js';
import { createCacheFile, openCacheDevice } from './device/mapped-cache-device.js';
import { hostBootId } from './gateway/host-boot-id.js';
import { InlineVolume } from './gateway/inline-volume.js';
import { GC_PERCENT_DEFAULT } from './media/layout.js';

export { PcacheError } from './errors.js';
export type { PcacheErrorCode } from './errors.js';
export type { CounterTotals } from './shared/counters.js';

export interface CreateCacheOptions {
  /** Checksum the payload of every key. Default false. */
  readonly dataCrc?: boolean;
  /** Share of the segments in use above which the collector works, 0 to 90. Default 70. */
  readonly gcPercent?: number;
}

/**
 * Creates a cache file and formats it. `sizeBytes`: 96 MiB to 1 TiB, a multiple of 512. Throws PcacheError `holds-data` if the path exists, `no-space`,
 * `too-small`, `usage`, `permission`, `not-found`.
 */
export function createCache(path: string, sizeBytes: number, options: CreateCacheOptions = {}): void {
  createCacheFile(path, sizeBytes);
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

export interface OpenVolumeOptions {
  readonly cachePath: string;
  readonly backingPath: string;
  /** Change nothing on either device. Default false. */
  readonly readOnly?: boolean;
  /** Accept another backing device than the one the cache belongs to, if it has the same size. Default false. */
  readonly adopt?: boolean;
}

/** A volume: the cache over its backing device. Both are locked until `close`. */
export interface Volume {
  readonly sizeBytes: number;
  /** Acknowledged bytes that the backing device does not have yet. */
  readonly dirtyBytes: number;
  /** Any offset and length within the volume. Throws PcacheError `usage`, `io`, `corrupt-data`. */
  read(offsetBytes: number, lengthBytes: number): Uint8Array;
  /** Any offset and length within the volume. Survives the death of the process when it returns. Throws PcacheError `usage`, `io`, `corrupt-data`. */
  write(offsetBytes: number, bytes: Uint8Array): void;
  /** Everything written before survives loss of power when it returns. Throws PcacheError `io`. */
  flush(): void;
  /** Writes everything dirty to the backing device, durably. Throws PcacheError `io`. */
  writeBackAll(): void;
  /** Closes in order; dirty data stays in the cache. Idempotent. */
  close(): void;
}

/**
 * Opens a cache and its backing device. Throws PcacheError `not-found`, `permission`, `in-use`, `not-a-cache`, `damaged`, `mismatch`,
 * `unsupported`; then nothing was changed.
 */
export function openVolume(options: OpenVolumeOptions): Volume {
  const readOnly = options.readOnly ?? false;
  const device = openCacheDevice(options.cachePath, { readOnly });
  try {
    const backing = openBackingDevice(options.backingPath, { readOnly });
    try {
      const volume = new InlineVolume(device, backing, {
        adopt: options.adopt ?? false,
        bootId: hostBootId(),
        writers: 1,
        readOnly,
        newUuid: randomBytes(16),
        nowMs: Date.now(),
        clock: () => performance.now(),
      });
      return {
        sizeBytes: volume.sizeBytes,
        get dirtyBytes() {
          return volume.dirtyBytes;
        },
        read: (offsetBytes, lengthBytes) => volume.read(offsetBytes, lengthBytes),
        write: (offsetBytes, bytes) => volume.write(offsetBytes, bytes),
        flush: () => volume.flush(),
        writeBackAll: () => volume.writeBackAll(),
        close() {
          volume.close();
          backing.close();
          device.close();
        },
      };
    } catch (error) {
      backing.close();
      throw error;
    }
  } catch (error) {
    device.close();
    throw error;
  }
}
