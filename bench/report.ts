// What a run yields, as data (the JSON of `--json`) and as text. Pure.

import type { GridTest } from './fio.js';
import type { MachineFacts } from './machine.js';
import type { Measure } from './measure.js';
import type { SingleResult, Summary } from './results.js';
import type { Spread } from './statistics.js';
import type { SubjectKind } from './subject.js';
import type { TargetRow } from './targets.js';

export interface SubjectFacts {
  readonly id: string;
  readonly title: string;
  readonly kind: SubjectKind;
  /** Why it was left out, if it was. */
  readonly leftOut?: string;
}

export interface BenchReport {
  /** Of this form of report. */
  readonly format: 2;
  readonly startedAt: string;
  readonly seconds: number;
  readonly quick: boolean;
  readonly rounds: number;
  readonly secondsPerTest: number;
  readonly cacheBytes: number;
  readonly machine: MachineFacts;
  readonly versions: Readonly<Record<string, string>>;
  /** What ended the run before its time, if anything did. */
  readonly problem?: string;
  readonly subjects: readonly SubjectFacts[];
  readonly tests: readonly GridTest[];
  readonly results: readonly SingleResult[];
  readonly summaries: readonly Summary[];
  readonly measures: readonly Measure[];
  readonly targets: readonly TargetRow[];
}

/** Three digits that matter, thousands as k and millions as M. */
export function shortNumber(value: number): string {
  if (!Number.isFinite(value)) return '?';
  if (value >= 999_500) return `${threeDigits(value / 1e6)} M`;
  if (value >= 9995) return `${threeDigits(value / 1e3)} k`;
  return threeDigits(value);
}

function threeDigits(value: number): string {
  if (value >= 99.95) return String(Math.round(value));
  return value >= 9.995 ? value.toFixed(1) : value.toFixed(2);
}

/** Columns as wide as they need to be; those named to the left, the others to the right. */
export function textTable(rows: readonly (readonly string[])[], left: readonly number[] = [0]): string {
  const widths: number[] = [];
  for (const row of rows) row.forEach((cell, column) => (widths[column] = Math.max(widths[column] ?? 0, cell.length)));
  const line = (row: readonly string[]): string =>
    row.map((cell, column) => (left.includes(column) ? cell.padEnd(widths[column]!) : cell.padStart(widths[column]!))).join('  ');
  return rows.map((row) => `  ${line(row).trimEnd()}\n`).join('');
}

function withRange(spread: Spread, factor: number): string {
  const [middle, low, high] = [spread.median, spread.min, spread.max].map((value) => shortNumber(value * factor));
  return low === high ? middle! : `${middle!} (${low!}-${high!})`;
}

/** Whether a test is about bytes rather than requests. */
export function isAboutBytes(test: Pick<GridTest, 'blockBytes'>): boolean {
  return test.blockBytes >= 1 << 20;
}

function testTable(report: BenchReport, test: GridTest): string {
  const bytes = isAboutBytes(test);
  const hasTransports = report.summaries.some(({ transportRatio }) => transportRatio !== undefined);
  const ratioHeads = ['x null image', ...(hasTransports ? ['x transport'] : [])];
  const head = ['', bytes ? 'MB/s' : 'requests/s', 'mean us', 'p99 us', 'CPU us/request', ...ratioHeads];
  const rows = report.subjects.flatMap(({ id, title }) => {
    const summary = report.summaries.find((each) => each.test === test.id && each.subject === id);
    if (summary === undefined) return [];
    const { requestsPerSecond, bytesPerSecond, meanLatencyUs, p99LatencyUs, cpuUsPerRequest, ratio, transportRatio, fullRounds } = summary;
    const ratios = [ratio, ...(hasTransports ? [transportRatio] : [])];
    const cells = [
      title,
      bytes ? withRange(bytesPerSecond, 1e-6) : withRange(requestsPerSecond, 1),
      shortNumber(meanLatencyUs),
      shortNumber(p99LatencyUs),
      cpuUsPerRequest === undefined ? 'in kernel' : shortNumber(cpuUsPerRequest),
      ...ratios.map((each) => (each === undefined ? '-' : withRange(each, 1))),
    ];
    return [fullRounds === 0 ? cells : [...cells, `cache full in ${fullRounds} of ${summary.rounds} rounds`]];
  });
  return rows.length === 0 ? '' : `\n${test.title}\n${textTable([head, ...rows], [0, head.length])}`;
}

function unitOf(value: number, unit: string): string {
  return unit === 'x' || unit === '' ? value.toFixed(2) : `${shortNumber(value)}${unit === '/s' ? '' : ' '}${unit}`;
}

/** Only targets with a figure, and how many have none. */
export function targetTable(targets: readonly TargetRow[]): string {
  const measuredTargets = targets.filter(({ measured }) => measured !== undefined);
  const others = targets.length - measuredTargets.length;
  const rows = measuredTargets.map(({ title, transport, wanted, measured, unit, met, note }) => [
    title,
    transport,
    `${wanted.bound} ${unitOf(wanted.value, unit)}`,
    measured === undefined ? '-' : unitOf(measured, unit),
    met === undefined ? '-' : met ? 'met' : 'NOT MET',
    note,
  ]);
  const table = rows.length === 0 ? '' : textTable([['', '', 'wanted', 'measured', '', ''], ...rows], [0, 1, 4, 5]);
  return others === 0 ? table : `${table}  not measured: ${others} of ${targets.length}\n`;
}

function detailLines({ title, transport, value, unit, details, missing, doubt }: Measure): string {
  const name = transport === undefined ? title : `${title}, ${transport}`;
  if (value === undefined) return `  ${name}: ${missing ?? 'not measured'}\n`;
  const parts = Object.entries(details ?? {}).map(([detail, each]) => `${detail} ${typeof each === 'number' ? shortNumber(each) : each}`);
  return `  ${name}: ${unitOf(value, unit ?? '')} (${parts.join(', ')})${doubt === undefined ? '' : `; doubtful: ${doubt}`}\n`;
}

export function reportText(report: BenchReport): string {
  const { machine, versions, rounds, secondsPerTest, quick } = report;
  const leftOut = report.subjects.flatMap(({ title, leftOut: why }) => (why === undefined ? [] : [`  ${title}: ${why}\n`]));
  const used = Object.entries(versions).map(([name, version]) => `${name} ${version.replace(`${name} `, '')}`);
  return [
    `${machine.cpu}, ${machine.cores} cores, Linux ${machine.kernel}, load before ${machine.load}\n`,
    `${used.join(', ')}\n`,
    `${rounds} round${rounds === 1 ? '' : 's'}, ${secondsPerTest} s a test${quick ? ' (--quick: less exact than the full run)' : ''}, in ${Math.round(report.seconds)} s; median (min-max)\n`,
    leftOut.length === 0 ? '' : `\nLeft out:\n${leftOut.join('')}`,
    ...report.tests.map((test) => testTable(report, test)),
    report.measures.length === 0 ? '' : `\nAlso measured\n${report.measures.map(detailLines).join('')}`,
    report.targets.length === 0 ? '' : `\nTargets\n${targetTable(report.targets)}`,
    report.problem === undefined ? '' : `\nThe run ended early: ${report.problem}\n`,
  ].join('');
}
