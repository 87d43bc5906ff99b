// INIT: the first request of a session, in which kernel and program agree on sizes and abilities. Invariants: only what the kernel offered is
// taken; the result is a plain object that can be sent to another process, because a session is negotiated once and outlives the process
// that did it (a successor asks for the unanswered requests instead, see session.ts).

import { errno } from '../device/errno-codes.js';
import { PcacheError } from '../errors.js';
import { IN_HEADER, INIT_IN, INIT_OUT, OUT_HEADER, PROTOCOL_MAJOR, PROTOCOL_MINOR, PROTOCOL_MINOR_MIN } from './structs.js';

/** Bits of INIT's `flags`, and of `flags2` (bits 32 to 63 of the whole). */
export const FUSE_ASYNC_READ = 1 << 0;
export const FUSE_BIG_WRITES = 1 << 5;
export const FUSE_DO_READDIRPLUS = 1 << 13;
export const FUSE_READDIRPLUS_AUTO = 1 << 14;
export const FUSE_ASYNC_DIO = 1 << 15;
export const FUSE_PARALLEL_DIROPS = 1 << 18;
export const FUSE_ABORT_ERROR = 1 << 21;
export const FUSE_MAX_PAGES = 1 << 22;
export const FUSE_INIT_EXT = 1 << 30;
export const FUSE2_DIRECT_IO_ALLOW_MMAP = 1 << (36 - 32);
export const FUSE2_HAS_RESEND = 1 << (39 - 32);
export const FUSE2_OVER_IO_URING = 1 << (41 - 32);

const WANTED_FLAGS =
  FUSE_ASYNC_READ |
  FUSE_BIG_WRITES |
  FUSE_DO_READDIRPLUS |
  FUSE_READDIRPLUS_AUTO |
  FUSE_ASYNC_DIO |
  FUSE_PARALLEL_DIROPS |
  FUSE_ABORT_ERROR |
  FUSE_MAX_PAGES |
  FUSE_INIT_EXT;
const WANTED_FLAGS2 = FUSE2_DIRECT_IO_ALLOW_MMAP | FUSE2_HAS_RESEND;

const PAGE_BYTES = 4096;
const MAX_PAGES = 256;
/** What a kernel without FUSE_MAX_PAGES (before 4.20) allows. */
const MAX_PAGES_DEFAULT = 32;
const MAX_BACKGROUND = 128;
const CONGESTION_THRESHOLD = 96;

/** What was agreed. Structured-cloneable. */
export interface NegotiatedSession {
  readonly major: number;
  readonly minor: number;
  /** Bits taken, of those offered. */
  readonly flags: number;
  readonly flags2: number;
  /** Most bytes of one READ or WRITE. */
  readonly maxWriteBytes: number;
  readonly maxPages: number;
  readonly maxReadaheadBytes: number;
  readonly maxBackground: number;
  readonly congestionThreshold: number;
  /** Whether `requestResend` works: since Linux 6.9, and not for requests that came through rings. */
  readonly canResend: boolean;
  /** Whether requests come through rings (io-uring-transport.ts). */
  readonly overIoUring: boolean;
  /** Whether files opened with FOPEN_DIRECT_IO can be mapped shared (Linux 6.6). */
  readonly canMapDirect: boolean;
}

/**
 * Decides the answer to an INIT request.
 * @param request the whole request, in header included
 * @param wantsIoUring take requests through rings, if the kernel offers that
 * Throws PcacheError `io` if it is no INIT or cut short, `unsupported` if the kernel's protocol is too old.
 */
export function decideInit(request: Uint8Array, wantsIoUring = false): NegotiatedSession {
  const view = new DataView(request.buffer, request.byteOffset, request.byteLength);
  const body = IN_HEADER.bytes;
  if (request.length < body + INIT_IN.bytes || view.getUint32(IN_HEADER.len, true) !== request.length) {
    throw new PcacheError('io', `FUSE INIT: ${request.length} bytes are no INIT request`);
  }
  const major = view.getUint32(body + INIT_IN.major, true);
  const minor = view.getUint32(body + INIT_IN.minor, true);
  if (major !== PROTOCOL_MAJOR || minor < PROTOCOL_MINOR_MIN) {
    throw new PcacheError('unsupported', `FUSE INIT: the kernel speaks protocol ${major}.${minor}, not 7.${PROTOCOL_MINOR_MIN} or later`);
  }
  const offered = view.getUint32(body + INIT_IN.flags, true);
  const hasFlags2 = (offered & FUSE_INIT_EXT) !== 0 && request.length >= body + INIT_IN.flags2 + 4;
  const offered2 = hasFlags2 ? view.getUint32(body + INIT_IN.flags2, true) : 0;
  const flags = offered & WANTED_FLAGS & (hasFlags2 ? -1 : ~FUSE_INIT_EXT);
  const flags2 = offered2 & (wantsIoUring ? WANTED_FLAGS2 | FUSE2_OVER_IO_URING : WANTED_FLAGS2);
  const maxPages = (flags & FUSE_MAX_PAGES) !== 0 ? MAX_PAGES : MAX_PAGES_DEFAULT;
  return {
    major: PROTOCOL_MAJOR,
    minor: Math.min(minor, PROTOCOL_MINOR),
    flags,
    flags2,
    maxWriteBytes: maxPages * PAGE_BYTES,
    maxPages,
    maxReadaheadBytes: view.getUint32(body + INIT_IN.maxReadahead, true),
    maxBackground: MAX_BACKGROUND,
    congestionThreshold: CONGESTION_THRESHOLD,
    canResend: (flags2 & FUSE2_HAS_RESEND) !== 0 && (flags2 & FUSE2_OVER_IO_URING) === 0,
    overIoUring: (flags2 & FUSE2_OVER_IO_URING) !== 0,
    canMapDirect: (flags2 & FUSE2_DIRECT_IO_ALLOW_MMAP) !== 0,
  };
}

/** The answer to the INIT request that `session` was decided from, out header included. */
export function encodeInitAnswer(request: Uint8Array, session: NegotiatedSession): Uint8Array {
  const answer = encodeInitHeader(request, OUT_HEADER.bytes + INIT_OUT.bytes, 0);
  const view = new DataView(answer.buffer, OUT_HEADER.bytes);
  view.setUint32(INIT_OUT.major, session.major, true);
  view.setUint32(INIT_OUT.minor, session.minor, true);
  view.setUint32(INIT_OUT.maxReadahead, session.maxReadaheadBytes, true);
  view.setUint32(INIT_OUT.flags, session.flags, true);
  view.setUint16(INIT_OUT.maxBackground, session.maxBackground, true);
  view.setUint16(INIT_OUT.congestionThreshold, session.congestionThreshold, true);
  view.setUint32(INIT_OUT.maxWrite, session.maxWriteBytes, true);
  view.setUint32(INIT_OUT.timeGran, 1, true);
  view.setUint16(INIT_OUT.maxPages, session.maxPages, true);
  view.setUint32(INIT_OUT.flags2, session.flags2, true);
  return answer;
}

/** The answer to an INIT request that can't be accepted; the kernel then fails every use of the mount. */
export function encodeInitRefusal(request: Uint8Array): Uint8Array {
  return encodeInitHeader(request, OUT_HEADER.bytes, -errno.EPROTO);
}

function encodeInitHeader(request: Uint8Array, lengthBytes: number, error: number): Uint8Array<ArrayBuffer> {
  const answer = new Uint8Array(lengthBytes);
  const view = new DataView(answer.buffer);
  view.setUint32(OUT_HEADER.len, lengthBytes, true);
  view.setInt32(OUT_HEADER.error, error, true);
  answer.set(request.subarray(IN_HEADER.unique, IN_HEADER.unique + 8), OUT_HEADER.unique);
  return answer;
}
