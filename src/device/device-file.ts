// Opening what the user named as a cache or a backing device: a regular file or a block device, locked against a second user.
//
// Invariants:
// - A writer holds flock LOCK_EX on its open file description, so every process that inherits the descriptor holds it too, and the
//   last one to close it lets it go. Nothing ever unlocks explicitly.
// - A reader holds LOCK_SH, or, with lock 'none', nothing.
// - A writer of a block device opens it O_EXCL as well, which keeps out what flock doesn't: mounts and the kernel's drivers, through whatever
//   device node. A reader only looks whether that would have worked, for two readers may share.
// - What is in use through a loop device, or below one, is in use.
// - Nothing is changed by opening, and nothing can block: special files are refused before and after they are opened.

import * as fs from 'node:fs';
import { PcacheError, type PcacheErrorCode } from '../errors.js';
import { majorOf, minorOf } from './device-number.js';
import { errno } from './errno-codes.js';
import { fcntl, flock, ioctl } from './libc.js';
import { BLKGETSIZE64, BLKROGET, F_SETFL, LOCK_EX, LOCK_NB, LOCK_SH } from './linux-constants.js';
import { requireNotUsedByOtherName } from './loop-overlap.js';
import { errnoOf, systemErrorFrom } from './system-error.js';

export type DeviceKind = 'file' | 'block';

export interface DeviceFile {
  readonly path: string;
  readonly fd: number;
  readonly kind: DeviceKind;
  readonly sizeBytes: number;
}

export interface OpenDeviceFileOptions {
  readOnly: boolean;
  /** For readers only: `none` reads beside a writer, so that what is read may change meanwhile. Default `shared`. */
  lock?: 'shared' | 'none';
}

// udev takes a shared flock on a block device while it looks at it, which it does after every close by a writer. It needs some milliseconds.
const BLOCK_LOCK_ATTEMPTS = 40;
const BLOCK_LOCK_PAUSE_MS = 50;

/**
 * Opens and locks `path`. Throws PcacheError `not-found`, `permission`, `unsupported` (neither file nor block device) or `in-use`, each as
 * `PATH: WHY`.
 */
export function openDeviceFile(path: string, options: OpenDeviceFileOptions): DeviceFile {
  const stat = attempt(path, () => fs.statSync(path));
  const kind = kindOf(path, stat);
  const lock = options.readOnly ? (options.lock ?? 'shared') : 'exclusive';
  // O_NONBLOCK: should the name have become a fifo since stat, open must not wait for its other end.
  let flags = (options.readOnly ? fs.constants.O_RDONLY : fs.constants.O_RDWR) | fs.constants.O_NONBLOCK;
  if (kind === 'block' && lock === 'exclusive') flags |= fs.constants.O_EXCL;
  const fd = openFile(path, flags);
  try {
    fcntl(fd, F_SETFL, 0);
    const opened = fs.fstatSync(fd);
    if (kindOf(path, opened) !== kind) throw new PcacheError('busy', `${path}: replaced by something else while it was opened`);
    if (kind === 'block' && !options.readOnly) requireWritable(path, fd);
    if (lock !== 'none') lockFile(path, fd, kind, lock, opened);
    if (lock === 'shared' && kind === 'block') fs.closeSync(openFile(path, fs.constants.O_RDONLY | fs.constants.O_EXCL));
    const file = { path, fd, kind, sizeBytes: kind === 'block' ? blockDeviceBytes(path, fd) : opened.size };
    if (kind === 'block' && file.sizeBytes === 0)
      throw new PcacheError('not-found', `${path}: a block device of 0 bytes: nothing is attached`);
    if (lock !== 'none') requireNotUsedByOtherName(file);
    return file;
  } catch (error) {
    fs.closeSync(fd);
    throw error;
  }
}

/** Runs a call of `fs` or libc about `path`; what it throws becomes a PcacheError `PATH: REASON`. */
export function attempt<T>(path: string, call: () => T, code?: PcacheErrorCode): T {
  try {
    return call();
  } catch (error) {
    throw systemErrorFrom(path, error, code);
  }
}

function kindOf(path: string, stat: fs.Stats): DeviceKind {
  if (stat.isFile()) return 'file';
  if (stat.isBlockDevice()) return 'block';
  const what = stat.isDirectory() ? 'is a directory' : 'is a special file';
  throw new PcacheError('unsupported', `${path}: ${what}: a regular file or a block device is needed`);
}

function openFile(path: string, flags: number): number {
  try {
    return fs.openSync(path, flags);
  } catch (error) {
    if (errnoOf(error) === errno.EBUSY) {
      throw new PcacheError('in-use', `${path}: in use: mounted, or held by a driver or another pcache`, {
        cause: error,
        errno: errno.EBUSY,
      });
    }
    throw systemErrorFrom(path, error);
  }
}

/** A block device that is set read-only can be opened for writing all the same, and refuses the first write. */
function requireWritable(path: string, fd: number): void {
  const isReadOnly = new Int32Array(1);
  attempt(`${path}: read-only flag`, () => ioctl(fd, BLKROGET, isReadOnly));
  if (isReadOnly[0] !== 0) throw new PcacheError('permission', `${path}: a read-only device`, { errno: errno.EROFS });
}

function blockDeviceBytes(path: string, fd: number): number {
  const size = Buffer.alloc(8);
  attempt(`${path}: size`, () => ioctl(fd, BLKGETSIZE64, size));
  return Number(size.readBigUInt64LE(0));
}

function lockFile(path: string, fd: number, kind: DeviceKind, lock: 'exclusive' | 'shared', stat: fs.Stats): void {
  const operation = (lock === 'exclusive' ? LOCK_EX : LOCK_SH) | LOCK_NB;
  const attempts = kind === 'block' ? BLOCK_LOCK_ATTEMPTS : 1;
  for (let left = attempts; ; left--) {
    try {
      flock(fd, operation);
      return;
    } catch (error) {
      if (errnoOf(error) !== errno.EAGAIN) throw systemErrorFrom(`${path}: lock`, error);
      if (left > 1) {
        pause(BLOCK_LOCK_PAUSE_MS);
        continue;
      }
      const pid = lockHolder(stat);
      const who = pid === undefined ? '' : ` (pid ${pid})`;
      throw new PcacheError('in-use', `${path}: in use by another pcache${who}`, { cause: error });
    }
  }
}

function pause(ms: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);
}

/** Process that took a flock on the file, if /proc/locks says so and it still lives (the lock may have passed to a child by inheritance). */
function lockHolder(stat: fs.Stats): number | undefined {
  let locks: string;
  try {
    locks = fs.readFileSync('/proc/locks', 'utf8');
  } catch (error) {
    // Without /proc the message just names no process.
    if (errnoOf(error) === undefined) throw error;
    return undefined;
  }
  const hex = (value: number): string => value.toString(16).padStart(2, '0');
  const inode = `${hex(majorOf(stat.dev))}:${hex(minorOf(stat.dev))}:${stat.ino}`;
  for (const line of locks.split('\n')) {
    // 1: FLOCK  ADVISORY  WRITE 1234 08:01:5678 0 EOF
    const fields = line.trim().split(/\s+/);
    const pid = Number(fields[4]);
    if (fields[1] === 'FLOCK' && fields[5] === inode && pid > 0 && fs.existsSync(`/proc/${pid}`)) return pid;
  }
  return undefined;
}
