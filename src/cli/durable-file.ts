// A new file whose bytes, and whose name, are on the disk when the call returns.

import { closeSync, constants, fsyncSync, openSync, unlinkSync, writeSync } from 'node:fs';
import { dirname } from 'node:path';
import { attempt } from '../device/device-file.js';
import { PcacheError } from '../errors.js';
import { errnoOf, systemErrorFrom } from '../device/system-error.js';
import { errno } from '../device/errno-codes.js';

/** Only its owner can read it. Throws PcacheError `holds-data` if the path exists; if it can't be written, no file is left. */
export function createDurableFile(path: string, bytes: Uint8Array): void {
  const fd = create(path);
  try {
    for (let done = 0; done < bytes.length;) done += attempt(path, () => writeSync(fd, bytes, done, bytes.length - done));
    attempt(path, () => fsyncSync(fd));
  } catch (error) {
    closeSync(fd);
    unlinkSync(path);
    throw error;
  }
  closeSync(fd);
  const folder = attempt(path, () => openSync(dirname(path), constants.O_RDONLY | constants.O_DIRECTORY));
  try {
    attempt(path, () => fsyncSync(folder));
  } finally {
    closeSync(folder);
  }
}

function create(path: string): number {
  try {
    return openSync(path, 'wx', 0o600);
  } catch (error) {
    if (errnoOf(error) !== errno.EEXIST) throw systemErrorFrom(path, error);
    throw new PcacheError('holds-data', `${path}: exists already, and is not overwritten`, {
      cause: error,
      hint: '--backup names another file.',
    });
  }
}
