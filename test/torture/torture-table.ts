// The last words of a torture run.

import type { PartResult } from './part.js';

export interface TortureSummary {
  readonly seed: number;
  readonly seconds: number;
  readonly interrupted: boolean;
  readonly problems: readonly string[];
  readonly parts: readonly PartResult[];
}

const NAME_WIDTH = 20;
const COUNT_WIDTH = 10;

function formatNumber(value: number | string): string {
  return typeof value === 'number' ? value.toLocaleString('en-US') : value;
}

function rowOf({ name, tried, unit, details, skipped }: PartResult): string {
  if (skipped !== undefined) return `  ${name.padEnd(NAME_WIDTH)}  skipped: ${skipped}\n`;
  const head = `  ${name.padEnd(NAME_WIDTH)}${formatNumber(tried).padStart(COUNT_WIDTH)} ${unit}\n`;
  const lines = Object.entries(details).map(
    ([label, value]) => `${' '.repeat(NAME_WIDTH + 2)}${formatNumber(value).padStart(COUNT_WIDTH)} ${label}\n`,
  );
  return head + lines.join('');
}

/** The table for people: what was tried, and what was lost. */
export function tortureTable({ seed, seconds, interrupted, problems, parts }: TortureSummary): string {
  const rows = parts.map(rowOf).join('');
  const lost =
    problems.length > 0
      ? `WRONG:\n${problems.map((problem) => `  ${problem}\n`).join('')}  again: npm run torture -- --seed ${seed}\n`
      : `what was lost: nothing${interrupted ? ', up to the interrupt' : ''}\n`;
  return `\nseed ${seed}, ${seconds} s\n${rows}${lost}`;
}
