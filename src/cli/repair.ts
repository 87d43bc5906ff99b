// `pcache check --repair` and `--undo`: says what a repair would do and asks, saves what it changes, does it, and checks again.
//
// Invariants: the plan is made, printed and tried on a private copy before the device is touched. Nothing is changed before the backup is durable. What
// is not safe is not done, and then nothing is done at all, for a cache that is repaired in part can't be used either.

import { readFileSync } from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import { mayAllocate } from '../cache/allocation-look.js';
import { applyPatches, requireUndoable, undoPatches } from '../cache/repair-apply.js';
import { decodeBackup, encodeBackup } from '../cache/repair-backup.js';
import type { Patch } from '../cache/repair-draft.js';
import type { RepairPlan } from '../cache/repair-plan.js';
import { attempt } from '../device/device-file.js';
import type { MappedCacheDevice } from '../device/mapped-cache-device.js';
import { withPrivateCopy } from '../device/private-copy.js';
import { PcacheError } from '../errors.js';
import { readGatewayHeader } from '../media/gateway-header.js';
import { aboutCache, isBlockDevice, openCache, uuidText } from './cache-file.js';
import { checkDevice, checkRecord, checkLines, needsNothing } from './check-report.js';
import type { CommandContext } from './command.js';
import { askYes, canAsk } from './confirm.js';
import { createDurableFile } from './durable-file.js';
import type { Output } from './output.js';
import { interruptsHeard, onInterrupt } from './progress.js';
import { count } from './range-text.js';
import { planLines, planRecord } from './repair-text.js';
import { runTask } from './task.js';

export interface RepairOptions {
  readonly dryRun: boolean;
  readonly yes: boolean;
  readonly backup: string | undefined;
  readonly backingPath: string | undefined;
}

const hintIfUsed = (mountpoint: string): string => `It is mounted at ${mountpoint}; pcache umount ${mountpoint} first.`;

/** Throws PcacheError `usage` if there is nobody to ask, and everything that opening and reading a cache throws. */
export async function repair(path: string, options: RepairOptions, context: CommandContext): Promise<void> {
  const { output } = context;
  if (!options.dryRun) requireConsent(options.yes, output.json || output.quiet, 'check --repair');
  const device = openCache(path, { readOnly: options.dryRun, takesCut: true, mayAllocate }, hintIfUsed);
  try {
    const watch = { output, interrupted: () => `${path} is as it was` };
    const plan = await withPrivateCopy(device, (copy) => runTask('planRepair', { copy: copy.handle }, watch));
    const isPossible = plan.steps.length > 0 && plan.refusals.length === 0;
    const backupPath = options.backup ?? defaultBackupPath(path, new Date());
    if (isPossible) for (const line of headLines(path, plan, backupPath)) output.line(line);
    if (isPossible && !options.dryRun && (await consents(options.yes, plan))) {
      await makeRepairs(path, device, plan, backupPath, context);
      await reportRepaired(path, device, plan, backupPath, options, context);
    } else {
      await reportUnchanged(path, device, plan, isPossible, options, context);
    }
  } finally {
    device.close();
  }
}

/** Not cut off by an interrupt, which is heard when all of it is done. */
async function makeRepairs(
  path: string,
  device: MappedCacheDevice,
  plan: RepairPlan,
  backupPath: string,
  { output }: CommandContext,
): Promise<void> {
  const ignoreInterrupts = onInterrupt(output, () => repairedText(path, backupPath));
  try {
    saveBackup(device, plan, backupPath);
    aboutCache(path, () => applyPatches(device, patchesOf(plan)));
    await interruptsHeard();
  } finally {
    ignoreInterrupts();
  }
}

function repairedText(path: string, backupPath: string): string {
  return `${path} is repaired, and not checked after that; what was changed is saved in ${backupPath}`;
}

function requireConsent(yes: boolean, isSilent: boolean, command: string): void {
  if (yes || (canAsk() && !isSilent)) return;
  throw new PcacheError('usage', `${command}: there is no terminal to ask on`, {
    hint: '--dry-run says what would be done; --yes does it without asking.',
  });
}

async function consents(yes: boolean, plan: RepairPlan): Promise<boolean> {
  if (yes) return true;
  return askYes(plan.loss === undefined ? 'Do this?' : 'Do this, and give up the writes named above?');
}

function patchesOf({ steps }: RepairPlan) {
  return steps.flatMap(({ patches }) => patches);
}

function headLines(path: string, plan: RepairPlan, backupPath: string): string[] {
  return [
    `${path}: ${count(plan.steps.length, 'repair')}:`,
    ...planLines(plan),
    `The bytes that are changed are saved to ${backupPath} before.`,
  ];
}

/** Next to the cache; in the working directory if the cache is a block device. */
function defaultBackupPath(path: string, now: Date): string {
  const time = now.toISOString().replace(/[-:]|\.\d+/g, '');
  const name = `${basename(path)}.before-repair-${time}`;
  return isBlockDevice(path) ? resolve(name) : join(dirname(path), name);
}

function saveBackup(device: MappedCacheDevice, plan: RepairPlan, backupPath: string): void {
  const header = readGatewayHeader(device.control.bytes);
  const backup = encodeBackup({
    uuid: header.ok ? uuidText(header.value.uuid) : '',
    deviceBytes: device.sizeBytes,
    madeAt: new Date().toISOString(),
    patches: patchesOf(plan),
  });
  createDurableFile(backupPath, backup);
}

async function reportRepaired(
  path: string,
  device: MappedCacheDevice,
  plan: RepairPlan,
  backupPath: string,
  options: RepairOptions,
  context: CommandContext,
): Promise<void> {
  const watch = { output: context.output, interrupted: () => repairedText(path, backupPath) };
  const after = await checkDevice(device, options.backingPath, undefined, watch);
  if (!needsNothing(path, after)) context.exitStatus = 1;
  const record = { cache: path, dry_run: false, repaired: true, ...planRecord(plan), backup: backupPath, check: checkRecord(path, after) };
  context.output.result(record, () => [
    `${path}: repaired. To take it back, before the cache is used again: pcache check ${path} --undo ${backupPath}`,
    ...checkLines(path, after),
  ]);
}

async function reportUnchanged(
  path: string,
  device: MappedCacheDevice,
  plan: RepairPlan,
  isPossible: boolean,
  options: RepairOptions,
  context: CommandContext,
): Promise<void> {
  const watch = { output: context.output, interrupted: () => `${path} is as it was` };
  const now = await checkDevice(device, options.backingPath, plan, watch);
  if (!needsNothing(path, now) || plan.steps.length > 0) context.exitStatus = 1;
  const record = {
    cache: path,
    dry_run: options.dryRun,
    repaired: false,
    ...planRecord(plan),
    backup: null,
    check: checkRecord(path, now),
  };
  context.output.result(record, () => {
    if (isPossible) return options.dryRun ? 'Nothing was changed: this was a dry run.' : 'Nothing was changed.';
    const lines = [plan.refusals.length > 0 ? `${path}: can not be repaired safely, so nothing is changed` : `${path}: nothing to repair`];
    return [...lines, ...checkLines(path, now)];
  });
}

/** Puts back what a repair changed. Throws PcacheError `damaged`, `mismatch` if the backup is not whole or not of this cache as it is now. */
export async function undo(path: string, backupPath: string, yes: boolean, context: CommandContext): Promise<void> {
  const { output } = context;
  requireConsent(yes, output.json || output.quiet, 'check --undo');
  const backup = aboutCache(backupPath, () => decodeBackup(attempt(backupPath, () => readFileSync(backupPath))));
  const device = openCache(path, {}, hintIfUsed);
  try {
    const header = readGatewayHeader(device.control.bytes);
    const uuid = header.ok ? uuidText(header.value.uuid) : '';
    if (backup.deviceBytes !== device.sizeBytes || (uuid !== '' && backup.uuid !== '' && uuid !== backup.uuid)) {
      throw new PcacheError('mismatch', `${backupPath}: it belongs to another cache than ${path}`);
    }
    aboutCache(path, () => requireUndoable(device, backup.patches));
    const bytes = backup.patches.reduce((sum, { before }) => sum + before.length, 0);
    output.line(
      `${path}: puts back ${count(bytes, 'byte')} that the repair of ${backup.madeAt} changed; the cache is then as damaged as before`,
    );
    const isWanted = yes || (await askYes('Do this?'));
    if (isWanted) await putBack(path, device, backup.patches, output);
    else context.exitStatus = 1;
    output.result({ cache: path, undone: isWanted, bytes: isWanted ? bytes : 0 }, () => (isWanted ? 'Done.' : 'Nothing was changed.'));
  } finally {
    device.close();
  }
}

async function putBack(path: string, device: MappedCacheDevice, patches: readonly Patch[], output: Output): Promise<void> {
  const ignoreInterrupts = onInterrupt(output, () => `${path} is as it was before the repair`);
  try {
    aboutCache(path, () => undoPatches(device, patches));
    await interruptsHeard();
  } finally {
    ignoreInterrupts();
  }
}
