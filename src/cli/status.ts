// `pcache status`: of a mount point (its gateway is asked), of a cache (its gateway, or the media if nobody serves it), or of all mounts.

import { realpathSync, statSync } from 'node:fs';
import { resolve } from 'node:path';
import type { Command } from 'commander';
import { PcacheError, messageOf } from '../errors.js';
import { mountAt } from '../fuse/mountinfo.js';
import { lostFileText, lostFilesOf, presentName } from '../gateway/held-files.js';
import { lastFailureOf } from '../gateway/last-failure.js';
import { mountPointName } from '../gateway/mount-point-name.js';
import { findEntry, isRunning, listEntries, type RuntimeEntry } from '../gateway/runtime-files.js';
import { statusOfAnswer } from '../gateway/status-answer.js';
import { dmStatusLine, type IdleStatus, type StatusSnapshot } from '../gateway/status.js';
import { addExample, type CommandContext } from './command.js';
import { connectTo, mountPointMeant, runningEntryOf, type ConfigDirOption } from './gateway-of.js';
import { orphanHint } from './loop-hints.js';
import { alignColumns, type Output } from './output.js';
import { formatSize } from './size.js';
import { statusTable } from './status-table.js';

export function define(command: Command, { output }: CommandContext): void {
  command
    .argument('[mountpoint-or-cache]', 'a mounted volume or its NAME, or a cache; without it all mounted volumes are listed')
    .option('--config-dir <folder>', 'where NAME.yaml is (default: /etc/pcache)')
    .option('--dm', 'print the line that `dmsetup status` prints for a pcache target')
    .description('Shows the state of a mounted volume, of a cache that nobody uses, or of all mounted volumes.')
    .action(async (path: string | undefined, options: ConfigDirOption & { dm?: true }) => {
      if (path === undefined) {
        if (options.dm === true) throw new PcacheError('usage', 'status --dm: needs a mount point or a cache');
        await showAll(output);
        return;
      }
      const status = await statusOf(await pathMeant(path, options.configDir), output);
      if (options.dm === true) output.result({ dm_status: dmStatusLine(status) }, () => dmStatusLine(status));
      else output.result(status, () => statusTable(status));
    });
  command.addHelpText(
    'after',
    `
States:
  serving        all is well
  cache-full     writers wait until something is written back
  backing-error  the backing device fails; it is tried again, nothing is lost
  cache-error    the cache device fails; flushes fail until the volume is mounted again
  stopping       unmounted, closing the log
  idle           nobody serves this cache`,
  );
  addExample(command, 'pcache status /mnt/vol', 'pcache --json status /fast/cache.pmem');
}

/** As mountPointMeant, but a word that says nothing may be a cache that is not there: whoever opens it says so. */
async function pathMeant(pathOrName: string, configDir: string | undefined): Promise<string> {
  try {
    return await mountPointMeant(pathOrName, configDir);
  } catch (error) {
    if (error instanceof PcacheError && error.code === 'not-found') return pathOrName;
    throw error;
  }
}

async function statusOf(path: string, output: Output): Promise<StatusSnapshot | IdleStatus> {
  const entry = servingEntry(path);
  if (entry !== undefined) {
    for (const lost of lostFilesOf(entry)) output.warn(lostFileText(lost));
    for (const role of ['cache', 'backing'] as const) {
      const name = presentName(entry, role);
      if (name !== entry[role]) output.warn(`${entry[role]}: renamed while it was mounted; it is ${name} now`);
    }
    return askStatus(entry);
  }
  if (statSync(path, { throwIfNoEntry: false })?.isDirectory() === true) {
    const failure = lastFailureOf(mountPointName(path));
    const why = failure?.reason === undefined ? '' : `: the last one ended: ${failure.reason}`;
    throw new PcacheError('not-found', `${path}: not a mounted pcache volume${why}`, {
      hint:
        failure === undefined
          ? `pcache status lists the mounted ones.${orphanHint()}`
          : `Its log is ${failure.log}; pcache check says what state the cache is in.${orphanHint()}`,
    });
  }
  return idleStatus(path, output);
}

async function idleStatus(path: string, output: Output): Promise<IdleStatus> {
  // Loaded only here: what maps the device, and what reads a log that may be long.
  const { openCacheDevice } = await import('../device/mapped-cache-device.js');
  const { runTask } = await import('./task.js');
  const device = openCacheDevice(path, { readOnly: true });
  try {
    return await runTask('idleStatus', { cache: device.handle }, { output, interrupted: () => `${path} is as it was` });
  } finally {
    device.close();
  }
}

/** The gateway that serves this mount point or this cache; undefined if it is the path of something that nobody serves. */
function servingEntry(path: string): RuntimeEntry | undefined {
  const name = mountPointName(path);
  if (mountAt(name) !== undefined || findEntry(name) !== undefined) return runningEntryOf(path);
  let real: string;
  try {
    real = realpathSync(resolve(path));
  } catch {
    // Whoever opens it says better what is wrong with it.
    return undefined;
  }
  return listEntries().find((entry) => entry.cache === real && isRunning(entry));
}

async function askStatus(entry: RuntimeEntry): Promise<StatusSnapshot> {
  const client = await connectTo(entry);
  try {
    return statusOfAnswer(await client.request({ op: 'status' }));
  } finally {
    client.close();
  }
}

async function showAll(output: Output): Promise<void> {
  const rows = await Promise.all(
    listEntries().map(async (entry) => {
      if (!isRunning(entry)) return { entry, status: undefined, problem: 'dead: pcache umount cleans up' };
      return askStatus(entry).then(
        (status) => ({ entry, status, problem: undefined }),
        (error: unknown) => ({ entry, status: undefined, problem: messageOf(error) }),
      );
    }),
  );
  const values = rows.map(
    ({ entry, status, problem }) => status ?? { mountpoint: entry.mountpoint, cache: entry.cache, state: 'unreachable', problem },
  );
  output.result(values, () => {
    if (rows.length === 0) return 'nothing is mounted';
    const cells = rows.map(({ entry, status, problem }) => [
      entry.mountpoint,
      status === undefined ? problem : `${status.state}${status.unmount_wanted ? ' until its last user is gone' : ''}`,
      status === undefined ? '' : formatSize(status.volume_bytes),
      status === undefined ? '' : formatSize(status.dirty_bytes),
      entry.cache,
      entry.backing,
    ]);
    return alignColumns([['MOUNTPOINT', 'STATE', 'VOLUME', 'DIRTY', 'CACHE', 'BACKING'], ...cells]);
  });
}
