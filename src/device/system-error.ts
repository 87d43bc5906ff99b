// From an error number of the kernel to a PcacheError. The message is always `WHAT: TEXT (NAME)`, so that a user reads it and a program
// can test `code` and `errno`.

import { PcacheError, type PcacheErrorCode, type PcacheErrorOptions } from '../errors.js';
import { errno, errnoText } from './errno-codes.js';

const codes = new Map<number, PcacheErrorCode>([
  [errno.ENOENT, 'not-found'],
  [errno.ENXIO, 'not-found'],
  [errno.ENODEV, 'not-found'],
  [errno.ENOTDIR, 'not-found'],
  [errno.EPERM, 'permission'],
  [errno.EACCES, 'permission'],
  [errno.EROFS, 'permission'],
  [errno.EBUSY, 'busy'],
  [errno.EAGAIN, 'busy'],
  [errno.ETXTBSY, 'busy'],
  [errno.EEXIST, 'holds-data'],
  [errno.ENOSPC, 'no-space'],
  [errno.EDQUOT, 'no-space'],
  [errno.ENOSYS, 'unsupported'],
  [errno.EOPNOTSUPP, 'unsupported'],
  [errno.ENOTTY, 'unsupported'],
]);

/** The stable code for a positive error number of a call about the environment; `io` for whatever has no better one. */
export function codeOfErrno(number: number): PcacheErrorCode {
  return codes.get(number) ?? 'io';
}

/** A PcacheError for a system call that failed with the positive `number`. `what` names the thing and the call, without the reason. */
export function systemError(what: string, number: number, code = codeOfErrno(number), options: PcacheErrorOptions = {}): PcacheError {
  return new PcacheError(code, `${what}: ${errnoText(number)}`, { ...options, errno: number });
}

/** Positive error number that an error of Node's `fs` or a PcacheError carries; undefined for errors of other kinds. */
export function errnoOf(error: unknown): number | undefined {
  const number = error instanceof Error && 'errno' in error ? error.errno : undefined;
  return typeof number === 'number' ? Math.abs(number) : undefined;
}

/** `systemError` for an error that Node's `fs` or `libc` threw; an error without a number (a bug, a wrong argument) is returned as it is. */
export function systemErrorFrom(what: string, error: unknown, code?: PcacheErrorCode): Error {
  const number = errnoOf(error);
  if (number === undefined) return error instanceof Error ? error : new PcacheError('internal', `${what}: ${String(error)}`);
  return systemError(what, number, code, { cause: error });
}
