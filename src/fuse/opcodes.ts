// One row per operation of the protocol: number, name, what its request must look like, who answers it. Invariants: a row's `decode` reads
// only the operation's structure, whose presence was checked against `structureBytes`; a row's `handle` gets well-formed requests only; an
// operation without a row is answered with ENOSYS, which the kernel takes as "never ask again" and handles by itself where it can.

import { errno } from '../device/errno-codes.js';
import { NO_REPLY, type FileSystem } from './file-system.js';
import type { FuseRequest } from './request.js';
import type { RequestSlot } from './request-slots.js';
import { FALLOCATE_IN, FSYNC_IN, GETATTR_IN, LSEEK_IN, OPEN_IN, READ_IN, RELEASE_IN, SETATTR_IN, WRITE_IN } from './structs.js';

export interface OpcodeRow {
  readonly opcode: number;
  readonly name: string;
  /** Bytes of the operation's own structure, after the in header. */
  readonly structureBytes: number;
  /** NUL-terminated names after the structure. */
  readonly names: number;
  /** Reads or changes the file's bytes or makes them durable; only such requests may be PENDING. */
  readonly touchesData: boolean;
  /** Fills the request's number fields. @returns 0 or -errno */
  readonly decode: (request: FuseRequest) => number;
  /** @returns bytes of the answer (see `conclude`), -errno, PENDING or NO_REPLY */
  readonly handle: (fileSystem: FileSystem, slot: RequestSlot) => number;
  /**
   * Turns a result of 0 or more into the bytes of the small answer, at once or when a PENDING request is answered: 0 for an answer without
   * bytes or with data in `slot.iovec`; or -errno.
   */
  readonly conclude: (slot: RequestSlot, result: number) => number;
}

/** Longest name of a file, as statfs says. */
export const NAME_BYTES_MAX = 255;

const asItIs = (_slot: RequestSlot, result: number): number => result;
const empty = (): number => 0;
const noFields = (): number => 0;

/** A request for which the answer is always the same. */
function always(opcode: number, name: string, result: number): OpcodeRow {
  return { opcode, name, structureBytes: 0, names: 0, touchesData: false, decode: noFields, handle: () => result, conclude: empty };
}

/** The kernel itself refuses only names of more than 1024 bytes (4095 since Linux 6.17). */
function decodeLookup(request: FuseRequest): number {
  return request.payloadBytes > NAME_BYTES_MAX + 1 ? -errno.ENAMETOOLONG : 0;
}

function decodeRead(request: FuseRequest): number {
  request.fh = request.u64(READ_IN.fh);
  request.offsetBytes = request.u64(READ_IN.offset);
  request.sizeBytes = request.u32(READ_IN.size);
  request.flags = request.u32(READ_IN.flags);
  return request.sizeBytes > request.maxPayloadBytes ? -errno.EINVAL : 0;
}

function decodeWrite(request: FuseRequest): number {
  request.fh = request.u64(WRITE_IN.fh);
  request.offsetBytes = request.u64(WRITE_IN.offset);
  request.sizeBytes = request.u32(WRITE_IN.size);
  request.flags = request.u32(WRITE_IN.flags);
  return request.sizeBytes !== request.payloadBytes || request.sizeBytes > request.maxPayloadBytes ? -errno.EINVAL : 0;
}

function decodeFsync(request: FuseRequest): number {
  request.fh = request.u64(FSYNC_IN.fh);
  request.flags = request.u32(FSYNC_IN.fsyncFlags);
  return 0;
}

function decodeFallocate(request: FuseRequest): number {
  request.fh = request.u64(FALLOCATE_IN.fh);
  request.offsetBytes = request.u64(FALLOCATE_IN.offset);
  request.sizeBytes = request.u64(FALLOCATE_IN.length);
  request.mode = request.u32(FALLOCATE_IN.mode);
  return 0;
}

function decodeSetattr(request: FuseRequest): number {
  request.flags = request.u32(SETATTR_IN.valid);
  request.fh = request.u64(SETATTR_IN.fh);
  request.sizeBytes = request.u64(SETATTR_IN.size);
  request.mode = request.u32(SETATTR_IN.mode);
  return 0;
}

function decodeOpen(request: FuseRequest): number {
  request.flags = request.u32(OPEN_IN.flags);
  return 0;
}

function decodeRelease(request: FuseRequest): number {
  request.fh = request.u64(RELEASE_IN.fh);
  return 0;
}

function decodeLseek(request: FuseRequest): number {
  request.fh = request.u64(LSEEK_IN.fh);
  request.offsetBytes = request.u64(LSEEK_IN.offset);
  request.flags = request.u32(LSEEK_IN.whence);
  return 0;
}

function handleListing(fileSystem: FileSystem, { request, reply, iovec, payloadAddress }: RequestSlot, withAttributes: boolean): number {
  reply.beginListing(request.sizeBytes, withAttributes);
  const result = fileSystem.readdir(request.nodeid, request.fh, request.offsetBytes, reply);
  if (result < 0) return result;
  iovec.add(payloadAddress, reply.endListing());
  return 0;
}

/** The bytes that READ promised must be in the scatter list, or the reader would get others. */
function concludeRead({ iovec, request }: RequestSlot, result: number): number {
  return iovec.dataBytes === result && result <= request.sizeBytes ? 0 : -errno.EIO;
}

const rows: readonly OpcodeRow[] = [
  {
    opcode: 1,
    name: 'LOOKUP',
    structureBytes: 0,
    names: 1,
    touchesData: false,
    decode: decodeLookup,
    handle: (fileSystem, { request, reply }) => fileSystem.lookup(request.nodeid, request.name(), reply, request),
    conclude: asItIs,
  },
  always(2, 'FORGET', NO_REPLY),
  {
    opcode: 3,
    name: 'GETATTR',
    structureBytes: GETATTR_IN.bytes,
    names: 0,
    touchesData: false,
    decode: noFields,
    handle: (fileSystem, { request, reply }) => fileSystem.getattr(request.nodeid, reply),
    conclude: asItIs,
  },
  {
    opcode: 4,
    name: 'SETATTR',
    structureBytes: SETATTR_IN.bytes,
    names: 0,
    touchesData: false,
    decode: decodeSetattr,
    handle: (fileSystem, { request, reply }) =>
      fileSystem.setattr(
        request.nodeid,
        {
          valid: request.flags,
          sizeBytes: request.sizeBytes,
          mode: request.mode,
          uid: request.u32(SETATTR_IN.uid),
          gid: request.u32(SETATTR_IN.gid),
        },
        reply,
      ),
    conclude: asItIs,
  },
  always(5, 'READLINK', -errno.EINVAL),
  always(6, 'SYMLINK', -errno.EPERM),
  always(8, 'MKNOD', -errno.EPERM),
  always(9, 'MKDIR', -errno.EPERM),
  always(10, 'UNLINK', -errno.EPERM),
  always(11, 'RMDIR', -errno.EPERM),
  always(12, 'RENAME', -errno.EPERM),
  always(13, 'LINK', -errno.EPERM),
  {
    opcode: 14,
    name: 'OPEN',
    structureBytes: OPEN_IN.bytes,
    names: 0,
    touchesData: false,
    decode: decodeOpen,
    handle: (fileSystem, { request, reply }) => fileSystem.open(request.nodeid, request.flags, reply, request),
    conclude: asItIs,
  },
  {
    opcode: 15,
    name: 'READ',
    structureBytes: READ_IN.bytes,
    names: 0,
    touchesData: true,
    decode: decodeRead,
    handle: (fileSystem, slot) => fileSystem.read(slot.request, slot),
    conclude: concludeRead,
  },
  {
    opcode: 16,
    name: 'WRITE',
    structureBytes: WRITE_IN.bytes,
    names: 0,
    touchesData: true,
    decode: decodeWrite,
    handle: (fileSystem, slot) => fileSystem.write(slot.request, slot),
    conclude: (slot, result) => slot.reply.written(result),
  },
  {
    opcode: 17,
    name: 'STATFS',
    structureBytes: 0,
    names: 0,
    touchesData: false,
    decode: noFields,
    handle: (fileSystem, { request, reply }) => fileSystem.statfs(request.nodeid, reply),
    conclude: asItIs,
  },
  {
    opcode: 18,
    name: 'RELEASE',
    structureBytes: RELEASE_IN.bytes,
    names: 0,
    touchesData: false,
    decode: decodeRelease,
    handle: (fileSystem, { request }) => fileSystem.release(request.nodeid, request.fh),
    conclude: empty,
  },
  {
    opcode: 20,
    name: 'FSYNC',
    structureBytes: FSYNC_IN.bytes,
    names: 0,
    touchesData: true,
    decode: decodeFsync,
    handle: (fileSystem, slot) => fileSystem.fsync(slot.request, slot),
    conclude: empty,
  },
  {
    opcode: 27,
    name: 'OPENDIR',
    structureBytes: OPEN_IN.bytes,
    names: 0,
    touchesData: false,
    decode: decodeOpen,
    handle: (fileSystem, { request, reply }) => fileSystem.opendir(request.nodeid, request.flags, reply),
    conclude: asItIs,
  },
  {
    opcode: 28,
    name: 'READDIR',
    structureBytes: READ_IN.bytes,
    names: 0,
    touchesData: false,
    decode: decodeRead,
    handle: (fileSystem, slot) => handleListing(fileSystem, slot, false),
    conclude: empty,
  },
  {
    opcode: 29,
    name: 'RELEASEDIR',
    structureBytes: RELEASE_IN.bytes,
    names: 0,
    touchesData: false,
    decode: decodeRelease,
    handle: (fileSystem, { request }) => fileSystem.releasedir(request.nodeid, request.fh),
    conclude: empty,
  },
  always(35, 'CREATE', -errno.EPERM),
  // Answers to requests take no time that waiting for an interruption would shorten; and ENOSYS is not for the kernel to remember here.
  always(36, 'INTERRUPT', NO_REPLY),
  always(38, 'DESTROY', 0),
  always(39, 'IOCTL', -errno.ENOTTY),
  // What `wakeQueues` asks the kernel to send; it has done its work by arriving.
  always(41, 'NOTIFY_REPLY', NO_REPLY),
  always(42, 'BATCH_FORGET', NO_REPLY),
  {
    opcode: 43,
    name: 'FALLOCATE',
    structureBytes: FALLOCATE_IN.bytes,
    names: 0,
    touchesData: true,
    decode: decodeFallocate,
    handle: (fileSystem, slot) => fileSystem.fallocate(slot.request, slot),
    conclude: empty,
  },
  {
    opcode: 44,
    name: 'READDIRPLUS',
    structureBytes: READ_IN.bytes,
    names: 0,
    touchesData: false,
    decode: decodeRead,
    handle: (fileSystem, slot) => handleListing(fileSystem, slot, true),
    conclude: empty,
  },
  always(45, 'RENAME2', -errno.EPERM),
  {
    opcode: 46,
    name: 'LSEEK',
    structureBytes: LSEEK_IN.bytes,
    names: 0,
    touchesData: false,
    decode: decodeLseek,
    handle: (fileSystem, { request, reply }) => fileSystem.lseek(request.nodeid, request.fh, request.offsetBytes, request.flags, reply),
    conclude: asItIs,
  },
  always(51, 'TMPFILE', -errno.EPERM),
];

const rowOfOpcode: (OpcodeRow | undefined)[] = [];
for (const row of rows) {
  while (rowOfOpcode.length <= row.opcode) rowOfOpcode.push(undefined);
  rowOfOpcode[row.opcode] = row;
}

/** All operations that have an answer of their own, in the order of their numbers. */
export const opcodeRows = rows;

/** What of a slot decoding fills. */
export interface DecodedSlot {
  readonly request: FuseRequest;
  row: OpcodeRow | undefined;
}

/**
 * Decodes a request of `lengthBytes` and finds its row.
 * @returns 0; or -errno to answer with: EIO for less than a header (`unique` is 0 then: there is nobody to answer), EINVAL for a request that
 * isn't what its operation needs, ENOSYS for an operation without a row
 */
export function decodeRequest(slot: DecodedSlot, lengthBytes: number): number {
  const request = slot.request;
  slot.row = undefined;
  const headerError = request.decodeHeader(lengthBytes);
  if (headerError !== 0) return headerError;
  const opcode = request.opcode;
  const row = opcode < rowOfOpcode.length ? rowOfOpcode[opcode] : undefined;
  if (row === undefined) return -errno.ENOSYS;
  if (request.splitBody(row.structureBytes) !== 0) return -errno.EINVAL;
  if (row.names !== 0 && !request.hasNames(row.names)) return -errno.EINVAL;
  const error = row.decode(request);
  if (error !== 0) return error;
  slot.row = row;
  return 0;
}
