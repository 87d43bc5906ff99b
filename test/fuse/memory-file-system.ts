// A file system for tests: a volume in shared memory, as a directory with `volume.img`, `note.txt` and two files that can't be read, or as a single file. The bytes lie in a
// file that all workers, and a successor process, map; so answers to READ come straight from mapped memory, as the gateway's do.
//
// Requests that begin in every third 64 KiB of the volume are handed to another thread (PENDING), so that both ways of answering are used.

import { openSync, closeSync, ftruncateSync } from 'node:fs';
import { errno } from '../../src/device/errno-codes.js';
import { mmap, view } from '../../src/device/libc.js';
import { MAP_SHARED, PROT_READ, PROT_WRITE, SEEK_DATA, SEEK_HOLE } from '../../src/device/linux-constants.js';
import { PENDING, type AttributeChange, type FileSystem } from '../../src/fuse/file-system.js';
import type { FileAttributes, ReplyBuilder } from '../../src/fuse/reply.js';
import type { FuseRequest } from '../../src/fuse/request.js';
import type { RequestSlot } from '../../src/fuse/request-slots.js';
import {
  FATTR_GID,
  FATTR_MODE,
  FATTR_SIZE,
  FATTR_UID,
  FOPEN_DIRECT_IO,
  FOPEN_PARALLEL_DIRECT_WRITES,
  UNIQUE_RESEND_HI,
} from '../../src/fuse/structs.js';
import { IntRing, type IntRingState } from '../../src/shared/int-ring.js';

export const NOTE_TEXT = 'a note\n';
const VALID_SECONDS = 3600;
const PENDING_UNIT_BYTES = 65536;
const FALLOC_KEEP_SIZE = 1;
const FALLOC_PUNCH_HOLE = 2;
const FALLOC_ZERO_RANGE = 16;

export const COUNT_RESENT = 0;
export const COUNT_PENDING = 1;
export const COUNT_AFTER_REPLY = 2;
export const COUNT_WORDS = 3;

export interface MemoryState {
  readonly address: number;
  readonly sizeBytes: number;
  readonly kind: 'directory' | 'file';
  /** Slots handed to the other thread; undefined: everything is answered at once. */
  readonly pending: IntRingState | undefined;
  readonly counts: Int32Array<SharedArrayBuffer>;
}

/** Maps the file that holds the volume's bytes, made `sizeBytes` long. */
export function mapVolumeFile(path: string, sizeBytes: number): number {
  const fd = openSync(path, 'a+');
  ftruncateSync(fd, sizeBytes);
  closeSync(fd);
  const again = openSync(path, 'r+');
  const address = mmap(sizeBytes, PROT_READ | PROT_WRITE, MAP_SHARED, again, 0);
  closeSync(again);
  return address;
}

export class MemoryFileSystem implements FileSystem {
  readonly #state: MemoryState;
  readonly #bytes: Uint8Array;
  readonly #ring: IntRing | undefined;
  readonly #tuple = new Int32Array(1);
  readonly #volumeNodeid: number;

  constructor(state: MemoryState, handsOn = true) {
    this.#state = state;
    this.#bytes = new Uint8Array(view(state.address, state.sizeBytes));
    this.#ring = handsOn && state.pending !== undefined ? IntRing.attach(state.pending) : undefined;
    this.#volumeNodeid = state.kind === 'file' ? 1 : 2;
  }

  lookup(parent: number, name: string, reply: ReplyBuilder): number {
    if (this.#state.kind === 'file' || parent !== 1) return -errno.ENOTDIR;
    const nodeid = name === 'volume.img' ? 2 : name === 'note.txt' ? 3 : name === 'gone.dat' ? 4 : name === 'throws.dat' ? 5 : 0;
    return nodeid === 0 ? -errno.ENOENT : reply.entry(this.#attributes(nodeid), VALID_SECONDS);
  }

  getattr(nodeid: number, reply: ReplyBuilder): number {
    return reply.attributes(this.#attributes(nodeid), VALID_SECONDS);
  }

  setattr(nodeid: number, change: AttributeChange, reply: ReplyBuilder): number {
    if ((change.valid & (FATTR_MODE | FATTR_UID | FATTR_GID)) !== 0) return -errno.EPERM;
    if ((change.valid & FATTR_SIZE) === 0) return -errno.EPERM;
    const attributes = this.#attributes(nodeid);
    return change.sizeBytes === attributes.sizeBytes ? reply.attributes(attributes, VALID_SECONDS) : -errno.EPERM;
  }

  open(nodeid: number, _flags: number, reply: ReplyBuilder): number {
    return reply.opened(7, nodeid === this.#volumeNodeid || nodeid >= 4 ? FOPEN_DIRECT_IO | FOPEN_PARALLEL_DIRECT_WRITES : 0);
  }
  release(): number {
    return 0;
  }
  opendir(_nodeid: number, _flags: number, reply: ReplyBuilder): number {
    return reply.opened(0, 0);
  }
  releasedir(): number {
    return 0;
  }

  readdir(_nodeid: number, _fh: number, offset: number, reply: ReplyBuilder): number {
    const entries = [
      ['.', 1],
      ['..', 1],
      ['volume.img', 2],
      ['note.txt', 3],
    ] as const;
    for (let i = offset; i < entries.length; i++) {
      const [name, nodeid] = entries[i]!;
      if (!reply.addEntry(name, this.#attributes(nodeid), i + 1, VALID_SECONDS)) break;
    }
    return 0;
  }

  statfs(_nodeid: number, reply: ReplyBuilder): number {
    return reply.statfs({ blockSizeBytes: 4096, blocks: this.#state.sizeBytes / 4096, freeBlocks: 0, files: 3, nameBytesMax: 255 });
  }

  lseek(_nodeid: number, _fh: number, offsetBytes: number, whence: number, reply: ReplyBuilder): number {
    if (offsetBytes >= this.#state.sizeBytes) return -errno.ENXIO;
    if (whence === SEEK_DATA) return reply.sought(offsetBytes);
    return whence === SEEK_HOLE ? reply.sought(this.#state.sizeBytes) : -errno.EINVAL;
  }

  read(request: FuseRequest, slot: RequestSlot): number {
    if (this.#countAndHandOn(request, slot)) return PENDING;
    if (request.nodeid === 4) {
      // Memory that is not there, as that of a cache device which was cut short.
      slot.iovec.add(4096, 7);
      return 7;
    }
    if (request.nodeid === 5) throw new Error('as it was told to');
    if (request.nodeid === 3) {
      const text = Buffer.from(NOTE_TEXT).subarray(request.offsetBytes, request.offsetBytes + request.sizeBytes);
      slot.payload.set(text);
      slot.iovec.add(slot.payloadAddress, text.length);
      return text.length;
    }
    const length = Math.max(0, Math.min(request.sizeBytes, this.#state.sizeBytes - request.offsetBytes));
    // In two parts, the second copied, so that a reply is made of several entries.
    const half = length >> 1;
    slot.iovec.add(this.#state.address + request.offsetBytes, half);
    slot.payload.set(this.#bytes.subarray(request.offsetBytes + half, request.offsetBytes + length));
    slot.iovec.add(slot.payloadAddress, length - half);
    slot.wantsAfterReply = true;
    return length;
  }

  write(request: FuseRequest, slot: RequestSlot): number {
    if (request.nodeid !== this.#volumeNodeid) return -errno.EPERM;
    if (this.#countAndHandOn(request, slot)) return PENDING;
    const length = Math.min(request.sizeBytes, this.#state.sizeBytes - request.offsetBytes);
    if (length <= 0) return -errno.ENOSPC;
    this.#bytes.set(slot.payload.subarray(0, length), request.offsetBytes);
    return length;
  }

  fsync(): number {
    return 0;
  }

  fallocate(request: FuseRequest): number {
    const end = request.offsetBytes + request.sizeBytes;
    const keep = (request.mode & FALLOC_KEEP_SIZE) !== 0;
    const zeroes = (request.mode & (FALLOC_PUNCH_HOLE | FALLOC_ZERO_RANGE)) !== 0;
    if ((request.mode & ~(FALLOC_KEEP_SIZE | FALLOC_PUNCH_HOLE | FALLOC_ZERO_RANGE)) !== 0) return -errno.EOPNOTSUPP;
    if (end > this.#state.sizeBytes && !keep) return -errno.ENOSPC;
    if (zeroes) this.#bytes.fill(0, request.offsetBytes, Math.min(end, this.#state.sizeBytes));
    return 0;
  }

  beforeReply(): void {
    // Its memory is there.
  }

  afterReply(): void {
    Atomics.add(this.#state.counts, COUNT_AFTER_REPLY, 1);
  }

  #countAndHandOn(request: FuseRequest, slot: RequestSlot): boolean {
    if (this.#ring === undefined) return false;
    if ((request.uniqueHi & UNIQUE_RESEND_HI) !== 0) Atomics.add(this.#state.counts, COUNT_RESENT, 1);
    if (request.nodeid !== this.#volumeNodeid || Math.floor(request.offsetBytes / PENDING_UNIT_BYTES) % 3 !== 1) return false;
    this.#tuple[0] = slot.index;
    Atomics.add(this.#state.counts, COUNT_PENDING, 1);
    return this.#ring.push(this.#tuple);
  }

  #attributes(nodeid: number): FileAttributes {
    const isDirectory = nodeid === 1 && this.#state.kind === 'directory';
    const sizeBytes = isDirectory ? 0 : nodeid >= 3 ? NOTE_TEXT.length : this.#state.sizeBytes;
    return {
      nodeid,
      sizeBytes,
      mode: isDirectory ? 0o40755 : nodeid >= 3 ? 0o100444 : 0o100600,
      linkCount: isDirectory ? 2 : 1,
      uid: process.getuid!(),
      gid: process.getgid!(),
      storageBytes: sizeBytes,
      blockSizeBytes: 4096,
      atimeMs: 1_700_000_000_250,
      mtimeMs: 1_700_000_000_250,
      ctimeMs: 1_700_000_000_250,
    };
  }
}
