// From what a user calls a mount to the gateway that serves it.

import { lstatSync, readFileSync } from 'node:fs';
import type { Command } from 'commander';
import { PcacheError } from '../errors.js';
import { ControlClient } from '../gateway/control-client.js';
import { mountPointName } from '../gateway/mount-point-name.js';
import { mountAt } from '../fuse/mountinfo.js';
import { findEntry, isRunning, type RuntimeEntry } from '../gateway/runtime-files.js';
import { deadLoopsHint, orphanHint } from './loop-hints.js';

export const PCACHE_FILE_SYSTEM_TYPE = 'fuse.pcache';

export interface MountedGateway {
  readonly entry: RuntimeEntry;
  readonly client: ControlClient;
}

/**
 * The mount point that a user means: a path, or the name of a configuration, which stands for its mount point. What is a mount, or there as a file, is the
 * path. Throws PcacheError `not-found` for a word that is neither, and what is wrong with a configuration that can't be used.
 * @param configDir of the command line
 */
export async function mountPointMeant(pathOrName: string, configDir?: string): Promise<string> {
  // Most are paths, which need nothing more.
  if (pathOrName.includes('/')) return pathOrName;
  const name = mountPointName(pathOrName);
  if (mountAt(name) !== undefined || findEntry(name) !== undefined || isThere(name)) return pathOrName;
  // Loaded only here: it takes YAML along.
  const { configFolders, findConfig, isConfigName, readConfig } = await import('./config-file.js');
  if (!isConfigName(pathOrName)) return pathOrName;
  try {
    return readConfig(findConfig(pathOrName, configFolders(configDir))).mountpoint;
  } catch (error) {
    if (!(error instanceof PcacheError) || error.code !== 'not-found') throw error;
    throw new PcacheError('not-found', `${pathOrName}: not a mounted pcache volume, and no such configuration`, {
      cause: error,
      hint: 'pcache status lists the mounted ones, pcache config check the configurations.',
    });
  }
}

/** Of what is no mount: nobody has to answer. */
function isThere(path: string): boolean {
  return lstatSync(path, { throwIfNoEntry: false }) !== undefined;
}

/**
 * The running gateway of a mount point, or of the configuration of that name, connected. Throws PcacheError `not-found` if nothing is served there, `closed` if the gateway is dead,
 * `permission` if it is another user's.
 */
export async function gatewayOf(pathOrName: string, configDir?: string): Promise<MountedGateway> {
  const entry = runningEntryOf(await mountPointMeant(pathOrName, configDir));
  return { entry, client: await connectTo(entry) };
}

/** Connects, waiting some seconds if an engine is just being started again. */
export function connectTo(entry: RuntimeEntry): Promise<ControlClient> {
  return ControlClient.connect(entry.socket, () => isRunning(entry));
}

/** As gatewayOf of a mount point, without connecting. */
export function runningEntryOf(path: string): RuntimeEntry {
  const mountpoint = mountPointName(path);
  const entry = findEntry(mountpoint);
  if (entry !== undefined && isRunning(entry)) return entry;
  const mount = mountAt(mountpoint);
  if (mount?.type !== PCACHE_FILE_SYSTEM_TYPE) {
    throw new PcacheError('not-found', `${path}: not a mounted pcache volume`, {
      hint: `pcache status lists the mounted ones.${orphanHint()}`,
    });
  }
  const owner = ownerOf(mount.deviceMinor);
  if (entry === undefined && owner !== process.getuid?.()) {
    throw new PcacheError('permission', `${path}: mounted by another user (uid ${owner ?? 'unknown'})`);
  }
  throw new PcacheError('closed', `${path}: its gateway is dead`, {
    hint: `${deadLoopsHint(path, mountpoint)}pcache umount ${path} cleans up; the data is safe in the cache.`,
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

export interface ConfigDirOption {
  configDir?: string;
}

/** The argument of a command about a mounted volume; `otherwise`: what else it may be. */
export function addMountPoint(command: Command, otherwise = ''): Command {
  return command
    .argument('<mountpoint>', `where the volume is mounted, or the NAME of /etc/pcache/NAME.yaml${otherwise}`)
    .option('--config-dir <folder>', 'where NAME.yaml is (default: /etc/pcache)');
}
