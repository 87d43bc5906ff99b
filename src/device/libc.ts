// The C library, called through koffi. Nothing else in the program imports koffi; each worker thread loads it for itself.
//
// Conventions:
// - Addresses are numbers. A user-space address is below 2^48 on x86-64 and 2^52 on arm64, so a double holds it exactly, and koffi takes and
//   returns such 64-bit integers as numbers without making a BigInt.
// - Functions marked HOT return a count or the negated error number and allocate nothing. All others throw PcacheError `CALL: REASON`
//   with `errno`; the caller who knows the path wraps it with `systemErrorFrom`.
// - errno is read from the thread's own errno word right after the call, before anything else can run in this thread.
// - fcntl and ioctl are variadic in C and declared so.
//
// Checked with two workers on one shared mapping, each with its own `view` of it: a million Atomics.add on the same word from each gave two
// million (test/device/libc.test.ts repeats it, smaller). Atomics work on such views; Atomics.wait does not (it wants a SharedArrayBuffer).
// koffi hands typed arrays over a SharedArrayBuffer to C only by throwing: give it addresses or arrays over plain ArrayBuffers.

import { createRequire } from 'node:module';
import { systemError } from './system-error.js';
import { AT_EMPTY_PATH, MS_SYNC, PIDFD_THREAD, POLLIN, STATX_BTIME, STATX_DIOALIGN } from './linux-constants.js';

// As `import koffi from 'koffi'`, which takes 20 ms of CPU longer in each thread: importing a CommonJS module has its text searched for names.
const koffi = createRequire(import.meta.url)('koffi') as typeof import('koffi');

/** Memory for a call to read or fill: anything over a plain ArrayBuffer, or null. koffi passes its address; nothing is copied. */
export type CallMemory = Uint8Array | Int32Array | Uint32Array | null;

// null: the symbols of this process, whichever C library it runs on.
const library = koffi.load(null);
type Call<Arguments extends unknown[]> = (...values: Arguments) => number;

type N = number;
const errnoLocation = library.func('__errno_location', 'intptr_t', []) as Call<[]>;
// One word per thread, in that thread's static storage.
const errnoWord = new Int32Array(koffi.view(errnoLocation(), 4));

const cRead = library.func('read', 'int64_t', ['int', 'intptr_t', 'size_t']) as Call<[fd: N, address: N, length: N]>;
const cWrite = library.func('write', 'int64_t', ['int', 'intptr_t', 'size_t']) as Call<[fd: N, address: N, length: N]>;
const cWritev = library.func('writev', 'int64_t', ['int', 'intptr_t', 'int']) as Call<[fd: N, iovec: N, count: N]>;
const cPread = library.func('pread', 'int64_t', ['int', 'intptr_t', 'size_t', 'int64_t']) as Call<
  [fd: N, address: N, length: N, offset: N]
>;
const cPwrite = library.func('pwrite', 'int64_t', ['int', 'intptr_t', 'size_t', 'int64_t']) as Call<
  [fd: N, address: N, length: N, offset: N]
>;
const cPoll = library.func('poll', 'int', ['intptr_t', 'ulong', 'int']) as Call<[pollfds: N, count: N, timeoutMs: N]>;
const cMmap = library.func('mmap', 'intptr_t', ['intptr_t', 'size_t', 'int', 'int', 'int', 'int64_t']) as Call<
  [address: N, length: N, protection: N, flags: N, fd: N, offset: N]
>;
const cMunmap = library.func('munmap', 'int', ['intptr_t', 'size_t']) as Call<[address: N, length: N]>;
const cMsync = library.func('msync', 'int', ['intptr_t', 'size_t', 'int']) as Call<[address: N, length: N, flags: N]>;
const cMadvise = library.func('madvise', 'int', ['intptr_t', 'size_t', 'int']) as Call<[address: N, length: N, advice: N]>;
const cMlock2 = library.func('mlock2', 'int', ['intptr_t', 'size_t', 'uint']) as Call<[address: N, length: N, flags: N]>;
const cFallocate = library.func('fallocate', 'int', ['int', 'int', 'int64_t', 'int64_t']) as Call<[fd: N, mode: N, offset: N, length: N]>;
const cLseek = library.func('lseek', 'int64_t', ['int', 'int64_t', 'int']) as Call<[fd: N, offset: N, whence: N]>;
const cFlock = library.func('flock', 'int', ['int', 'int']) as Call<[fd: N, operation: N]>;
const cIoctl = library.func('ioctl', 'int', ['int', 'ulong', '...']) as Call<[fd: N, request: N, type: string, argument: CallMemory | N]>;
const cFcntl = library.func('fcntl', 'int', ['int', 'int', '...']) as Call<[fd: N, command: N, type: string, argument: N]>;
const cClose = library.func('close', 'int', ['int']) as Call<[fd: N]>;
const cOpen = library.func('open', 'int', ['str', 'int', '...']) as Call<[path: string, flags: N, type: string, mode: N]>;
const cFstatfs = library.func('fstatfs', 'int', ['int', 'void *']) as Call<[fd: N, buffer: CallMemory]>;
const cStatx = library.func('statx', 'int', ['int', 'str', 'int', 'uint', 'void *']) as Call<
  [directory: N, path: string, flags: N, mask: N, buffer: CallMemory]
>;
const cMount = library.func('mount', 'int', ['str', 'str', 'str', 'ulong', 'str']) as Call<
  [source: string, target: string, type: string, flags: N, data: string]
>;
const cUmount2 = library.func('umount2', 'int', ['str', 'int']) as Call<[target: string, flags: N]>;
const cEventfd = library.func('eventfd', 'int', ['uint', 'int']) as Call<[initial: N, flags: N]>;
const cPrctl = library.func('prctl', 'int', ['int', 'ulong', 'ulong', 'ulong', 'ulong']) as Call<[option: N, a: N, b: N, c: N, d: N]>;
// System calls without a function in the C library. io_uring's have the same numbers on all machines.
const cIoUringSetup = library.func('syscall', 'int64_t', ['int64_t', 'uint', 'void *']) as Call<
  [number: N, entries: N, parameters: CallMemory]
>;
const cIoUringEnter = library.func('syscall', 'int64_t', ['int64_t', 'int', 'uint', 'uint', 'uint', 'int64_t', 'int64_t']) as Call<
  [number: N, fd: N, submit: N, wait: N, flags: N, signals: N, signalBytes: N]
>;
const cIoUringRegister = library.func('syscall', 'int64_t', ['int64_t', 'int', 'uint', 'void *', 'uint']) as Call<
  [number: N, fd: N, operation: N, argument: CallMemory, count: N]
>;
const cIoSetup = library.func('syscall', 'int64_t', ['int64_t', 'uint', 'void *']) as Call<[number: N, entries: N, context: CallMemory]>;
const cIoDestroy = library.func('syscall', 'int64_t', ['int64_t', 'int64_t']) as Call<[number: N, context: N]>;
const cIoSubmit = library.func('syscall', 'int64_t', ['int64_t', 'int64_t', 'int64_t', 'int64_t']) as Call<
  [number: N, context: N, count: N, iocbPointers: N]
>;
const cIoGetEvents = library.func('syscall', 'int64_t', ['int64_t', 'int64_t', 'int64_t', 'int64_t', 'int64_t', 'int64_t']) as Call<
  [number: N, context: N, least: N, most: N, events: N, timeout: N]
>;
const cPollInPool = library.func('poll', 'int', ['void *', 'ulong', 'int']) as Call<[pollfds: CallMemory, count: N, timeoutMs: N]> & {
  async(pollfds: Uint8Array, count: N, timeoutMs: N, done: (error: Error | null, result: N) => void): void;
};
const cPidfdOpen = library.func('syscall', 'int64_t', ['int64_t', 'int', 'uint']) as Call<[number: N, pid: N, flags: N]>;
// It returns the target's address, which would be a new number for each call.
const cMemmove = library.func('memmove', 'void', ['intptr_t', 'intptr_t', 'size_t']) as (target: N, source: N, length: N) => void;
const cSetsid = library.func('setsid', 'int', []) as Call<[]>;
const cExit = library.func('_exit', 'void', ['int']) as (status: number) => void;
const cSetAffinity = library.func('sched_setaffinity', 'int', ['int', 'size_t', 'void *']) as Call<[pid: N, length: N, mask: CallMemory]>;
const cRecvmsg = library.func('recvmsg', 'int64_t', ['int', 'void *', 'int']) as Call<[fd: N, message: CallMemory, flags: N]>;
const cSendmsg = library.func('sendmsg', 'int64_t', ['int', 'void *', 'int']) as Call<[fd: N, message: CallMemory, flags: N]>;
const cSocket = library.func('socket', 'int', ['int', 'int', 'int']) as Call<[domain: N, type: N, protocol: N]>;
const cConnect = library.func('connect', 'int', ['int', 'void *', 'uint']) as Call<[fd: N, address: CallMemory, length: N]>;
const cSendto = library.func('sendto', 'int64_t', ['int', 'void *', 'size_t', 'int', 'void *', 'uint']) as Call<
  [fd: N, data: CallMemory, length: N, flags: N, address: CallMemory, addressLength: N]
>;
const cDup2 = library.func('dup2', 'int', ['int', 'int']) as Call<[fd: N, place: N]>;
const cSocketpair = library.func('socketpair', 'int', ['int', 'int', 'int', 'void *']) as Call<
  [domain: N, type: N, protocol: N, fds: CallMemory]
>;

function checked(result: number, call: string): number {
  if (result < 0) throw systemError(call, errnoWord[0]!);
  return result;
}

/** HOT. Bytes read into memory at `address`, 0 at the end, or -errno. */
export function read(fd: number, address: number, lengthBytes: number): number {
  const result = cRead(fd, address, lengthBytes);
  return result < 0 ? -errnoWord[0]! : result;
}

/** HOT. Bytes written from `address`, or -errno. */
export function write(fd: number, address: number, lengthBytes: number): number {
  const result = cWrite(fd, address, lengthBytes);
  return result < 0 ? -errnoWord[0]! : result;
}

/** HOT. `iovecAddress` points to `count` (1 to 1024) pairs of u64 {address, length}. Bytes written, or -errno. */
export function writev(fd: number, iovecAddress: number, count: number): number {
  const result = cWritev(fd, iovecAddress, count);
  return result < 0 ? -errnoWord[0]! : result;
}

/** HOT. Like `read`, at a byte offset, without moving the file position. */
export function pread(fd: number, address: number, lengthBytes: number, offsetBytes: number): number {
  const result = cPread(fd, address, lengthBytes, offsetBytes);
  return result < 0 ? -errnoWord[0]! : result;
}

/** HOT. Like `write`, at a byte offset, without moving the file position. */
export function pwrite(fd: number, address: number, lengthBytes: number, offsetBytes: number): number {
  const result = cPwrite(fd, address, lengthBytes, offsetBytes);
  return result < 0 ? -errnoWord[0]! : result;
}

/** HOT. `pollfdAddress` points to `count` structs {fd i32, events i16, revents i16}. Number of ready ones, 0 after the timeout (-1: none), or -errno. */
export function poll(pollfdAddress: number, count: number, timeoutMs: number): number {
  const result = cPoll(pollfdAddress, count, timeoutMs);
  return result < 0 ? -errnoWord[0]! : result;
}

const POLLFD_BYTES = 8;

/**
 * Whether one of the descriptors became readable (or is in a state that reading it would report) before the timeout. Waits in a thread of libuv's pool; until
 * then the process can't exit in order. A signal may end it early.
 */
export function waitReadable(fds: readonly number[], timeoutMs: number): Promise<boolean> {
  const pollfds = new DataView(new ArrayBuffer(fds.length * POLLFD_BYTES));
  for (const [index, fd] of fds.entries()) {
    pollfds.setInt32(index * POLLFD_BYTES, fd, true);
    pollfds.setInt16(index * POLLFD_BYTES + 4, POLLIN, true);
  }
  return new Promise((resolve, reject) => {
    // The closure keeps the memory until then.
    const done = (error: Error | null, result: number): void => {
      if (error === null) resolve(result > 0 && pollfds.byteLength > 0);
      else reject(error);
    };
    cPollInPool.async(new Uint8Array(pollfds.buffer), fds.length, timeoutMs, done);
  });
}

const SYS_PIDFD_OPEN = 434;

/**
 * A descriptor that is readable once this thread has ended, whatever becomes of the others of its process; if it is the main thread, since Linux 6.15 not
 * before they have ended too. Needs Linux 6.9. Throws PcacheError with what pidfd_open(2) reports.
 */
export function threadDescriptor(threadId: number): number {
  return checked(cPidfdOpen(SYS_PIDFD_OPEN, threadId, PIDFD_THREAD), 'pidfd_open');
}

const SYS_IO_URING_SETUP = 425;
const SYS_IO_URING_ENTER = 426;
const SYS_IO_URING_REGISTER = 427;

/** A new ring's descriptor. `parameters` is a struct io_uring_params (120 bytes), which the kernel completes. */
export function ioUringSetup(entries: number, parameters: Uint32Array): number {
  return checked(cIoUringSetup(SYS_IO_URING_SETUP, entries, parameters), 'io_uring_setup');
}

/** HOT. Submits `submit` entries and waits for `wait` completions; flags IORING_ENTER_*. Entries consumed, or -errno. */
export function ioUringEnter(fd: number, submit: number, wait: number, flags: number): number {
  const result = cIoUringEnter(SYS_IO_URING_ENTER, fd, submit, wait, flags, 0, 0);
  return result < 0 ? -errnoWord[0]! : result;
}

/** io_uring_register(2) with an array of `argument.length` words. */
export function ioUringRegister(fd: number, operation: number, argument: Uint32Array): void {
  checked(cIoUringRegister(SYS_IO_URING_REGISTER, fd, operation, argument, argument.length), 'io_uring_register');
}

/** Linux AIO. Its numbers differ: x86-64's are its own, those of arm64 are what other machines have. */
const SYS_IO =
  process.arch === 'x64' ? { setup: 206, destroy: 207, getEvents: 208, submit: 209 } : { setup: 0, destroy: 1, getEvents: 4, submit: 2 };

/** A new AIO context for `entries` requests under way; an address. */
export function ioSetup(entries: number): number {
  const context = new Uint32Array(2);
  checked(cIoSetup(SYS_IO.setup, entries, context), 'io_setup');
  return context[1]! * 4294967296 + context[0]!;
}

/** Waits for what is under way. */
export function ioDestroy(context: number): void {
  checked(cIoDestroy(SYS_IO.destroy, context), 'io_destroy');
}

/** HOT. `pointersAddress` points to `count` addresses of struct iocb. Requests taken, or -errno if the first is not. */
export function ioSubmit(context: number, count: number, pointersAddress: number): number {
  const result = cIoSubmit(SYS_IO.submit, context, count, pointersAddress);
  return result < 0 ? -errnoWord[0]! : result;
}

/** HOT. Waits for `least` completions, 0 or more, and takes up to `most` into the struct io_events at an address. How many, or -errno. */
export function ioGetEvents(context: number, least: number, most: number, eventsAddress: number): number {
  const result = cIoGetEvents(SYS_IO.getEvents, context, least, most, eventsAddress, 0);
  return result < 0 ? -errnoWord[0]! : result;
}

/** HOT. Copies memory that no view is at hand for; the ranges may overlap. In an engine, large ones go past the processor's caches (engine-environment.ts). */
export function copyMemory(targetAddress: number, sourceAddress: number, lengthBytes: number): void {
  cMemmove(targetAddress, sourceAddress, lengthBytes);
}

/** What `copyToRead` copies at a time: below the least size from which glibc can be told to copy past the processor's caches. */
export const COPY_TO_READ_BYTES = 16 * 1024;

/** HOT. As `copyMemory`, for what is read right after it: it is in the processor's caches then, however large. */
export function copyToRead(targetAddress: number, sourceAddress: number, lengthBytes: number): void {
  let left = lengthBytes;
  if (targetAddress > sourceAddress) {
    // From the end, since the target may be over the source's end.
    for (; left > COPY_TO_READ_BYTES; left -= COPY_TO_READ_BYTES) {
      const at = left - COPY_TO_READ_BYTES;
      cMemmove(targetAddress + at, sourceAddress + at, COPY_TO_READ_BYTES);
    }
    cMemmove(targetAddress, sourceAddress, left);
    return;
  }
  let at = 0;
  for (; left > COPY_TO_READ_BYTES; left -= COPY_TO_READ_BYTES) {
    cMemmove(targetAddress + at, sourceAddress + at, COPY_TO_READ_BYTES);
    at += COPY_TO_READ_BYTES;
  }
  cMemmove(targetAddress + at, sourceAddress + at, left);
}

/** Maps memory at an address of the kernel's choice; `fd` is -1 for anonymous memory. Returns the address. */
export function mmap(lengthBytes: number, protection: number, flags: number, fd: number, offsetBytes: number): number {
  const address = cMmap(0, lengthBytes, protection, flags, fd, offsetBytes);
  if (address === -1) throw systemError('mmap', errnoWord[0]!);
  return address;
}

/** Maps memory at `address`, with MAP_FIXED in place of whatever is mapped there. */
export function mmapAt(address: number, lengthBytes: number, protection: number, flags: number, fd: number, offsetBytes: number): void {
  if (cMmap(address, lengthBytes, protection, flags, fd, offsetBytes) === -1) throw systemError('mmap', errnoWord[0]!);
}

/** After this, touching a view of the range kills the process: let go of the views first, in every thread. */
export function munmap(address: number, lengthBytes: number): void {
  checked(cMunmap(address, lengthBytes), 'munmap');
}

/** Writes a page-aligned range of a shared mapping to its file and, with MS_SYNC, waits until it is durable. */
export function msync(address: number, lengthBytes: number, flags: number = MS_SYNC): void {
  checked(cMsync(address, lengthBytes, flags), 'msync');
}

export function madvise(address: number, lengthBytes: number, advice: number): void {
  checked(cMadvise(address, lengthBytes, advice), 'madvise');
}

/** Locks a range of pages in memory; with MLOCK_ONFAULT each page once it is touched. */
export function mlock2(address: number, lengthBytes: number, flags: number): void {
  checked(cMlock2(address, lengthBytes, flags), 'mlock2');
}

/**
 * Memory at `address` as an ArrayBuffer, without copying. The memory must outlive it. At most 4 GiB - 1: Node aborts, without an
 * exception, on a larger one (checked with 8 GiB on Node 20). Every view counts with its size as memory that V8 knows of, and each 64 MiB or
 * more of new memory makes V8 collect garbage: measured 0.25 ms for a view of 16 MiB, 2 ms for one of 1 GiB. Few large views, then.
 */
export function view(address: number, lengthBytes: number): ArrayBuffer {
  if (!(lengthBytes > 0 && lengthBytes < 2 ** 32)) throw new RangeError(`view: ${lengthBytes} bytes: must be 1 to 4 GiB - 1`);
  return koffi.view(address, lengthBytes);
}

/** Address of the first byte of an array over a plain ArrayBuffer, whose memory doesn't move while it is referenced; 0 for one over a SharedArrayBuffer. */
export function addressOf(memory: ArrayBufferView): number {
  return memory.buffer instanceof SharedArrayBuffer ? 0 : Number(koffi.address(memory));
}

/** Mode 0 allocates and keeps the content; FALLOC_FL_* for the other modes. */
export function fallocate(fd: number, mode: number, offsetBytes: number, lengthBytes: number): void {
  checked(cFallocate(fd, mode, offsetBytes, lengthBytes), 'fallocate');
}

/** New file position, or -errno (SEEK_DATA after the last byte of data: -ENXIO). */
export function lseek(fd: number, offsetBytes: number, whence: number): number {
  const result = cLseek(fd, offsetBytes, whence);
  return result < 0 ? -errnoWord[0]! : result;
}

/** The lock belongs to the open file description: every duplicate and every inherited copy of `fd` holds it. */
export function flock(fd: number, operation: number): void {
  checked(cFlock(fd, operation), 'flock');
}

/** ioctl(2) with a pointer argument (an array, or null) or an integer argument. Returns what the call returns. */
export function ioctl(fd: number, request: number, argument: CallMemory | number): number {
  const type = typeof argument === 'number' ? 'int64_t' : 'void *';
  return checked(cIoctl(fd, request, type, argument), `ioctl 0x${request.toString(16)}`);
}

/** fcntl(2) with an integer argument. */
export function fcntl(fd: number, command: number, argument: number): number {
  return checked(cFcntl(fd, command, 'int', argument), 'fcntl');
}

/** open(2) with exactly these flags: unlike `fs.openSync` it does not add O_CLOEXEC. */
export function open(path: string, flags: number, mode = 0): number {
  return checked(cOpen(path, flags, 'uint', mode), 'open');
}

/** Closes a descriptor that `fs` has not opened; `fs.closeSync` warns of those in a worker thread. */
export function close(fd: number): void {
  checked(cClose(fd), 'close');
}

/** Magic number of the file system that `fd` is on, and its f_fsid as 16 hexadecimal digits (zeros: it has none). */
export function fileSystemOf(fd: number): { type: number; fsid: string } {
  const buffer = Buffer.alloc(256);
  checked(cFstatfs(fd, buffer), 'fstatfs');
  return { type: buffer.readUInt32LE(0), fsid: buffer.subarray(56, 64).toString('hex') };
}

/**
 * What direct I/O on `fd` must be aligned to: 0 for `offsetBytes` means that it is not possible; undefined that the kernel (before 6.1) or the
 * file system doesn't say.
 */
export function directIoAlignment(fd: number): { memoryBytes: number; offsetBytes: number } | undefined {
  const buffer = Buffer.alloc(256);
  if (cStatx(fd, '', AT_EMPTY_PATH, STATX_DIOALIGN, buffer) < 0) return undefined;
  if ((buffer.readUInt32LE(0) & STATX_DIOALIGN) === 0) return undefined;
  return { memoryBytes: buffer.readUInt32LE(152), offsetBytes: buffer.readUInt32LE(156) };
}

/** When the inode was made, in nanoseconds since 1970; undefined if kernel or file system don't say. */
export function birthTimeOf(fd: number): bigint | undefined {
  const buffer = Buffer.alloc(256);
  if (cStatx(fd, '', AT_EMPTY_PATH, STATX_BTIME, buffer) < 0) return undefined;
  if ((buffer.readUInt32LE(0) & STATX_BTIME) === 0) return undefined;
  return buffer.readBigInt64LE(80) * 1_000_000_000n + BigInt(buffer.readUInt32LE(88));
}

export function mount(source: string, target: string, type: string, flags: number, data: string): void {
  checked(cMount(source, target, type, flags, data), 'mount');
}

export function umount2(target: string, flags: number): void {
  checked(cUmount2(target, flags), 'umount');
}

/** A new event counter descriptor; flags EFD_*. */
export function eventfd(initial: number, flags: number): number {
  return checked(cEventfd(initial, flags), 'eventfd');
}

export function prctl(option: number, argument: number, second = 0): number {
  return checked(cPrctl(option, argument, second, 0, 0), 'prctl');
}

/** Leaves the terminal, and begins a session and a process group of its own. Throws EPERM for who leads a group already. */
export function setsid(): void {
  checked(cSetsid(), 'setsid');
}

/** Ends the process at once, whatever its threads are doing: nothing is flushed, no handler runs, nothing is waited for. */
export function exitAtOnce(status: number): void {
  cExit(status);
}

/** Pins the calling thread to one CPU (0 to 1023). */
export function pinThreadToCpu(cpu: number): void {
  if (!(Number.isInteger(cpu) && cpu >= 0 && cpu < 1024)) throw new RangeError(`pinThreadToCpu: ${cpu}: must be 0 to 1023`);
  const mask = new Uint8Array(128);
  mask[cpu >> 3] = 1 << (cpu & 7);
  checked(cSetAffinity(0, mask.length, mask), 'sched_setaffinity');
}

/** recvmsg(2); `message` is a struct msghdr. Returns the bytes received. */
export function recvmsg(fd: number, message: Uint8Array, flags: number): number {
  return checked(cRecvmsg(fd, message, flags), 'recvmsg');
}

/** sendmsg(2); `message` is a struct msghdr. Returns the bytes sent. */
export function sendmsg(fd: number, message: Uint8Array, flags: number): number {
  return checked(cSendmsg(fd, message, flags), 'sendmsg');
}

export function socket(domain: number, type: number): number {
  return checked(cSocket(domain, type, 0), 'socket');
}

/** connect(2); `address` is a struct sockaddr of its exact length. */
export function connect(fd: number, address: Uint8Array): void {
  checked(cConnect(fd, address, address.length), 'connect');
}

/** sendto(2): one datagram to `address`, a struct sockaddr of its exact length. */
export function sendto(fd: number, data: Uint8Array, flags: number, address: Uint8Array): void {
  checked(cSendto(fd, data, data.length, flags, address, address.length), 'sendto');
}

/** Makes `place` another number of what `fd` is open for; what was open there is closed. */
export function dup2(fd: number, place: number): void {
  checked(cDup2(fd, place), 'dup2');
}

/** Two connected sockets. */
export function socketpair(domain: number, type: number): [number, number] {
  const fds = new Int32Array(2);
  checked(cSocketpair(domain, type, 0, fds), 'socketpair');
  return [fds[0]!, fds[1]!];
}
