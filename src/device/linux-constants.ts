// Numbers of Linux's user-space interface that Node doesn't name. Each group names the header it comes from. 64-bit, asm-generic.

// sys/mman.h
export const PROT_NONE = 0;
export const PROT_READ = 1;
export const PROT_WRITE = 2;
export const MAP_SHARED = 0x01;
export const MAP_PRIVATE = 0x02;
export const MAP_FIXED = 0x10;
export const MAP_ANONYMOUS = 0x20;
export const MAP_NORESERVE = 0x4000;
export const MAP_POPULATE = 0x8000;
export const MS_ASYNC = 1;
export const MS_SYNC = 4;
export const MLOCK_ONFAULT = 1;
export const MADV_NORMAL = 0;
export const MADV_RANDOM = 1;
export const MADV_WILLNEED = 3;
export const MADV_DONTNEED = 4;
export const MADV_DONTFORK = 10;
export const MADV_HUGEPAGE = 14;
export const MADV_DONTDUMP = 16;
export const MADV_POPULATE_WRITE = 23;
export const MADV_COLLAPSE = 25;

// sys/file.h
export const LOCK_SH = 1;
export const LOCK_EX = 2;
export const LOCK_NB = 4;

// fcntl.h
export const O_CLOEXEC = 0o2000000;
export const F_GETFD = 1;
export const F_SETFD = 2;
export const F_GETFL = 3;
export const F_DUPFD_CLOEXEC = 1030;
export const F_SETFL = 4;
export const FD_CLOEXEC = 1;
export const FALLOC_FL_KEEP_SIZE = 0x01;
export const FALLOC_FL_PUNCH_HOLE = 0x02;
export const FALLOC_FL_ZERO_RANGE = 0x10;
export const SEEK_END = 2;
export const SEEK_DATA = 3;
export const SEEK_HOLE = 4;
export const AT_EMPTY_PATH = 0x1000;

// linux/stat.h
export const STATX_BTIME = 0x800;
export const STATX_DIOALIGN = 0x2000;

// sys/mount.h
export const MS_RDONLY = 1;
export const MS_NOSUID = 2;
export const MS_NODEV = 4;
export const MS_NOEXEC = 8;
export const MNT_FORCE = 1;
export const MNT_DETACH = 2;
export const UMOUNT_NOFOLLOW = 8;

// poll.h
export const POLLIN = 0x001;
export const POLLOUT = 0x004;
export const POLLERR = 0x008;
export const POLLHUP = 0x010;
export const POLLNVAL = 0x020;

// linux/pidfd.h
export const PIDFD_THREAD = 0x80;

// sys/eventfd.h
export const EFD_CLOEXEC = 0o2000000;
export const EFD_NONBLOCK = 0o4000;
export const EFD_SEMAPHORE = 1;

// sys/socket.h
export const AF_UNIX = 1;
export const SOCK_STREAM = 1;
export const SOCK_DGRAM = 2;
export const SOCK_NONBLOCK = 0o4000;
export const SOCK_CLOEXEC = 0o2000000;
export const SOL_SOCKET = 1;
export const SCM_RIGHTS = 1;
export const MSG_CMSG_CLOEXEC = 0x40000000;
export const MSG_NOSIGNAL = 0x4000;

// linux/prctl.h
export const PR_SET_PDEATHSIG = 1;
export const PR_SET_NAME = 15;
export const PR_SET_IO_FLUSHER = 57;
export const PR_GET_IO_FLUSHER = 58;

// linux/fs.h
export const BLKROGET = 0x125e;
export const BLKSSZGET = 0x1268;
export const BLKGETSIZE64 = 0x80081272;

// linux/magic.h
export const TMPFS_MAGIC = 0x01021994;
export const EXT4_SUPER_MAGIC = 0xef53;
export const XFS_SUPER_MAGIC = 0x58465342;
export const BTRFS_SUPER_MAGIC = 0x9123683e;
export const F2FS_SUPER_MAGIC = 0xf2f52010;
export const RAMFS_MAGIC = 0x858458f6;
export const FUSE_SUPER_MAGIC = 0x65735546;

// linux/io_uring.h
export const IORING_OP_WRITEV = 2;
export const IORING_OP_FSYNC = 3;
export const IORING_OP_TIMEOUT = 11;
export const IORING_OP_ASYNC_CANCEL = 14;
export const IORING_OP_READ = 22;
export const IORING_OP_WRITE = 23;
export const IORING_OP_URING_CMD = 46;
export const IORING_SETUP_SQE128 = 1 << 10;
export const IORING_SETUP_SINGLE_ISSUER = 1 << 12;
export const IORING_SETUP_DEFER_TASKRUN = 1 << 13;
export const IORING_ENTER_GETEVENTS = 1 << 0;
export const IORING_FSYNC_DATASYNC = 1 << 0;
export const IORING_REGISTER_IOWQ_MAX_WORKERS = 19;
export const IORING_FEAT_SINGLE_MMAP = 1 << 0;
export const IORING_OFF_SQ_RING = 0;
export const IORING_OFF_SQES = 0x10000000;
