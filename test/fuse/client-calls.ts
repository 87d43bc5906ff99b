// What a program does to a file, one function a call, for the tests' client process. Results are values that IPC carries; failures are thrown
// with their errno. Calls that Node lacks (extended attributes, record locks, mknod) go to the C library directly: only tests need them.

import * as fs from 'node:fs';
import koffi from 'koffi';
import { fallocate, flock, ioctl, lseek, mmap, msync, munmap, pread, pwrite, view } from '../../src/device/libc.js';
import { LOCK_EX, LOCK_NB, MAP_ANONYMOUS, MAP_PRIVATE, MAP_SHARED, PROT_READ, PROT_WRITE } from '../../src/device/linux-constants.js';
import { systemError } from '../../src/device/system-error.js';

const library = koffi.load(null);
type Call = (...values: (number | string | Uint8Array)[]) => number;
const setxattr = library.func('setxattr', 'int', ['str', 'str', 'void *', 'size_t', 'int']) as Call;
const getxattr = library.func('getxattr', 'int64_t', ['str', 'str', 'void *', 'size_t']) as Call;
const listxattr = library.func('listxattr', 'int64_t', ['str', 'void *', 'size_t']) as Call;
const mknod = library.func('mknod', 'int', ['str', 'uint', 'uint64_t']) as Call;
const fcntl = library.func('fcntl', 'int', ['int', 'int', '...']) as Call;

const F_SETLK = 6;
const F_WRLCK = 1;
const S_IFIFO = 0o010000;
const PAGE_BYTES = 4096;

function checked(result: number, call: string): number {
  if (result < 0) throw systemError(call, koffi.errno());
  return result;
}

/** Runs `use` on page-aligned memory, as O_DIRECT wants it. */
function withAlignedMemory<T>(lengthBytes: number, use: (address: number, bytes: Uint8Array) => T): T {
  const mapped = Math.ceil(lengthBytes / PAGE_BYTES) * PAGE_BYTES;
  const address = mmap(mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  try {
    return use(address, new Uint8Array(view(address, mapped), 0, lengthBytes));
  } finally {
    munmap(address, mapped);
  }
}

function withMapping<T>(fd: number, offset: number, length: number, use: (address: number, bytes: Uint8Array) => T): T {
  const start = offset - (offset % PAGE_BYTES);
  const mapped = Math.ceil((offset + length - start) / PAGE_BYTES) * PAGE_BYTES;
  const address = mmap(mapped, PROT_READ | PROT_WRITE, MAP_SHARED, fd, start);
  try {
    return use(address, new Uint8Array(view(address, mapped), offset - start, length));
  } finally {
    munmap(address, mapped);
  }
}

function positive(result: number, call: string): number {
  if (result < 0) throw systemError(call, -result);
  return result;
}

export interface PlainStat {
  readonly sizeBytes: number;
  readonly blocks: number;
  readonly mode: number;
  readonly linkCount: number;
  readonly uid: number;
  readonly gid: number;
  readonly blockSizeBytes: number;
  readonly mtimeMs: number;
}

export const clientCalls = {
  open: (path: string, flags: number, mode = 0o600): number => fs.openSync(path, flags, mode),
  close: (fd: number): void => fs.closeSync(fd),
  /** Fewer bytes than asked for means the end of the file. */
  read: (fd: number, offset: number, length: number): Buffer => {
    const bytes = Buffer.alloc(length);
    return bytes.subarray(0, fs.readSync(fd, bytes, 0, length, offset));
  },
  write: (fd: number, offset: number, bytes: Uint8Array): number => fs.writeSync(fd, bytes, 0, bytes.length, offset),
  /** With memory aligned for O_DIRECT. */
  readAligned: (fd: number, offset: number, length: number): Buffer =>
    withAlignedMemory(length, (address, bytes) => Buffer.from(bytes.slice(0, positive(pread(fd, address, length, offset), 'pread')))),
  writeAligned: (fd: number, offset: number, bytes: Uint8Array): number =>
    withAlignedMemory(bytes.length, (address, memory) => {
      memory.set(bytes);
      return positive(pwrite(fd, address, bytes.length, offset), 'pwrite');
    }),
  fsync: (fd: number): void => fs.fsyncSync(fd),
  fdatasync: (fd: number): void => fs.fdatasyncSync(fd),
  mapRead: (fd: number, offset: number, length: number): Buffer =>
    withMapping(fd, offset, length, (_address, bytes) => Buffer.from(bytes.slice())),
  /** Stores through a shared mapping and waits until the file system has it. */
  mapWrite: (fd: number, offset: number, bytes: Uint8Array): void =>
    withMapping(fd, offset, bytes.length, (address, memory) => {
      memory.set(bytes);
      msync(address, Math.ceil((memory.byteOffset + bytes.length) / PAGE_BYTES) * PAGE_BYTES);
    }),
  fallocate: (fd: number, mode: number, offset: number, length: number): void => fallocate(fd, mode, offset, length),
  lseek: (fd: number, offset: number, whence: number): number => positive(lseek(fd, offset, whence), 'lseek'),
  stat: (path: string): PlainStat => plain(fs.statSync(path)),
  fstat: (fd: number): PlainStat => plain(fs.fstatSync(fd)),
  statfs: (path: string): { sizeBytes: number; blockSizeBytes: number } => {
    const figures = fs.statfsSync(path);
    return { sizeBytes: figures.blocks * figures.bsize, blockSizeBytes: figures.bsize };
  },
  readdir: (path: string): string[] => fs.readdirSync(path),
  readFile: (path: string): Buffer => fs.readFileSync(path),
  truncate: (path: string, length: number): void => fs.truncateSync(path, length),
  ftruncate: (fd: number, length: number): void => fs.ftruncateSync(fd, length),
  unlink: (path: string): void => fs.unlinkSync(path),
  rename: (from: string, to: string): void => fs.renameSync(from, to),
  mkdir: (path: string): void => {
    fs.mkdirSync(path);
  },
  rmdir: (path: string): void => fs.rmdirSync(path),
  symlink: (target: string, path: string): void => fs.symlinkSync(target, path),
  link: (from: string, to: string): void => fs.linkSync(from, to),
  mkfifo: (path: string): number => checked(mknod(path, S_IFIFO | 0o600, 0), 'mknod'),
  readlink: (path: string): string => fs.readlinkSync(path),
  chmod: (path: string, mode: number): void => fs.chmodSync(path, mode),
  chown: (path: string, uid: number, gid: number): void => fs.chownSync(path, uid, gid),
  utimes: (path: string, seconds: number): void => fs.utimesSync(path, seconds, seconds),
  setxattr: (path: string, name: string): number => checked(setxattr(path, name, Buffer.from('v'), 1, 0), 'setxattr'),
  getxattr: (path: string, name: string): number => checked(getxattr(path, name, Buffer.alloc(64), 64), 'getxattr'),
  listxattr: (path: string): number => checked(listxattr(path, Buffer.alloc(64), 64), 'listxattr'),
  flock: (fd: number): void => flock(fd, LOCK_EX | LOCK_NB),
  /** Locks the first 100 bytes for this process. */
  recordLock: (fd: number): number => {
    const request = Buffer.alloc(32);
    request.writeInt16LE(F_WRLCK, 0);
    request.writeBigInt64LE(100n, 16);
    return checked(fcntl(fd, F_SETLK, 'void *', request), 'fcntl');
  },
  ioctl: (fd: number, request: number): number => ioctl(fd, request, new Uint8Array(64)),
} as const;

export type ClientCalls = typeof clientCalls;

function plain(stat: fs.Stats): PlainStat {
  return {
    sizeBytes: stat.size,
    blocks: stat.blocks,
    mode: stat.mode,
    linkCount: stat.nlink,
    uid: stat.uid,
    gid: stat.gid,
    blockSizeBytes: stat.blksize,
    mtimeMs: stat.mtimeMs,
  };
}
