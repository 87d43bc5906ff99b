// Where the log of a mount goes, and how its place is opened: by the process whose log it is, which then writes to it as its descriptor 2.
//
// The journal is reached through the stream that systemd-cat(1) uses, as descriptor 2 of the daemon: so whatever its runtime prints while it dies is there
// too, and levels are written as for any service whose stderr is the journal, `<4>MESSAGE` (sd-daemon(3)). That is what stderr is under systemd, so both need
// one form only.

import { closeSync, constants, fstatSync, openSync, writeSync } from 'node:fs';
import { dup2, fcntl } from '../device/libc.js';
import { F_DUPFD_CLOEXEC } from '../device/linux-constants.js';
import { systemErrorFrom } from '../device/system-error.js';
import { connectStream } from '../device/unix-socket.js';
import { PcacheError } from '../errors.js';
import { LOG_FD, openLogFile } from './log-sink.js';

const STDOUT = 1;
const JOURNAL_STREAM = '/run/systemd/journal/stdout';
const IDENTIFIER = 'pcache';
/** LOG_INFO of syslog(3), for lines without a level: what the runtime prints. */
const DEFAULT_LEVEL = 6;

/** Paths are absolute. */
export type LogTarget =
  /** The descriptor 2 that there is. */
  | { readonly kind: 'stderr' }
  | { readonly kind: 'journal' }
  /** A file among the runtime files. */
  | { readonly kind: 'own'; readonly path: string }
  /** A file that the user named. */
  | { readonly kind: 'file'; readonly path: string };

/** Makes it descriptor 2 of this process, and 1 as well, since runtimes die on both. Throws PcacheError. */
export function logBecomesOutput(target: LogTarget): void {
  const log = openLog(target);
  if (log === undefined) dup2(LOG_FD, STDOUT);
  else becomeOutput(log);
}

/** Makes a descriptor the descriptors 1 and 2 of this process, and closes it. */
export function becomeOutput(fd: number): void {
  dup2(fd, LOG_FD);
  dup2(fd, STDOUT);
  closeSync(fd);
}

/** Runs `action` while descriptor 2 of this process is the log, for a daemon in the foreground. Throws PcacheError if it can't be opened. */
export async function withLogAsStderr<T>(target: LogTarget, action: () => Promise<T>): Promise<T> {
  const log = openLog(target);
  if (log === undefined) return action();
  const stderr = fcntl(LOG_FD, F_DUPFD_CLOEXEC, LOG_FD + 1);
  dup2(log, LOG_FD);
  closeSync(log);
  try {
    return await action();
  } finally {
    dup2(stderr, LOG_FD);
    closeSync(stderr);
  }
}

/** A descriptor, or undefined for the one that there is. */
function openLog(target: LogTarget): number | undefined {
  switch (target.kind) {
    case 'stderr':
      return undefined;
    case 'journal':
      return openJournal(JOURNAL_STREAM);
    case 'own':
      return openOwnLog(target.path);
    case 'file':
      return openNamedLog(target.path);
  }
}

/** A stream to the journal, whose header is sent. Throws PcacheError. */
export function openJournal(socket: string): number {
  let fd: number;
  try {
    fd = connectStream(socket);
  } catch (error) {
    throw Object.assign(systemErrorFrom(`${socket}: the journal`, error), {
      hint: 'Is systemd-journald running? --log names another place.',
    });
  }
  // Identifier, unit (the journal knows), level, whether lines may start with one, and where else to send them: nowhere.
  writeSync(fd, `${IDENTIFIER}\n\n${DEFAULT_LEVEL}\n1\n0\n0\n0\n`);
  return fd;
}

function openNamedLog(path: string): number {
  let fd: number;
  try {
    fd = openLogFile(path);
  } catch (error) {
    throw systemErrorFrom(`${path}: the log`, error);
  }
  const stats = fstatSync(fd);
  if (stats.isFile() || stats.isCharacterDevice() || stats.isFIFO()) return fd;
  closeSync(fd);
  throw new PcacheError('unsupported', `${path}: the log: neither a file nor a terminal`);
}

/** What is in the log's place among the runtime files and is no file is left alone, and not waited for. */
function openOwnLog(path: string): number {
  const { O_WRONLY, O_APPEND, O_CREAT, O_NONBLOCK, O_NOFOLLOW } = constants;
  try {
    return openSync(path, O_WRONLY | O_APPEND | O_CREAT | O_NONBLOCK | O_NOFOLLOW, 0o600);
  } catch (error) {
    throw systemErrorFrom(path, error);
  }
}
