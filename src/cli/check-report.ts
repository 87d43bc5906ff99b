// What `check` found, in words and as JSON, and what the user should do next.

import type { CheckResult } from '../cache/check-cache.js';
import { factsOf } from '../cache/changed-backing.js';
import type { Finding } from '../cache/check-finding.js';
import type { RepairPlan } from '../cache/repair-plan.js';
import type { VolumeRange } from '../cache/volume-ranges.js';
import { VolumeRanges, bytesOf } from '../cache/volume-ranges.js';
import type { MappedCacheDevice } from '../device/mapped-cache-device.js';
import { wasCut, withPrivateCopy } from '../device/private-copy.js';
import { openBacking } from './cache-file.js';
import { count, rangeRecord, rangeText } from './range-text.js';
import { formatSize } from './size.js';
import { runTask, type TaskWatch } from './task.js';

/** Findings of one kind that are printed for people; JSON has more. */
const LINES_PER_CODE = 20;

export interface CheckReport extends CheckResult {
  readonly errors: number;
  readonly warnings: number;
  /** Both. */
  readonly problems: number;
  /** What an error says of the volume: bytes that are lost, damaged or out of reach. */
  readonly affected: readonly VolumeRange[];
  /** How a repair of what was found would go; `undefined` if nobody has looked. */
  readonly plan: RepairPlan | undefined;
}

/** Throws what opening the backing device throws, and PcacheError `not-a-cache`. */
export async function checkDevice(
  device: MappedCacheDevice,
  backingPath: string | undefined,
  plan: RepairPlan | undefined,
  watch: TaskWatch,
): Promise<CheckReport> {
  const hintIfUsed = (mountpoint: string): string => `It is mounted at ${mountpoint}; pcache umount ${mountpoint} first.`;
  const backing = backingPath === undefined ? undefined : openBacking(backingPath, { readOnly: true }, hintIfUsed);
  try {
    const facts = backing === undefined ? undefined : factsOf(backing);
    const examine = (cache: MappedCacheDevice): Promise<CheckResult> => runTask('check', { cache: cache.handle, backing: facts }, watch);
    return reportOf(await (wasCut(device) ? withPrivateCopy(device, examine, { whole: true }) : examine(device)), plan);
  } finally {
    backing?.close();
  }
}

export function reportOf(result: CheckResult, plan: RepairPlan | undefined): CheckReport {
  const errors = result.findings.filter(({ severity }) => severity === 'error').length;
  const warnings = result.findings.filter(({ severity }) => severity === 'warning').length;
  const affected = new VolumeRanges();
  for (const { severity, volumeRange } of result.findings) {
    if (severity === 'error' && volumeRange !== undefined) affected.add(volumeRange.offsetBytes, volumeRange.lengthBytes);
  }
  return { ...result, errors, warnings, problems: errors + warnings, affected: affected.merged(), plan };
}

export function checkRecord(path: string, report: CheckReport): Record<string, unknown> {
  const { errors, warnings, totals, findings, affected, plan } = report;
  return {
    cache: path,
    errors,
    warnings,
    ksets: totals.ksets,
    keys: totals.keys,
    clean_keys: totals.cleanKeys,
    stale_keys: totals.staleKeys,
    dirty_key_bytes: totals.dirtyBytes,
    affected_bytes: bytesOf(affected),
    repairable: plan === undefined ? null : plan.steps.length > 0 && plan.refusals.length === 0,
    next: nextSteps(path, report),
    findings: findings.map(recordOf),
  };
}

function recordOf({ severity, code, place, message, volumeRange }: Finding): Record<string, unknown> {
  return { severity, code, place, message, ...(volumeRange === undefined ? {} : rangeRecord(volumeRange)) };
}

export function checkLines(path: string, report: CheckReport): string[] {
  const { errors, warnings, problems, totals, affected } = report;
  const log = `${count(totals.ksets, 'kset')}, ${count(totals.keys, 'key')}, ${formatSize(totals.dirtyBytes)} of keys not written back`;
  const verdict = problems === 0 ? 'no problems found' : `${count(errors, 'error')}, ${count(warnings, 'warning')}`;
  const extent =
    affected.length === 0 ? '' : `; ${formatSize(bytesOf(affected))} of the volume in ${count(affected.length, 'range')} concerned`;
  const next = nextSteps(path, report).map((line) => `next: ${line}`);
  return [...findingLines(report.findings), `${path}: ${verdict}${extent} (${log})`, ...next];
}

function findingLines(findings: readonly Finding[]): string[] {
  const lines: string[] = [];
  const counts = new Map<string, number>();
  for (const { severity, code, place, message, volumeRange } of findings) {
    const number = (counts.get(code) ?? 0) + 1;
    counts.set(code, number);
    const where = volumeRange === undefined ? '' : place === 'volume' ? ` ${rangeText(volumeRange)}` : `: volume ${rangeText(volumeRange)}`;
    if (number <= LINES_PER_CODE) lines.push(`${severity.padEnd(7)}  ${place}${where}: ${message}`);
  }
  for (const [code, number] of counts) {
    if (number > LINES_PER_CODE) lines.push(`         ${number - LINES_PER_CODE} more of the kind ${code}: --json lists them`);
  }
  return lines;
}

const NOTHING_TO_DO = 'nothing needs to be done: the cache can be used';

/** Whether the cache can be used as it is: nothing is wrong, or nothing that anybody has to do something about. */
export function needsNothing(path: string, report: CheckReport): boolean {
  return nextSteps(path, report).every((step) => step === NOTHING_TO_DO);
}

/** One line each; none if nothing is wrong. */
export function nextSteps(path: string, { findings, errors, problems, plan, totals }: CheckReport): string[] {
  if (problems === 0) return [];
  const has = (...codes: Finding['code'][]): boolean => {
    return findings.some(({ severity, code }) => severity === 'error' && codes.includes(code));
  };
  const steps: string[] = [];
  if (plan !== undefined && plan.refusals.length > 0) {
    for (const { place, why, advice } of plan.refusals) steps.push(`${place} can not be repaired safely (${why}): ${advice}`);
  } else if (plan !== undefined && plan.steps.length > 0) {
    const cost = plan.loss === undefined ? 'nothing is lost by it' : 'writes are given up by it: it says which';
    steps.push(`pcache check ${path} --repair --dry-run says what would be repaired, and changes nothing (${cost})`);
    if (plan.loss !== undefined) {
      steps.push(`pcache recover ${path} BACKING writes what can be read to the backing device and leaves the cache alone`);
    }
  }
  if (has('binding')) steps.push('name the backing device that the cache belongs to; if its data was moved, mount with -o adopt');
  if (has('backing-changed')) {
    const dirty = totals.dirtyBytes > 0 ? 'drops what is dirty in it too, with --force' : 'empties it and loses nothing';
    steps.push(`pcache format ${path} ${dirty}; if only the time of the backing file was set, -o adopt mounts it as it is`);
  }
  if (has('device-size')) {
    const what = has('data-lost') ? 'everything but the ranges named above' : 'all that can be read';
    steps.push(`pcache recover ${path} BACKING writes ${what} to the backing device and leaves the cache alone (--dry-run: only says so)`);
  } else if (has('data-crc', 'data-lost')) {
    steps.push(
      'everything but the ranges named above can be mounted, or written back with pcache recover; restore those from a copy, if there is one',
    );
  }
  if (steps.length === 0 && errors > 0) steps.push('keep the cache as it is: pcache dump shows what is there');
  if (steps.length === 0) steps.push(NOTHING_TO_DO);
  return steps;
}
