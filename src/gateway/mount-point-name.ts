// One name for a mount point, however it was written, found without a call that the mounted file system would have to answer: a gateway that
// hangs must not hang the commands that deal with it.

import { createHash } from 'node:crypto';
import { readlinkSync, realpathSync } from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import { PcacheError, messageOf } from '../errors.js';

const LINKS_MAX = 40;

/**
 * The absolute path of a mount point, symbolic links resolved. The last component is looked at with readlink(2) only, which the kernel
 * answers by itself for a mounted directory or file. Throws PcacheError `not-found` or `permission` if the folder above can't be reached.
 */
export function mountPointName(path: string): string {
  let name = resolve(path);
  for (let links = 0; links < LINKS_MAX; links++) {
    if (name === '/') return name;
    name = join(realPathOf(dirname(name), path), basename(name));
    const target = linkTargetOf(name);
    if (target === undefined) return name;
    name = resolve(dirname(name), target);
  }
  throw new PcacheError('not-found', `${path}: too many symbolic links`);
}

/** What the runtime files of a mount point are called: short, so that the socket's path fits into the 107 bytes that sockets allow. */
export function mountPointHash(name: string): string {
  return createHash('sha256').update(name).digest('hex').slice(0, 16);
}

function realPathOf(folder: string, path: string): string {
  try {
    return realpathSync(folder);
  } catch (error) {
    const denied = (error as NodeJS.ErrnoException).code === 'EACCES';
    const why = denied ? 'permission denied' : 'no such file or folder';
    throw new PcacheError(denied ? 'permission' : 'not-found', `${path}: ${why}`, { cause: error, hint: messageOf(error) });
  }
}

function linkTargetOf(name: string): string | undefined {
  try {
    return readlinkSync(name);
  } catch {
    // Not a link, or nothing there: either way the name is final, and whoever uses it finds out what it is.
    return undefined;
  }
}
