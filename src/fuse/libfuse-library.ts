// Loading the optional npm package fuse-native (2.2.6: libfuse 2.9 under JavaScript). Its addon wants libfuse.so.2, which few systems still have;
// the package fuse-shared-library-linux, which comes with it, ships one, under a name the dynamic linker doesn't look for. Invariant:
// nothing is installed or written, and no environment variable is needed.

import { createRequire } from 'node:module';
import { constants } from 'node:os';
import { messageOf, PcacheError } from '../errors.js';

/** dlfcn.h; Node does not name it. The library stays loaded although Node closes it again for not being an addon. */
const RTLD_NODELETE = 0x1000;

type Done<T extends unknown[] = []> = (error: number, ...values: T) => void;

/** `ino` and friends are made up by libfuse. Sizes are bytes, times milliseconds. */
export interface LibfuseStat {
  mode: number;
  uid: number;
  gid: number;
  size: number;
  nlink: number;
  blksize: number;
  blocks: number;
  atime: number;
  mtime: number;
  ctime: number;
}

/** The handlers that fuse-native knows and this program has. A result is 0 or more, or -errno. */
export interface LibfuseHandlers {
  getattr(path: string, done: Done<[stat?: LibfuseStat]>): void;
  readdir(path: string, done: Done<[names?: string[], stats?: LibfuseStat[]]>): void;
  statfs(path: string, done: Done<[figures?: Record<string, number>]>): void;
  open(path: string, flags: number, done: Done<[fh?: number]>): void;
  opendir(path: string, flags: number, done: Done<[fh?: number]>): void;
  release(path: string, fh: number, done: Done): void;
  releasedir(path: string, fh: number, done: Done): void;
  read(path: string, fh: number, target: Buffer, length: number, offset: number, done: (result: number) => void): void;
  write(path: string, fh: number, source: Buffer, length: number, offset: number, done: (result: number) => void): void;
  fsync(path: string, dataOnly: number, fh: number, done: Done): void;
  truncate(path: string, size: number, done: Done): void;
  ftruncate(path: string, fh: number, size: number, done: Done): void;
  chmod(path: string, mode: number, done: Done): void;
  chown(path: string, uid: number, gid: number, done: Done): void;
  utimens(path: string, atime: number, mtime: number, done: Done): void;
  mknod(path: string, mode: number, device: number, done: Done): void;
  mkdir(path: string, mode: number, done: Done): void;
  create(path: string, mode: number, done: Done): void;
  symlink(target: string, path: string, done: Done): void;
  link(from: string, to: string, done: Done): void;
  rename(from: string, to: string, done: Done): void;
  unlink(path: string, done: Done): void;
  rmdir(path: string, done: Done): void;
}

/** One file system of fuse-native. */
export interface FuseNative {
  /** Builds the argument `-oA,B,...`; replaced, because it can't say everything that libfuse understands. */
  _fuseOptions: () => string;
  mount(done: (error: Error | null) => void): void;
}
export type FuseNativeClass = new (mountpoint: string, handlers: LibfuseHandlers, options: { timeout: false }) => FuseNative;

/**
 * @param from the module, as a URL, whose packages are searched
 * Throws PcacheError `unsupported` with the reason and what helps.
 */
export function loadFuseNative(from: string = import.meta.url): FuseNativeClass {
  const require = createRequire(from);
  try {
    require.resolve('fuse-native');
  } catch (error) {
    throw new PcacheError('unsupported', 'transport libfuse: npm package fuse-native is not installed', {
      cause: error,
      hint: 'Install it with `npm install fuse-native`, or use transport=dev-fuse.',
    });
  }
  try {
    return requireWithLibrary(require);
  } catch (error) {
    throw new PcacheError('unsupported', `transport libfuse: npm package fuse-native can't be loaded: ${messageOf(error)}`, {
      cause: error,
      hint: 'Use transport=dev-fuse, which needs no library.',
    });
  }
}

function requireWithLibrary(require: NodeJS.Require): FuseNativeClass {
  try {
    return require('fuse-native') as FuseNativeClass;
  } catch (error) {
    if (!messageOf(error).includes('libfuse.so')) throw error;
    loadSharedLibrary(require);
    return require('fuse-native') as FuseNativeClass;
  }
}

/** Once a library that calls itself libfuse.so.2 is loaded, the linker takes it for what the addon asks for. */
function loadSharedLibrary(require: NodeJS.Require): void {
  const { lib } = require('fuse-shared-library') as { lib: string };
  try {
    process.dlopen({ exports: {} }, lib, constants.dlopen.RTLD_NOW | constants.dlopen.RTLD_GLOBAL | RTLD_NODELETE);
  } catch (error) {
    // Expected: it is a library, not an addon. Whether it was loaded shows when fuse-native asks for it.
    if (!messageOf(error).includes('did not self-register')) throw error;
  }
}
