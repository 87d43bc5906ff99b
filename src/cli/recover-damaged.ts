// Recovering from a cache that is damaged: everything is done on a private copy of it that has been repaired, so the cache itself stays as it is,
// whatever happens. What could not be saved is listed, and nothing is left out of the list.

import { setImmediate as turn } from 'node:timers/promises';
import type { RecoveryPlan } from '../cache/inspect-recovery.js';
import type { RepairPlan } from '../cache/repair-plan.js';
import type { Replay } from '../cache/replay.js';
import type { LogLoss } from '../cache/salvage-log.js';
import { bytesOf } from '../cache/volume-ranges.js';
import type { FileBackingDevice } from '../device/file-backing-device.js';
import type { MappedCacheDevice } from '../device/mapped-cache-device.js';
import { withPrivateCopy } from '../device/private-copy.js';
import type { CommandContext } from './command.js';
import { startProgress } from './progress.js';
import { count, rangeRecord, rangeText } from './range-text.js';
import type { Salvaged, Unsaved } from './recover-tasks.js';
import { openVolume } from './recover-volume.js';
import { RANGES_SHOWN, unreadableText } from './repair-text.js';
import { formatSize } from './size.js';
import { runTask } from './task.js';

export interface DamagedTask {
  readonly cachePath: string;
  readonly backingPath: string;
  /** As it is; only read. */
  readonly device: MappedCacheDevice;
  /** The repaired copy. */
  readonly copy: MappedCacheDevice;
  readonly backing: FileBackingDevice;
  /** What the repair of the copy did. */
  readonly repair: RepairPlan;
  /** Of the copy. */
  readonly replay: Replay;
  readonly recovery: RecoveryPlan;
  /** Write what is whole behind a damaged place of the log as well. */
  readonly salvage: boolean;
  readonly adopt: boolean;
  readonly context: CommandContext;
}

const REASON_TEXT: Readonly<Record<Unsaved['reason'], string>> = {
  damaged: 'damaged in the cache',
  'behind-damage': 'written behind the damage of the log',
};

/** Says what `recoverDamaged` would do. */
export async function sayWhatDamageLeaves(task: DamagedTask): Promise<void> {
  const { recovery, cachePath, backingPath, context } = task;
  const { unsaved, ranges: more } = await salvageOf(task, true);
  const result = {
    cache: cachePath,
    backing: backingPath,
    dry_run: true,
    bytes: recovery.bytes,
    ranges: recovery.ranges,
    salvage_bytes: bytesOf(more),
    damaged_bytes: bytesOf(recovery.damaged),
    damaged_ranges: recovery.damaged.length,
    ...unsavedRecord(task, unsaved),
  };
  context.output.result(result, () => {
    const salvage = more.length === 0 ? '' : `, then ${formatSize(bytesOf(more))} from behind the damage`;
    const what = `${formatSize(recovery.bytes)} (${recovery.bytes} bytes) in ${count(recovery.ranges, 'range')}`;
    return [
      `${cachePath}: would write ${what} to ${backingPath}${salvage}`,
      ...unsavedLines(task, unsaved, 'would not be saved'),
      ...closingLines(task, unsaved),
    ];
  });
  if (isIncomplete(task, unsaved)) context.exitStatus = 1;
}

/** Writes what can be saved. The cache is not changed. Throws PcacheError `io` or `no-space` if the backing device fails. */
export async function recoverDamaged(task: DamagedTask): Promise<void> {
  const { cachePath, backingPath, copy, backing, replay, context } = task;
  const startMs = performance.now();
  const isAsItWas = `${cachePath} is as it was: run the same command again`;
  const watch = { output: context.output, interrupted: () => `nothing was written to ${backingPath}; ${isAsItWas}` };
  const volume = await openVolume(copy, backing, task.adopt, watch);
  const { dirtyBytes } = replay;
  const progress = startProgress(context.output, 'recovering', dirtyBytes, {
    lines: true,
    interrupted: () => `${formatSize(volume.dirtyBytes)} of ${formatSize(dirtyBytes)} are still to be written; ${isAsItWas}`,
  });
  try {
    volume.flush();
    while (volume.writebackStep()) {
      progress.update(dirtyBytes - volume.dirtyBytes);
      volume.flush();
      await turn();
    }
  } finally {
    progress.stop();
  }
  const writtenBackBytes = volume.counters.writeback_bytes;
  volume.close();
  const salvaged = await salvageOf(task, false);
  const { unsaved } = salvaged;
  const writtenBytes = writtenBackBytes + salvaged.writtenBytes;
  const seconds = Number(((performance.now() - startMs) / 1000).toFixed(3));
  const result = {
    cache: cachePath,
    backing: backingPath,
    dry_run: false,
    written_bytes: writtenBytes,
    dirty_bytes: unsaved.reduce((sum, { range }) => sum + range.lengthBytes, 0),
    ...unsavedRecord(task, unsaved),
    seconds,
  };
  context.output.result(result, () => [
    `${cachePath}: ${formatSize(writtenBytes)} written to ${backingPath}`,
    ...unsavedLines(task, unsaved, 'could not be saved'),
    ...closingLines(task, unsaved),
  ]);
  if (isIncomplete(task, unsaved)) context.exitStatus = 1;
}

function salvageOf(
  { device, copy, backing, repair, recovery, salvage, context, cachePath }: DamagedTask,
  isDryRun: boolean,
): Promise<Salvaged> {
  const task = {
    copy: copy.handle,
    volumeBytes: backing.sizeBytes,
    backing: isDryRun ? undefined : backing.handle,
    loss: repair.loss,
    salvage,
    damaged: recovery.damaged,
  };
  const interrupted = (): string => `${cachePath} is as it was: run the same command again`;
  const onWhole = (cache: MappedCacheDevice): Promise<Salvaged> =>
    runTask('salvage', { ...task, cache: cache.handle }, { output: context.output, interrupted });
  return withPrivateCopy(device, onWhole, { whole: true });
}

function isIncomplete({ repair: { loss }, replay }: DamagedTask, unsaved: readonly Unsaved[]): boolean {
  return unsaved.length > 0 || hasUnreadable(loss) || replay.stagedDamage !== undefined;
}

function hasUnreadable(loss: LogLoss | undefined): boolean {
  return loss !== undefined && loss.unreadableWritesMax !== 0;
}

function unsavedRecord({ repair, salvage, replay }: DamagedTask, unsaved: readonly Unsaved[]): Record<string, unknown> {
  return {
    not_saved: unsaved.map(({ range, reason }) => ({ ...rangeRecord(range), reason })),
    unreadable_writes_max: repair.loss === undefined ? 0 : (repair.loss.unreadableWritesMax ?? null),
    exact: !(salvage && repair.loss !== undefined),
    cache_changed: false,
    damage: repair.steps.map(({ place, why }) => ({ place, why })),
    staged_damage: replay.stagedDamage ?? null,
  };
}

function unsavedLines({ repair: { steps, loss }, replay, copy }: DamagedTask, unsaved: readonly Unsaved[], words: string): string[] {
  const lines = steps.map(({ place, why }) => `damage: ${place}: ${why}`);
  const { stagedDamage } = replay;
  const { lostFrom } = copy;
  if (lostFrom !== undefined && unsaved.length > 0) lines.push(`damage: the device has nothing from byte ${lostFrom} on: it was cut`);
  if (stagedDamage !== undefined) {
    lines.push(`damage: ${stagedDamage}: the last writes before the program died, acknowledged and not flushed, ${words} from there on`);
  }
  if (unsaved.length > 0) {
    const bytes = unsaved.reduce((sum, { range }) => sum + range.lengthBytes, 0);
    lines.push(`${formatSize(bytes)} of the volume, in ${count(unsaved.length, 'range')}, ${words}:`);
    for (const { range, reason } of unsaved.slice(0, RANGES_SHOWN)) lines.push(`  ${rangeText(range)}: ${REASON_TEXT[reason]}`);
    if (unsaved.length > RANGES_SHOWN) lines.push(`  ${unsaved.length - RANGES_SHOWN} more: --json lists them`);
  }
  const unreadable = loss === undefined ? undefined : unreadableText(loss);
  if (unreadable !== undefined) lines.push(`${unsaved.length > 0 ? 'and ' : `${words}: `}${unreadable}`);
  return lines;
}

function closingLines(task: DamagedTask, unsaved: readonly Unsaved[]): string[] {
  const { cachePath, backingPath, repair, salvage, context } = task;
  const { loss } = repair;
  const lines: string[] = [];
  if (loss !== undefined && salvage) {
    lines.push(
      `${backingPath} is then no exact state of the volume: later writes are there, and earlier ones are missing. Check what is on it.`,
    );
  } else if (loss !== undefined) {
    lines.push(
      `${backingPath} is then what the volume was before the first write behind the damage, as after a power cut: check it (fsck).`,
    );
    if (loss.ksets.some(({ isLast }) => !isLast))
      lines.push('--salvage writes those of them that can be read as well: more data, but no exact state of the volume.');
  } else if (!isIncomplete(task, unsaved)) {
    lines.push(`${backingPath} has everything then, nothing is missing.`);
  }
  lines.push(
    `${cachePath} is left as it is. Once ${backingPath} is used without it, don't use it again: pcache format ${cachePath} --force makes a new cache.`,
  );
  return context.output.quiet ? [] : lines;
}
