// The files of a null image behind this project's transports: one, `image`, whose bytes are memory that all threads of the process see. As null-image.c does,
// it does what every FUSE daemon has to do and nothing else.
//
// Invariants: what is read is answered from where it lies; what is written is copied there once, as the gateway copies it into its cache; nothing is handed to
// another thread.

import { errno } from '../src/device/errno-codes.js';
import { copyMemory } from '../src/device/libc.js';
import type { AttributeChange, FileSystem } from '../src/fuse/file-system.js';
import type { FileAttributes, ReplyBuilder } from '../src/fuse/reply.js';
import type { RequestSlot } from '../src/fuse/request-slots.js';
import type { FuseRequest } from '../src/fuse/request.js';
import { FOPEN_DIRECT_IO, FOPEN_PARALLEL_DIRECT_WRITES, ROOT_NODEID } from '../src/fuse/structs.js';

export const IMAGE_NAME = 'image';
const IMAGE_NODEID = 2;
const VALID_SECONDS = 3600;
const BLOCK_BYTES = 4096;
const ENTRIES = [
  ['.', ROOT_NODEID],
  ['..', ROOT_NODEID],
  [IMAGE_NAME, IMAGE_NODEID],
] as const;

/** Structured-cloneable. */
export interface NullImageMemory {
  readonly address: number;
  readonly sizeBytes: number;
}

export class NullFiles implements FileSystem {
  readonly #address: number;
  readonly #sizeBytes: number;

  constructor({ address, sizeBytes }: NullImageMemory) {
    this.#address = address;
    this.#sizeBytes = sizeBytes;
  }

  lookup(parent: number, name: string, reply: ReplyBuilder): number {
    return parent === ROOT_NODEID && name === IMAGE_NAME ? reply.entry(this.#attributes(IMAGE_NODEID), VALID_SECONDS) : -errno.ENOENT;
  }

  getattr(nodeid: number, reply: ReplyBuilder): number {
    return reply.attributes(this.#attributes(nodeid), VALID_SECONDS);
  }

  /** fio sets times and sizes it has; nothing changes. */
  setattr(nodeid: number, _change: AttributeChange, reply: ReplyBuilder): number {
    return this.getattr(nodeid, reply);
  }

  open(_nodeid: number, _flags: number, reply: ReplyBuilder): number {
    return reply.opened(0, FOPEN_DIRECT_IO | FOPEN_PARALLEL_DIRECT_WRITES);
  }

  release(): number {
    return 0;
  }

  opendir(_nodeid: number, _flags: number, reply: ReplyBuilder): number {
    return reply.opened(0, 0);
  }

  readdir(_nodeid: number, _fh: number, offset: number, reply: ReplyBuilder): number {
    for (const [at, [name, nodeid]] of ENTRIES.entries()) {
      if (at >= offset && !reply.addEntry(name, this.#attributes(nodeid), at + 1, VALID_SECONDS)) break;
    }
    return 0;
  }

  releasedir(): number {
    return 0;
  }

  statfs(_nodeid: number, reply: ReplyBuilder): number {
    const blocks = Math.ceil(this.#sizeBytes / BLOCK_BYTES);
    return reply.statfs({ blockSizeBytes: BLOCK_BYTES, blocks, freeBlocks: 0, files: 1, nameBytesMax: 255 });
  }

  lseek(): number {
    return -errno.ENOSYS;
  }

  read(request: FuseRequest, slot: RequestSlot): number {
    const length = Math.min(request.sizeBytes, this.#sizeBytes - request.offsetBytes);
    if (length <= 0) return 0;
    const address = this.#address + request.offsetBytes;
    slot.iovec.addHalves(address | 0, Math.floor(address / 2 ** 32), length);
    return length;
  }

  write(request: FuseRequest, slot: RequestSlot): number {
    const length = request.sizeBytes;
    if (request.offsetBytes + length > this.#sizeBytes) return -errno.ENOSPC;
    copyMemory(this.#address + request.offsetBytes, slot.payloadAddress, length);
    return length;
  }

  fsync(): number {
    return 0;
  }

  fallocate(): number {
    return -errno.EOPNOTSUPP;
  }

  beforeReply(): void {
    // Never asked for, as the following.
  }

  afterReply(): void {
    // Never asked for: memory that is answered from stays where it is.
  }

  #attributes(nodeid: number): FileAttributes {
    const isDirectory = nodeid === ROOT_NODEID;
    return {
      nodeid,
      sizeBytes: isDirectory ? 0 : this.#sizeBytes,
      mode: isDirectory ? 0o040755 : 0o100600,
      linkCount: isDirectory ? 2 : 1,
      uid: process.getuid!(),
      gid: process.getgid!(),
      storageBytes: isDirectory ? 0 : this.#sizeBytes,
      blockSizeBytes: BLOCK_BYTES,
      atimeMs: 0,
      mtimeMs: 0,
      ctimeMs: 0,
    };
  }
}
