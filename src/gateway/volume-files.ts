// The mount as FUSE sees it: a directory with `volume.img`, `stats.json` and `metrics`, or a single file that is the volume. Each queue worker
// has a VolumeFiles of its own. Requests that can be answered from the cache are answered here, at once; all others go to a lane
// (see gateway-shared).
//
// Hot paths: `read` allocates nothing, `write` one number, the address it copies to (test/gateway/allocation.test.ts).

import { PieceKind, type PieceList } from '../cache/piece-list.js';
import type { Reader } from '../cache/reader.js';
import { Word } from '../cache/shared-state.js';
import { errno } from '../device/errno-codes.js';
import { FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE, FALLOC_FL_ZERO_RANGE, SEEK_DATA, SEEK_HOLE } from '../device/linux-constants.js';
import { PENDING } from '../fuse/file-system.js';
import type { AttributeChange, FileSystem } from '../fuse/file-system.js';
import type { FileAttributes, ReplyBuilder } from '../fuse/reply.js';
import type { RequestSlot } from '../fuse/request-slots.js';
import type { FuseRequest } from '../fuse/request.js';
import {
  FATTR_ATIME,
  FATTR_ATIME_NOW,
  FATTR_GID,
  FATTR_MODE,
  FATTR_MTIME,
  FATTR_MTIME_NOW,
  FATTR_SIZE,
  FATTR_UID,
  FOPEN_DIRECT_IO,
  FOPEN_KEEP_CACHE,
  FOPEN_PARALLEL_DIRECT_WRITES,
  ROOT_NODEID,
} from '../fuse/structs.js';
import { PAGE_BYTES, SECTOR_BYTES, SEGMENT_DATA_OFFSET, SUBTREE_BYTES } from '../media/layout.js';
import type { CacheSegId } from '../media/layout.js';
import { COUNTER } from '../shared/counters.js';
import { signal } from '../shared/event-word.js';
import { takeSnapshot } from './engine-status.js';
import { GatewayNumber, GatewayWord, WRITTEN_JUST_NOW, lastWriteMs } from './gateway-shared.js';
import type { DataThread } from './gateway-shared.js';
import { metricsText } from './metrics.js';
import { METRICS_NODEID, STATS_NODEID, VOLUME_NODEID } from './node-ids.js';
import { statsJson } from './status.js';
import { TextFiles } from './text-files.js';

export interface VolumeFilesOptions {
  readonly kind: 'directory' | 'file';
  readonly readOnly: boolean;
  readonly kernelCache: boolean;
  readonly uid: number;
  readonly gid: number;
  readonly umask: number;
}

const NAMES: Readonly<Record<string, number>> = { 'volume.img': VOLUME_NODEID, 'stats.json': STATS_NODEID, metrics: METRICS_NODEID };
const NAME_LIST = Object.entries(NAMES);
/** Names never change; the attributes do (times). */
const ENTRY_VALID_SECONDS = 3600;
const ATTRIBUTES_VALID_SECONDS = 1;
const FALLOC_KNOWN = FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE;
const O_ACCMODE = 3;

/** The node of the volume: the root itself, if the mount point is a file. */
export function volumeNodeid(kind: VolumeFilesOptions['kind']): number {
  return kind === 'file' ? ROOT_NODEID : VOLUME_NODEID;
}

export class VolumeFiles implements FileSystem {
  readonly #thread: DataThread;
  readonly #options: VolumeFilesOptions;
  readonly #volumeNodeid: number;
  readonly #volumeBytes: number;
  readonly #textFiles: TextFiles;
  /** Readers without a range. Answers are sent several at a time, and each has its range pinned until then. */
  readonly #idleReaders: Reader[] = [];
  /** By slot: the reader of its answer. */
  readonly #readers: (Reader | undefined)[];
  readonly #tuple = new Int32Array(3);
  /** Takes what `beforeReply` reads; it can be seen from outside, so that the reading is not optimised away. */
  readonly touched = new Int32Array(1);

  constructor(thread: DataThread, options: VolumeFilesOptions) {
    this.#thread = thread;
    this.#options = options;
    this.#volumeNodeid = volumeNodeid(options.kind);
    this.#volumeBytes = thread.shared.cache.volumeBytes;
    this.#textFiles = new TextFiles(thread.shared.textFiles);
    this.#readers = new Array<Reader | undefined>(thread.slots.handle.count).fill(undefined);
  }

  lookup(parent: number, name: string, reply: ReplyBuilder): number {
    if (this.#options.kind === 'file' || parent !== ROOT_NODEID) return -errno.ENOTDIR;
    const nodeid = Object.hasOwn(NAMES, name) ? NAMES[name]! : 0;
    return nodeid === 0 ? -errno.ENOENT : reply.entry(this.#attributes(nodeid), ATTRIBUTES_VALID_SECONDS);
  }

  getattr(nodeid: number, reply: ReplyBuilder): number {
    return reply.attributes(this.#attributes(nodeid), ATTRIBUTES_VALID_SECONDS);
  }

  setattr(nodeid: number, change: AttributeChange, reply: ReplyBuilder): number {
    const { valid } = change;
    if ((valid & (FATTR_MODE | FATTR_UID | FATTR_GID)) !== 0) return -errno.EPERM;
    // Times of the user's choosing are not kept; "now" is what a write sets anyway.
    const setsTime = (valid & (FATTR_ATIME | FATTR_MTIME)) !== 0;
    if (setsTime && (valid & (FATTR_ATIME_NOW | FATTR_MTIME_NOW)) === 0) return -errno.EPERM;
    const attributes = this.#attributes(nodeid);
    if ((valid & FATTR_SIZE) !== 0 && change.sizeBytes !== attributes.sizeBytes) return -errno.EPERM;
    return reply.attributes(attributes, ATTRIBUTES_VALID_SECONDS);
  }

  open(nodeid: number, flags: number, reply: ReplyBuilder): number {
    const writes = (flags & O_ACCMODE) !== 0;
    if (nodeid !== this.#volumeNodeid) {
      if (writes) return -errno.EACCES;
      const snapshot = takeSnapshot(this.#thread.shared);
      return reply.opened(this.#textFiles.open(nodeid === STATS_NODEID ? statsJson(snapshot) : metricsText(snapshot)), FOPEN_DIRECT_IO);
    }
    if (writes && this.#options.readOnly) return -errno.EROFS;
    return reply.opened(0, this.#options.kernelCache ? FOPEN_KEEP_CACHE : FOPEN_DIRECT_IO | FOPEN_PARALLEL_DIRECT_WRITES);
  }

  release(): number {
    return 0;
  }

  opendir(_nodeid: number, _flags: number, reply: ReplyBuilder): number {
    return reply.opened(0, 0);
  }

  readdir(_nodeid: number, _fh: number, offset: number, reply: ReplyBuilder): number {
    for (let at = offset; at < NAME_LIST.length + 2; at++) {
      const [name, nodeid] = at === 0 ? ['.', ROOT_NODEID] : at === 1 ? ['..', ROOT_NODEID] : NAME_LIST[at - 2]!;
      if (!reply.addEntry(name, this.#attributes(nodeid), at + 1, ENTRY_VALID_SECONDS)) break;
    }
    return 0;
  }

  releasedir(): number {
    return 0;
  }

  statfs(_nodeid: number, reply: ReplyBuilder): number {
    const blocks = Math.ceil(this.#volumeBytes / 4096);
    return reply.statfs({ blockSizeBytes: 4096, blocks, freeBlocks: 0, files: NAME_LIST.length, nameBytesMax: 255 });
  }

  lseek(nodeid: number, _fh: number, offsetBytes: number, whence: number, reply: ReplyBuilder): number {
    const { sizeBytes } = this.#attributes(nodeid);
    if (offsetBytes >= sizeBytes) return -errno.ENXIO;
    if (whence === SEEK_DATA) return reply.sought(offsetBytes);
    return whence === SEEK_HOLE ? reply.sought(sizeBytes) : -errno.EINVAL;
  }

  read(request: FuseRequest, slot: RequestSlot): number {
    if (request.nodeid !== this.#volumeNodeid) return this.#readText(request, slot);
    const offset = request.offsetBytes;
    const length = Math.min(request.sizeBytes, this.#volumeBytes - offset);
    if (length <= 0) return 0;
    const { cache } = this.#thread;
    const { counters } = cache;
    const reader = this.#idleReaders.pop() ?? cache.newReader();
    const subtree = Math.floor(offset / SUBTREE_BYTES);
    const inSubtree = offset - subtree * SUBTREE_BYTES;
    const inSector = inSubtree % SECTOR_BYTES;
    reader.beginAt(subtree, (inSubtree - inSector) / SECTOR_BYTES, Math.ceil((inSector + length) / SECTOR_BYTES), false);
    if (reader.missingBytes > 0 || reader.corruptBytes > 0) {
      reader.end();
      this.#idleReaders.push(reader);
      return this.#handOn(this.#thread.misses, slot, 0);
    }
    this.#readers[slot.index] = reader;
    slot.wantsAfterReply = true;
    this.#addPieces(slot, reader.pieces, inSector, length);
    counters[COUNTER.reads]! += 1;
    counters[COUNTER.read_bytes]! += length;
    counters[COUNTER.read_hits]! += 1;
    return length;
  }

  /** Answers from the pinned pieces, all but `skip` bytes of the first: by address, or copied together if there are too many of them. */
  #addPieces(slot: RequestSlot, pieces: PieceList, skip: number, length: number): void {
    const { segments } = this.#thread.cache;
    let inPiece = skip;
    let left = length;
    for (let at = 0; at < pieces.count; at++) {
      const segment = pieces.segments[at]! as CacheSegId;
      const segmentOffset = pieces.segmentOffsets[at]! + inPiece;
      const bytes = Math.min(pieces.lengths[at]! - inPiece, left);
      const address = segments.dataAddresses[segment]! + segmentOffset;
      if (!slot.iovec.addHalves(address | 0, Math.floor(address / 2 ** 32), bytes)) {
        this.#copyPieces(slot, pieces, length);
        return;
      }
      left -= bytes;
      inPiece = 0;
    }
  }

  #copyPieces(slot: RequestSlot, pieces: PieceList, length: number): void {
    const offset = slot.request.offsetBytes;
    const { segments } = this.#thread.cache;
    for (let at = 0; at < pieces.count; at++) {
      if (pieces.kinds[at] !== PieceKind.cached) continue;
      const pieceStart = pieces.volumeOffsets[at]!;
      const from = Math.max(pieceStart, offset);
      const bytes = Math.min(pieceStart + pieces.lengths[at]!, offset + length) - from;
      const source = SEGMENT_DATA_OFFSET + pieces.segmentOffsets[at]! + (from - pieceStart);
      const segment = segments.view(pieces.segments[at]! as CacheSegId);
      slot.payload.set(segment.bytes.subarray(source, source + bytes), from - offset);
    }
    slot.iovec.clear();
    slot.iovec.add(slot.payloadAddress, length);
  }

  #readText(request: FuseRequest, slot: RequestSlot): number {
    const count = this.#textFiles.read(request.fh, request.offsetBytes, request.sizeBytes, slot.payload);
    if (count < 0) return -errno.ESTALE;
    slot.iovec.add(slot.payloadAddress, count);
    return count;
  }

  write(request: FuseRequest, slot: RequestSlot): number {
    if (request.nodeid !== this.#volumeNodeid) return -errno.EACCES;
    if (this.#options.readOnly) return -errno.EROFS;
    const offset = request.offsetBytes;
    const length = Math.min(request.sizeBytes, this.#volumeBytes - offset);
    if (length <= 0) return request.sizeBytes === 0 ? 0 : -errno.ENOSPC;
    const { cache, writes, shared } = this.#thread;
    // Stored only if it is news: a store takes the line away from the other workers.
    if (shared.numbers[GatewayNumber.lastWriteMs] !== WRITTEN_JUST_NOW) shared.numbers[GatewayNumber.lastWriteMs] = WRITTEN_JUST_NOW;
    // Who comes while others wait gets in line behind them.
    const mayGoAhead =
      (offset | length) % SECTOR_BYTES === 0 && Atomics.load(shared.cache.words, Word.roomWaiters) === 0 && writes.length === 0;
    const subtree = Math.floor(offset / SUBTREE_BYTES);
    const sector = (offset - subtree * SUBTREE_BYTES) / SECTOR_BYTES;
    const done = mayGoAhead ? cache.writer.writeAt(subtree, sector, length, slot.payload, slot.payloadAddress) : 0;
    if (done < length) return this.#handOn(writes, slot, done);
    cache.counters[COUNTER.writes]! += 1;
    cache.counters[COUNTER.write_bytes]! += length;
    return length;
  }

  fsync(request: FuseRequest, slot: RequestSlot): number {
    if (request.nodeid !== this.#volumeNodeid || this.#options.readOnly) return 0;
    const { cache, flushes, shared, times } = this.#thread;
    if (Atomics.load(shared.words, GatewayWord.cacheFailed) !== 0) return -errno.EIO;
    cache.counters[COUNTER.flushes]! += 1;
    const sequence = cache.log.requestFlush();
    if (cache.log.isFlushed(sequence)) return 0;
    this.#tuple[0] = slot.index;
    this.#tuple[1] = sequence | 0;
    this.#tuple[2] = Math.floor(sequence / 2 ** 32);
    times.handOn(slot.index);
    flushes.push(this.#tuple);
    signal(shared.cache.words, Word.logWorkEvent);
    return PENDING;
  }

  fallocate(request: FuseRequest, slot: RequestSlot): number {
    const { mode } = request;
    if (request.nodeid !== this.#volumeNodeid) return -errno.EACCES;
    if (this.#options.readOnly) return -errno.EROFS;
    if ((mode & ~FALLOC_KNOWN) !== 0) return -errno.EOPNOTSUPP;
    const end = request.offsetBytes + request.sizeBytes;
    // The volume is as large as it is.
    if (end > this.#volumeBytes && (mode & FALLOC_FL_KEEP_SIZE) === 0) return -errno.ENOSPC;
    if ((mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE)) === 0 || request.offsetBytes >= this.#volumeBytes) return 0;
    return this.#handOn(this.#thread.writes, slot, 0);
  }

  /**
   * Has the pages of the answer mapped before the kernel copies from them. It ends the request with EIO if that copy fails (fs/fuse/dev.c,
   * fuse_dev_do_write), and a page fault fails in a process that is being killed: without this, users would notice kill -9. The first look at a page is also
   * the miss in the processor's caches that the kernel would have; of answers that are sent together, the misses are one beside the other here.
   */
  beforeReply({ index }: RequestSlot): void {
    const { pieces } = this.#readers[index]!;
    const { segments } = this.#thread.cache;
    for (let piece = 0; piece < pieces.count; piece++) {
      const { bytes } = segments.view(pieces.segments[piece]! as CacheSegId);
      const start = SEGMENT_DATA_OFFSET + pieces.segmentOffsets[piece]!;
      const end = start + pieces.lengths[piece]!;
      for (let at = start; at < end; at = (at & -PAGE_BYTES) + PAGE_BYTES) this.touched[0]! ^= bytes[at]!;
    }
  }

  afterReply({ index }: RequestSlot): void {
    const reader = this.#readers[index]!;
    this.#readers[index] = undefined;
    reader.end();
    this.#idleReaders.push(reader);
  }

  #handOn(lane: DataThread['writes'] | DataThread['misses'], slot: RequestSlot, progress: number): number {
    this.#tuple[0] = slot.index;
    this.#tuple[1] = progress;
    this.#thread.times.handOn(slot.index);
    lane.push(this.#tuple);
    return PENDING;
  }

  #attributes(nodeid: number): FileAttributes {
    const { uid, gid, umask, readOnly } = this.#options;
    const isDirectory = nodeid === ROOT_NODEID && this.#options.kind === 'directory';
    const isVolume = nodeid === this.#volumeNodeid;
    const { startedMs } = this.#thread.shared.facts;
    const changedMs = isVolume ? lastWriteMs(this.#thread.shared.numbers) : startedMs;
    // The directory is its owner's to write to, or the kernel would say EACCES where the answer is EPERM: nobody can change the names.
    const permissions = (isDirectory ? 0o755 : isVolume && !readOnly ? 0o666 : 0o444) & ~umask;
    return {
      nodeid,
      sizeBytes: isVolume ? this.#volumeBytes : 0,
      mode: (isDirectory ? 0o040000 : 0o100000) | permissions,
      linkCount: isDirectory ? 2 : 1,
      uid,
      gid,
      storageBytes: isVolume ? this.#volumeBytes : 0,
      blockSizeBytes: 4096,
      atimeMs: startedMs,
      mtimeMs: changedMs,
      ctimeMs: changedMs,
    };
  }
}
