// `pcache recover`: writes what only the cache has to the backing device, without mounting. Works on a cache that the kernel wrote. Nothing is
// changed before everything that can be checked was checked; a cache without dirty data, or with damage, is left exactly as it is.

import { randomBytes } from 'node:crypto';
import { setImmediate as turn } from 'node:timers/promises';
import type { Command } from 'commander';
import { readCacheMedia } from '../cache/cache-media.js';
import { inspectMedia } from '../cache/inspect-media.js';
import type { RecoveryPlan } from '../cache/inspect-recovery.js';
import { endOfKeys, planRecovery } from '../cache/inspect-recovery.js';
import { openCache as replayCache } from '../cache/open.js';
import type { OpenedCache, OpenOptions } from '../cache/open.js';
import { planRepair } from '../cache/repair-plan.js';
import type { BackingDevice, CacheDevice } from '../device/device.js';
import type { MappedCacheDevice } from '../device/mapped-cache-device.js';
import { withPrivateCopy } from '../device/private-copy.js';
import { PcacheError } from '../errors.js';
import { InlineVolume } from '../gateway/inline-volume.js';
import { aboutCache, openBacking, openCache, refuseWrongOrder } from './cache-file.js';
import { hostBootId } from '../gateway/host-boot-id.js';
import { addExample, type CommandContext } from './command.js';
import { count } from './range-text.js';
import { recoverDamaged, sayWhatDamageLeaves } from './recover-damaged.js';
import { startProgress } from './progress.js';
import { formatSize } from './size.js';

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
    .option('--adopt', 'take the backing device although it is not the one that the cache remembers, because its data was moved')
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
  addExample(command, 'pcache recover /fast/cache.pmem /dev/sdb --dry-run', 'pcache recover /fast/cache.pmem /dev/sdb');
}

async function recover(cachePath: string, backingPath: string, options: RecoverOptions, context: CommandContext): Promise<void> {
  refuseWrongOrder(cachePath, backingPath, 'recover CACHE BACKING');
  const readOnly = options.dryRun === true;
  const hintIfUsed = (mountpoint: string): string => `It is mounted at ${mountpoint}; pcache flush ${mountpoint} writes everything back.`;
  const device = openCache(cachePath, { readOnly }, hintIfUsed);
  try {
    const backing = openBacking(backingPath, { readOnly }, hintIfUsed);
    try {
      const task = { cachePath, backingPath, device, backing, context };
      const opened = lookAtCache(task, options);
      if (opened === undefined || hasDamagedData(opened)) await recoverFromCopy(task, device, options);
      else if (readOnly) sayWhatWouldBeWritten(task, opened);
      else await writeBack(task, opened, options.adopt === true);
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
  readonly device: CacheDevice;
  readonly backing: BackingDevice;
  readonly context: CommandContext;
}

/** Replays the cache and changes nothing; `undefined` if it is damaged. Throws PcacheError if it is none, or belongs to another backing device. */
function lookAtCache({ cachePath, device, backing }: Task, options: RecoverOptions): OpenedCache | undefined {
  try {
    return aboutCache(cachePath, () => replayFor(device, backing, options.adopt === true));
  } catch (error) {
    if (!(error instanceof PcacheError) || (error.code !== 'damaged' && error.code !== 'not-a-cache')) throw error;
    // Throws as well if nothing of a cache is there.
    aboutCache(cachePath, () => inspectMedia(device));
    return undefined;
  }
}

/** Throws PcacheError `mismatch`, and what `openCache` throws. Changes nothing. */
function replayFor(device: CacheDevice, backing: BackingDevice, adopt: boolean): OpenedCache {
  const media = readCacheMedia(device);
  // The kernel's media do not say how large the volume is; the keys do, to some extent.
  const end = endOfKeys(media);
  if (end > backing.sizeBytes && (media.gatewayHeader?.volumeBytes ?? 0) === 0) {
    throw new PcacheError(
      'mismatch',
      `the cache holds data up to byte ${end} of its volume, but this backing device has only ${backing.sizeBytes} bytes`,
    );
  }
  try {
    return replayCache(device, {
      ...openOptions(adopt),
      volumeBytes: backing.sizeBytes,
      backingIdentity: backing.identity,
      counterSlices: 1,
    });
  } catch (error) {
    if (!(error instanceof PcacheError) || error.code !== 'mismatch' || error.hint === undefined) throw error;
    throw new PcacheError('mismatch', error.message, { cause: error, hint: 'If this is the same data in another place, add --adopt.' });
  }
}

/** Damaged copies of what the backing device has don't count. */
function hasDamagedData({ media, replay }: OpenedCache): boolean {
  if (replay.stagedDamage !== undefined) return true;
  return replay.corruptKeys > 0 && planRecovery(media, replay.unclosed).damaged.length > 0;
}

/** The cache is damaged, or some of its payload is: it is left as it is, and a repaired copy of it is written back. */
async function recoverFromCopy(task: Task, device: MappedCacheDevice, options: RecoverOptions): Promise<void> {
  const { cachePath, backing } = task;
  const adopt = options.adopt === true;
  await withPrivateCopy(device, async (copy) => {
    const repair = aboutCache(cachePath, () => planRepair(copy, { bootId: hostBootId(), forgetLostHeader: adopt }));
    const [refusal] = repair.refusals;
    if (refusal !== undefined) {
      const { place, why, advice } = refusal;
      throw new PcacheError('damaged', `${cachePath}: ${place}: ${why}`, { hint: `${advice}.` });
    }
    const opened = aboutCache(cachePath, () => replayFor(copy, backing, adopt));
    const recovery = planRecovery(opened.media, opened.replay.unclosed);
    const damaged = { ...task, copy, repair, opened, recovery, salvage: options.salvage === true, openOptions: openOptions(adopt, false) };
    if (options.dryRun === true) sayWhatDamageLeaves(damaged);
    else await recoverDamaged(damaged);
  });
}

function openOptions(adopt: boolean, readOnly = true): Omit<OpenOptions, 'volumeBytes' | 'backingIdentity' | 'counterSlices'> {
  return {
    adopt,
    readOnly,
    bootId: hostBootId(),
    writers: 1,
    newUuid: randomBytes(16),
    nowMs: Date.now(),
    clock: () => performance.now(),
  };
}

function sayWhatWouldBeWritten(task: Task, opened: OpenedCache): void {
  const plan = planRecovery(opened.media, opened.replay.unclosed);
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

async function writeBack(task: Task, opened: OpenedCache, adopt: boolean): Promise<void> {
  const { cachePath, backingPath, device, backing, context } = task;
  const { output } = context;
  const { dirtyBytes, unclosed } = opened.replay;
  if (dirtyBytes === 0 && unclosed.length === 0 && !adopt) {
    const result = { cache: cachePath, backing: backingPath, dry_run: false, written_bytes: 0, dirty_bytes: 0 };
    output.result(result, () => `${cachePath}: nothing was dirty: ${backingPath} has everything`);
    return;
  }
  const startMs = performance.now();
  const volume = aboutCache(cachePath, () => new InlineVolume(device, backing, openOptions(adopt, false)));
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
