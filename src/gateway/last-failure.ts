// Why the last gateway of a mount point ended, if it did not end in order: its log was kept then, and says so last.

import { existsSync, readFileSync } from 'node:fs';
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

/** What the supervisor gave as its reason to end; undefined if this line of the log is another. */
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
  const isReason = name === 'supervisor' && typeof code === 'string' && typeof msg === 'string' && Number(level) >= LEVEL_ERROR;
  return isReason ? msg : undefined;
}
