// `pcache format`: makes a cache of a new file, an existing file or a block device. What is there is looked at first, read-only, and nothing is changed
// unless it is empty, or a cache without dirty data, or --force is given.

import { rmSync } from 'node:fs';
import type { Command } from 'commander';
import { PcacheError } from '../errors.js';
import { CACHE_BYTES_MAX, CACHE_BYTES_MIN, GC_PERCENT_DEFAULT, GC_PERCENT_MAX, GC_PERCENT_MIN, SECTOR_BYTES } from '../media/layout.js';
import { uuidText } from './cache-file.js';
import { addExample, type CommandContext } from './command.js';
import { FormatStage, type FormatPlan } from './format-cache.js';
import { whileInterruptible } from './progress.js';
import { formatSize, parseSize } from './size.js';
import { runTask } from './task.js';

interface FormatCommandOptions {
  size?: string;
  dataCrc?: true;
  gcPercent?: string;
  force?: true;
}

export function define(command: Command, context: CommandContext): void {
  command
    .argument('<cache>', 'a file on fast memory or a fast disk, or a block device')
    .option(
      '--size <size>',
      "create the file with this size, 96M to 1T (the kernel's dm-pcache takes 512M or more); without it, the file or device must be there",
    )
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
    .action((path: string, options: FormatCommandOptions) => {
      const plan = planOf(path, options);
      return whileInterruptible(
        context.output,
        () => whereItStands(path, 0),
        () => format(plan, context),
      );
    });
  command.addHelpText(
    'after',
    `
Whether a device holds something that is no cache is seen in its first and last
1 MiB, and in 16 KiB at each of 4096 places between at most (every 1 MiB up to
4 GiB). Data elsewhere is not seen.

What survives loss of power:
  persistent memory, SSD  what was written before a flush (fsync), and part of what came after it
  tmpfs, as in /dev/shm   nothing but what was written back

On tmpfs its memory is then gathered into huge pages, which makes the volume
faster and takes some seconds a gigabyte, more on a busy machine. The cache is
complete before that: after Ctrl-C the first mount does the rest beside its work.`,
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

async function format(plan: FormatPlan, { output }: CommandContext): Promise<void> {
  const interrupted = (stage: number, hasEnded: boolean): string => (hasEnded ? whereItStands : whereItIsLeft)(plan.path, stage);
  const device = await runTask('format', plan, { output, interrupted });
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
}

/** After an interrupt at this stage (FormatStage), when what can be undone is undone. */
function whereItStands(path: string, stage: number): string {
  switch (stage) {
    case FormatStage.making:
      return `${path} was not finished and is removed`;
    case FormatStage.growing:
      return `${path} was not finished and is empty again`;
    case FormatStage.overwriting:
      return `${path} is no cache yet, and what it held is lost; pcache format ${path} --force makes it one`;
    case FormatStage.formatted:
      return `${path} is an empty cache, ready to be used; only its memory may not be gathered in huge pages, which a mount does beside its work`;
    default:
      return `${path} is as it was`;
  }
}

/** The same if the device does not answer: nothing can be undone but the name of a new file, for its content is still being worked on. */
export function whereItIsLeft(path: string, stage: number): string {
  if (stage === FormatStage.making) rmSync(path, { force: true });
  if (stage !== FormatStage.growing) return whereItStands(path, stage);
  return `${path} was not finished, and its device does not answer; pcache format ${path} --force makes it a cache`;
}
