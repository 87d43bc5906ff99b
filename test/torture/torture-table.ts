// The last words of a torture run.

import { headlines, type Headline, type PartResult } from './part.js';

export interface TortureSummary {
  readonly seed: number;
  readonly seconds: number;
  readonly interrupted: boolean;
  /** What does the same again. */
  readonly again: string;
  readonly parts: readonly PartResult[];
}

const NAME_WIDTH = 22;
const COUNT_WIDTH = 12;

function formatNumber(value: number | string): string {
  return typeof value === 'number' ? value.toLocaleString('en-US') : value;
}

function line(label: string, value: number | string, rest = ''): string {
  return `  ${label.padEnd(NAME_WIDTH)}${formatNumber(value).padStart(COUNT_WIDTH)}${rest === '' ? '' : ` ${rest}`}\n`;
}

export function problemsOf(parts: readonly PartResult[]): string[] {
  return parts.flatMap(({ name, problem }) => (problem === undefined ? [] : `${name}: ${problem}`));
}

export function sumOf(parts: readonly PartResult[], headline: Headline): number {
  return parts.reduce((sum, { counts }) => sum + (counts[headline] ?? 0), 0);
}

function rowOf({ name, tried, unit, details, skipped }: PartResult): string {
  if (skipped !== undefined) return `  ${name.padEnd(NAME_WIDTH)}  not run: ${skipped}\n`;
  const lines = Object.entries(details).map(([label, value]) => line('', value, label));
  return line(name, tried, unit) + lines.join('');
}

/** The table for people: what was tried, what was lost, and the same for each part. */
export function tortureTable({ seed, seconds, interrupted, again, parts }: TortureSummary): string {
  const problems = problemsOf(parts);
  const lost = problems.length > 0 ? 'WRONG, see below' : 'nothing';
  const summary = headlines.map((headline) => line(`${headline} tried`, sumOf(parts, headline))).join('') + line('what was lost', lost);
  const wrong = problems.length === 0 ? '' : `\nWRONG:\n${problems.map((problem) => `  ${problem}\n`).join('')}  again: ${again}\n`;
  return `\nseed ${seed}, ${seconds} s${interrupted ? ', interrupted' : ''}\n${summary}\n${parts.map(rowOf).join('')}${wrong}`;
}
