// `pcache recover`: writes what only the cache has to the backing device, without mounting. Works on a cache that the kernel wrote. Nothing is
// changed before everything that can be checked was checked; a cache without dirty data, or with damage, is left exactly as it is.

import { setImmediate as turn } from 'node:timers/promises';
import type { Command } from 'commander';
import { mayAllocate } from '../cache/allocation-look.js';
import { changedBackingError, factsOf, type BackingChange } from '../cache/changed-backing.js';
import { inspectMedia } from '../cache/inspect-media.js';
import type { RecoveryPlan } from '../cache/inspect-recovery.js';
import type { Replay } from '../cache/replay.js';
import type { FileBackingDevice } from '../device/file-backing-device.js';
import type { MappedCacheDevice } from '../device/mapped-cache-device.js';
import { wasCut, withPrivateCopy } from '../device/private-copy.js';
import { PcacheError } from '../errors.js';
import { aboutCache, openBacking, openCache, refuseWrongOrder } from './cache-file.js';
import { addExample, type CommandContext } from './command.js';
import { count } from './range-text.js';
import { recoverDamaged, sayWhatDamageLeaves } from './recover-damaged.js';
import type { CacheRead } from './recover-tasks.js';
import { openVolume } from './recover-volume.js';
import { startProgress, whileInterruptible } from './progress.js';
import { formatSize } from './size.js';
import { runTask, type TaskWatch } from './task.js';

interface RecoverOptions {
  dryRun?: true;
  adopt?: true;
  salvage?: true;
}

export function define(command: Command, context: CommandContext): void {
  command
    .argument('<cache>', 'the cache: a file or block device, made by pcache or by the kernel')
    .argument('<backing>', 'the slow device or file that it belongs to')
    .option('--dry-run', 'only say what would be written; change nothing')
    .option(
      '--adopt',
      'accept another backing device of the same size (its data was moved, or which it was is not known), or one that was written to after the cache was closed',
    )
    .option(
      '--salvage',
      'of a cache with a damaged log, write what is whole behind the damage too: more data, but no exact state of the volume',
    )
    .description('Writes dirty data to the backing device without mounting. Afterwards the backing device alone holds everything.')
    .action((cachePath: string, backingPath: string, options: RecoverOptions) => recover(cachePath, backingPath, options, context));
  command.addHelpText(
    'after',
    '\nOf a damaged cache it writes what can be saved, lists what can not, leaves the cache as it is, and ends with status 1 if anything is missing.',
  );
  addExample(
    command,
    'pcache recover /fast/cache.pmem /dev/sdb --dry-run',
    'pcache recover /fast/cache.pmem /dev/sdb',
    'pcache recover /fast/cache.pmem /dev/sdc --adopt',
  );
}

function recover(cachePath: string, backingPath: string, options: RecoverOptions, context: CommandContext): Promise<void> {
  return whileInterruptible(
    context.output,
    () => nothingWrittenText(cachePath, backingPath),
    () => recoverAs(cachePath, backingPath, options, context),
  );
}

async function recoverAs(cachePath: string, backingPath: string, options: RecoverOptions, context: CommandContext): Promise<void> {
  refuseWrongOrder(cachePath, backingPath, 'recover CACHE BACKING');
  const readOnly = options.dryRun === true;
  const hintIfUsed = (mountpoint: string): string => `It is mounted at ${mountpoint}; pcache flush ${mountpoint} writes everything back.`;
  const device = openCache(cachePath, { readOnly, takesCut: true, mayAllocate }, hintIfUsed);
  try {
    const backing = openBacking(backingPath, { readOnly }, hintIfUsed);
    try {
      const task = { cachePath, backingPath, device, backing, context };
      const read = await lookAtCache(task, options);
      if (read === undefined || hasDamagedData(read) || (wasCut(device) && read.replay.corruptKeys > 0)) {
        await recoverFromCopy(task, options);
        return;
      }
      refuseChangedBacking(task, read, options);
      if (read.recovery !== undefined && readOnly) sayWhatWouldBeWritten(task, read.recovery);
      else await writeBack(task, read, options.adopt === true);
    } finally {
      backing.close();
    }
  } finally {
    device.close();
  }
}

interface Task {
  readonly cachePath: string;
  readonly backingPath: string;
  readonly device: MappedCacheDevice;
  readonly backing: FileBackingDevice;
  readonly context: CommandContext;
}

/** Before anything is written. */
function watchOf({ cachePath, backingPath, context }: Task): TaskWatch {
  return { output: context.output, interrupted: () => nothingWrittenText(cachePath, backingPath) };
}

function nothingWrittenText(cachePath: string, backingPath: string): string {
  return `nothing was written to ${backingPath}, and ${cachePath} still has all that it had`;
}

/** Replays the cache and changes nothing; `undefined` if it is damaged. Throws PcacheError if it is none, or belongs to another backing device. */
async function lookAtCache(task: Task, options: RecoverOptions): Promise<CacheRead | undefined> {
  const { cachePath, device, backing } = task;
  const facts = factsOf(backing);
  try {
    const argument = { backing: facts, adopt: options.adopt === true, isPlanWanted: options.dryRun === true };
    const readInOf = (cache: MappedCacheDevice): Promise<CacheRead> =>
      runTask('readIn', { ...argument, cache: cache.handle }, watchOf(task));
    return await (wasCut(device) ? withPrivateCopy(device, readInOf) : readInOf(device));
  } catch (error) {
    if (!(error instanceof PcacheError) || (error.code !== 'damaged' && error.code !== 'not-a-cache')) throw error;
    // Throws as well if nothing of a cache is there.
    await withPrivateCopy(device, (copy) => aboutCache(cachePath, () => inspectMedia(copy)), { whole: true });
    return undefined;
  }
}

/** What is dirty would go over newer data. If nothing is, the backing device has everything, and more. */
function refuseChangedBacking({ cachePath }: Task, { change, replay }: CacheRead, { adopt }: RecoverOptions): void {
  if (change === undefined || adopt === true || replay.dirtyBytes === 0) return;
  aboutCache(cachePath, () => {
    throw changeError(change, replay);
  });
}

function changeError(change: BackingChange, { dirtyBytes }: Replay): PcacheError {
  return changedBackingError(change, dirtyBytes, '--adopt');
}

/** Damaged copies of what the backing device has don't count. */
function hasDamagedData({ replay, recovery }: CacheRead): boolean {
  if (replay.stagedDamage !== undefined) return true;
  return replay.corruptKeys > 0 && recovery !== undefined && recovery.damaged.length > 0;
}

/** The cache is damaged, or some of its payload is: it is left as it is, and a repaired copy of it is written back. */
async function recoverFromCopy(task: Task, options: RecoverOptions): Promise<void> {
  const adopt = options.adopt === true;
  const { cachePath, backing, device } = task;
  const recover = async (copy: MappedCacheDevice): Promise<void> => {
    const repair = await runTask('planRepair', { copy: copy.handle, forgetLostHeader: adopt, acceptsLoss: true }, watchOf(task));
    const [refusal] = repair.refusals;
    if (refusal !== undefined) {
      const { place, why, advice } = refusal;
      throw new PcacheError('damaged', `${cachePath}: ${place}: ${why}`, { hint: `${advice}.` });
    }
    const facts = factsOf(backing);
    const { replay, recovery, change } = await runTask(
      'readIn',
      { cache: copy.handle, backing: facts, adopt, isPlanWanted: true },
      watchOf(task),
    );
    if (recovery === undefined) throw new PcacheError('internal', `${cachePath}: no plan was made`);
    // No refusal: the cache is left as it is, so the same command again, after an interrupt or with --salvage, finds what the first one wrote.
    if (change !== undefined && !adopt && recovery.bytes > 0)
      task.context.output.warn(`${cachePath}: ${changeError(change, replay).message}`);
    const damaged = { ...task, copy, repair, replay, recovery, salvage: options.salvage === true, adopt };
    if (options.dryRun === true) await sayWhatDamageLeaves(damaged);
    else await recoverDamaged(damaged);
  };
  await withPrivateCopy(device, recover, { whole: true });
}

function sayWhatWouldBeWritten(task: Task, plan: RecoveryPlan): void {
  const { cachePath, backingPath, context } = task;
  const result: Record<string, unknown> = {
    cache: cachePath,
    backing: backingPath,
    dry_run: true,
    bytes: plan.bytes,
    ranges: plan.ranges,
    damaged_bytes: 0,
    damaged_ranges: 0,
    not_saved: [],
  };
  context.output.result(result, () => planText(task, plan));
}

function planText({ cachePath, backingPath }: Task, plan: RecoveryPlan): string {
  if (plan.bytes === 0) return `${cachePath}: nothing to write: ${backingPath} has everything`;
  return `${cachePath}: would write ${formatSize(plan.bytes)} (${plan.bytes} bytes) in ${count(plan.ranges, 'range')} to ${backingPath}`;
}

async function writeBack(task: Task, read: CacheRead, adopt: boolean): Promise<void> {
  const { cachePath, backingPath, device, backing, context } = task;
  const { output } = context;
  const { dirtyBytes, unclosed } = read.replay;
  if (dirtyBytes === 0 && unclosed.length === 0 && !adopt) {
    const result = { cache: cachePath, backing: backingPath, dry_run: false, written_bytes: 0, dirty_bytes: 0 };
    output.result(result, () => `${cachePath}: nothing was dirty: ${backingPath} has everything`);
    return;
  }
  const startMs = performance.now();
  const volume = await openVolume(device, backing, adopt, watchOf(task));
  const progress = startProgress(output, 'recovering', dirtyBytes, {
    lines: true,
    interrupted: () =>
      `${formatSize(volume.dirtyBytes)} of ${formatSize(dirtyBytes)} are still to be written and stay in ${cachePath}; run the same command again to go on`,
  });
  try {
    // As InlineVolume.writeBackAll, but an interrupt is noticed between two batches; whatever is not written by then stays in the cache.
    volume.flush();
    while (volume.writebackStep()) {
      progress.update(dirtyBytes - volume.dirtyBytes);
      volume.flush();
      await turn();
    }
  } finally {
    progress.stop();
  }
  const leftBytes = volume.dirtyBytes;
  const writtenBytes = volume.counters.writeback_bytes;
  volume.close();
  const seconds = Number(((performance.now() - startMs) / 1000).toFixed(3));
  const result = { cache: cachePath, backing: backingPath, dry_run: false, written_bytes: writtenBytes, dirty_bytes: leftBytes, seconds };
  const rest = leftBytes === 0 ? 'it has everything now' : `${formatSize(leftBytes)} are damaged in the cache and stay there`;
  output.result(result, () => `${cachePath}: ${formatSize(writtenBytes)} written to ${backingPath}; ${rest}`);
  if (leftBytes === 0) return;
  context.exitStatus = 1;
  output.warn(`${cachePath}: pcache check names the damaged ranges`);
}
