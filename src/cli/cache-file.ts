// What the commands that work on an idle cache share: opening its devices with the words that a user needs when that fails.

import { closeSync, constants, openSync, readSync, realpathSync, statSync } from 'node:fs';
import type { FileBackingDevice, OpenBackingDeviceOptions } from '../device/file-backing-device.js';
import { openBackingDevice } from '../device/file-backing-device.js';
import type { MappedCacheDevice, OpenCacheDeviceOptions } from '../device/mapped-cache-device.js';
import { openCacheDevice } from '../device/mapped-cache-device.js';
import { attempt } from '../device/device-file.js';
import { PcacheError } from '../errors.js';
import { isRunning, listEntries } from '../gateway/runtime-files.js';
import { SEGMENTS_OFFSET } from '../media/layout.js';
import { decodeSuperblock } from '../media/superblock.js';

/** As openCacheDevice; an error `in-use` says which mount uses it, if that is known, and what to do about it. */
export function openCache(path: string, options: OpenCacheDeviceOptions, hintIfUsed: (mountpoint: string) => string): MappedCacheDevice {
  try {
    return openCacheDevice(path, options);
  } catch (error) {
    throw withHintIfUsed(path, error, hintIfUsed);
  }
}

/** As openBackingDevice, with the same words. */
export function openBacking(
  path: string,
  options: OpenBackingDeviceOptions,
  hintIfUsed: (mountpoint: string) => string,
): FileBackingDevice {
  try {
    return openBackingDevice(path, options);
  } catch (error) {
    throw withHintIfUsed(path, error, hintIfUsed);
  }
}

function withHintIfUsed(path: string, error: unknown, hintIfUsed: (mountpoint: string) => string): unknown {
  if (!(error instanceof PcacheError) || error.code !== 'in-use' || error.hint !== undefined) return error;
  const real = realpathSync(path);
  const entry = listEntries().find((each) => (each.cache === real || each.backing === real) && isRunning(each));
  const hint = entry === undefined ? 'Wait until it has ended.' : hintIfUsed(entry.mountpoint);
  return new PcacheError('in-use', error.message, { cause: error, hint });
}

/** Runs what reads or changes the cache; errors that do not name a file get the cache's path in front. */
export function aboutCache<T>(path: string, action: () => T): T {
  try {
    return action();
  } catch (error) {
    if (!(error instanceof PcacheError) || error.message.includes(path)) throw error;
    const { code, hint, errno } = error;
    throw new PcacheError(code, `${path}: ${error.message}`, {
      cause: error,
      ...(hint === undefined ? {} : { hint }),
      ...(errno === undefined ? {} : { errno }),
    });
  }
}

/** Throws PcacheError `usage` if both are the same, `not-a-cache` if they were named in the wrong order. */
export function refuseWrongOrder(cachePath: string, backingPath: string, command: string): void {
  const hint = `The order is: pcache ${command}.`;
  if (isSame(cachePath, backingPath)) {
    throw new PcacheError('usage', `${backingPath}: cache and backing device are the same`, { hint });
  }
  if (!holdsCache(cachePath) && holdsCache(backingPath)) {
    throw new PcacheError('not-a-cache', `${cachePath}: not a cache, but ${backingPath} is one: wrong order`, { hint });
  }
}

export function isBlockDevice(path: string): boolean {
  return attempt(path, () => statSync(path)).isBlockDevice();
}

function isSame(path: string, otherPath: string): boolean {
  const a = attempt(path, () => statSync(path));
  const b = attempt(otherPath, () => statSync(otherPath));
  if (a.isBlockDevice() && b.isBlockDevice()) return a.rdev === b.rdev;
  return a.dev === b.dev && a.ino === b.ino;
}

function holdsCache(path: string): boolean {
  const stat = attempt(path, () => statSync(path));
  // Anything else is refused when it is opened.
  if (!stat.isFile() && !stat.isBlockDevice()) return false;
  return attempt(path, () => {
    const fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
    try {
      const control = new Uint8Array(SEGMENTS_OFFSET);
      return decodeSuperblock(control.subarray(0, readSync(fd, control, 0, control.length, 0))).ok;
    } finally {
      closeSync(fd);
    }
  });
}

/** 16 bytes in the usual form. */
export function uuidText(uuid: Uint8Array): string {
  return Buffer.from(uuid)
    .toString('hex')
    .replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
}
