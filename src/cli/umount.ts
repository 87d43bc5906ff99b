// `pcache umount`: unmounts, waits until the daemon is gone, and says what stays in the cache. A mount in use is left alone; the mount of a dead
// daemon is cleaned up.

import { readFileSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import type { Command } from 'commander';
import { PcacheError, messageOf } from '../errors.js';
import { unmountFuse } from '../fuse/mount.js';
import { mountAt } from '../fuse/mountinfo.js';
import type { ControlClient } from '../gateway/control-client.js';
import { lostFileText, lostFilesOf } from '../gateway/held-files.js';
import { loopWithUses, loopsOver } from '../gateway/loop-use.js';
import { mountPointName } from '../gateway/mount-point-name.js';
import { listUsers, mountUsers } from '../gateway/mount-users.js';
import { findEntry, isRunning, pathsForSocket, removeEntry, type RuntimeEntry } from '../gateway/runtime-files.js';
import { statusOfAnswer } from '../gateway/status-answer.js';
import type { StatusSnapshot } from '../gateway/status.js';
import { addExample, type CommandContext } from './command.js';
import { flushWithProgress, withWhatStays } from './flush.js';
import { PCACHE_FILE_SYSTEM_TYPE, addMountPoint, connectTo, mountPointMeant, runningEntryOf, type ConfigDirOption } from './gateway-of.js';
import type { Output } from './output.js';
import { orphanText } from './loop-hints.js';
import { WaitForEnd } from './wait-for-end.js';
import { formatSize } from './size.js';

/** The daemon has its last ksets to close; that takes moments on any device that works. */
const GONE_TIMEOUT_MS = 60_000;
const POLL_INTERVAL_MS = 20;
/** Without users, and with a supervisor that is dead. */
const ENGINE_TIMEOUT_MS = 10_000;
/** A gateway of another version can be unmounted as long as it says these. */
const NEEDED = ['dirty_bytes', 'read_only'] as const;

export function define(command: Command, context: CommandContext): void {
  addMountPoint(command)
    .option('--flush', 'write everything dirty back to the backing device first')
    .description('Unmounts the volume and waits until its daemon is gone. Dirty data stays in the cache unless --flush is given.')
    .action(async (pathOrName: string, { flush, configDir }: ConfigDirOption & { flush?: true }) =>
      unmount(await mountPointMeant(pathOrName, configDir), { flush: flush === true }, context),
    );
  addExample(command, 'pcache umount /mnt/vol --flush', 'pcache umount vol');
}

/** Throws PcacheError: `busy` if it is in use, and goes on being served. */
export async function unmount(path: string, { flush }: { flush: boolean }, context: CommandContext): Promise<void> {
  const entry = entryToUnmount(path);
  if (entry === undefined) await cleanUpAfterDeath(path, context.output);
  else await unmountInOrder(path, entry, flush, context);
}

/** Undefined if the daemon is dead and its mount or its files are still there. */
function entryToUnmount(path: string): RuntimeEntry | undefined {
  const mountpoint = mountPointName(path);
  const entry = findEntry(mountpoint);
  if (entry !== undefined && !isRunning(entry)) return undefined;
  try {
    return runningEntryOf(path);
  } catch (error) {
    if (error instanceof PcacheError && error.code === 'closed') return undefined;
    throw error;
  }
}

async function unmountInOrder(path: string, entry: RuntimeEntry, flush: boolean, context: CommandContext): Promise<void> {
  const { output } = context;
  const client = await connectTo(entry);
  let last: LastStatus;
  let flushedBytes = 0;
  try {
    await refuseLoss(path, entry, flush, client);
    if (flush && (await hasToFlush(client))) flushedBytes = await flushFirst(path, client, context);
    last = await unmountAndWait(path, entry, client, output);
  } finally {
    client.close();
  }
  const backingError = last.last_error?.device === 'backing' ? last.last_error.message : undefined;
  const result = {
    mountpoint: entry.mountpoint,
    flushed_bytes: flushedBytes,
    dirty_bytes: last.dirty_bytes,
    cache: entry.cache,
    ...(backingError === undefined ? {} : { backing_error: backingError }),
  };
  output.result(result, () => {
    if (last.dirty_bytes > 0) return `${path}: unmounted; ${formatSize(last.dirty_bytes)} of dirty data stay in ${entry.cache}`;
    return backingError === undefined ? `${path}: unmounted; everything is on ${entry.backing}` : `${path}: unmounted; nothing is dirty`;
  });
  if (backingError !== undefined) output.warn(backingError);
}

/** A file that was deleted while it was mounted ends with the mount. Throws PcacheError `mismatch` if that would lose anything. */
async function refuseLoss(path: string, entry: RuntimeEntry, flush: boolean, client: ControlClient): Promise<void> {
  const lost = lostFilesOf(entry);
  const backing = lost.find(({ role }) => role === 'backing');
  if (backing !== undefined) {
    throw new PcacheError('mismatch', `umount: ${path}: all that was written back would be lost: ${lostFileText(backing)}`, {
      hint: `Copy ${backing.rescuePath} to where it is safe, then use umount ${path}.`,
    });
  }
  const cache = lost.find(({ role }) => role === 'cache');
  if (cache === undefined || flush) return;
  const { dirty_bytes: dirtyBytes } = await statusFrom(client);
  if (dirtyBytes === 0) return;
  throw new PcacheError('mismatch', `umount: ${path}: ${formatSize(dirtyBytes)} of dirty data would be lost: ${lostFileText(cache)}`, {
    hint: `pcache umount ${path} --flush writes them back first.`,
  });
}

/** Throws PcacheError if not everything could be written back; the volume is then still served. */
async function flushFirst(path: string, client: ControlClient, context: CommandContext): Promise<number> {
  try {
    const interrupted = `${path} is still mounted, and the gateway goes on writing back; pcache umount ${path} --flush unmounts it`;
    return await flushWithProgress(client, context, interrupted);
  } catch (error) {
    throw await withWhatStays(
      error,
      `umount: ${path}: not unmounted`,
      client,
      `pcache umount ${path} without --flush leaves it there, for the next mount or pcache recover.`,
    );
  }
}

function statusFrom(client: ControlClient): Promise<StatusSnapshot> {
  return client.request({ op: 'status' }).then((status) => statusOfAnswer(status, NEEDED));
}

/** A volume that is mounted read-only can't be flushed, and need not be if nothing is dirty. */
async function hasToFlush(client: ControlClient): Promise<boolean> {
  const status = await statusFrom(client);
  return !status.read_only || status.dirty_bytes > 0;
}

/** What is needed of it; `last_error` only from gateways that tell it. */
type LastStatus = Pick<StatusSnapshot, 'dirty_bytes'> & Partial<Pick<StatusSnapshot, 'last_error'>>;

/** The last status of the gateway, or the last one heard if it died meanwhile. */
async function unmountAndWait(path: string, entry: RuntimeEntry, client: ControlClient, output: Output): Promise<LastStatus> {
  const before = await statusFrom(client);
  const end = client.request({ op: 'wait_end' }, {}).then(
    (status) => ({ status: statusOfAnswer(status, NEEDED), error: undefined }),
    (error: unknown) => ({ status: before, error }),
  );
  if (mountAt(entry.mountpoint)?.type === PCACHE_FILE_SYSTEM_TYPE && unmountFuse(entry.mountpoint) === 'busy') {
    const users = await usersOf(entry, client);
    const detach = users.some(isLoopDevice) ? `, then pcache loop detach ${path},` : '';
    throw new PcacheError('busy', `umount: ${path} is in use by ${listUsers(users)}`, {
      hint: `The volume is still served. End its users${detach} and try again.`,
    });
  }
  let deadlineMs = performance.now() + GONE_TIMEOUT_MS;
  const progress = new WaitForEnd(entry, before, client, output);
  while (isRunning(entry)) {
    // A flush at the end takes as long as it takes.
    if (progress.hasAdvanced()) deadlineMs = performance.now() + GONE_TIMEOUT_MS;
    if (performance.now() > deadlineMs) {
      throw new PcacheError(
        'busy',
        `umount: ${path}: unmounted, but the daemon (${entry.supervisor_pid}) still runs after ${GONE_TIMEOUT_MS / 1000} s`,
        {
          hint: `It ends when the last user of the volume goes. Its log is ${entry.log}`,
        },
      );
    }
    await delay(POLL_INTERVAL_MS);
  }
  progress.stop();
  const { status, error } = await end;
  // A connection that broke says nothing; an error that the gateway sent does.
  if (error instanceof PcacheError && error.code !== 'closed') {
    const { code, hint } = error;
    throw new PcacheError(code, `umount: ${path}: unmounted, but ${messageOf(error)}`, hint === undefined ? {} : { hint });
  }
  return status;
}

async function usersOf(entry: RuntimeEntry, client: ControlClient): Promise<string[]> {
  // The gateway may be root and see more than this user does.
  const answer = (await client.request({ op: 'unmount_check' })) as { users?: unknown } | null;
  const users = Array.isArray(answer?.users) ? answer.users.filter((user) => typeof user === 'string') : [];
  // Nor may it see what is mounted here, or be of a version that tells.
  if (users.length > 0) return users.map((user) => (/^\/dev\/loop\d+$/.test(user) ? loopWithUses(user) : user));
  return mountUsers(entry.mountpoint, [entry.supervisor_pid, entry.engine_pid, process.pid]);
}

function isLoopDevice(user: string): boolean {
  return user.startsWith('/dev/loop');
}

async function cleanUpAfterDeath(path: string, output: Output): Promise<void> {
  const mountpoint = mountPointName(path);
  const entry = findEntry(mountpoint);
  if (entry !== undefined) await waitForEngine(entry, output);
  const isMounted = mountAt(mountpoint)?.type === PCACHE_FILE_SYSTEM_TYPE;
  const loops = isMounted ? loopsOver(mountpoint).map(({ device }) => device) : [];
  if (isMounted) unmountFuse(mountpoint, { lazy: true });
  if (entry !== undefined) removeEntry(pathsForSocket(entry.socket), { log: 'remove' });
  const result = { mountpoint, stale: true, ...(entry === undefined ? {} : { cache: entry.cache }), loop_devices: loops };
  output.result(result, () => `${path}: the daemon was dead already; ${isMounted ? 'its mount is' : 'its files are'} cleaned up`);
  if (loops.length > 0) output.warn(orphanText(loops));
}

/** An engine that lives longer than its supervisor still closes its log: who mounts after this finds the devices free. One that hangs is left alone. */
async function waitForEngine({ engine_pid: pid }: RuntimeEntry, output: Output): Promise<void> {
  const deadlineMs = performance.now() + ENGINE_TIMEOUT_MS;
  while (isEngine(pid)) {
    if (performance.now() > deadlineMs) {
      output.warn(`the engine (${pid}) of the dead daemon still runs, and has the cache until it ends`);
      return;
    }
    await delay(POLL_INTERVAL_MS);
  }
}

/** By its title, see engine-process: the number may be another process's by now. */
function isEngine(pid: number): boolean {
  try {
    return pid > 0 && readFileSync(`/proc/${pid}/comm`, 'utf8').trimEnd() === 'pcache-engine';
  } catch {
    // Gone.
    return false;
  }
}
