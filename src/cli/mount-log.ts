// What `--log` means.

import { fstatSync } from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import { PcacheError } from '../errors.js';
import { LOG_FD } from '../gateway/log-sink.js';
import type { LogTarget } from '../gateway/log-target.js';
import type { LogFormat } from '../gateway/log.js';
import { mountPointName } from '../gateway/mount-point-name.js';

export interface MountLog {
  readonly format: LogFormat;
  readonly target: LogTarget;
}

/**
 * @param given `stderr`, `journal`, a path, or undefined: the file `ownPath` among the runtime files, or stderr in the foreground
 * @param json whether stderr is to have nothing but JSON documents
 * Throws PcacheError `usage` for a file on the mount itself.
 */
export function mountLogOf(
  given: string | undefined,
  mountpoint: string,
  ownPath: string,
  { isForeground, json }: { readonly isForeground: boolean; readonly json: boolean },
): MountLog {
  if (given === 'stderr' || (given === undefined && isForeground)) {
    if (json) return { format: 'stream-json', target: { kind: 'stderr' } };
    return { format: isJournal(LOG_FD, process.env.JOURNAL_STREAM) ? 'journal' : 'text', target: { kind: 'stderr' } };
  }
  if (given === undefined) return { format: 'json', target: { kind: 'own', path: ownPath } };
  if (given === 'journal') return { format: 'journal', target: { kind: 'journal' } };
  const path = resolve(given);
  refuseOnMount(given, path, mountpoint);
  return { format: 'dated', target: { kind: 'file', path } };
}

/** Whether a descriptor is what JOURNAL_STREAM names, DEVICE:INODE: systemd has connected it to the journal. */
export function isJournal(fd: number, stream: string | undefined): boolean {
  if (stream === undefined) return false;
  const { dev, ino } = fstatSync(fd);
  return stream === `${dev}:${ino}`;
}

function refuseOnMount(given: string, file: string, mountpoint: string): void {
  let folder: string;
  try {
    folder = join(mountPointName(dirname(file)), basename(file));
  } catch (error) {
    throw new PcacheError('not-found', `${given}: the log: no such folder`, { cause: error });
  }
  const name = mountPointName(mountpoint);
  if (folder === name || folder.startsWith(`${name}/`)) {
    throw new PcacheError('usage', `${given}: the log can't be on the volume that it is about`);
  }
}
