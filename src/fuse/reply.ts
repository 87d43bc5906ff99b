// What the file system answers, encoded as the kernel reads it. Invariants: answers are written into memory made once; a method returns the
// bytes it wrote, which the handler returns in turn; the out header is not here but in reply-iovec.ts; a directory listing never exceeds
// the size the kernel asked for, and no entry is cut.

import { ATTR, ATTR_OUT, DIRENT, ENTRY_OUT, LSEEK_OUT, OPEN_OUT, STATFS_OUT, WRITE_OUT } from './structs.js';

const TWO_32 = 4294967296;
const textEncoder = new TextEncoder();

/** Room that answers other than data and listings need. */
export const REPLY_BYTES_MAX = 128;

export interface FileAttributes {
  nodeid: number;
  sizeBytes: number;
  /** st_mode: type and permissions. */
  mode: number;
  linkCount: number;
  uid: number;
  gid: number;
  /** Bytes of storage, a multiple of 512; rounded up. */
  storageBytes: number;
  /** st_blksize: what programs should read and write at a time. */
  blockSizeBytes: number;
  atimeMs: number;
  mtimeMs: number;
  ctimeMs: number;
}

export interface FileSystemFigures {
  blockSizeBytes: number;
  blocks: number;
  freeBlocks: number;
  files: number;
  nameBytesMax: number;
}

/** d_type of a directory entry: st_mode's type, shifted. */
const direntType = (mode: number): number => (mode & 0o170000) >>> 12;
const padded = (bytes: number): number => (bytes + 7) & ~7;

export class ReplyBuilder {
  readonly #view: DataView;
  readonly #bytes: Uint8Array;
  readonly #listing: Uint8Array;
  readonly #listingView: DataView;
  #listingBytes = 0;
  #listingLimitBytes = 0;
  #withAttributes = false;

  /**
   * @param bytes REPLY_BYTES_MAX bytes or more for small answers
   * @param listing room for directory listings; may be the payload area of the request
   */
  constructor(bytes: Uint8Array, listing: Uint8Array) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.#listing = listing;
    this.#listingView = new DataView(listing.buffer, listing.byteOffset, listing.byteLength);
  }

  /** Answers LOOKUP. @param validSeconds how long the kernel may keep name and attributes without asking again */
  entry(attributes: FileAttributes, validSeconds: number): number {
    this.#bytes.fill(0, 0, ENTRY_OUT.bytes);
    writeEntry(this.#view, 0, attributes, validSeconds);
    return ENTRY_OUT.bytes;
  }

  /** Answers GETATTR and SETATTR. */
  attributes(attributes: FileAttributes, validSeconds: number): number {
    this.#bytes.fill(0, 0, ATTR_OUT.bytes);
    setU64(this.#view, ATTR_OUT.attrValid, Math.floor(validSeconds));
    this.#view.setUint32(ATTR_OUT.attrValidNsec, nanosecondsOf(validSeconds), true);
    writeAttributes(this.#view, ATTR_OUT.attr, attributes);
    return ATTR_OUT.bytes;
  }

  /** Answers OPEN and OPENDIR. @param openFlags FOPEN_* */
  opened(fh: number, openFlags: number): number {
    setU64(this.#view, OPEN_OUT.fh, fh);
    this.#view.setUint32(OPEN_OUT.openFlags, openFlags, true);
    this.#view.setUint32(OPEN_OUT.openFlags + 4, 0, true);
    return OPEN_OUT.bytes;
  }

  /** Answers WRITE. */
  written(sizeBytes: number): number {
    this.#view.setUint32(WRITE_OUT.size, sizeBytes, true);
    this.#view.setUint32(WRITE_OUT.size + 4, 0, true);
    return WRITE_OUT.bytes;
  }

  /** Answers STATFS. */
  statfs(figures: FileSystemFigures): number {
    this.#bytes.fill(0, 0, STATFS_OUT.bytes);
    setU64(this.#view, STATFS_OUT.blocks, figures.blocks);
    setU64(this.#view, STATFS_OUT.bfree, figures.freeBlocks);
    setU64(this.#view, STATFS_OUT.bavail, figures.freeBlocks);
    setU64(this.#view, STATFS_OUT.files, figures.files);
    this.#view.setUint32(STATFS_OUT.bsize, figures.blockSizeBytes, true);
    this.#view.setUint32(STATFS_OUT.frsize, figures.blockSizeBytes, true);
    this.#view.setUint32(STATFS_OUT.namelen, figures.nameBytesMax, true);
    return STATFS_OUT.bytes;
  }

  /** Answers LSEEK. */
  sought(offsetBytes: number): number {
    setU64(this.#view, LSEEK_OUT.offset, offsetBytes);
    return LSEEK_OUT.bytes;
  }

  /** Starts a listing of at most `limitBytes`. @param withAttributes READDIRPLUS: each entry is preceded by what LOOKUP would answer */
  beginListing(limitBytes: number, withAttributes: boolean): void {
    this.#listingBytes = 0;
    this.#listingLimitBytes = Math.min(limitBytes, this.#listing.length);
    this.#withAttributes = withAttributes;
  }

  /**
   * Adds one entry.
   * @param nextOffset cookie with which a later READDIR continues after this entry; never 0
   * @returns false if there is no room left; the entry was not added then
   */
  addEntry(name: string, attributes: FileAttributes, nextOffset: number, validSeconds: number): boolean {
    const nameBytes = textEncoder.encode(name);
    const head = this.#withAttributes ? ENTRY_OUT.bytes : 0;
    const bytes = padded(head + DIRENT.bytes + nameBytes.length);
    const start = this.#listingBytes;
    if (start + bytes > this.#listingLimitBytes) return false;
    this.#listing.fill(0, start, start + bytes);
    if (this.#withAttributes) writeEntry(this.#listingView, start, attributes, validSeconds);
    const at = start + head;
    setU64(this.#listingView, at + DIRENT.ino, attributes.nodeid);
    setU64(this.#listingView, at + DIRENT.off, nextOffset);
    this.#listingView.setUint32(at + DIRENT.namelen, nameBytes.length, true);
    this.#listingView.setUint32(at + DIRENT.type, direntType(attributes.mode), true);
    this.#listing.set(nameBytes, at + DIRENT.bytes);
    this.#listingBytes = start + bytes;
    return true;
  }

  /** Ends a listing. @returns its bytes */
  endListing(): number {
    return this.#listingBytes;
  }
}

function writeEntry(view: DataView, at: number, attributes: FileAttributes, validSeconds: number): void {
  setU64(view, at + ENTRY_OUT.nodeid, attributes.nodeid);
  setU64(view, at + ENTRY_OUT.entryValid, Math.floor(validSeconds));
  setU64(view, at + ENTRY_OUT.attrValid, Math.floor(validSeconds));
  view.setUint32(at + ENTRY_OUT.entryValidNsec, nanosecondsOf(validSeconds), true);
  view.setUint32(at + ENTRY_OUT.attrValidNsec, nanosecondsOf(validSeconds), true);
  writeAttributes(view, at + ENTRY_OUT.attr, attributes);
}

function writeAttributes(view: DataView, at: number, attributes: FileAttributes): void {
  setU64(view, at + ATTR.ino, attributes.nodeid);
  setU64(view, at + ATTR.size, attributes.sizeBytes);
  setU64(view, at + ATTR.blocks, Math.ceil(attributes.storageBytes / 512));
  setTime(view, at + ATTR.atime, at + ATTR.atimensec, attributes.atimeMs);
  setTime(view, at + ATTR.mtime, at + ATTR.mtimensec, attributes.mtimeMs);
  setTime(view, at + ATTR.ctime, at + ATTR.ctimensec, attributes.ctimeMs);
  view.setUint32(at + ATTR.mode, attributes.mode, true);
  view.setUint32(at + ATTR.nlink, attributes.linkCount, true);
  view.setUint32(at + ATTR.uid, attributes.uid, true);
  view.setUint32(at + ATTR.gid, attributes.gid, true);
  view.setUint32(at + ATTR.blksize, attributes.blockSizeBytes, true);
}

function setTime(view: DataView, secondsAt: number, nanosecondsAt: number, timeMs: number): void {
  const seconds = Math.floor(timeMs / 1000);
  setU64(view, secondsAt, seconds);
  view.setUint32(nanosecondsAt, Math.floor((timeMs - seconds * 1000) * 1e6), true);
}

function nanosecondsOf(seconds: number): number {
  return Math.floor((seconds - Math.floor(seconds)) * 1e9);
}

function setU64(view: DataView, at: number, value: number): void {
  view.setUint32(at, value, true);
  view.setUint32(at + 4, Math.floor(value / TWO_32), true);
}
