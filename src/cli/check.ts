// `pcache check`: reads every structure of a cache and says what is wrong, and what that means for the data on it. Changes nothing.

import type { Command } from 'commander';
import type { CheckResult } from '../cache/check-cache.js';
import { examineCache } from '../cache/check-cache.js';
import type { Finding } from '../cache/check-finding.js';
import { aboutCache, openBacking, openCache, refuseWrongOrder } from './cache-file.js';
import { hostBootId } from '../gateway/host-boot-id.js';
import { addExample, type CommandContext } from './command.js';
import { formatSize } from './size.js';

/** Findings of one kind that are printed for people; JSON has more. */
const LINES_PER_CODE = 20;

export function define(command: Command, context: CommandContext): void {
  command
    .argument('<cache>', 'the cache: a file or block device')
    .option('--backing <backing>', 'check too that the cache belongs to this backing device')
    .description('Reads every structure of the cache and every payload with a data CRC, and says what is wrong. Changes nothing.')
    .action((path: string, options: { backing?: string }) => check(path, options.backing, context));
  command.addHelpText('after', '\nStatus 0 if nothing is wrong, 1 if anything is.');
  addExample(command, 'pcache check /fast/cache.pmem', 'pcache check /fast/cache.pmem --backing /dev/sdb');
}

function check(path: string, backingPath: string | undefined, context: CommandContext): void {
  if (backingPath !== undefined) refuseWrongOrder(path, backingPath, 'check CACHE --backing BACKING');
  const hintIfUsed = (mountpoint: string): string => `It is mounted at ${mountpoint}; pcache umount ${mountpoint} first.`;
  const device = openCache(path, { readOnly: true }, hintIfUsed);
  try {
    const backing = backingPath === undefined ? undefined : openBacking(backingPath, { readOnly: true }, hintIfUsed);
    try {
      const facts = backing === undefined ? {} : { backing: { sizeBytes: backing.sizeBytes, identity: backing.identity } };
      report(
        path,
        aboutCache(path, () => examineCache(device, { ...facts, bootId: hostBootId() })),
        context,
      );
    } finally {
      backing?.close();
    }
  } finally {
    device.close();
  }
}

function report(path: string, { findings, totals }: CheckResult, context: CommandContext): void {
  const errors = findings.filter(({ severity }) => severity === 'error').length;
  const warnings = findings.filter(({ severity }) => severity === 'warning').length;
  if (errors + warnings > 0) context.exitStatus = 1;
  const record = {
    cache: path,
    errors,
    warnings,
    ksets: totals.ksets,
    keys: totals.keys,
    clean_keys: totals.cleanKeys,
    stale_keys: totals.staleKeys,
    dirty_key_bytes: totals.dirtyBytes,
    findings: findings.map(recordOf),
  };
  context.output.result(record, () => {
    const log = `${totals.ksets} ksets, ${totals.keys} keys, ${formatSize(totals.dirtyBytes)} of keys not written back`;
    const verdict = errors + warnings === 0 ? 'no problems found' : `${count(errors, 'error')}, ${count(warnings, 'warning')}`;
    return [...findingLines(findings), `${path}: ${verdict} (${log})`].join('\n');
  });
}

function recordOf({ severity, code, place, message, volumeRange }: Finding) {
  const range = volumeRange === undefined ? {} : { volume_offset: volumeRange.offsetBytes, volume_bytes: volumeRange.lengthBytes };
  return { severity, code, place, message, ...range };
}

function findingLines(findings: readonly Finding[]): string[] {
  const lines: string[] = [];
  const counts = new Map<string, number>();
  for (const { severity, code, place, message } of findings) {
    const number = (counts.get(code) ?? 0) + 1;
    counts.set(code, number);
    if (number <= LINES_PER_CODE) lines.push(`${severity.padEnd(7)}  ${place}: ${message}`);
  }
  for (const [code, number] of counts) {
    if (number > LINES_PER_CODE) lines.push(`         ${number - LINES_PER_CODE} more of the kind ${code}: --json lists them`);
  }
  return lines;
}

function count(number: number, noun: string): string {
  return `${number} ${noun}${number === 1 ? '' : 's'}`;
}
