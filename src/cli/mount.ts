// `pcache mount`: checks what can be checked, then starts a supervisor in the background and waits until the volume can be read, or becomes
// the supervisor itself with --foreground. What is to be mounted stands on the command line, or in a configuration file, which the command line goes before.

import type { ChildProcess } from 'node:child_process';
import { existsSync, lstatSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import type { Command } from 'commander';
import { PcacheError, messageOf } from '../errors.js';
import { mountNamed } from '../fuse/mountinfo.js';
import { errorOfBody } from '../gateway/control-protocol.js';
import { withLogAsStderr, type LogTarget } from '../gateway/log-target.js';
import { checkMount, type CheckedMount } from '../gateway/mount-checks.js';
import { mountOptionRows, parseMountOptions, type Transport } from '../gateway/mount-options.js';
import type { MountMessage, MountOutcome, MountPlan, MountProgress, OpeningProgress } from '../gateway/process-messages.js';
import { findEntry, isRunning, listEntries, makeRuntimeDirectory, runtimePaths, type RuntimeEntry } from '../gateway/runtime-files.js';
import { addExample, type CommandContext } from './command.js';
import { clearDeadMount } from './dead-mount.js';
import { takeSupervisor } from './early-supervisor.js';
import { PCACHE_FILE_SYSTEM_TYPE } from './gateway-of.js';
import { mountLogOf } from './mount-log.js';
import { levelGiven, settingsOf, type MountSettings } from './mount-settings.js';
import { addMetricsListen } from './metrics-listen.js';
import type { Output } from './output.js';
import { PhaseProgress, endByInterrupt } from './progress.js';
import { takeServicePlan } from './service-plan.js';
import { formatSize } from './size.js';

/** Nothing that works says nothing for so long. */
const READY_TIMEOUT_MS = 15 * 60_000;
/** A mount that takes longer says so, this often. */
const TELL_INTERVAL_MS = 5000;
/** How long a mount that was just unmounted may take to close its log. */
const PREDECESSOR_TIMEOUT_MS = 60_000;
const PREDECESSOR_POLL_MS = 50;
const PREDECESSOR_NOTE_MS = 1000;

interface MountCommandOptions {
  options?: string[];
  foreground?: true;
  log?: string;
  configDir?: string;
}

export function define(command: Command, context: CommandContext): void {
  command
    .usage('[options] <cache> <backing> <mountpoint>\n       pcache mount [options] NAME')
    .argument('<cache>', 'the cache: a file or block device that `pcache format` or the kernel made; or the NAME of /etc/pcache/NAME.yaml')
    .argument('[backing]', 'the slow device or file below: it keeps what it has, and nobody else may use it')
    .argument('[mountpoint]', 'an empty directory, which gets volume.img, or an empty file, which becomes the volume')
    .option('-o, --options <list>', 'mount options, separated by commas (see below)', collect)
    .option('--foreground', 'stay in the foreground; Ctrl-C unmounts')
    .option('--log <target>', 'where the log goes: stderr, journal or a file (default: a file of its own; stderr with --foreground)')
    .option('--config-dir <folder>', 'where NAME.yaml is (default: /etc/pcache)')
    .description(
      'Serves the volume that cache and backing device make together. Returns when it can be read; `pcache loop attach` makes a block device of it.',
    )
    .action(async (cache: string, backing: string | undefined, mountpoint: string | undefined, options: MountCommandOptions) => {
      const settings = await settingsOf([cache, backing, mountpoint], options, levelGiven(context));
      await mount(context, settings, options.foreground === true);
    });
  addMetricsListen(command);
  const width = Math.max(...mountOptionRows.map(optionTerm).map((term) => term.length));
  const rows = mountOptionRows.map((row) => `  ${optionTerm(row).padEnd(width)}  ${row.help}`);
  command.addHelpText('after', `\nMount options:\n${rows.join('\n')}`);
  addExample(
    command,
    'pcache mount /fast/cache.pmem /dev/sdb /mnt/vol',
    'pcache mount cache.pmem disk.img vol -o workers=4,gc_percent=60',
    'pcache mount vol --foreground',
  );
}

function optionTerm(row: { name: string; value?: string }): string {
  return row.value === undefined ? row.name : `${row.name}=${row.value}`;
}

function collect(value: string, previous: string[] = []): string[] {
  return [...previous, value];
}

/** Mounts, and returns when the volume can be read; in the foreground, when it is unmounted. Throws PcacheError, and leaves nothing then. */
export async function mount(context: CommandContext, settings: MountSettings, isForeground: boolean): Promise<void> {
  const mountOptions = parseMountOptions(settings.options);
  const checked = await checkAll(settings, mountOptions.transport, context.output);
  await predecessorsGone(checked, context.output);
  refuseIfServed(checked);
  const runtimeDirectory = makeRuntimeDirectory();
  const ownLog = runtimePaths(checked.mountpoint, runtimeDirectory).log;
  const log = mountLogOf(settings.log, checked.mountpoint, ownLog, { isForeground, json: context.globals.json });
  const plan: MountPlan = {
    ...checked,
    options: mountOptions,
    runtimeDirectory,
    logLevel: settings.logLevel,
    logFormat: log.format,
    logFile: log.target.kind === 'file' ? log.target.path : undefined,
    fsName: settings.fsName,
    service: takeServicePlan(),
  };
  // Whoever has begun to serve ends in order, which is no interruption.
  const interrupt = { came: false };
  const interrupted = (): void => {
    interrupt.came = true;
  };
  const served = (): void => {
    process.off('SIGINT', interrupted);
    interrupt.came = false;
  };
  process.on('SIGINT', interrupted);
  try {
    await serve(context, plan, log.target, isForeground, served);
  } catch (error) {
    process.off('SIGINT', interrupted);
    if (interrupt.came && error instanceof PcacheError && error.code === 'closed') {
      endByInterrupt(context.output, `${plan.mountpoint} is not mounted, and nothing is left of it`);
    }
    throw withHintIfUsed(error, checked);
  } finally {
    process.off('SIGINT', interrupted);
  }
}

/** As checkMount, when nothing but the mount of a dead daemon is in the way: that is taken away. */
async function checkAll({ cache, backing, mountpoint }: MountSettings, transport: Transport, output: Output): Promise<CheckedMount> {
  try {
    return checkMount(cache, backing, mountpoint, transport);
  } catch (error) {
    const isBusy = error instanceof PcacheError && error.code === 'busy';
    if (!isBusy || !(await clearDeadMount(mountpoint, output))) throw error;
    return checkMount(cache, backing, mountpoint, transport);
  }
}

async function serve(context: CommandContext, plan: MountPlan, log: LogTarget, isForeground: boolean, served: () => void): Promise<void> {
  if (isForeground) {
    const { supervise } = await import('../gateway/supervisor-process.js');
    const progress = new PhaseProgress(context.output);
    const ready = (facts: ReadyFacts): void => {
      served();
      progress.stop({ isDone: true });
      report(context.output, plan, { supervisorPid: process.pid, ...facts });
    };
    const opening = ({ phase, doneBytes, totalBytes }: OpeningProgress): void => progress.update(phase, doneBytes, totalBytes);
    const status = await withLogAsStderr(log, () => supervise(plan, { opening, ready })).finally(() => progress.stop());
    context.exitStatus = status === 0 ? 0 : 1;
  } else {
    const outcome = await startInBackground(plan, log, context.output);
    report(context.output, plan, outcome);
  }
}

/** umount(8) does not wait for the daemon, so one may still be closing its log here. Returns too if that takes too long. */
async function predecessorsGone({ cachePath, backingPath, mountpoint }: CheckedMount, output: Output): Promise<void> {
  const isEnding = (entry: RuntimeEntry): boolean => {
    const isOurs = entry.mountpoint === mountpoint || entry.cache === cachePath || entry.backing === backingPath;
    // One that is just starting has no engine yet.
    return isOurs && entry.engine_pid !== 0 && isRunning(entry) && mountNamed(entry.mountpoint)?.type !== PCACHE_FILE_SYSTEM_TYPE;
  };
  const deadlineMs = performance.now() + PREDECESSOR_TIMEOUT_MS;
  const noteMs = performance.now() + PREDECESSOR_NOTE_MS;
  let isNoted = false;
  const findEnding = (): RuntimeEntry | undefined => listEntries().find(isEnding);
  for (let ending = findEnding(); ending !== undefined && performance.now() < deadlineMs; ending = findEnding()) {
    if (!isNoted && performance.now() > noteMs) {
      output.warn(`${mountpoint}: waiting for the last daemon (${ending.supervisor_pid}): it is closing its log, or still has users`);
      isNoted = true;
    }
    await delay(PREDECESSOR_POLL_MS);
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
  output.result(result, () => `${volume}: ${formatSize(facts.volumeBytes)}, ${plan.cachePath} in front of ${plan.backingPath}`);
}

type ReadyFacts = Omit<ReadyOutcome, 'type' | 'supervisorPid'>;
type ReadyOutcome = Extract<MountOutcome, { type: 'ready' }>;

/** Resolves when the volume can be read; otherwise the supervisor has cleaned up and gone before this rejects. */
async function startInBackground(plan: MountPlan, log: LogTarget, output: Output): Promise<ReadyOutcome> {
  const ownLog = runtimePaths(plan.mountpoint, plan.runtimeDirectory).log;
  const supervisor = takeSupervisor();
  const interrupted = (): void => void supervisor.kill('SIGTERM');
  process.on('SIGINT', interrupted).on('SIGTERM', interrupted);
  const timer = setTimeout(() => supervisor.kill('SIGTERM'), READY_TIMEOUT_MS);
  const startMs = performance.now();
  const tick = (): void => {
    output.progress({ progress: 'mounting', elapsed_s: Math.round((performance.now() - startMs) / 1000) });
  };
  // For a start that does not say how far it is.
  const ticker = setInterval(tick, TELL_INTERVAL_MS);
  const progress = new PhaseProgress(output);
  const onProgress = ({ phase, doneBytes, totalBytes }: MountProgress): void => {
    timer.refresh();
    ticker.refresh();
    progress.update(phase, doneBytes, totalBytes);
  };
  try {
    const outcome = await outcomeOf(supervisor, { type: 'mount', plan, log }, onProgress);
    progress.stop({ isDone: true });
    return outcome;
  } catch (error) {
    progress.stop();
    const left = lstatSync(ownLog, { throwIfNoEntry: false });
    // What else is in its place is not ours.
    if (left?.isFile() === true && left.size === 0) rmSync(ownLog, { force: true });
    throw withHintAtLog(error, log.kind === 'file' ? log.path : ownLog);
  } finally {
    clearTimeout(timer);
    clearInterval(ticker);
    process.off('SIGINT', interrupted).off('SIGTERM', interrupted);
  }
}

/** An error that says nothing else to do says where the log is, unless it is about the log. */
function withHintAtLog(error: unknown, log: string): unknown {
  if (!(error instanceof PcacheError) || error.hint !== undefined || error.message.startsWith(`${log}: `) || !existsSync(log)) return error;
  return new PcacheError(error.code, error.message, { cause: error, hint: `The log is ${log}` });
}

function outcomeOf(supervisor: ChildProcess, message: MountMessage, onProgress: (progress: MountProgress) => void): Promise<ReadyOutcome> {
  return new Promise((resolve, reject) => {
    let failure: PcacheError | undefined;
    supervisor.on('message', (outcome: MountOutcome | MountProgress) => {
      if (outcome.type === 'opening') {
        onProgress(outcome);
        return;
      }
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
        failure ??
          new PcacheError('internal', `${message.plan.mountpoint}: the supervisor ended with ${signal ?? `status ${status ?? '?'}`}`),
      );
    });
    supervisor.send(message, (error) => {
      if (error !== null) failure ??= new PcacheError('internal', `supervisor: ${messageOf(error)}`, { cause: error });
    });
  });
}
