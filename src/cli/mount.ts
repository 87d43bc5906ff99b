// `pcache mount`: checks what can be checked, then starts a supervisor in the background and waits until the volume can be read, or becomes
// the supervisor itself with --foreground.

import { fork, type ChildProcess } from 'node:child_process';
import { closeSync, constants, existsSync, openSync, rmSync, statSync } from 'node:fs';
import { basename, join } from 'node:path';
import type { Command } from 'commander';
import { systemErrorFrom } from '../device/system-error.js';
import { PcacheError, messageOf } from '../errors.js';
import { errorOfBody } from '../gateway/control-protocol.js';
import { checkMount, type CheckedMount } from '../gateway/mount-checks.js';
import { mountOptionRows, parseMountOptions } from '../gateway/mount-options.js';
import type { MountMessage, MountOutcome, MountPlan } from '../gateway/process-messages.js';
import { findEntry, isRunning, listEntries, makeRuntimeDirectory, runtimePaths } from '../gateway/runtime-files.js';
import { supervisorMain } from '../gateway/supervisor-file.js';
import { addExample, type CommandContext } from './command.js';
import { addMetricsListen } from './metrics-listen.js';
import type { Output } from './output.js';
import { formatSize } from './size.js';

/** Replaying the log of the largest cache takes minutes; nothing that works takes this long. */
const READY_TIMEOUT_MS = 15 * 60_000;

interface MountCommandOptions {
  options?: string[];
  foreground?: true;
}

export function define(command: Command, context: CommandContext): void {
  command
    .argument('<cache>', 'the cache: a file or block device that `pcache format` or the kernel made')
    .argument('<backing>', 'the slow device or file below')
    .argument('<mountpoint>', 'an empty directory, which gets volume.img, or an empty file, which becomes the volume')
    .option('-o, --options <list>', 'mount options, separated by commas (see below)', collect)
    .option('--foreground', 'stay in the foreground; Ctrl-C unmounts')
    .description('Serves the volume that cache and backing device make together. Returns when it can be read.')
    .action((cache: string, backing: string, mountpoint: string, options: MountCommandOptions) =>
      mount(context, cache, backing, mountpoint, options),
    );
  addMetricsListen(command);
  const width = Math.max(...mountOptionRows.map(optionTerm).map((term) => term.length));
  const rows = mountOptionRows.map((row) => `  ${optionTerm(row).padEnd(width)}  ${row.help}`);
  command.addHelpText('after', `\nMount options:\n${rows.join('\n')}`);
  addExample(command, 'pcache mount /fast/cache.pmem /dev/sdb /mnt/vol', 'pcache mount cache.pmem disk.img vol -o workers=4,gc_percent=60');
}

function optionTerm(row: { name: string; value?: string }): string {
  return row.value === undefined ? row.name : `${row.name}=${row.value}`;
}

function collect(value: string, previous: string[] = []): string[] {
  return [...previous, value];
}

async function mount(
  context: CommandContext,
  cache: string,
  backing: string,
  mountpoint: string,
  options: MountCommandOptions,
): Promise<void> {
  const mountOptions = parseMountOptions(options.options ?? []);
  const checked = checkMount(cache, backing, mountpoint, mountOptions.transport);
  refuseIfServed(checked);
  const plan: MountPlan = {
    ...checked,
    options: mountOptions,
    runtimeDirectory: makeRuntimeDirectory(),
    logLevel: context.globals.logLevel,
    logFormat: options.foreground === true ? 'text' : 'json',
  };
  try {
    await serve(context, plan, options.foreground === true);
  } catch (error) {
    throw withHintIfUsed(error, checked);
  }
}

async function serve(context: CommandContext, plan: MountPlan, isForeground: boolean): Promise<void> {
  if (isForeground) {
    const { supervise } = await import('../gateway/supervisor-process.js');
    const status = await supervise(plan, { ready: (facts) => report(context.output, plan, { supervisorPid: process.pid, ...facts }) });
    context.exitStatus = status === 0 ? 0 : 1;
  } else {
    const outcome = await startInBackground(plan);
    report(context.output, plan, outcome);
  }
}

function refuseIfServed({ mountpoint }: CheckedMount): void {
  const entry = findEntry(mountpoint);
  if (entry !== undefined && isRunning(entry)) {
    throw new PcacheError('in-use', `${mountpoint}: served by another pcache (${entry.supervisor_pid})`);
  }
}

/** An error `in-use` about a device of a mount that this user can see says which. */
function withHintIfUsed(error: unknown, { cachePath, backingPath }: CheckedMount): unknown {
  if (!(error instanceof PcacheError) || error.code !== 'in-use' || error.hint !== undefined) return error;
  const path = [cachePath, backingPath].find((each) => error.message.startsWith(`${each}: `));
  const user = listEntries().find((entry) => (entry.cache === path || entry.backing === path) && isRunning(entry));
  if (user === undefined) return error;
  const hint = `It is in use for ${user.mountpoint}; pcache umount ${user.mountpoint} first.`;
  return new PcacheError('in-use', error.message, { cause: error, hint });
}

function report(output: Output, plan: MountPlan, facts: Omit<ReadyOutcome, 'type'>): void {
  if (facts.note !== undefined) output.warn(facts.note);
  const volume = plan.mountKind === 'directory' ? join(plan.mountpoint, 'volume.img') : plan.mountpoint;
  const result = {
    mountpoint: plan.mountpoint,
    volume,
    volume_bytes: facts.volumeBytes,
    supervisor_pid: facts.supervisorPid,
    engine_pid: facts.enginePid,
  };
  output.result(result, () => `${volume}: ${formatSize(facts.volumeBytes)}, ${basename(plan.cachePath)} in front of ${plan.backingPath}`);
}

/** What is in the log's place and is no file is left alone, and not waited for. */
function openLog(path: string): number {
  const { O_WRONLY, O_APPEND, O_CREAT, O_NONBLOCK, O_NOFOLLOW } = constants;
  try {
    return openSync(path, O_WRONLY | O_APPEND | O_CREAT | O_NONBLOCK | O_NOFOLLOW, 0o600);
  } catch (error) {
    throw systemErrorFrom(path, error);
  }
}

type ReadyOutcome = Extract<MountOutcome, { type: 'ready' }>;

/** Resolves when the volume can be read; otherwise the supervisor has cleaned up and gone before this rejects. */
async function startInBackground(plan: MountPlan): Promise<ReadyOutcome> {
  const { log } = runtimePaths(plan.mountpoint, plan.runtimeDirectory);
  const logFd = openLog(log);
  let supervisor: ChildProcess;
  try {
    supervisor = fork(supervisorMain, [], { detached: true, serialization: 'advanced', stdio: ['ignore', logFd, logFd, 'ipc'] });
  } finally {
    closeSync(logFd);
  }
  const interrupted = (): void => void supervisor.kill('SIGTERM');
  process.on('SIGINT', interrupted).on('SIGTERM', interrupted);
  const timer = setTimeout(() => supervisor.kill('SIGTERM'), READY_TIMEOUT_MS);
  try {
    return await outcomeOf(supervisor, plan);
  } catch (error) {
    if (existsSync(log) && statSync(log).size === 0) rmSync(log, { force: true });
    if (!(error instanceof PcacheError) || error.hint !== undefined || !existsSync(log)) throw error;
    throw new PcacheError(error.code, error.message, { cause: error, hint: `The log is ${log}` });
  } finally {
    clearTimeout(timer);
    process.off('SIGINT', interrupted).off('SIGTERM', interrupted);
  }
}

function outcomeOf(supervisor: ChildProcess, plan: MountPlan): Promise<ReadyOutcome> {
  return new Promise((resolve, reject) => {
    let failure: PcacheError | undefined;
    supervisor.once('message', (outcome: MountOutcome) => {
      if (outcome.type === 'failed') {
        // The supervisor's exit follows; only then is everything cleaned up.
        failure = errorOfBody(outcome.error);
        return;
      }
      supervisor.removeAllListeners('exit');
      if (supervisor.connected) supervisor.disconnect();
      supervisor.unref();
      resolve(outcome);
    });
    supervisor.once('error', (error) => reject(new PcacheError('internal', `supervisor: ${messageOf(error)}`, { cause: error })));
    supervisor.once('exit', (status, signal) => {
      reject(
        failure ?? new PcacheError('internal', `${plan.mountpoint}: the supervisor ended with ${signal ?? `status ${status ?? '?'}`}`),
      );
    });
    supervisor.send({ type: 'mount', plan } satisfies MountMessage, (error) => {
      if (error !== null) failure ??= new PcacheError('internal', `supervisor: ${messageOf(error)}`, { cause: error });
    });
  });
}
