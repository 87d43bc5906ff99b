// A file system as the handlers that fuse-native calls: paths instead of node ids, results instead of bytes. Invariants:
// - READ, WRITE and FSYNC go through request slots, composed as the kernel would have sent them, so that a slot can be handed on; the
//   answer comes back through the slot (LOCAL_FD). A bridge is the only one that takes its slots, so a slot that was given back
//   before its answer was collected is collected when it is taken again.
// - Data is copied: from the slot to libfuse's buffer and back.
// - Every handler calls back exactly once; nothing it calls blocks.

import { errno } from '../device/errno-codes.js';
import { PcacheError } from '../errors.js';
import { PENDING, type FileSystem } from './file-system.js';
import type { LibfuseHandlers, LibfuseStat } from './libfuse-library.js';
import { NAME_BYTES_MAX } from './opcodes.js';
import { ReplyBuilder, REPLY_BYTES_MAX } from './reply.js';
import type { RequestTimer } from './request-timer.js';
import { LOCAL_FD, type RequestSlot, type RequestSlots } from './request-slots.js';
import {
  ATTR,
  ATTR_OUT,
  DIRENT,
  ENTRY_OUT,
  FATTR_SIZE,
  FSYNC_IN,
  IN_HEADER,
  OPEN_OUT,
  READ_IN,
  ROOT_NODEID,
  STATFS_OUT,
} from './structs.js';

/** Largest READ and WRITE of libfuse 2.9; what the slots must hold. */
export const LIBFUSE_MAX_WRITE_BYTES = 131_072;
const OPCODE_READ = 15;
const OPCODE_WRITE = 16;
const OPCODE_FSYNC = 20;
const LISTING_BYTES = 65_536;
const TWO_32 = 4294967296;

export interface BridgeOptions {
  readonly fileSystem: FileSystem;
  /** Of LIBFUSE_MAX_WRITE_BYTES or more; used by nobody else. */
  readonly slots: RequestSlots;
  /** Who times the requests, if anybody does. */
  readonly timer?: RequestTimer;
  /** A file system threw; the request got EIO. */
  readonly onError: (operation: string, error: unknown) => void;
}

/** A data request that was not answered at once. */
interface Outstanding {
  readonly slot: RequestSlot;
  readonly finish: (result: number) => void;
}

export class LibfuseBridge {
  readonly #fileSystem: FileSystem;
  readonly #slots: RequestSlots;
  readonly #timer: RequestTimer | undefined;
  readonly #onError: BridgeOptions['onError'];
  readonly #replyBytes = new Uint8Array(REPLY_BYTES_MAX);
  readonly #replyView = new DataView(this.#replyBytes.buffer);
  readonly #listing = new Uint8Array(LISTING_BYTES);
  readonly #reply = new ReplyBuilder(this.#replyBytes, this.#listing);
  readonly #caller = { uid: process.getuid!(), gid: process.getgid!(), pid: 0 };
  readonly #outstanding = new Map<number, Outstanding>();
  /** Requests that found no slot, oldest first. */
  readonly #waiting: (() => void)[] = [];

  constructor({ fileSystem, slots, timer, onError }: BridgeOptions) {
    if (slots.handle.maxWriteBytes < LIBFUSE_MAX_WRITE_BYTES)
      throw new PcacheError('usage', 'transport libfuse: the request slots are too small');
    this.#fileSystem = fileSystem;
    this.#slots = slots;
    this.#timer = timer;
    this.#onError = onError;
  }

  handlers(): LibfuseHandlers {
    const fileSystem = this.#fileSystem;
    const reply = this.#reply;
    const refused = (...values: unknown[]): void => (values.at(-1) as (error: number) => void)(-errno.EPERM);
    const setSize = (path: string, sizeBytes: number): number => {
      const change = { valid: FATTR_SIZE, sizeBytes, mode: 0, uid: 0, gid: 0 };
      return Math.min(
        0,
        this.#onNode('SETATTR', path, (nodeid) => fileSystem.setattr(nodeid, change, reply)),
      );
    };
    return {
      getattr: (path, done) => {
        const result = this.#onNode('GETATTR', path, (nodeid) => fileSystem.getattr(nodeid, reply));
        if (result < 0) done(result);
        else done(0, this.#stat(ATTR_OUT.attr));
      },
      readdir: (path, done) => {
        reply.beginListing(LISTING_BYTES, false);
        const result = this.#onNode('READDIR', path, (nodeid) => fileSystem.readdir(nodeid, 0, 0, reply));
        if (result < 0) done(result);
        else done(0, this.#names(reply.endListing()));
      },
      statfs: (path, done) => {
        const result = this.#onNode('STATFS', path, (nodeid) => fileSystem.statfs(nodeid, reply));
        if (result < 0) done(result);
        else done(0, this.#figures());
      },
      open: (path, flags, done) => {
        const result = this.#onNode('OPEN', path, (nodeid) => fileSystem.open(nodeid, flags, reply, this.#caller));
        if (result < 0) done(result);
        else done(0, this.#u64(OPEN_OUT.fh));
      },
      opendir: (path, flags, done) => {
        const result = this.#onNode('OPENDIR', path, (nodeid) => fileSystem.opendir(nodeid, flags, reply));
        if (result < 0) done(result);
        else done(0, this.#u64(OPEN_OUT.fh));
      },
      release: (path, fh, done) => done(this.#onNode('RELEASE', path, (nodeid) => fileSystem.release(nodeid, fh))),
      releasedir: (path, fh, done) => done(this.#onNode('RELEASEDIR', path, (nodeid) => fileSystem.releasedir(nodeid, fh))),
      read: (path, fh, target, length, offset, done) => this.#dataRequest(OPCODE_READ, path, fh, offset, length, target, done),
      write: (path, fh, source, length, offset, done) => this.#dataRequest(OPCODE_WRITE, path, fh, offset, length, source, done),
      fsync: (path, dataOnly, fh, done) => this.#dataRequest(OPCODE_FSYNC, path, fh, 0, dataOnly, undefined, done),
      truncate: (path, size, done) => done(setSize(path, size)),
      ftruncate: (path, _fh, size, done) => done(setSize(path, size)),
      chmod: refused,
      chown: refused,
      utimens: refused,
      mknod: refused,
      mkdir: refused,
      create: refused,
      symlink: refused,
      link: refused,
      rename: refused,
      unlink: refused,
      rmdir: refused,
    };
  }

  /** Looks a path up and has the file system answer. @returns what `use` returns, or -errno */
  #onNode(operation: string, path: string, use: (nodeid: number) => number): number {
    try {
      const nodeid = this.#nodeidOf(path);
      return nodeid < 0 ? nodeid : use(nodeid);
    } catch (error) {
      this.#onError(operation, error);
      return -errno.EIO;
    }
  }

  /** libfuse names files by path. @returns the node id or -errno */
  #nodeidOf(path: string): number {
    let nodeid = ROOT_NODEID;
    for (const name of path.split('/')) {
      if (name === '') continue;
      if (Buffer.byteLength(name) > NAME_BYTES_MAX) return -errno.ENAMETOOLONG;
      const result = this.#fileSystem.lookup(nodeid, name, this.#reply, this.#caller);
      if (result < 0) return result;
      nodeid = this.#u64(ENTRY_OUT.nodeid);
    }
    return nodeid;
  }

  #dataRequest(
    opcode: number,
    path: string,
    fh: number,
    offset: number,
    length: number,
    memory: Buffer | undefined,
    done: (result: number) => void,
  ): void {
    const nodeid = this.#onNode('LOOKUP', path, (found) => found);
    if (nodeid < 0) {
      done(nodeid);
      return;
    }
    const slot = this.#takeSlot();
    if (slot === undefined) {
      this.#waiting.push(() => this.#dataRequest(opcode, path, fh, offset, length, memory, done));
      return;
    }
    compose(slot, opcode, nodeid, fh, offset, length);
    if (opcode === OPCODE_WRITE) slot.payload.set(memory!.subarray(0, length));
    const finish = (result: number): void => {
      if (opcode === OPCODE_READ && result > 0) memory!.set(slot.payload.subarray(0, result));
      done(result);
    };
    this.#carryOut(slot, finish);
  }

  #carryOut(slot: RequestSlot, finish: (result: number) => void): void {
    this.#timer?.arrive();
    let result = slot.receive(LOCAL_FD, slot.request.words[slot.request.startBytes >>> 2]!);
    slot.expectAnswer();
    // Entered first: the answer may be there before the handler has returned.
    this.#outstanding.set(slot.index, { slot, finish });
    const row = slot.row;
    if (row !== undefined) {
      try {
        result = row.handle(this.#fileSystem, slot);
      } catch (error) {
        this.#onError(row.name, error);
        result = -errno.EIO;
      }
    }
    if (result === PENDING) {
      void this.#collectLater(slot);
      return;
    }
    slot.leaveAnswer(result);
    this.#timer?.answered(slot);
    if (slot.wantsAfterReply) this.#fileSystem.afterReply(slot);
    this.#collect(slot.index);
    this.#slots.give(slot);
    this.#waiting.shift()?.();
  }

  async #collectLater(slot: RequestSlot): Promise<void> {
    const mine = this.#outstanding.get(slot.index);
    await slot.answerLeft();
    // Collected already if the slot was taken again in between.
    if (this.#outstanding.get(slot.index) === mine) this.#collect(slot.index);
    this.#waiting.shift()?.();
  }

  /** Passes an answer that is there to libfuse, once. */
  #collect(index: number): void {
    const outstanding = this.#outstanding.get(index);
    if (outstanding === undefined) return;
    const result = outstanding.slot.answerIfLeft;
    if (result === undefined) throw new PcacheError('internal', `request slot ${index}: given back without an answer`);
    this.#outstanding.delete(index);
    outstanding.finish(result);
  }

  #takeSlot(): RequestSlot | undefined {
    const slot = this.#slots.take(0);
    if (slot !== undefined) this.#collect(slot.index);
    return slot;
  }

  #u32(offset: number): number {
    return this.#replyView.getUint32(offset, true);
  }
  #u64(offset: number): number {
    return this.#u32(offset) + this.#u32(offset + 4) * TWO_32;
  }

  #stat(at: number): LibfuseStat {
    const timeMs = (seconds: number, nanoseconds: number): number =>
      this.#u64(at + seconds) * 1000 + Math.floor(this.#u32(at + nanoseconds) / 1e6);
    return {
      mode: this.#u32(at + ATTR.mode),
      uid: this.#u32(at + ATTR.uid),
      gid: this.#u32(at + ATTR.gid),
      size: this.#u64(at + ATTR.size),
      nlink: this.#u32(at + ATTR.nlink),
      blksize: this.#u32(at + ATTR.blksize),
      blocks: this.#u64(at + ATTR.blocks),
      atime: timeMs(ATTR.atime, ATTR.atimensec),
      mtime: timeMs(ATTR.mtime, ATTR.mtimensec),
      ctime: timeMs(ATTR.ctime, ATTR.ctimensec),
    };
  }

  /** fuse-native has 32 bits for a number of blocks; larger blocks make fewer of them. */
  #figures(): Record<string, number> {
    let bsize = this.#u32(STATFS_OUT.bsize);
    let blocks = this.#u64(STATFS_OUT.blocks);
    let bfree = this.#u64(STATFS_OUT.bfree);
    while (blocks >= TWO_32) {
      bsize *= 2;
      blocks = Math.floor(blocks / 2);
      bfree = Math.floor(bfree / 2);
    }
    const files = this.#u64(STATFS_OUT.files);
    return { bsize, frsize: bsize, blocks, bfree, bavail: bfree, files, ffree: 0, favail: 0, namemax: this.#u32(STATFS_OUT.namelen) };
  }

  #names(listingBytes: number): string[] {
    const listing = Buffer.from(this.#listing.buffer, 0, listingBytes);
    const names: string[] = [];
    for (let at = 0; at < listingBytes;) {
      const end = at + DIRENT.bytes + listing.readUInt32LE(at + DIRENT.namelen);
      names.push(listing.toString('utf8', at + DIRENT.bytes, end));
      at = (end + 7) & ~7;
    }
    return names;
  }
}

/** Writes the request into the slot as the kernel would have: READ and WRITE have fields in the same places, FSYNC has its flags in `length`. */
function compose(slot: RequestSlot, opcode: number, nodeid: number, fh: number, offset: number, length: number): void {
  const { words, startBytes } = slot.request;
  const header = startBytes >>> 2;
  const body = header + IN_HEADER.bytes / 4;
  const structureBytes = opcode === OPCODE_FSYNC ? FSYNC_IN.bytes : READ_IN.bytes;
  words.fill(0, header, body + structureBytes / 4);
  words[header] = IN_HEADER.bytes + structureBytes + (opcode === OPCODE_WRITE ? length : 0);
  words[header + 1] = opcode;
  // Not 0, which would mean that nobody waits for an answer.
  words[header + 2] = 1;
  setU64(words, header + IN_HEADER.nodeid / 4, nodeid);
  setU64(words, body + READ_IN.fh / 4, fh);
  if (opcode === OPCODE_FSYNC) {
    words[body + FSYNC_IN.fsyncFlags / 4] = length;
    return;
  }
  setU64(words, body + READ_IN.offset / 4, offset);
  words[body + READ_IN.size / 4] = length;
}

function setU64(words: Uint32Array, index: number, value: number): void {
  words[index] = value;
  words[index + 1] = value / TWO_32;
}
