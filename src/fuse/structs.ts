// The structures of the FUSE protocol (uapi/linux/fuse.h, version 7.42) that this program reads or writes: size and byte offset of each
// field. Invariants: all fields are in the machine's order, which is little-endian here; every structure is a multiple of 8 bytes, so that
// what follows it is aligned. Tests check the sizes and that the fields of a structure tile it.

/** Highest minor version whose structures are written here. Newer kernels are told this one. */
export const PROTOCOL_MAJOR = 7;
export const PROTOCOL_MINOR = 42;
/** Lowest minor version accepted: 7.23 (Linux 3.15) has the 64-byte INIT answer. */
export const PROTOCOL_MINOR_MIN = 23;

export const ROOT_NODEID = 1;

/** `fuse_in_header`. `totalExtlen` is in units of 8 bytes and zero unless extensions were negotiated. */
export const IN_HEADER = { bytes: 40, len: 0, opcode: 4, unique: 8, nodeid: 16, uid: 24, gid: 28, pid: 32, totalExtlen: 36 } as const;
/** `fuse_out_header`. `error` is zero or a negative errno; in a notification (`unique` 0) it is the positive notify code. */
export const OUT_HEADER = { bytes: 16, len: 0, error: 4, unique: 8 } as const;

export const INIT_IN = { bytes: 16, major: 0, minor: 4, maxReadahead: 8, flags: 12, flags2: 16, bytesWithFlags2: 64 } as const;
export const INIT_OUT = {
  bytes: 64,
  major: 0,
  minor: 4,
  maxReadahead: 8,
  flags: 12,
  maxBackground: 16,
  congestionThreshold: 18,
  maxWrite: 20,
  timeGran: 24,
  maxPages: 28,
  mapAlignment: 30,
  flags2: 32,
} as const;

export const ATTR = {
  bytes: 88,
  ino: 0,
  size: 8,
  blocks: 16,
  atime: 24,
  mtime: 32,
  ctime: 40,
  atimensec: 48,
  mtimensec: 52,
  ctimensec: 56,
  mode: 60,
  nlink: 64,
  uid: 68,
  gid: 72,
  rdev: 76,
  blksize: 80,
  flags: 84,
} as const;
export const ENTRY_OUT = {
  bytes: 128,
  nodeid: 0,
  generation: 8,
  entryValid: 16,
  attrValid: 24,
  entryValidNsec: 32,
  attrValidNsec: 36,
  attr: 40,
} as const;
export const ATTR_OUT = { bytes: 104, attrValid: 0, attrValidNsec: 8, attr: 16 } as const;
export const SETATTR_IN = {
  bytes: 88,
  valid: 0,
  fh: 8,
  size: 16,
  lockOwner: 24,
  atime: 32,
  mtime: 40,
  ctime: 48,
  atimensec: 56,
  mtimensec: 60,
  ctimensec: 64,
  mode: 68,
  uid: 76,
  gid: 80,
} as const;
export const GETATTR_IN = { bytes: 16, flags: 0, fh: 8 } as const;
export const OPEN_IN = { bytes: 8, flags: 0, openFlags: 4 } as const;
export const OPEN_OUT = { bytes: 16, fh: 0, openFlags: 8 } as const;
export const RELEASE_IN = { bytes: 24, fh: 0, flags: 8, releaseFlags: 12, lockOwner: 16 } as const;
/** `fuse_read_in`, also the argument of READDIR and READDIRPLUS. */
export const READ_IN = { bytes: 40, fh: 0, offset: 8, size: 16, readFlags: 20, lockOwner: 24, flags: 32 } as const;
export const WRITE_IN = { bytes: 40, fh: 0, offset: 8, size: 16, writeFlags: 20, lockOwner: 24, flags: 32 } as const;
export const WRITE_OUT = { bytes: 8, size: 0 } as const;
export const FSYNC_IN = { bytes: 16, fh: 0, fsyncFlags: 8 } as const;
export const FALLOCATE_IN = { bytes: 32, fh: 0, offset: 8, length: 16, mode: 24 } as const;
export const LSEEK_IN = { bytes: 24, fh: 0, offset: 8, whence: 16 } as const;
export const LSEEK_OUT = { bytes: 8, offset: 0 } as const;
export const STATFS_OUT = { bytes: 80, blocks: 0, bfree: 8, bavail: 16, files: 24, ffree: 32, bsize: 40, namelen: 44, frsize: 48 } as const;
/** `fuse_dirent` without its name; names are padded to 8 bytes. */
export const DIRENT = { bytes: 24, ino: 0, off: 8, namelen: 16, type: 20 } as const;

/** `FATTR_*`: which fields of SETATTR are to be set. */
export const FATTR_MODE = 1 << 0;
export const FATTR_UID = 1 << 1;
export const FATTR_GID = 1 << 2;
export const FATTR_SIZE = 1 << 3;
export const FATTR_ATIME = 1 << 4;
export const FATTR_MTIME = 1 << 5;
export const FATTR_FH = 1 << 6;
export const FATTR_ATIME_NOW = 1 << 7;
export const FATTR_MTIME_NOW = 1 << 8;
export const FATTR_LOCKOWNER = 1 << 9;
export const FATTR_CTIME = 1 << 10;

/** `FOPEN_*`: the file system's wishes in the answer to OPEN. */
export const FOPEN_DIRECT_IO = 1 << 0;
export const FOPEN_KEEP_CACHE = 1 << 1;
export const FOPEN_PARALLEL_DIRECT_WRITES = 1 << 6;

export const FSYNC_DATA_ONLY = 1 << 0;

export const OPCODE_INIT = 26;

/** Notify code: the kernel sends the cached bytes of a file back as a NOTIFY_REPLY request; with size 0, an empty one. */
export const NOTIFY_RETRIEVE = 5;
/** `fuse_notify_retrieve_out`. */
export const RETRIEVE_OUT = { bytes: 32, notifyUnique: 0, nodeid: 8, offset: 16, size: 24 } as const;
/** Notify code: the kernel shall send every unanswered request again. */
export const NOTIFY_RESEND = 7;
/** Bit 63 of `unique`, seen in its high half: this request was sent before and may have been carried out. Answers must keep the bit. */
export const UNIQUE_RESEND_HI = 0x80000000;

/** What the kernel reserves around a WRITE's payload: `fuse_in_header` and `fuse_write_in`. */
export const WRITE_HEAD_BYTES = IN_HEADER.bytes + WRITE_IN.bytes;

/**
 * `fuse_uring_req_header`: what a ring's entry has beside its payload. `inOut` takes the in header and, answered, the out header; `operation` the operation's
 * structure; then `fuse_uring_ent_in_out`.
 */
export const RING_HEADER = { bytes: 288, inOut: 0, operation: 128, operationBytes: 128, commitId: 264, payloadSize: 272 } as const;
/** Commands of IORING_OP_URING_CMD on a FUSE descriptor. */
export const RING_REGISTER = 1;
export const RING_COMMIT_AND_FETCH = 2;
