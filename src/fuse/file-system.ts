// What a transport asks of a file system. The gateway implements it for the volume; the tests implement it in memory.
//
// Invariants: a file system has a fixed set of names (creating, renaming and removing are refused by the protocol layer with EPERM, see
// opcodes.ts); every method returns at once or blocks only its own queue worker; it returns a byte count or size of the answer (0 or more),
// or a negative errno, or PENDING. Several queue workers call the same methods at the same time, each on its own object in its own thread.

import type { FuseRequest } from './request.js';
import type { ReplyBuilder } from './reply.js';
import type { RequestSlot } from './request-slots.js';

/**
 * The slot was handed to another thread, which calls `RequestSlots.answer(slot, result)` and then gives the slot back. It may do so
 * before the method that returns PENDING has returned, so that method must not touch the slot after handing it over.
 */
export const PENDING = -100_000;
/** Requests that are never answered (FORGET, INTERRUPT). */
export const NO_REPLY = -100_001;

/** SETATTR: `valid` (FATTR_*) says which fields are to be set. */
export interface AttributeChange {
  valid: number;
  sizeBytes: number;
  mode: number;
  uid: number;
  gid: number;
}

/** Who asks; for requests whose answer depends on it. */
export interface Caller {
  readonly uid: number;
  readonly gid: number;
  readonly pid: number;
}

export interface FileSystem {
  /** Answers with `reply.entry`, or -ENOENT. */
  lookup(parent: number, name: string, reply: ReplyBuilder, caller: Caller): number;
  /** Answers with `reply.attributes`. */
  getattr(nodeid: number, reply: ReplyBuilder): number;
  /** Answers with `reply.attributes` as they are then. */
  setattr(nodeid: number, change: AttributeChange, reply: ReplyBuilder): number;
  /** Answers with `reply.opened`. `flags` are O_*; O_CREAT and O_TRUNC never arrive (the kernel asks for those by SETATTR and CREATE). */
  open(nodeid: number, flags: number, reply: ReplyBuilder, caller: Caller): number;
  /** The last user of a file handle is gone. Returns 0. */
  release(nodeid: number, fh: number): number;
  opendir(nodeid: number, flags: number, reply: ReplyBuilder): number;
  /** Adds entries after the cookie `offset` (0: the first) until `reply.addEntry` says no; the transport begins and ends the listing. Returns 0. */
  readdir(nodeid: number, fh: number, offset: number, reply: ReplyBuilder): number;
  releasedir(nodeid: number, fh: number): number;
  /** Answers with `reply.statfs`. */
  statfs(nodeid: number, reply: ReplyBuilder): number;
  /** SEEK_DATA (3) and SEEK_HOLE (4); answers with `reply.sought`. -ENOSYS: the kernel takes the whole file for data. */
  lseek(nodeid: number, fh: number, offsetBytes: number, whence: number, reply: ReplyBuilder): number;

  /**
   * Returns the bytes read: those added to `slot.iovec` in order, from any memory that stays until the answer is sent. `slot.payload` (at
   * `slot.payloadAddress`, page-aligned) is room to put together what lies nowhere. Fewer bytes than asked for means the end of the file.
   * A file system that has to let go of memory after the answer, or to make sure of it before, sets `slot.wantsAfterReply`.
   */
  read(request: FuseRequest, slot: RequestSlot): number;
  /** The bytes are in `slot.payload[0, request.sizeBytes)`. Returns the bytes written. */
  write(request: FuseRequest, slot: RequestSlot): number;
  /** Returns 0 when everything answered before is durable. */
  fsync(request: FuseRequest, slot: RequestSlot): number;
  /** Range `offsetBytes`, `sizeBytes`; `mode` are FALLOC_FL_*. Returns 0; -EOPNOTSUPP for modes it has not. */
  fallocate(request: FuseRequest, slot: RequestSlot): number;
  /** Called, if `slot.wantsAfterReply` was set, right before the kernel copies from the memory in `slot.iovec`; not where this process copies it. */
  beforeReply(slot: RequestSlot): void;
  /** Called once by the thread that answered, after the kernel has taken the answer, if `slot.wantsAfterReply` was set. */
  afterReply(slot: RequestSlot): void;
}
