// A repair plan in words for whoever has to decide on it, and as JSON.

import type { RepairStep } from '../cache/repair-draft.js';
import type { RepairPlan } from '../cache/repair-plan.js';
import type { LogLoss } from '../cache/salvage-log.js';
import { count, rangeLines, rangeRecord } from './range-text.js';
import { formatSize } from './size.js';

/** Ranges that are printed for people; JSON has all. */
export const RANGES_SHOWN = 20;

export function planLines({ steps }: RepairPlan): string[] {
  return steps.flatMap((step, index) => stepLines(step, index + 1));
}

function stepLines({ place, why, what, consequence, loss, patches }: RepairStep, number: number): string[] {
  const bytes = patches.reduce((sum, { after }) => sum + after.length, 0);
  const offsets = patches.slice(0, 4).map(({ deviceOffset }) => deviceOffset);
  const more = patches.length > offsets.length ? ', ...' : '';
  return [
    `${number}. ${place}: ${why}`,
    `   does:    ${what}`,
    `   means:   ${consequence}`,
    ...(loss === undefined ? [] : lossLines(loss, '            ')),
    `   writes:  ${count(bytes, 'byte')} of the cache device, at ${offsets.join(', ')}${more}`,
  ];
}

export function lossLines(loss: LogLoss, indent: string): string[] {
  const lines: string[] = [];
  if (loss.writes > 0) {
    lines.push(`${indent}given up: ${count(loss.writes, 'write')}, ${formatSize(loss.bytes)} of the volume, which become older there:`);
    lines.push(...rangeLines(loss.ranges, RANGES_SHOWN, `${indent}  `));
  }
  const unreadable = unreadableText(loss);
  if (unreadable !== undefined) lines.push(`${indent}${loss.writes > 0 ? 'and' : 'given up:'} ${unreadable}`);
  if (lines.length > 0) {
    lines.push(`${indent}a file system on the volume will be as after a power cut at that moment: check it (fsck) before you use it`);
  }
  return lines;
}

/** What is known of the writes that can't be read; `undefined` if there are none. */
export function unreadableText({ unreadableWritesMax }: LogLoss): string | undefined {
  if (unreadableWritesMax === 0) return undefined;
  const number = unreadableWritesMax === undefined ? 'an unknown number of writes' : `${count(unreadableWritesMax, 'write')} at most`;
  return `${number} that can't be read: which parts of the volume they are about can not be told`;
}

export function planRecord({ steps, refusals, loss }: RepairPlan): Record<string, unknown> {
  return {
    steps: steps.map(({ place, why, what, consequence, patches }) => ({
      place,
      why,
      what,
      consequence,
      writes: patches.map(({ deviceOffset, after }) => ({ device_offset: deviceOffset, bytes: after.length })),
    })),
    not_repairable: refusals,
    given_up: loss === undefined ? null : lossRecord(loss),
  };
}

export function lossRecord({ writes, bytes, ranges, unreadableWritesMax }: LogLoss): Record<string, unknown> {
  return { writes, bytes, ranges: ranges.map(rangeRecord), unreadable_writes_max: unreadableWritesMax ?? null };
}
