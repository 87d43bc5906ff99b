// One file whose reads, writes and flushes go wrong as told: they fail with an errno, end short, take their time, or hang until they are let go. Mounted
// by fault-mount.ts, it is the device of a gateway, which so meets these faults in its own system calls.
//
// The faults are words in memory that all threads of the server share, and take effect from the next request on; a request that hangs looks at
// them again when it is let go.

import { errno } from '../../src/device/errno-codes.js';
import { view } from '../../src/device/libc.js';
import type { ReplyBuilder } from '../../src/fuse/reply.js';
import type { FuseRequest } from '../../src/fuse/request.js';
import type { RequestSlot } from '../../src/fuse/request-slots.js';
import { FOPEN_DIRECT_IO, FOPEN_KEEP_CACHE, FOPEN_PARALLEL_DIRECT_WRITES } from '../../src/fuse/structs.js';
import { MemoryFileSystem, type MemoryState } from '../fuse/memory-file-system.js';

export interface Faults {
  /** Errno of every request of a kind; 0: none. */
  readErrno: number;
  writeErrno: number;
  fsyncErrno: number;
  /** A write beyond this many bytes, counted over all writes, gets ENOSPC; -1: no limit. */
  roomBytes: number;
  /** No more bytes than this are read, or written, by a request; -1: no limit. 0 is what nobody expects. */
  shortBytes: number;
  /** Each request takes so long. */
  delayMs: number;
  /** 1: requests wait until it is 0. */
  hangs: number;
}

export const NO_FAULTS: Faults = { readErrno: 0, writeErrno: 0, fsyncErrno: 0, roomBytes: -1, shortBytes: -1, delayMs: 0, hangs: 0 };
export const FAULT_NAMES = Object.keys(NO_FAULTS) as (keyof Faults)[];

/** What was asked for, failed or not. */
export interface FaultCounts {
  reads: number;
  writes: number;
  fsyncs: number;
  /** Bytes of writes that were carried out. */
  writtenBytes: number;
  /** Requests that hang now. */
  hanging: number;
}

export const COUNT_NAMES: readonly (keyof FaultCounts)[] = ['reads', 'writes', 'fsyncs', 'writtenBytes', 'hanging'];

export interface FaultState {
  readonly memory: MemoryState;
  /** Whether the kernel's page cache is used, as a file that is mapped needs it. */
  readonly isCached: boolean;
  /** By FAULT_NAMES and COUNT_NAMES. */
  readonly faults: Int32Array<SharedArrayBuffer>;
  readonly counts: Int32Array<SharedArrayBuffer>;
}

const fault = (name: keyof Faults): number => FAULT_NAMES.indexOf(name);
const count = (name: keyof FaultCounts): number => COUNT_NAMES.indexOf(name);

export class FaultFileSystem extends MemoryFileSystem {
  readonly #state: FaultState;
  readonly #bytes: Uint8Array;
  readonly #nothing = new Int32Array(new SharedArrayBuffer(4));

  constructor(state: FaultState) {
    super(state.memory, false);
    this.#state = state;
    this.#bytes = new Uint8Array(view(state.memory.address, state.memory.sizeBytes));
  }

  override open(_nodeid: number, _flags: number, reply: ReplyBuilder): number {
    // As on a disk, pages that could not be written stay in the page cache over a close and an open.
    return reply.opened(7, this.#state.isCached ? FOPEN_KEEP_CACHE : FOPEN_DIRECT_IO | FOPEN_PARALLEL_DIRECT_WRITES);
  }

  override read(request: FuseRequest, slot: RequestSlot): number {
    this.#begin('reads');
    const failure = this.#get('readErrno');
    if (failure !== 0) return -failure;
    const length = Math.max(0, Math.min(this.#shortened(request.sizeBytes), this.#bytes.length - request.offsetBytes));
    slot.payload.set(this.#bytes.subarray(request.offsetBytes, request.offsetBytes + length));
    slot.iovec.add(slot.payloadAddress, length);
    return length;
  }

  override write(request: FuseRequest, slot: RequestSlot): number {
    this.#begin('writes');
    const failure = this.#get('writeErrno');
    if (failure !== 0) return -failure;
    const length = Math.min(this.#shortened(request.sizeBytes), this.#bytes.length - request.offsetBytes);
    const room = this.#get('roomBytes');
    if (room >= 0 && Atomics.load(this.#state.counts, count('writtenBytes')) + length > room) return -errno.ENOSPC;
    this.#bytes.set(slot.payload.subarray(0, length), request.offsetBytes);
    Atomics.add(this.#state.counts, count('writtenBytes'), length);
    return length;
  }

  override fsync(): number {
    this.#begin('fsyncs');
    return -this.#get('fsyncErrno');
  }

  #get(name: keyof Faults): number {
    return Atomics.load(this.#state.faults, fault(name));
  }

  #shortened(lengthBytes: number): number {
    const limit = this.#get('shortBytes');
    return limit < 0 ? lengthBytes : Math.min(limit, lengthBytes);
  }

  #begin(kind: 'reads' | 'writes' | 'fsyncs'): void {
    const { faults, counts } = this.#state;
    Atomics.add(counts, count(kind), 1);
    const delayMs = this.#get('delayMs');
    if (delayMs > 0) Atomics.wait(this.#nothing, 0, 0, delayMs);
    if (this.#get('hangs') === 0) return;
    Atomics.add(counts, count('hanging'), 1);
    // A wake-up can't be missed: wait returns at once if the word has become 0.
    while (this.#get('hangs') !== 0) Atomics.wait(faults, fault('hangs'), 1);
    Atomics.sub(counts, count('hanging'), 1);
  }
}
