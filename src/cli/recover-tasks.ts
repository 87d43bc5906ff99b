// What `pcache recover` does in threads (tasks.ts): reading a cache in, with all that takes long about it, and writing what is salvaged.

import { randomBytes } from 'node:crypto';
import { readCacheMedia } from '../cache/cache-media.js';
import { backingChange, type BackingChange } from '../cache/changed-backing.js';
import type { DamagedRange } from '../cache/check-damage.js';
import { DamagedRanges } from '../cache/check-damage.js';
import type { BackingFacts } from '../cache/check-records.js';
import type { RecoveryPlan } from '../cache/inspect-recovery.js';
import { endOfKeys, planRecovery } from '../cache/inspect-recovery.js';
import { openCache as replayCache } from '../cache/open.js';
import type { OpenedCache } from '../cache/open.js';
import type { Replay } from '../cache/replay.js';
import type { LogLoss } from '../cache/salvage-log.js';
import { salvageWrites } from '../cache/salvage-writes.js';
import type { TellProgress } from '../cache/tell-progress.js';
import type { VolumeRange } from '../cache/volume-ranges.js';
import { VolumeRanges } from '../cache/volume-ranges.js';
import type { CacheDevice } from '../device/device.js';
import type { BackingDeviceHandle } from '../device/file-backing-device.js';
import { attachBackingDevice } from '../device/file-backing-device.js';
import type { CacheDeviceHandle } from '../device/mapped-cache-device.js';
import { attachCacheDevice } from '../device/mapped-cache-device.js';
import { PcacheError } from '../errors.js';
import { alignedBuffer } from '../gateway/aligned-buffer.js';
import { hostBootId } from '../gateway/host-boot-id.js';
import type { InlineVolumeOptions } from '../gateway/inline-volume.js';
import { SUBTREE_BYTES } from '../media/layout.js';
import { aboutCache } from './cache-file.js';
import type { TaskContext } from './tasks.js';

export interface ReadInTask {
  readonly cache: CacheDeviceHandle;
  readonly backing: BackingFacts;
  readonly adopt: boolean;
}

/** What was read in. Nothing is changed. */
export interface CacheRead {
  readonly replay: Replay;
  /** If it is wanted, or if data is damaged. */
  readonly recovery: RecoveryPlan | undefined;
  /** What is known of a write to the backing device since the cache was closed, as `backingChange` says it. */
  readonly change: BackingChange | undefined;
}

/** Throws PcacheError `mismatch`, and what `openCache` throws. */
export function readIn(task: ReadInTask & { readonly isPlanWanted: boolean }, { tell }: TaskContext): CacheRead {
  return aboutCache(task.cache.path, () => {
    const device = attachCacheDevice(task.cache);
    const { media, replay } = replayFor(device, task, tell);
    const change = backingChange(media.gatewayHeader, device.control.bytes, () => task.backing.print);
    const isPlanned = task.isPlanWanted || replay.corruptKeys > 0;
    return { replay, recovery: isPlanned ? planRecovery(media, replay.unclosed, device.lostFrom, tell) : undefined, change };
  });
}

function replayFor(device: CacheDevice, { backing, adopt }: ReadInTask, tell: TellProgress): OpenedCache {
  const media = readCacheMedia(device);
  // The kernel's media do not say how large the volume is; the keys do, to some extent.
  const end = endOfKeys(media, tell);
  if (end > backing.sizeBytes && (media.gatewayHeader?.volumeBytes ?? 0) === 0) {
    throw new PcacheError(
      'mismatch',
      `the cache holds data up to byte ${end} of its volume, but this backing device has only ${backing.sizeBytes} bytes`,
    );
  }
  try {
    return openFor(device, { backing, adopt }, true, tell);
  } catch (error) {
    if (!(error instanceof PcacheError) || error.code !== 'mismatch' || error.hint === undefined) throw error;
    throw new PcacheError('mismatch', error.message, { cause: error, hint: 'If this is the same data in another place, add --adopt.' });
  }
}

/** Opens the cache for writing it back: the first change to it. The same as an `InlineVolume` would do. */
export function openToRecover(task: ReadInTask, { tell }: TaskContext): Pick<OpenedCache, 'shared' | 'replay'> {
  const { shared, replay } = aboutCache(task.cache.path, () => openFor(attachCacheDevice(task.cache), task, false, tell));
  return { shared, replay };
}

function openFor(device: CacheDevice, { backing, adopt }: Omit<ReadInTask, 'cache'>, readOnly: boolean, tell: TellProgress): OpenedCache {
  return replayCache(device, {
    ...openOptions(adopt, readOnly),
    volumeBytes: backing.sizeBytes,
    backingIdentity: backing.identity,
    counterSlices: 1,
    tell,
  });
}

export function openOptions(adopt: boolean, readOnly: boolean): InlineVolumeOptions {
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

export interface SalvageTask {
  /** As it is, or a copy of it as a whole; only read. */
  readonly cache: CacheDeviceHandle;
  /** The repaired copy. */
  readonly copy: CacheDeviceHandle;
  readonly volumeBytes: number;
  /** Where to write it to, durably; undefined: only look. */
  readonly backing: BackingDeviceHandle | undefined;
  /** What the repair gave up, if it did. */
  readonly loss: LogLoss | undefined;
  /** Write what is whole behind a damaged place of the log as well. */
  readonly salvage: boolean;
  /** Damaged in what the copy has. */
  readonly damaged: readonly VolumeRange[];
}

export interface Salvaged {
  readonly unsaved: readonly Unsaved[];
  /** Written, or to be written. */
  readonly ranges: readonly VolumeRange[];
  /** Each write counts. */
  readonly writtenBytes: number;
}

export interface Unsaved {
  readonly range: VolumeRange;
  readonly reason: 'damaged' | 'behind-damage';
}

/** Goes through everything that is damaged or behind damage; what is salvaged is not in the list of the rest. */
export function salvage(task: SalvageTask, { tell }: TaskContext): Salvaged {
  const backing = task.backing === undefined ? undefined : attachBackingDevice(task.backing);
  const buffer = alignedBuffer(SUBTREE_BYTES);
  const ranges = new VolumeRanges();
  let writtenBytes = 0;
  const onWhole = (offset: number, bytes: Uint8Array, start: number, length: number): void => {
    ranges.add(offset, length);
    if (backing === undefined) return;
    buffer.set(bytes.subarray(start, start + length));
    backing.write(offset, buffer, 0, length);
    writtenBytes += length;
  };
  const unsaved = unsavedOf(task, onWhole, tell);
  backing?.flush();
  return { unsaved, ranges: ranges.merged(), writtenBytes };
}

function unsavedOf(
  { cache, copy, loss, salvage: isSalvageWanted, damaged: damagedRanges, volumeBytes }: SalvageTask,
  onWhole: (offset: number, bytes: Uint8Array, start: number, length: number) => void,
  tell: TellProgress,
): Unsaved[] {
  const damaged = new DamagedRanges();
  const addAll = (ranges: readonly VolumeRange[], damage: 'copy' | 'only-copy'): void => {
    for (const range of ranges) forEachSubtree(range, (offset, length) => damaged.key(offset, length, damage));
  };
  // `only-copy` stands for damaged payload here, `copy` for what is behind the damage.
  addAll(damagedRanges, 'only-copy');
  if (loss !== undefined && isSalvageWanted) {
    const visitor = {
      onWhole(offset: number, bytes: Uint8Array, start: number, length: number): void {
        onWhole(offset, bytes, start, length);
        damaged.key(offset, length, 'none');
      },
      onDamaged: (offset: number, length: number) => damaged.key(offset, length, 'only-copy'),
    };
    salvageWrites(attachCacheDevice(cache), readCacheMedia(attachCacheDevice(copy)), loss, visitor, volumeBytes, tell);
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
