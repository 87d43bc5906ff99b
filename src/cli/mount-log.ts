// Where the log of a mount goes, `--log`: to the runtime files, stderr, the journal or a file.
//
// The journal is reached through the stream that systemd-cat(1) uses, as descriptor 2 of the daemon: so whatever its runtime prints while it dies is there
// too, and levels are written as for any service whose stderr is the journal, `<4>MESSAGE` (sd-daemon(3)). That is what stderr is under systemd, so both need
// one form only.

import { closeSync, constants, fstatSync, openSync, writeSync } from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import { connectStream } from '../device/unix-socket.js';
import { dup2, fcntl } from '../device/libc.js';
import { F_DUPFD_CLOEXEC } from '../device/linux-constants.js';
import { systemErrorFrom } from '../device/system-error.js';
import { PcacheError } from '../errors.js';
import { LOG_FD, openLogFile } from '../gateway/log-sink.js';
import type { LogFormat } from '../gateway/log.js';
import { mountPointName } from '../gateway/mount-point-name.js';

const JOURNAL_STREAM = '/run/systemd/journal/stdout';
const IDENTIFIER = 'pcache';
/** LOG_INFO of syslog(3), for lines without a level: what the runtime prints. */
const DEFAULT_LEVEL = 6;

export interface MountLog {
  readonly format: LogFormat;
  /** The path of the file, if it is one that its user named. */
  readonly file: string | undefined;
  /** A descriptor for the daemon's stderr, which the caller closes; undefined: the stderr that there is. Throws PcacheError. */
  readonly open: (() => number) | undefined;
}

/**
 * @param target `stderr`, `journal`, a path, or undefined: the file `ownPath` among the runtime files, or stderr in the foreground
 * Throws PcacheError `usage` for a file on the mount itself.
 */
export function mountLogOf(target: string | undefined, mountpoint: string, ownPath: string, isForeground: boolean): MountLog {
  if (target === 'stderr' || (target === undefined && isForeground)) {
    return { format: isJournal(LOG_FD, process.env.JOURNAL_STREAM) ? 'journal' : 'text', file: undefined, open: undefined };
  }
  if (target === undefined) return { format: 'json', file: undefined, open: () => openOwnLog(ownPath) };
  if (target === 'journal') return { format: 'journal', file: undefined, open: () => openJournal(JOURNAL_STREAM) };
  const file = resolve(target);
  refuseOnMount(target, file, mountpoint);
  return { format: 'dated', file, open: () => openNamedLog(file) };
}

/** Whether a descriptor is what JOURNAL_STREAM names, DEVICE:INODE: systemd has connected it to the journal. */
export function isJournal(fd: number, stream: string | undefined): boolean {
  if (stream === undefined) return false;
  const { dev, ino } = fstatSync(fd);
  return stream === `${dev}:${ino}`;
}

/** Runs `action` while descriptor 2 of this process is the log, for a daemon in the foreground. */
export async function withLogAsStderr<T>({ open }: MountLog, action: () => Promise<T>): Promise<T> {
  if (open === undefined) return action();
  const log = open();
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

function refuseOnMount(target: string, file: string, mountpoint: string): void {
  let folder: string;
  try {
    folder = join(mountPointName(dirname(file)), basename(file));
  } catch (error) {
    throw new PcacheError('not-found', `${target}: the log: no such folder`, { cause: error });
  }
  const name = mountPointName(mountpoint);
  if (folder === name || folder.startsWith(`${name}/`)) {
    throw new PcacheError('usage', `${target}: the log can't be on the volume that it is about`);
  }
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
