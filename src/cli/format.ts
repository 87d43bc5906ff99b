// `pcache format`: makes a cache of a new file, an existing file or a block device. What is there is looked at first, read-only, and nothing is changed
// unless it is empty, or a cache without dirty data, or --force is given.

import { randomBytes } from 'node:crypto';
import { existsSync, statSync, truncateSync, unlinkSync } from 'node:fs';
import type { Command } from 'commander';
import { formatCache } from '../cache/format.js';
import { describeContent } from '../cache/inspect-content.js';
import { attempt } from '../device/device-file.js';
import type { MappedCacheDevice } from '../device/mapped-cache-device.js';
import { createCacheFile } from '../device/mapped-cache-device.js';
import { PcacheError } from '../errors.js';
import {
  CACHE_BYTES_MAX,
  CACHE_BYTES_MIN,
  GC_PERCENT_DEFAULT,
  GC_PERCENT_MAX,
  GC_PERCENT_MIN,
  KERNEL_CACHE_BYTES_MIN,
  SECTOR_BYTES,
} from '../media/layout.js';
import { aboutCache, openCache, uuidText } from './cache-file.js';
import { hostBootId } from '../gateway/host-boot-id.js';
import { addExample, type CommandContext } from './command.js';
import { formatSize, parseSize } from './size.js';

interface FormatCommandOptions {
  size?: string;
  dataCrc?: true;
  gcPercent?: string;
  force?: true;
}

interface FormatPlan {
  readonly path: string;
  readonly sizeBytes: number | undefined;
  readonly dataCrc: boolean;
  readonly gcPercent: number;
  readonly force: boolean;
}

export function define(command: Command, context: CommandContext): void {
  command
    .argument('<cache>', 'a file on fast memory or a fast disk, or a block device')
    .option('--size <size>', 'create the file with this size, 96M to 1T; without it, the file or device must be there')
    .option(
      '--data-crc',
      'keep a checksum of all data, so that damage is found; costs some speed, and a look at all cached data at each mount',
    )
    .option(
      '--gc-percent <percent>',
      `collect garbage when more than this share of the segments is in use, ${GC_PERCENT_MIN} to ${GC_PERCENT_MAX} (default: ${GC_PERCENT_DEFAULT})`,
    )
    .option('--force', 'format even if dirty data or something else is lost by it')
    .description('Makes an empty cache. A cache with dirty data, or a device that holds something else, is left alone without --force.')
    .action((path: string, options: FormatCommandOptions) => format(planOf(path, options), context));
  command.addHelpText(
    'after',
    `
What survives loss of power:
  persistent memory, SSD  what was written before a flush (fsync), and part of what came after it
  tmpfs, as in /dev/shm   nothing but what was written back`,
  );
  addExample(command, 'pcache format /fast/cache.pmem --size 8G', 'pcache format /dev/pmem0 --data-crc');
}

/** Throws PcacheError `usage` for what can't be meant. */
function planOf(path: string, options: FormatCommandOptions): FormatPlan {
  const sizeBytes = options.size === undefined ? undefined : parseSize(options.size, 'format: --size');
  if (sizeBytes !== undefined) requireSize(sizeBytes, options.size ?? '');
  const percent = options.gcPercent ?? String(GC_PERCENT_DEFAULT);
  const gcPercent = /^\d{1,3}$/.test(percent) ? Number(percent) : NaN;
  if (!(gcPercent >= GC_PERCENT_MIN && gcPercent <= GC_PERCENT_MAX)) {
    throw new PcacheError('usage', `format: --gc-percent ${percent}: not a number from ${GC_PERCENT_MIN} to ${GC_PERCENT_MAX}`);
  }
  return { path, sizeBytes, gcPercent, dataCrc: options.dataCrc === true, force: options.force === true };
}

function requireSize(sizeBytes: number, text: string): void {
  if (sizeBytes % SECTOR_BYTES !== 0) {
    throw new PcacheError('usage', `format: --size ${text}: ${sizeBytes} bytes are not a multiple of ${SECTOR_BYTES}`);
  }
  if (sizeBytes < CACHE_BYTES_MIN) throw new PcacheError('usage', `format: --size ${text}: a cache needs 96M or more`);
  if (sizeBytes > CACHE_BYTES_MAX) throw new PcacheError('usage', `format: --size ${text}: a cache has 1T at most`);
}

function format(plan: FormatPlan, { output }: CommandContext): void {
  const device = makeCache(plan);
  const { path, dataCrc, gcPercent } = plan;
  const result = {
    cache: path,
    size_bytes: device.sizeBytes,
    segments: device.segmentCount,
    data_crc: dataCrc,
    gc_percent: gcPercent,
    uuid: uuidText(device.uuid),
  };
  output.result(result, () => {
    const settings = `data CRC ${dataCrc ? 'on' : 'off'}, gc_percent ${gcPercent}, uuid ${result.uuid}`;
    return `${path}: an empty cache of ${formatSize(result.size_bytes)}, ${result.segments} segments, ${settings}`;
  });
  if (result.size_bytes < KERNEL_CACHE_BYTES_MIN) {
    output.warn(`${path}: smaller than 512 MiB, which the kernel's dm-pcache does not take; pcache does`);
  }
}

interface MadeCache {
  readonly sizeBytes: number;
  readonly segmentCount: number;
  readonly uuid: Uint8Array;
}

function makeCache(plan: FormatPlan): MadeCache {
  const { path, sizeBytes } = plan;
  if (!existsSync(path)) return createAndFormat(plan, requiredSize(plan));
  const stat = attempt(path, () => statSync(path));
  if (stat.isFile() && stat.size === 0) return growAndFormat(plan, requiredSize(plan));
  lookFirst(plan);
  const device = openCache(path, {}, (mountpoint) => `It is mounted at ${mountpoint}.`);
  try {
    if (sizeBytes !== undefined && sizeBytes !== device.sizeBytes) throw sizeMismatch(path, device.sizeBytes);
    return formatDevice(device, plan);
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
  return new PcacheError('usage', `${path}: exists with ${sizeBytes} bytes; --size is for new files`, {
    hint: 'Leave --size out to format it as large as it is, or remove it first.',
  });
}

function createAndFormat(plan: FormatPlan, sizeBytes: number): MadeCache {
  createCacheFile(plan.path, sizeBytes);
  try {
    return openAndFormat(plan);
  } catch (error) {
    unlinkSync(plan.path);
    throw error;
  }
}

/** An empty file, as mktemp(1) makes it, is as good as none. */
function growAndFormat(plan: FormatPlan, sizeBytes: number): MadeCache {
  attempt(plan.path, () => truncateSync(plan.path, sizeBytes));
  try {
    return openAndFormat(plan);
  } catch (error) {
    truncateSync(plan.path, 0);
    throw error;
  }
}

function openAndFormat(plan: FormatPlan): MadeCache {
  const device = openCache(plan.path, {}, (mountpoint) => `It is mounted at ${mountpoint}.`);
  try {
    return formatDevice(device, plan);
  } finally {
    device.close();
  }
}

function formatDevice(device: MappedCacheDevice, { path, dataCrc, gcPercent, force }: FormatPlan): MadeCache {
  const uuid = randomBytes(16);
  // Again, now that nobody else can write to it.
  if (!force) aboutCache(path, () => refuseContent(device, path));
  aboutCache(path, () => formatCache(device, { dataCrc, gcPercent, uuid, nowMs: Date.now() }));
  // Here it holds up nobody; a mount would have to do it beside its users.
  device.gatherHugePages();
  return { sizeBytes: device.sizeBytes, segmentCount: device.segmentCount, uuid };
}

/** Opening for writing gives a sparse file its blocks, so a refusal has to come before it. */
function lookFirst({ path, sizeBytes, force }: FormatPlan): void {
  const device = openCache(path, { readOnly: true }, (mountpoint) => `It is mounted at ${mountpoint}.`);
  try {
    if (sizeBytes !== undefined && sizeBytes !== device.sizeBytes) throw sizeMismatch(path, device.sizeBytes);
    if (!force) aboutCache(path, () => refuseContent(device, path));
  } finally {
    device.close();
  }
}

function refuseContent(device: MappedCacheDevice, path: string): void {
  const content = describeContent(device, hostBootId());
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
