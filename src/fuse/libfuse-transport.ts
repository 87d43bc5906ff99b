// The transport for systems where the program can't speak to /dev/fuse itself: fuse-native, that is libfuse 2.9, which calls back into the main
// thread of the process, one request at a time. The same file system serves it. Invariants:
// - It runs in the main thread only (fuse-native uses the process's default event loop); a file system that would block answers PENDING instead.
//
// What libfuse 2.9 can't do: fallocate (EOPNOTSUPP to the caller; a loop device then has no discard), SEEK_DATA and SEEK_HOLE (the kernel takes the
// whole file for data), requests of more than 128 KiB, a regular file as the mount point, file handles above 2^31 - 1, and surviving a
// crash: the descriptor is libfuse's, so the mount dies with the process.

import { readdirSync, readlinkSync } from 'node:fs';
import { addressOf, poll } from '../device/libc.js';
import { POLLERR } from '../device/linux-constants.js';
import { PcacheError } from '../errors.js';
import { type BridgeOptions, LIBFUSE_MAX_WRITE_BYTES, LibfuseBridge } from './libfuse-bridge.js';
import { loadFuseNative } from './libfuse-library.js';
import { checkMountpoint, MOUNT_SUBTYPE } from './mount.js';
import { mountNamed } from './mountinfo.js';
import { DEV_FUSE } from './dev-fuse.js';

/** How often to look whether the file system was unmounted: libfuse doesn't say. */
const LOOK_INTERVAL_MS = 200;

export interface LibfuseOptions extends BridgeOptions {
  /** An existing, empty directory. */
  readonly mountpoint: string;
  readonly fsName: string;
  readonly readOnly?: boolean;
  readonly allowOther?: boolean;
}

export interface LibfuseSession {
  /** Resolves when the file system is unmounted and nobody uses it any more. fuse-native then still keeps the event loop alive: end with process.exit. */
  readonly ended: Promise<void>;
}

/**
 * Mounts and serves from this process's main thread; returns when the file system can be used. Unmount with `unmountFuse`.
 * Throws PcacheError `unsupported` (fuse-native missing), or as `mountFuse` does.
 */
export async function mountLibfuse(options: LibfuseOptions): Promise<LibfuseSession> {
  const fuseNative = loadFuseNative();
  const mountpoint = checkMountpoint(options.mountpoint, 'directory');
  const before = sessionDescriptors();
  const native = new fuseNative(mountpoint, new LibfuseBridge(options).handlers(), { timeout: false });
  native._fuseOptions = () => `-o${mountOptions(options).join(',')}`;
  await new Promise<void>((resolve, reject) => {
    native.mount((error) => {
      if (error === null) resolve();
      else reject(mountError(mountpoint, error));
    });
  });
  const fd = sessionDescriptors().find((each) => !before.includes(each));
  return { ended: sessionEnd(fd, mountpoint) };
}

function mountOptions({ fsName, readOnly, allowOther }: LibfuseOptions): string[] {
  return [
    `fsname=${fsName.replaceAll(/[\\,]/g, String.raw`\$&`)}`,
    `subtype=${MOUNT_SUBTYPE}`,
    'default_permissions',
    'nosuid',
    'nodev',
    'big_writes',
    `max_read=${LIBFUSE_MAX_WRITE_BYTES}`,
    ...(readOnly === true ? ['ro'] : []),
    ...(allowOther === true ? ['allow_other'] : []),
  ];
}

function mountError(mountpoint: string, error: Error): PcacheError {
  return new PcacheError('io', `${mountpoint}: libfuse could not mount: ${error.message}`, {
    cause: error,
    hint: 'Without root it needs the program fusermount (package fuse3 or fuse); allow_other needs user_allow_other in /etc/fuse.conf.',
  });
}

/** This process's descriptors of FUSE sessions. */
function sessionDescriptors(): number[] {
  const fds: number[] = [];
  for (const name of readdirSync('/proc/self/fd')) {
    try {
      if (readlinkSync(`/proc/self/fd/${name}`) === DEV_FUSE) fds.push(Number(name));
    } catch (error) {
      // The descriptor that listed the directory is gone by now.
      if (!(error instanceof Error && 'code' in error && error.code === 'ENOENT')) throw error;
    }
  }
  return fds;
}

/** The kernel reports POLLERR on the descriptor of a session that has ended; libfuse closes it soon after. Without one, the table of mounts has to do. */
function sessionEnd(fd: number | undefined, mountpoint: string): Promise<void> {
  const pollfd = Int32Array.of(fd ?? -1, 0);
  const hasEnded = (): boolean => {
    if (fd === undefined) return mountNamed(mountpoint) === undefined;
    if (!sessionDescriptors().includes(fd)) return true;
    pollfd[1] = 0;
    return poll(addressOf(pollfd), 1, 0) > 0 && ((pollfd[1] >>> 16) & POLLERR) !== 0;
  };
  return new Promise((resolve) => {
    const timer = setInterval(() => {
      if (!hasEnded()) return;
      clearInterval(timer);
      resolve();
    }, LOOK_INTERVAL_MS);
  });
}
