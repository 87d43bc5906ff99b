// What `pcache format` does, in a thread of its own (tasks.ts): looks at what is there, makes a file if there is none, and formats it.

import { randomBytes } from 'node:crypto';
import { existsSync, statSync, truncateSync, unlinkSync } from 'node:fs';
import { formatCache } from '../cache/format.js';
import { describeContent } from '../cache/inspect-content.js';
import type { TellProgress } from '../cache/tell-progress.js';
import { attempt } from '../device/device-file.js';
import type { MappedCacheDevice } from '../device/mapped-cache-device.js';
import { createCacheFile } from '../device/mapped-cache-device.js';
import { PcacheError } from '../errors.js';
import { hostBootId } from '../gateway/host-boot-id.js';
import { aboutCache, openCache } from './cache-file.js';
import { exactSize, formatSize } from './size.js';
import type { TaskContext } from './tasks.js';

export interface FormatPlan {
  readonly path: string;
  readonly sizeBytes: number | undefined;
  readonly dataCrc: boolean;
  readonly gcPercent: number;
  readonly force: boolean;
}

/** How far it is, for whoever is interrupted. Before the first, nothing has been changed. */
export const FormatStage = {
  /** A file is being made where there was none. */
  making: 1,
  /** A file that was empty grows. */
  growing: 2,
  /** What was there is being overwritten: no cache, and not what it was. */
  overwriting: 3,
  /** The cache is there, durably. */
  formatted: 4,
} as const;

const hintIfUsed = (mountpoint: string): string => `It is mounted at ${mountpoint}.`;

export interface MadeCache {
  readonly sizeBytes: number;
  readonly segmentCount: number;
  readonly uuid: Uint8Array;
}

/**
 * Says when nothing is as it was any more, see FormatStage. Throws PcacheError, and what `tell` throws; then a file that was made for it is gone again, unless
 * the cache is complete.
 */
export function makeCache(plan: FormatPlan, context: TaskContext): MadeCache {
  const { path, sizeBytes } = plan;
  if (!existsSync(path)) return createAndFormat(plan, requiredSize(plan), context);
  const stat = attempt(path, () => statSync(path));
  if (stat.isFile() && stat.size === 0) return growAndFormat(plan, requiredSize(plan), context);
  lookFirst(plan, context);
  const device = openToFormat(path, context);
  try {
    if (sizeBytes !== undefined && sizeBytes !== device.sizeBytes) throw sizeMismatch(path, device.sizeBytes);
    return formatDevice(device, plan, context, FormatStage.overwriting);
  } finally {
    device.close();
  }
}

function requiredSize({ path, sizeBytes }: FormatPlan): number {
  if (sizeBytes !== undefined) return sizeBytes;
  const why = existsSync(path) ? 'is empty' : 'does not exist';
  throw new PcacheError('not-found', `${path}: ${why}, and no --size is given`, { hint: `pcache format ${path} --size 8G creates it.` });
}

function sizeMismatch(path: string, sizeBytes: number): PcacheError {
  return new PcacheError('usage', `${path}: exists with ${exactSize(sizeBytes)}; --size is for new files`, {
    hint: 'Leave --size out to format it as large as it is, or remove it first.',
  });
}

function openToFormat(path: string, { tell }: TaskContext): MappedCacheDevice {
  const onAllocated = (doneBytes: number, totalBytes: number): void => tell('allocating', doneBytes, totalBytes);
  return openCache(path, { onAllocated }, hintIfUsed);
}

function createAndFormat(plan: FormatPlan, sizeBytes: number, context: TaskContext): MadeCache {
  createCacheFile(plan.path, sizeBytes, (doneBytes, totalBytes) => {
    context.reached(FormatStage.making);
    context.tell('allocating', doneBytes, totalBytes);
  });
  return formatOrUndo(plan, context, FormatStage.making, () => unlinkSync(plan.path));
}

/** An empty file, as mktemp(1) makes it, is as good as none. */
function growAndFormat(plan: FormatPlan, sizeBytes: number, context: TaskContext): MadeCache {
  context.reached(FormatStage.growing);
  attempt(plan.path, () => truncateSync(plan.path, sizeBytes));
  return formatOrUndo(plan, context, FormatStage.growing, () => truncateSync(plan.path, 0));
}

/** Once the cache is there it stays, whatever becomes of the rest. */
function formatOrUndo(plan: FormatPlan, context: TaskContext, stage: number, undo: () => void): MadeCache {
  let last: number = stage;
  const reached = (next: number): void => {
    last = next;
    context.reached(next);
  };
  try {
    return openAndFormat(plan, { ...context, reached }, stage);
  } catch (error) {
    if (last !== FormatStage.formatted) undo();
    throw error;
  }
}

function openAndFormat(plan: FormatPlan, context: TaskContext, stage: number): MadeCache {
  const device = openToFormat(plan.path, context);
  try {
    return formatDevice(device, plan, context, stage);
  } finally {
    device.close();
  }
}

/** `stage`: what it has reached when it begins to overwrite what is there. */
function formatDevice(
  device: MappedCacheDevice,
  { path, dataCrc, gcPercent, force }: FormatPlan,
  { tell, reached }: TaskContext,
  stage: number,
): MadeCache {
  const uuid = randomBytes(16);
  // Again, now that nobody else can write to it.
  if (!force) aboutCache(path, () => refuseContent(device, path, tell));
  reached(stage);
  aboutCache(path, () => formatCache(device, { dataCrc, gcPercent, uuid, nowMs: Date.now(), tell }));
  reached(FormatStage.formatted);
  // Here it holds up nobody; a mount would have to do it beside its users.
  device.gatherHugePages((doneBytes, totalBytes) => tell('gathering huge pages', doneBytes, totalBytes));
  return { sizeBytes: device.sizeBytes, segmentCount: device.segmentCount, uuid };
}

/** Opening for writing gives a sparse file its blocks, so a refusal has to come before it. */
function lookFirst({ path, sizeBytes, force }: FormatPlan, { tell }: TaskContext): void {
  const device = openCache(path, { readOnly: true }, hintIfUsed);
  try {
    if (sizeBytes !== undefined && sizeBytes !== device.sizeBytes) throw sizeMismatch(path, device.sizeBytes);
    if (!force) aboutCache(path, () => refuseContent(device, path, tell));
  } finally {
    device.close();
  }
}

function refuseContent(device: MappedCacheDevice, path: string, tell: TellProgress): void {
  const content = describeContent(device, hostBootId(), tell);
  switch (content.kind) {
    case 'empty':
    case 'clean-cache':
      return;
    case 'dirty-cache':
      throw new PcacheError(
        'holds-data',
        `${path}: holds a cache with ${formatSize(content.dirtyBytes)} of dirty data, which would be lost`,
        {
          hint: `pcache recover ${path} BACKING writes it to the backing device; --force discards it.`,
        },
      );
    case 'damaged-cache':
      throw new PcacheError('holds-data', `${path}: holds a cache that can't be read, so it may have dirty data: ${content.reason}`, {
        hint: `pcache check ${path} says what is left; --force discards it.`,
      });
    case 'other':
      throw new PcacheError('holds-data', `${path}: holds ${content.what}, which would be lost`, {
        hint: '--force formats it all the same.',
      });
  }
}
