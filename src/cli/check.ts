// `pcache check`: reads every structure of a cache and says what is wrong, what that means for the data on it, and what to do. Changes nothing, unless
// it is told to repair.

import type { Command } from 'commander';
import { withPrivateCopy } from '../device/private-copy.js';
import { PcacheError } from '../errors.js';
import { openCache, refuseWrongOrder } from './cache-file.js';
import { checkDevice, checkRecord, checkLines, needsNothing } from './check-report.js';
import { addExample, type CommandContext } from './command.js';
import { whileInterruptible } from './progress.js';
import { repair, undo } from './repair.js';
import { runTask } from './task.js';

interface CheckOptions {
  backing?: string;
  repair?: true;
  dryRun?: true;
  yes?: true;
  backup?: string;
  undo?: string;
}

export function define(command: Command, context: CommandContext): void {
  command
    .argument('<cache>', 'the cache: a file or block device')
    .option(
      '--backing <backing>',
      'check too that the cache belongs to this backing device, and that it was not written to after the cache was closed',
    )
    .option('--repair', 'repair what can be repaired safely: say what will be done, ask, save what is changed, do it, check again')
    .option('--dry-run', 'with --repair: only say what would be done')
    .option('--yes', 'with --repair or --undo: do it without asking')
    .option('--backup <file>', 'with --repair: where to save what is changed (default: a new file next to the cache)')
    .option('--undo <file>', 'put back what a repair saved in this file')
    .description(
      'Reads every structure of the cache and every payload with a data CRC, and says what is wrong. Changes nothing without --repair.',
    )
    .action((path: string, options: CheckOptions) => run(path, options, context));
  command.addHelpText(
    'after',
    '\nStatus 0 if nothing needs to be done and the cache can be used, be it after a repair; 1 if anything is left to do.\nA backing device that --backing finds fault with is accepted by mount with -o adopt, and by recover with --adopt.',
  );
  addExample(
    command,
    'pcache check /fast/cache.pmem',
    'pcache check /fast/cache.pmem --backing /dev/sdb',
    'pcache check /fast/cache.pmem --repair --dry-run',
    'pcache check /fast/cache.pmem --repair',
  );
}

async function run(path: string, options: CheckOptions, context: CommandContext): Promise<void> {
  requireSense(options);
  // A repair that has begun has words of its own.
  await whileInterruptible(
    context.output,
    () => `${path} is as it was`,
    () => checkAs(path, options, context),
  );
}

async function checkAs(path: string, options: CheckOptions, context: CommandContext): Promise<void> {
  if (options.backing !== undefined) refuseWrongOrder(path, options.backing, 'check CACHE --backing BACKING');
  if (options.undo !== undefined) {
    await undo(path, options.undo, options.yes === true, context);
  } else if (options.repair === true) {
    const { backup, backing: backingPath } = options;
    await repair(path, { dryRun: options.dryRun === true, yes: options.yes === true, backup, backingPath }, context);
  } else {
    await check(path, options.backing, context);
  }
}

function requireSense({ repair: isRepair, dryRun, yes, backup, undo: undoFile }: CheckOptions): void {
  const refuse = (what: string): never => {
    throw new PcacheError('usage', `check: ${what}`, { hint: 'pcache check --help shows how to call it.' });
  };
  if (undoFile !== undefined && (isRepair ?? dryRun ?? backup) !== undefined) refuse('--undo goes with --yes only');
  if (isRepair !== true && (dryRun === true || backup !== undefined))
    refuse(`${dryRun === true ? '--dry-run' : '--backup'} needs --repair`);
  if (isRepair !== true && undoFile === undefined && yes === true) refuse('--yes needs --repair or --undo');
  if (dryRun === true && yes === true) refuse('--dry-run and --yes exclude each other');
}

async function check(path: string, backingPath: string | undefined, context: CommandContext): Promise<void> {
  const hintIfUsed = (mountpoint: string): string => `It is mounted at ${mountpoint}; pcache umount ${mountpoint} first.`;
  const device = openCache(path, { readOnly: true, takesCut: true }, hintIfUsed);
  try {
    const watch = { output: context.output, interrupted: () => `${path} is as it was, and not checked to its end` };
    const first = await checkDevice(device, backingPath, undefined, watch);
    const plan =
      first.problems === 0 ? undefined : await withPrivateCopy(device, (copy) => runTask('planRepair', { copy: copy.handle }, watch));
    const report = { ...first, plan };
    if (!needsNothing(path, report)) context.exitStatus = 1;
    context.output.result(checkRecord(path, report), () => checkLines(path, report));
  } finally {
    device.close();
  }
}
