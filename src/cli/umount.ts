// `pcache umount`: unmounts, waits until the daemon is gone, and says what stays in the cache. A mount in use is left alone; the mount of a dead
// daemon is cleaned up. By force, whoever uses the mount gets errors.

import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import type { Command } from 'commander';
import { PcacheError, messageOf } from '../errors.js';
import { unmountByForce, unmountFuse } from '../fuse/mount.js';
import { mountAt } from '../fuse/mountinfo.js';
import type { ControlClient } from '../gateway/control-client.js';
import { noteDeath } from '../gateway/last-failure.js';
import { lostFileText, lostFilesOf, presentName, presentNameText, rescueHint } from '../gateway/held-files.js';
import { loopWithUses, loopsOver } from '../gateway/loop-use.js';
import { mountPointName } from '../gateway/mount-point-name.js';
import { listUsers, mountUsers } from '../gateway/mount-users.js';
import { findEntry, isRunning, pathsForSocket, removeEntry, type RuntimeEntry } from '../gateway/runtime-files.js';
import { statusOfAnswer } from '../gateway/status-answer.js';
import type { GatewayState, StatusSnapshot } from '../gateway/status.js';
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
    .option('--force', 'end every call that waits on the volume with an error, and unmount it in use or not')
    .description(
      'Unmounts the volume and waits until its daemon is gone. Dirty data stays in the cache unless --flush is given. --force is for users that cannot be ended, such as writers that wait for a backing device that is dead or full: what was acknowledged stays in the cache.',
    )
    .action(async (pathOrName: string, { flush, force, configDir }: ConfigDirOption & { flush?: true; force?: true }) => {
      if (flush === true && force === true) {
        throw new PcacheError('usage', 'umount: --flush and --force: one of them', {
          hint: 'With --force dirty data stays in the cache; pcache recover writes it back when the backing device works again.',
        });
      }
      await unmount(await mountPointMeant(pathOrName, configDir), { flush: flush === true, force: force === true }, context);
    });
  addExample(command, 'pcache umount /mnt/vol --flush', 'pcache umount vol');
}

export interface UnmountOptions {
  readonly flush: boolean;
  /** Not together with `flush`. */
  readonly force?: boolean;
}

/** Throws PcacheError: `busy` if it is in use, and goes on being served. */
export async function unmount(path: string, options: UnmountOptions, context: CommandContext): Promise<void> {
  const entry = entryToUnmount(path);
  if (entry === undefined) await cleanUpAfterDeath(path, context.output);
  else await unmountInOrder(path, entry, options, context);
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

async function unmountInOrder(
  path: string,
  entry: RuntimeEntry,
  { flush, force = false }: UnmountOptions,
  context: CommandContext,
): Promise<void> {
  const { output } = context;
  const client = await connectTo(entry);
  let last: LastStatus;
  let flushedBytes = 0;
  // When the gateway is gone nobody knows what it had open.
  const names = { cache: presentName(entry, 'cache'), backing: presentName(entry, 'backing') };
  const texts = { cache: presentNameText(entry, 'cache'), backing: presentNameText(entry, 'backing') };
  // Of a mount that was taken away the kernel no longer knows where it was.
  const loops = force ? loopsOver(entry.mountpoint).map(({ device }) => device) : [];
  try {
    await refuseLoss(path, entry, flush, client);
    if (flush && (await hasToFlush(client))) flushedBytes = await flushFirst(path, client, context);
    last = await unmountAndWait(path, entry, client, force, output);
  } finally {
    client.close();
  }
  const backingError = last.last_error?.device === 'backing' ? last.last_error.message : undefined;
  const result = {
    mountpoint: entry.mountpoint,
    flushed_bytes: flushedBytes,
    dirty_bytes: last.dirty_bytes,
    ...names,
    ...(force ? { forced: true, loop_devices: loops } : {}),
    ...(backingError === undefined ? {} : { backing_error: backingError }),
  };
  output.result(result, () => {
    const unmounted = `${path}: unmounted${force ? ' by force' : ''}`;
    if (last.dirty_bytes > 0) return `${unmounted}; ${formatSize(last.dirty_bytes)} of dirty data stay in ${texts.cache}`;
    return backingError === undefined ? `${unmounted}; everything is on ${texts.backing}` : `${unmounted}; nothing is dirty`;
  });
  if (backingError !== undefined) output.warn(backingError);
  if (loops.length > 0) output.warn(orphanText(loops));
}

/** A file that was deleted while it was mounted ends with the mount. Throws PcacheError `mismatch` if that would lose anything. */
async function refuseLoss(path: string, entry: RuntimeEntry, flush: boolean, client: ControlClient): Promise<void> {
  const lost = lostFilesOf(entry);
  const backing = lost.find(({ role }) => role === 'backing');
  if (backing !== undefined) {
    throw new PcacheError('mismatch', `umount: ${path}: all that was written back would be lost: ${lostFileText(backing)}`, {
      hint: rescueHint(path, backing, entry.cache),
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
async function unmountAndWait(
  path: string,
  entry: RuntimeEntry,
  client: ControlClient,
  force: boolean,
  output: Output,
): Promise<LastStatus> {
  const before = await statusFrom(client);
  const end = client.request({ op: 'wait_end' }, {}).then(
    (status) => ({ status: statusOfAnswer(status, NEEDED), error: undefined }),
    (error: unknown) => ({ status: before, error }),
  );
  if (mountAt(entry.mountpoint)?.type === PCACHE_FILE_SYSTEM_TYPE) {
    if (force) unmountByForce(path, entry.mountpoint);
    else if (unmountFuse(entry.mountpoint) === 'busy') throw inUseBy(path, await usersOf(entry, client), before.state);
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
          hint: `It ends when ${force ? `${entry.backing} answers` : 'the last user of the volume goes'}. Its log is ${entry.log}`,
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

/** `state`: of the gateway, if it tells. */
function inUseBy(path: string, users: readonly string[], state: GatewayState | undefined): PcacheError {
  const detach = users.some(isLoopDevice) ? `, then pcache loop detach ${path},` : '';
  const isFailing = state === 'cache-full' || state === 'backing-error' || state === 'cache-error';
  const force =
    isFailing || users.some(isUninterruptible)
      ? ` If they wait and can't be ended: pcache umount ${path} --force ends their calls with errors.`
      : '';
  return new PcacheError('busy', `umount: ${path} is in use by ${listUsers(users)}`, {
    hint: `The volume is still served. End its users${detach} and try again.${force}`,
  });
}

/** A user as `mountUsers` names it, of whom a thread can't be interrupted, whatever it waits for. */
function isUninterruptible(user: string): boolean {
  const pid = /\((\d+)\)$/.exec(user)?.[1];
  if (pid === undefined) return false;
  try {
    return readdirSync(`/proc/${pid}/task`).some((thread) =>
      /^State:\s+D/m.test(readFileSync(`/proc/${pid}/task/${thread}/status`, 'utf8')),
    );
  } catch {
    // Gone, or another user's in a hidden /proc.
    return false;
  }
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
  if (entry !== undefined) {
    noteDeath(mountpoint, entry.log);
    // The log says what happened; there is one for each mount point, until something is mounted there again.
    removeEntry(pathsForSocket(entry.socket), { log: 'keep' });
  }
  const log = entry !== undefined && existsSync(entry.log) ? entry.log : undefined;
  const result = {
    mountpoint,
    stale: true,
    ...(entry === undefined ? {} : { cache: entry.cache }),
    loop_devices: loops,
    ...(log === undefined ? {} : { log }),
  };
  output.result(result, () => [
    `${path}: the daemon was dead already; ${isMounted ? 'its mount is' : 'its files are'} cleaned up`,
    ...(log === undefined ? [] : [`its log is ${log}`]),
  ]);
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
