// What is done with a session's descriptor besides serving requests. Facts about the kernel (fs/fuse/dev.c, 6.18; test/fuse checks them):
//
// - A request that was read belongs to the descriptor it was read from, and is looked up there when the answer is written.
// - When the last copy of a descriptor is closed, the requests that were read from it and not answered end with ECONNABORTED. So whoever is to
//   outlive a crash of the workers (the supervisor) must hold *every* queue's descriptor, clones included, not only the first.
// - FUSE_NOTIFY_RESEND puts the unanswered requests of all the session's descriptors back into its queue.

import { closeSync, constants, openSync, readSync, statfs, writeSync } from 'node:fs';
import { errno } from '../device/errno-codes.js';
import { fcntl, ioctl } from '../device/libc.js';
import { F_SETFL } from '../device/linux-constants.js';
import { errnoOf, systemErrorFrom } from '../device/system-error.js';
import { PcacheError } from '../errors.js';
import { DEV_FUSE, devFuseError } from './dev-fuse.js';
import { decideInit, encodeInitAnswer, encodeInitRefusal, type NegotiatedSession } from './init.js';
import { IN_HEADER, NOTIFY_RESEND, NOTIFY_RETRIEVE, OPCODE_INIT, OUT_HEADER, RETRIEVE_OUT } from './structs.js';

/** `_IOR(229, 0, uint32_t)`. */
const FUSE_DEV_IOC_CLONE = 0x8004e500;
/** The kernel's FUSE_MIN_READ_BUFFER; it takes no smaller one. */
const INIT_BUFFER_BYTES = 8192;

/**
 * Reads the session's INIT request and answers it. Called once, after mounting, before any queue is served; blocks until the request is there,
 * which it is as soon as the mount is made.
 * @param wantsIoUring take requests through rings, if the kernel offers that: `overIoUring` says whether it did
 * Throws PcacheError `unsupported` (kernel too old), `closed` (unmounted meanwhile) or `io`.
 */
export function negotiate(fd: number, wantsIoUring = false): NegotiatedSession {
  const request = readInit(fd);
  let session: NegotiatedSession;
  try {
    session = decideInit(request, wantsIoUring);
  } catch (error) {
    writeSync(fd, encodeInitRefusal(request));
    throw error;
  }
  writeSync(fd, encodeInitAnswer(request, session));
  return session;
}

function readInit(fd: number): Uint8Array {
  const buffer = new Uint8Array(INIT_BUFFER_BYTES);
  for (;;) {
    try {
      const request = buffer.subarray(0, readSync(fd, buffer));
      const opcode = new DataView(request.buffer, 0, request.length).getUint32(IN_HEADER.opcode, true);
      if (opcode !== OPCODE_INIT) throw new PcacheError('io', `FUSE INIT: the session's first request is operation ${opcode}`);
      return request;
    } catch (error) {
      const number = errnoOf(error);
      if (number === errno.EINTR || number === errno.EAGAIN || number === errno.ENOENT) continue;
      if (number === errno.ENODEV) throw new PcacheError('closed', 'FUSE INIT: the file system was unmounted', { cause: error });
      throw systemErrorFrom('FUSE INIT', error, 'io');
    }
  }
}

/**
 * Opens one more descriptor of the session, with a queue of requests in progress of its own.
 * Throws PcacheError if /dev/fuse can't be opened or the kernel (before 4.2) can't clone; the session's first descriptor then serves all workers.
 */
export function cloneDescriptor(fd: number): number {
  const clone = openDevFuse();
  try {
    ioctl(clone, FUSE_DEV_IOC_CLONE, Uint32Array.of(fd));
    return clone;
  } catch (error) {
    closeSync(clone);
    throw systemErrorFrom(`${DEV_FUSE}: cloning descriptor ${fd}`, error);
  }
}

/** Descriptors for `count` queue workers: the session's own, then clones; shorter if no clone can be made (as one worker may not open /dev/fuse). */
export function queueDescriptors(fd: number, count: number): number[] {
  const fds = [fd];
  while (fds.length < count) {
    try {
      fds.push(cloneDescriptor(fd));
    } catch (error) {
      // Workers without a clone share a descriptor, which costs speed, not correctness.
      if (!(error instanceof PcacheError)) throw error;
      break;
    }
  }
  return fds;
}

export interface WorkerDescriptors {
  /** See `queueDescriptors`. */
  readonly fds: readonly number[];
  /** As many again that do not block (`QueueOptions.eagerFd`); undefined if not all could be made. */
  readonly eagerFds?: readonly number[] | undefined;
}

/** The descriptors that queue workers serve best with. */
export function workerDescriptors(fd: number, workers: number): WorkerDescriptors {
  const all = queueDescriptors(fd, 2 * workers);
  if (all.length < 2 * workers) return { fds: all };
  const eagerFds = all.splice(workers);
  for (const eagerFd of eagerFds) setNonBlocking(eagerFd);
  return { fds: all, eagerFds };
}

/** Has reading of a session's descriptor fail with EAGAIN rather than wait; for all processes that hold it. */
export function setNonBlocking(fd: number): void {
  fcntl(fd, F_SETFL, constants.O_NONBLOCK);
}

/** The reverse: reading waits for a request. */
export function setBlocking(fd: number): void {
  fcntl(fd, F_SETFL, 0);
}

/** Opens /dev/fuse, close-on-exec. Throws PcacheError `not-found` or `permission` with a hint. */
export function openDevFuse(): number {
  try {
    return openSync(DEV_FUSE, constants.O_RDWR);
  } catch (error) {
    throw devFuseError(error);
  }
}

/**
 * Asks the kernel to send every request again that was read and not answered; by the successor of a process that died, before it serves.
 * The requests arrive with bit 63 of `unique` set (UNIQUE_RESEND_HI) and may have been carried out already.
 * Throws PcacheError `unsupported` before Linux 6.9.
 */
export function requestResend(fd: number): void {
  notify(fd, NOTIFY_RESEND, new Uint8Array(0), 'asking for unanswered requests');
}

/**
 * Makes `count` workers that wait for a request return from waiting, without a second descriptor for them to wait on: each wake is a request
 * that the kernel sends for nothing. It is asked for the cached bytes of a file (size 0); where it doesn't know that file, because nobody uses it, for
 * the figures of the file system, by the mount's path.
 * @param nodeid a regular file of the file system (the kernel refuses directories)
 * @param mountpoint used from the thread pool, so the caller is never blocked, and by one call at a time, so that a call that no worker is left
 * to answer holds up one thread of the pool and not all
 * Throws PcacheError `closed` if the session is gone (the workers then return by themselves).
 */
export function wakeQueues(fd: number, count: number, nodeid: number, mountpoint: string): void {
  const body = new Uint8Array(RETRIEVE_OUT.bytes);
  new DataView(body.buffer).setUint32(RETRIEVE_OUT.nodeid, nodeid, true);
  for (let i = 0; i < count; i++) {
    try {
      notify(fd, NOTIFY_RETRIEVE, body, 'waking queue workers');
    } catch (error) {
      if (errnoOf(error) !== errno.ENOENT) throw error;
      askForFigures(mountpoint, count - i);
      return;
    }
  }
}

function askForFigures(mountpoint: string, count: number): void {
  // What is answered doesn't matter, nor whether it is: the session may end meanwhile.
  if (count > 0) statfs(mountpoint, () => askForFigures(mountpoint, count - 1));
}

function notify(fd: number, code: number, body: Uint8Array, what: string): void {
  const message = new Uint8Array(OUT_HEADER.bytes + body.length);
  const view = new DataView(message.buffer);
  view.setUint32(OUT_HEADER.len, message.length, true);
  view.setInt32(OUT_HEADER.error, code, true);
  message.set(body, OUT_HEADER.bytes);
  try {
    writeSync(fd, message);
  } catch (error) {
    const number = errnoOf(error);
    if (number === errno.EINVAL) throw new PcacheError('unsupported', `${what}: this kernel can't`, { cause: error, errno: number });
    if (number === errno.ENODEV || number === errno.ENOTCONN) {
      throw new PcacheError('closed', `${what}: the file system was unmounted`, { cause: error, errno: number });
    }
    throw systemErrorFrom(what, error, 'io');
  }
}
