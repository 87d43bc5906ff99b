// A volume in the calling thread: each call returns when it is done. For scripts and child processes that have nothing else to do; it has no threads,
// starts in a few milliseconds, and writes back only when it is told to or needs room. Programs that serve others use `openCache`.

import { randomBytes } from 'node:crypto';
import { mayAllocate } from '../cache/allocation-look.js';
import { NumberWord } from '../cache/shared-state.js';
import { openBackingDevice } from '../device/file-backing-device.js';
import { openCacheDevice } from '../device/mapped-cache-device.js';
import { dirtyBytesOf } from '../gateway/dirty-segments.js';
import { hostBootId } from '../gateway/host-boot-id.js';
import { InlineVolume } from '../gateway/inline-volume.js';

/** Which cache over which backing device, and how. */
export interface OpenVolumeOptions {
  /** A file or block device that `createCache`, `pcache format` or the kernel made. */
  readonly cachePath: string;
  /** The slow file or block device below; 512 bytes to 16 TiB, a multiple of 512. */
  readonly backingPath: string;
  /** Change nothing on either device. Default false. */
  readonly readOnly?: boolean;
  /** Accept another backing device of the same size, or one that was written to after the cache was closed, and remember it. Default false. */
  readonly adopt?: boolean;
}

/** A volume: the cache over its backing device. Both are locked until `close`. All calls block. */
export interface Volume {
  /** Bytes of the volume, that is of the backing device. */
  readonly sizeBytes: number;
  /**
   * Bytes of the volume whose newest data only the cache has, 0 to sizeBytes: what would be lost with it. Each counts once, however often it was written over.
   * 0 only if there are none, and never too few; while there are some, cached data that is clean may be counted too.
   */
  readonly dirtyBytes: number;
  /** Bytes at any offset, of any length within the volume, in memory that is the caller's. Throws PcacheError `usage`, `io`, `corrupt-data`, `closed`. */
  read(offsetBytes: number, lengthBytes: number): Uint8Array;
  /**
   * Any offset and length within the volume. Survives the death of the process when it returns. Throws PcacheError `usage`, `permission` (read-only),
   * `io`, `corrupt-data`, `closed`.
   */
  write(offsetBytes: number, bytes: Uint8Array): void;
  /** Everything written before survives loss of power when it returns, if the cache device does. Throws PcacheError `io`, `permission`, `closed`. */
  flush(): void;
  /** Writes everything dirty to the backing device, durably. Throws PcacheError `io`, `no-space`, `permission`, `closed`. */
  writeBackAll(): void;
  /** Closes in order; dirty data stays in the cache. Idempotent. Throws PcacheError `io`. */
  close(): void;
}

/**
 * Opens a cache and its backing device, in the calling thread. Throws PcacheError `not-found`, `permission`, `in-use`, `not-a-cache`, `damaged`, `mismatch`,
 * `unsupported`, `too-small`, `no-space`; then nothing was changed.
 */
export function openVolume(options: OpenVolumeOptions): Volume {
  const readOnly = options.readOnly ?? false;
  const device = openCacheDevice(options.cachePath, { readOnly, mayAllocate });
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
          const { shared } = volume.opened;
          return dirtyBytesOf(shared, volume.dirtyBytes, shared.numbers[NumberWord.writtenSequence]!);
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
