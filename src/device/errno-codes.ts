// Error numbers of the kernel: name, number and a few words for people. The numbers are those of asm-generic/errno*.h, which every
// machine that koffi is prebuilt for on 64-bit Linux uses; FUSE replies carry them negated.
//
// `errno` and the tables behind `errnoName` and `errnoText` come from the same rows, so they can't disagree.

const rows = {
  EPERM: [1, 'operation not permitted'],
  ENOENT: [2, 'no such file or directory'],
  EINTR: [4, 'interrupted'],
  EIO: [5, 'input/output error'],
  ENXIO: [6, 'no such device or address'],
  E2BIG: [7, 'argument list too long'],
  EBADF: [9, 'bad file descriptor'],
  EAGAIN: [11, 'try again'],
  ENOMEM: [12, 'not enough memory'],
  EACCES: [13, 'permission denied'],
  EFAULT: [14, 'bad address'],
  ENOTBLK: [15, 'not a block device'],
  EBUSY: [16, 'device or resource busy'],
  EEXIST: [17, 'file exists'],
  EXDEV: [18, 'cross-device link'],
  ENODEV: [19, 'no such device'],
  ENOTDIR: [20, 'not a directory'],
  EISDIR: [21, 'is a directory'],
  EINVAL: [22, 'invalid argument'],
  ENFILE: [23, 'too many open files in the system'],
  EMFILE: [24, 'too many open files'],
  ENOTTY: [25, 'not supported by this kind of file'],
  ETXTBSY: [26, 'text file busy'],
  EFBIG: [27, 'file too large'],
  ENOSPC: [28, 'no space left on device'],
  ESPIPE: [29, 'illegal seek'],
  EROFS: [30, 'read-only file system'],
  EMLINK: [31, 'too many links'],
  EPIPE: [32, 'broken pipe'],
  ERANGE: [34, 'out of range'],
  ENAMETOOLONG: [36, 'file name too long'],
  ENOSYS: [38, 'function not implemented'],
  ENOTEMPTY: [39, 'directory not empty'],
  ELOOP: [40, 'too many symbolic links'],
  ENODATA: [61, 'no data available'],
  ETIME: [62, 'timer expired'],
  ENOLINK: [67, 'link has been severed'],
  EPROTO: [71, 'protocol error'],
  EBADMSG: [74, 'bad message'],
  EOVERFLOW: [75, 'value too large'],
  EILSEQ: [84, 'invalid byte sequence'],
  EMSGSIZE: [90, 'message too long'],
  EOPNOTSUPP: [95, 'operation not supported'],
  ECONNRESET: [104, 'connection reset'],
  ENOTCONN: [107, 'not connected'],
  ETIMEDOUT: [110, 'timed out'],
  ECONNREFUSED: [111, 'connection refused'],
  EALREADY: [114, 'already in progress'],
  ESTALE: [116, 'stale file handle'],
  EREMOTEIO: [121, 'remote input/output error'],
  EDQUOT: [122, 'disk quota exceeded'],
  ENOMEDIUM: [123, 'no medium found'],
  ECANCELED: [125, 'cancelled'],
} satisfies Record<string, [number, string]>;

export type ErrnoName = keyof typeof rows;

/** Positive error numbers by name. */
export const errno = Object.fromEntries(Object.entries(rows).map(([name, [number]]) => [name, number])) as Readonly<
  Record<ErrnoName, number>
>;

const byNumber = new Map<number, { name: string; text: string }>(
  Object.entries(rows).map(([name, [number, text]]) => [number, { name, text }]),
);

/** Name of a positive error number, `errno N` for one this table lacks. */
export function errnoName(number: number): string {
  return byNumber.get(number)?.name ?? `errno ${number}`;
}

/** For messages: `no space left on device (ENOSPC)`. Takes a positive error number. */
export function errnoText(number: number): string {
  const row = byNumber.get(number);
  return row === undefined ? `errno ${number}` : `${row.text} (${row.name})`;
}
