// From what a user calls a mount to the gateway that serves it.

import { readFileSync } from 'node:fs';
import { PcacheError } from '../errors.js';
import { ControlClient } from '../gateway/control-client.js';
import { mountPointName } from '../gateway/mount-point-name.js';
import { mountAt } from '../fuse/mountinfo.js';
import { findEntry, isRunning, type RuntimeEntry } from '../gateway/runtime-files.js';

export const PCACHE_FILE_SYSTEM_TYPE = 'fuse.pcache';

export interface MountedGateway {
  readonly entry: RuntimeEntry;
  readonly client: ControlClient;
}

/**
 * The running gateway of a mount point, connected. Throws PcacheError `not-found` if nothing is served there, `closed` if the gateway is dead,
 * `permission` if it is another user's.
 */
export async function gatewayOf(path: string): Promise<MountedGateway> {
  const entry = runningEntryOf(path);
  return { entry, client: await connectTo(entry) };
}

/** Connects, waiting some seconds if an engine is just being started again. */
export function connectTo(entry: RuntimeEntry): Promise<ControlClient> {
  return ControlClient.connect(entry.socket, () => isRunning(entry));
}

/** As gatewayOf, without connecting. */
export function runningEntryOf(path: string): RuntimeEntry {
  const mountpoint = mountPointName(path);
  const entry = findEntry(mountpoint);
  if (entry !== undefined && isRunning(entry)) return entry;
  const mount = mountAt(mountpoint);
  if (mount?.type !== PCACHE_FILE_SYSTEM_TYPE) {
    throw new PcacheError('not-found', `${path}: not a mounted pcache volume`, { hint: 'pcache status lists the mounted ones.' });
  }
  const owner = ownerOf(mount.deviceMinor);
  if (entry === undefined && owner !== process.getuid?.()) {
    throw new PcacheError('permission', `${path}: mounted by another user (uid ${owner ?? 'unknown'})`);
  }
  throw new PcacheError('closed', `${path}: its gateway is dead`, {
    hint: `pcache umount ${path} cleans up; the data is safe in the cache.`,
  });
}

/** The user who mounted FUSE connection `number`, from the mount's options. */
function ownerOf(number: number): number | undefined {
  const line = readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .find((each) => each.split(' ')[2] === `0:${number}`);
  const owner = /[ ,]user_id=(\d+)/.exec(line ?? '')?.[1];
  return owner === undefined ? undefined : Number(owner);
}
