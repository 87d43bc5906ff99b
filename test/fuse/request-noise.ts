// FUSE requests as no kernel would send them, and what a decoder and a file system are held to about each: a result or an errno, within their bounds,
// and no other slot's memory changed.

import fc from 'fast-check';
import { NO_REPLY, type FileSystem } from '../../src/fuse/file-system.js';
import { opcodeRows, type OpcodeRow } from '../../src/fuse/opcodes.js';
import { REPLY_BYTES_MAX } from '../../src/fuse/reply.js';
import { createRequestSlots, LOCAL_FD, RequestSlots, type RequestSlot } from '../../src/fuse/request-slots.js';
import type { FuseRequest } from '../../src/fuse/request.js';
import { IN_HEADER, WRITE_IN } from '../../src/fuse/structs.js';

export const MAX_WRITE_BYTES = 256 * 1024;
const TWO_64 = 2 ** 64;
export const extremes32: readonly number[] = [0, 1, 0x7fffffff, 0x80000000, 0xffffffff];
export const extremes64: readonly bigint[] = [
  0n,
  1n,
  2n ** 31n,
  2n ** 32n - 1n,
  2n ** 32n,
  2n ** 53n,
  2n ** 63n - 1n,
  2n ** 63n,
  2n ** 64n - 1n,
];

/** Three slots; the middle one is used, the others are full of what must stay. */
export class GuardedSlots {
  readonly slots: RequestSlots;
  readonly slot: RequestSlot;
  readonly #guards: readonly RequestSlot[];

  constructor(handle = createRequestSlots(MAX_WRITE_BYTES, 3)) {
    this.slots = new RequestSlots(handle);
    const [before, slot, after] = [this.slots.take(0)!, this.slots.take(0)!, this.slots.take(0)!];
    this.slot = slot;
    this.#guards = [before, after];
    for (const guard of this.#guards) guard.payload.fill(0xa5);
    if (before.index !== 0 || slot.index !== 1 || after.index !== 2) throw new Error('the slots are not in order');
  }

  /** Puts a request into the slot as a read of /dev/fuse would, and decodes it. */
  receive(bytes: Uint8Array): number {
    const { request } = this.slot;
    request.bytes.set(bytes, request.startBytes);
    return this.slot.receive(LOCAL_FD, bytes.length);
  }

  requireGuards(): void {
    for (const { payload, index } of this.#guards) {
      if (payload.some((byte) => byte !== 0xa5)) throw new Error(`slot ${index} was written to`);
    }
  }
}

interface RequestParts {
  readonly opcode: number;
  readonly nodeid?: bigint;
  readonly structureBytes: number;
  /** Fields of the structure: offset, value; u64 if it is a bigint. */
  readonly fields?: readonly (readonly [number, number | bigint])[];
  readonly payload?: Uint8Array;
}

export function requestOf({ opcode, nodeid = 2n, structureBytes, fields = [], payload = new Uint8Array(0) }: RequestParts): Buffer {
  const bytes = Buffer.alloc(IN_HEADER.bytes + structureBytes + payload.length);
  bytes.writeUInt32LE(bytes.length, IN_HEADER.len);
  bytes.writeUInt32LE(opcode, IN_HEADER.opcode);
  bytes.writeBigUInt64LE(4n, IN_HEADER.unique);
  bytes.writeBigUInt64LE(nodeid, IN_HEADER.nodeid);
  for (const [offset, value] of fields) {
    if (typeof value === 'bigint') bytes.writeBigUInt64LE(value, IN_HEADER.bytes + offset);
    else bytes.writeUInt32LE(value, IN_HEADER.bytes + offset);
  }
  bytes.set(payload, IN_HEADER.bytes + structureBytes);
  return bytes;
}

export const rowNamed = (name: string): OpcodeRow => opcodeRows.find((row) => row.name === name)!;

/** A request of each row that is well-formed. */
export function validRequest(row: OpcodeRow): Buffer {
  const payload = row.name === 'WRITE' ? Buffer.from('abc') : Buffer.from('volume.img\0'.repeat(row.names));
  const { opcode, structureBytes } = row;
  return requestOf({ opcode, structureBytes, payload, fields: row.name === 'WRITE' ? [[WRITE_IN.size, 3]] : [] });
}

function requireNumbers(what: string, ...values: number[]): void {
  for (const value of values) {
    if (!(Number.isInteger(value) && value >= 0 && value <= TWO_64)) throw new RangeError(`${what}: ${value}`);
  }
}

/** Throws for arguments that it could not work with, and answers as generously as it may. */
export class CheckingFileSystem implements FileSystem {
  calls = 0;

  #check(what: string, ...values: number[]): void {
    this.calls++;
    requireNumbers(what, ...values);
  }
  lookup(...[parent, name, reply, caller]: Parameters<FileSystem['lookup']>): number {
    this.#check('LOOKUP', parent, caller.uid, caller.gid, caller.pid);
    if (name === '' || name.includes('\0') || name.length > 255) throw new RangeError(`LOOKUP: '${name}'`);
    return reply.sought(0);
  }
  getattr(...[nodeid, reply]: Parameters<FileSystem['getattr']>): number {
    this.#check('GETATTR', nodeid);
    return reply.sought(0);
  }
  setattr(...[nodeid, { valid, sizeBytes, mode, uid, gid }, reply]: Parameters<FileSystem['setattr']>): number {
    this.#check('SETATTR', nodeid, valid, sizeBytes, mode, uid, gid);
    return reply.sought(0);
  }
  open(...[nodeid, flags, reply, caller]: Parameters<FileSystem['open']>): number {
    this.#check('OPEN', nodeid, flags, caller.uid);
    return reply.opened(0, 0);
  }
  release(nodeid: number, fh: number): number {
    this.#check('RELEASE', nodeid, fh);
    return 0;
  }
  opendir(...[nodeid, flags, reply]: Parameters<FileSystem['opendir']>): number {
    this.#check('OPENDIR', nodeid, flags);
    return reply.opened(0, 0);
  }
  readdir(...[nodeid, fh, offset, reply]: Parameters<FileSystem['readdir']>): number {
    this.#check('READDIR', nodeid, fh, offset);
    const attributes = { nodeid: 2, sizeBytes: 0, mode: 0o100644, linkCount: 1, uid: 0, gid: 0, storageBytes: 0, blockSizeBytes: 512 };
    while (reply.addEntry('n'.repeat(255), { ...attributes, atimeMs: 0, mtimeMs: 0, ctimeMs: 0 }, 1, 1));
    return 0;
  }
  releasedir(nodeid: number, fh: number): number {
    this.#check('RELEASEDIR', nodeid, fh);
    return 0;
  }
  statfs(...[nodeid, reply]: Parameters<FileSystem['statfs']>): number {
    this.#check('STATFS', nodeid);
    return reply.statfs({ blockSizeBytes: 512, blocks: 1, freeBlocks: 1, files: 1, nameBytesMax: 255 });
  }
  lseek(...[nodeid, fh, offsetBytes, whence, reply]: Parameters<FileSystem['lseek']>): number {
    this.#check('LSEEK', nodeid, fh, offsetBytes, whence);
    return reply.sought(offsetBytes);
  }
  read(request: FuseRequest, slot: RequestSlot): number {
    this.#check('READ', request.nodeid, request.fh, request.offsetBytes);
    if (!(request.sizeBytes >= 0 && request.sizeBytes <= slot.payload.length)) throw new RangeError(`READ of ${request.sizeBytes}`);
    slot.payload.fill(0x5a, 0, request.sizeBytes);
    slot.iovec.add(slot.payloadAddress, request.sizeBytes);
    return request.sizeBytes;
  }
  write(request: FuseRequest, slot: RequestSlot): number {
    this.#check('WRITE', request.nodeid, request.fh, request.offsetBytes);
    if (request.sizeBytes !== request.payloadBytes || request.sizeBytes > slot.payload.length) throw new RangeError('WRITE');
    return request.sizeBytes;
  }
  fsync(request: FuseRequest): number {
    this.#check('FSYNC', request.nodeid, request.fh, request.flags);
    return 0;
  }
  fallocate(request: FuseRequest): number {
    this.#check('FALLOCATE', request.nodeid, request.fh, request.offsetBytes, request.sizeBytes, request.mode);
    return 0;
  }
  beforeReply(): void {
    this.calls++;
  }
  afterReply(): void {
    this.calls++;
  }
}

/** Serves one request as a queue worker would; throws if what comes out could not be sent. Returns the result, or the errno it was refused with. */
export function serveChecked(guarded: GuardedSlots, files: FileSystem, bytes: Uint8Array): number {
  const { slot } = guarded;
  const error = guarded.receive(bytes);
  if (error !== 0) {
    if (!(error < 0 && error > -512) || slot.row !== undefined) throw new Error(`refused with ${error}`);
    return error;
  }
  const { row } = slot;
  if (row === undefined) throw new Error('accepted without a row');
  const result = row.handle(files, slot);
  if (result === NO_REPLY) return result;
  if (result < 0) {
    if (result <= -512) throw new Error(`${row.name}: result ${result}`);
    return result;
  }
  const small = row.conclude(slot, result);
  if (!(Number.isInteger(small) && small > -512 && small <= REPLY_BYTES_MAX)) throw new Error(`${row.name}: an answer of ${small} bytes`);
  if (slot.iovec.dataBytes > Math.min(slot.request.sizeBytes, MAX_WRITE_BYTES)) throw new Error(`${row.name}: more than was asked for`);
  return result;
}

/** A request of any row with anything in it, or anything behind its beginning. */
export const requestNoise: fc.Arbitrary<Buffer> = fc
  .record({
    row: fc.constantFrom(...opcodeRows),
    body: fc.uint8Array({ maxLength: 400 }),
    keep: fc.integer({ min: IN_HEADER.opcode, max: 120 }),
    isHonest: fc.boolean(),
  })
  .map(({ row, body, keep, isHonest }) => {
    const bytes = Buffer.concat([validRequest(row).subarray(0, keep), body]);
    if (isHonest) bytes.writeUInt32LE(bytes.length, IN_HEADER.len);
    return bytes;
  });
