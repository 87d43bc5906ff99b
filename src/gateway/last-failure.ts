// Why the last gateway of a mount point ended, if it did not end in order: its log was kept then, and says so last. Where the log is elsewhere, the file that it
// would have among the runtime files says that one thing.

import { appendFileSync, existsSync, readFileSync } from 'node:fs';
import { dirname } from 'node:path';
import type { PcacheErrorCode } from '../errors.js';
import { runtimeDirectoryName, runtimePaths } from './runtime-files.js';

/** pino's number of the level `error`. */
const LEVEL_ERROR = 50;

export interface LastFailure {
  /** Undefined if the log does not say it in so many words. */
  readonly reason: string | undefined;
  readonly log: string;
}

/** Of a mount point that nobody serves. Undefined if its last gateway ended in order, or there was none. */
export function lastFailureOf(mountpoint: string): LastFailure | undefined {
  const { log } = runtimePaths(mountpoint, runtimeDirectoryName());
  if (!existsSync(log)) return undefined;
  const errors = readFileSync(log, 'utf8')
    .split('\n')
    .flatMap((line) => reasonIn(line) ?? []);
  return { reason: errors.at(-1), log };
}

/** Notes why a gateway ended, in its log among the runtime files. Throws what `fs` throws. */
export function noteFailure(log: string, name: 'supervisor' | 'engine', code: PcacheErrorCode, msg: string): void {
  appendFileSync(log, `${JSON.stringify({ level: LEVEL_ERROR, time: new Date().toISOString(), name, code, msg })}\n`, { mode: 0o600 });
}

/**
 * The same of a gateway that was killed with all its processes, which could note nothing: called by who finds it dead. Only for this user's own runtime files: to
 * write into those of another is not root's to do.
 */
export function noteDeath(mountpoint: string, log: string): void {
  if (dirname(log) !== runtimeDirectoryName() || lastFailureOf(mountpoint)?.reason !== undefined) return;
  noteFailure(log, 'supervisor', 'closed', 'supervisor and engine were killed, or the machine ran out of memory');
}

/** What a supervisor, or an engine without one, gave as its reason to end; undefined if this line of the log is another. */
function reasonIn(line: string): string | undefined {
  let record: unknown;
  try {
    record = JSON.parse(line);
  } catch {
    // What the runtime itself printed while it died.
    return undefined;
  }
  if (typeof record !== 'object' || record === null) return undefined;
  const { level, name, code, msg } = record as Record<string, unknown>;
  const isReason =
    (name === 'supervisor' || name === 'engine') && typeof code === 'string' && typeof msg === 'string' && Number(level) >= LEVEL_ERROR;
  return isReason ? msg : undefined;
}
