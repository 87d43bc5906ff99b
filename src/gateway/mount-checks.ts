// What `pcache mount` can find out before anything is opened for writing, mounted or started, so that a mistake is one line and changes
// nothing. The supervisor's own opening of the devices, with locks, has the last word; this is for better words.

import { accessSync, closeSync, constants, existsSync, fstatSync, lstatSync, openSync, readSync, realpathSync, type Stats } from 'node:fs';
import { delimiter, join, resolve } from 'node:path';
import { findDataIn } from '../device/data-samples.js';
import { errno } from '../device/errno-codes.js';
import { errnoOf, systemError, systemErrorFrom } from '../device/system-error.js';
import { PcacheError } from '../errors.js';
import { DEV_FUSE, devFuseError } from '../fuse/dev-fuse.js';
import { mountAt } from '../fuse/mountinfo.js';
import { checkMountpoint } from '../fuse/mountpoint.js';
import { CUT_HINT } from '../cache/unwritten-data.js';
import { CACHE_BYTES_MIN, SEGMENTS_OFFSET, segmentCountOf } from '../media/layout.js';
import { exactSize } from '../media/size-text.js';
import { decodeSuperblock, superblockIsBlank } from '../media/superblock.js';
import type { Transport } from './mount-options.js';
import { mountPointName } from './mount-point-name.js';

export interface CheckedMount {
  /** Absolute, symbolic links resolved. */
  readonly cachePath: string;
  readonly backingPath: string;
  readonly mountpoint: string;
  readonly mountKind: 'directory' | 'file';
}

/** Throws a PcacheError that says what is wrong, in the order in which a user would want to hear of it. */
export function checkMount(cache: string, backing: string, mountpoint: string, transport: Transport): CheckedMount {
  const cacheFile = lookAt(cache, 'the cache', `pcache format ${cache} --size 8G creates one.`);
  const backingFile = lookAt(backing, 'the backing device');
  if (isSame(cacheFile, backingFile)) {
    throw new PcacheError('usage', `${backing}: cache and backing device are the same`, { hint: 'The order is CACHE BACKING MOUNTPOINT.' });
  }
  requireCache(cacheFile, backingFile);
  const mount = checkMountPoint(mountpoint, [cacheFile, backingFile]);
  requireFuse(transport);
  return { cachePath: cacheFile.realPath, backingPath: backingFile.realPath, ...mount };
}

interface Looked {
  readonly path: string;
  readonly realPath: string;
  readonly stats: Stats;
  /** Device bytes 0x0000 to 0x4FFF, less if there are fewer. */
  readonly control: Uint8Array;
}

/** `hintIfMissing`: what to do if there is no such file. */
function lookAt(path: string, role: string, hintIfMissing?: string): Looked {
  try {
    const realPath = realpathSync(resolve(path));
    // O_NONBLOCK: a fifo, which is refused below, would block.
    const fd = openSync(realPath, constants.O_RDONLY | constants.O_NONBLOCK);
    try {
      const stats = fstatSync(fd);
      if (!stats.isFile() && !stats.isBlockDevice()) {
        throw new PcacheError('unsupported', `${path}: neither a regular file nor a block device, as ${role} must be`);
      }
      const control = new Uint8Array(SEGMENTS_OFFSET);
      return { path, realPath, stats, control: control.subarray(0, readSync(fd, control, 0, control.length, 0)) };
    } finally {
      closeSync(fd);
    }
  } catch (error) {
    throw error instanceof PcacheError ? error : systemErrorWithHint(path, error, hintIfMissing);
  }
}

function systemErrorWithHint(path: string, error: unknown, hintIfMissing: string | undefined): Error {
  const number = errnoOf(error);
  if (number !== errno.ENOENT || hintIfMissing === undefined) return systemErrorFrom(path, error);
  return systemError(path, number, undefined, { cause: error, hint: hintIfMissing });
}

function isSame(a: Looked, b: Looked): boolean {
  if (a.stats.isBlockDevice() && b.stats.isBlockDevice()) return a.stats.rdev === b.stats.rdev;
  return a.stats.dev === b.stats.dev && a.stats.ino === b.stats.ino;
}

function requireCache(cache: Looked, backing: Looked): void {
  const known = decodeSuperblock(cache.control);
  if (known.ok) {
    requireWhole(cache, known.value.segmentCount);
    return;
  }
  if (decodeSuperblock(backing.control).ok) {
    throw new PcacheError('not-a-cache', `${cache.path}: not a cache, but ${backing.path} is one: wrong order`, {
      hint: 'The order is CACHE BACKING MOUNTPOINT.',
    });
  }
  if (cache.stats.isFile() && cache.stats.size < CACHE_BYTES_MIN) {
    throw new PcacheError('not-a-cache', `${cache.path}: not a cache: ${exactSize(cache.stats.size)} are too few`, {
      hint: `pcache format ${cache.path} --size 8G makes one, if there is no such file yet.`,
    });
  }
  throw new PcacheError('not-a-cache', `${cache.path}: not a cache: ${known.reason}`, {
    hint: isEmpty(cache) ? `pcache format ${cache.path} makes it one.` : `It is not empty: pcache check ${cache.path} says what is there.`,
  });
}

function requireWhole({ path, stats }: Looked, segmentCount: number): void {
  const room = segmentCountOf(stats.size);
  if (!stats.isFile() || segmentCount <= room) return;
  const what = `${path}: the superblock names ${segmentCount} segments, but the file has room for ${room}: it was cut short`;
  throw new PcacheError('damaged', what, { hint: CUT_HINT });
}

/** As far as samples of it show. */
function isEmpty({ realPath, control }: Looked): boolean {
  return superblockIsBlank(control) && findDataIn(realPath) === undefined;
}

function checkMountPoint(path: string, files: readonly Looked[]): Pick<CheckedMount, 'mountpoint' | 'mountKind'> {
  const name = mountPointName(path);
  const mounted = mountAt(name);
  // What is mounted there may hang, so it is not looked at. An automounter's place doesn't.
  const kind = mounted === undefined || mounted.type === 'autofs' ? kindOf(path, name) : 'directory';
  const mountpoint = checkMountpoint(name, kind);
  if (kind === 'file') {
    const stats = lstatSync(mountpoint);
    const itself = files.find((file) => file.stats.dev === stats.dev && file.stats.ino === stats.ino);
    if (itself !== undefined) throw new PcacheError('usage', `${path}: is ${itself.path} itself, not a mount point`);
    if (stats.size > 0) throw new PcacheError('busy', `${path}: the file is not empty`, { hint: 'Mount on an empty file or directory.' });
  }
  return { mountpoint, mountKind: kind };
}

function kindOf(path: string, name: string): 'directory' | 'file' {
  let stats: Stats;
  try {
    stats = lstatSync(name);
  } catch (error) {
    throw systemErrorWithHint(path, error, `mkdir -p ${path} makes a folder for it.`);
  }
  if (stats.isDirectory()) return 'directory';
  if (stats.isFile()) return 'file';
  throw new PcacheError('usage', `${path}: neither a directory nor a regular file, as a mount point must be`);
}

function requireFuse(transport: Transport): void {
  if (!existsSync(DEV_FUSE)) throw devFuseError(systemError(DEV_FUSE, errno.ENOENT));
  if (process.geteuid?.() === 0) return;
  if (!isInPath('fusermount3') && transport === 'dev-fuse') {
    throw new PcacheError('unsupported', 'mount: no root and no fusermount3', { hint: 'Install the package fuse3, or run as root.' });
  }
  try {
    accessSync(DEV_FUSE, constants.R_OK | constants.W_OK);
  } catch (error) {
    throw devFuseError(error);
  }
}

function isInPath(program: string): boolean {
  return (process.env.PATH ?? '').split(delimiter).some((folder) => folder !== '' && existsSync(join(folder, program)));
}
