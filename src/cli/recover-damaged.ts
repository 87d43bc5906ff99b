// Recovering from a cache that is damaged: everything is done on a private copy of it that has been repaired, so the cache itself stays as it is,
// whatever happens. What could not be saved is listed, and nothing is left out of the list.

import { setImmediate as turn } from 'node:timers/promises';
import type { DamagedRange } from '../cache/check-damage.js';
import { DamagedRanges } from '../cache/check-damage.js';
import type { RecoveryPlan } from '../cache/inspect-recovery.js';
import type { OpenedCache } from '../cache/open.js';
import type { RepairPlan } from '../cache/repair-plan.js';
import type { LogLoss } from '../cache/salvage-log.js';
import { salvageWrites } from '../cache/salvage-writes.js';
import type { VolumeRange } from '../cache/volume-ranges.js';
import { VolumeRanges, bytesOf } from '../cache/volume-ranges.js';
import type { BackingDevice, CacheDevice } from '../device/device.js';
import type { InlineVolumeOptions } from '../gateway/inline-volume.js';
import { InlineVolume } from '../gateway/inline-volume.js';
import { SUBTREE_BYTES } from '../media/layout.js';
import { alignedBuffer } from '../gateway/aligned-buffer.js';
import { aboutCache } from './cache-file.js';
import type { CommandContext } from './command.js';
import { startProgress } from './progress.js';
import { count, rangeRecord, rangeText } from './range-text.js';
import { RANGES_SHOWN, unreadableText } from './repair-text.js';
import { formatSize } from './size.js';

export interface DamagedTask {
  readonly cachePath: string;
  readonly backingPath: string;
  /** As it is; only read. */
  readonly device: CacheDevice;
  /** The repaired copy. */
  readonly copy: CacheDevice;
  readonly backing: BackingDevice;
  /** What the repair of the copy did. */
  readonly repair: RepairPlan;
  /** Of the copy. */
  readonly opened: OpenedCache;
  readonly recovery: RecoveryPlan;
  /** Write what is whole behind a damaged place of the log as well. */
  readonly salvage: boolean;
  readonly openOptions: InlineVolumeOptions;
  readonly context: CommandContext;
}

type Reason = 'damaged' | 'behind-damage';

interface Unsaved {
  readonly range: VolumeRange;
  readonly reason: Reason;
}

const REASON_TEXT: Readonly<Record<Reason, string>> = {
  damaged: 'damaged in the cache',
  'behind-damage': 'written behind the damage of the log',
};

/** Says what `recoverDamaged` would do. */
export function sayWhatDamageLeaves(task: DamagedTask): void {
  const { recovery, cachePath, backingPath, context } = task;
  const salvaged = new VolumeRanges();
  const unsaved = unsavedOf(task, (offset, _bytes, _start, length) => {
    salvaged.add(offset, length);
  });
  const more = salvaged.merged();
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
    ].join('\n');
  });
  if (isIncomplete(task, unsaved)) context.exitStatus = 1;
}

/** Writes what can be saved. The cache is not changed. Throws PcacheError `io` or `no-space` if the backing device fails. */
export async function recoverDamaged(task: DamagedTask): Promise<void> {
  const { cachePath, backingPath, copy, backing, opened, context } = task;
  const startMs = performance.now();
  const volume = aboutCache(cachePath, () => new InlineVolume(copy, backing, task.openOptions));
  const { dirtyBytes } = opened.replay;
  const progress = startProgress(context.output, 'recovering', dirtyBytes, {
    lines: true,
    interrupted: () =>
      `${formatSize(volume.dirtyBytes)} of ${formatSize(dirtyBytes)} are still to be written; ${cachePath} is as it was: run the same command again`,
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
  let writtenBytes = volume.counters.writeback_bytes;
  volume.close();
  const buffer = alignedBuffer(SUBTREE_BYTES);
  const unsaved = unsavedOf(task, (offset, bytes, start, length) => {
    buffer.set(bytes.subarray(start, start + length));
    backing.write(offset, buffer, 0, length);
    writtenBytes += length;
  });
  backing.flush();
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
  context.output.result(result, () =>
    [
      `${cachePath}: ${formatSize(writtenBytes)} written to ${backingPath}`,
      ...unsavedLines(task, unsaved, 'could not be saved'),
      ...closingLines(task, unsaved),
    ].join('\n'),
  );
  if (isIncomplete(task, unsaved)) context.exitStatus = 1;
}

/** Goes through everything that is damaged or behind damage; what is salvaged is handed to `onWhole` and is not in the result. */
function unsavedOf(
  { device, opened, repair: { loss }, recovery, salvage, backing }: DamagedTask,
  onWhole: (offset: number, bytes: Uint8Array, start: number, length: number) => void,
): Unsaved[] {
  const damaged = new DamagedRanges();
  const addAll = (ranges: readonly VolumeRange[], damage: 'copy' | 'only-copy'): void => {
    for (const range of ranges) forEachSubtree(range, (offset, length) => damaged.key(offset, length, damage));
  };
  // `only-copy` stands for damaged payload here, `copy` for what is behind the damage.
  addAll(recovery.damaged, 'only-copy');
  if (loss !== undefined && salvage) {
    const visitor = {
      onWhole(offset: number, bytes: Uint8Array, start: number, length: number): void {
        onWhole(offset, bytes, start, length);
        damaged.key(offset, length, 'none');
      },
      onDamaged: (offset: number, length: number) => damaged.key(offset, length, 'only-copy'),
    };
    salvageWrites(device, opened.media, loss, visitor, backing.sizeBytes);
    addAll(loss.loose, 'copy');
  } else if (loss !== undefined) {
    addAll(loss.ranges, 'copy');
  }
  return damaged.merged().map(({ start, end, isOnlyCopy }: DamagedRange) => ({
    range: { offsetBytes: start, lengthBytes: end - start },
    reason: isOnlyCopy ? 'damaged' : 'behind-damage',
  }));
}

function forEachSubtree({ offsetBytes, lengthBytes }: VolumeRange, onPart: (offset: number, length: number) => void): void {
  for (let at = offsetBytes; at < offsetBytes + lengthBytes;) {
    const end = Math.min(offsetBytes + lengthBytes, at - (at % SUBTREE_BYTES) + SUBTREE_BYTES);
    onPart(at, end - at);
    at = end;
  }
}

function isIncomplete({ repair: { loss }, opened }: DamagedTask, unsaved: readonly Unsaved[]): boolean {
  return unsaved.length > 0 || hasUnreadable(loss) || opened.replay.stagedDamage !== undefined;
}

function hasUnreadable(loss: LogLoss | undefined): boolean {
  return loss !== undefined && loss.unreadableWritesMax !== 0;
}

function unsavedRecord({ repair, salvage, opened }: DamagedTask, unsaved: readonly Unsaved[]): Record<string, unknown> {
  return {
    not_saved: unsaved.map(({ range, reason }) => ({ ...rangeRecord(range), reason })),
    unreadable_writes_max: repair.loss === undefined ? 0 : (repair.loss.unreadableWritesMax ?? null),
    exact: !(salvage && repair.loss !== undefined),
    cache_changed: false,
    damage: repair.steps.map(({ place, why }) => ({ place, why })),
    staged_damage: opened.replay.stagedDamage ?? null,
  };
}

function unsavedLines({ repair: { steps, loss }, opened }: DamagedTask, unsaved: readonly Unsaved[], words: string): string[] {
  const lines = steps.map(({ place, why }) => `damage: ${place}: ${why}`);
  const { stagedDamage } = opened.replay;
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
