// The one error class of the project. A PcacheError carries a stable code that programs can test and a message that says WHAT: WHY in
// one line. Only `bin/` turns it into an exit status, and only `src/gateway` turns it into an errno for the kernel.

/**
 * Stable codes. What each means for the user:
 * - `usage`: the call or command line is wrong (exit status 2).
 * - `not-found`, `permission`, `in-use`, `busy`, `unsupported`, `no-space`, `too-small`: the environment refuses.
 * - `not-a-cache`, `damaged`, `mismatch`, `holds-data`: the media refuse (promise 7: nothing was changed).
 * - `io`: a device failed; `errno` says how.
 * - `corrupt-data`: the bytes asked for are known to be damaged.
 * - `closed`: the object was closed.
 * - `internal`: a bug.
 */
export type PcacheErrorCode =
  | 'usage'
  | 'not-found'
  | 'permission'
  | 'in-use'
  | 'busy'
  | 'unsupported'
  | 'no-space'
  | 'too-small'
  | 'not-a-cache'
  | 'damaged'
  | 'mismatch'
  | 'holds-data'
  | 'io'
  | 'corrupt-data'
  | 'closed'
  | 'internal';

export interface PcacheErrorOptions {
  /** What was caught when this was made of it. */
  cause?: unknown;
  /** Positive errno of the system call that failed, if one did. */
  errno?: number;
  /** What the user can do about it, one sentence. */
  hint?: string;
}

/** What every function of the library throws, or rejects with, other than the reason of an AbortSignal. `message` is one line, WHAT: WHY. */
export class PcacheError extends Error {
  /** What a program can decide by; stable over versions. */
  readonly code: PcacheErrorCode;
  /** Of the system call that failed, positive, such as 28 for ENOSPC; undefined if none did. */
  readonly errno: number | undefined;
  /** What the user can do about it, one sentence; undefined if there is nothing to say. */
  readonly hint: string | undefined;

  constructor(code: PcacheErrorCode, message: string, options: PcacheErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = 'PcacheError';
    this.code = code;
    this.errno = options.errno;
    this.hint = options.hint;
  }
}

/** An error's message in one line, for errors of any kind. Those of this project are a line already, and names in them stay what they are until they are shown. */
export function messageOf(error: unknown): string {
  if (error instanceof PcacheError) return error.message;
  const text = error instanceof Error ? error.message : String(error);
  return text.replaceAll(/\s*\n\s*/g, ' ');
}
