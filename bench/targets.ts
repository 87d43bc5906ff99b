// The targets of the project, as ratios within one run, and whether a run meets them. Pure.

import type { Measure, Wanted } from './measure.js';
import { NULL_SUBJECTS, ratiosOf, transportAlone, type SingleResult } from './results.js';
import { median } from './statistics.js';

const TRANSPORTS = ['dev-fuse', 'io-uring'] as const;

interface RatioTarget {
  readonly title: string;
  readonly tests: readonly string[];
  /** What the gateway is compared with; of several, the best in each round. */
  readonly against: (transport: string) => readonly string[];
  /** Which gateway is compared. Default the transport's, data CRC off, cache in memory. */
  readonly subject?: (transport: string) => string;
  readonly wanted: Readonly<Record<(typeof TRANSPORTS)[number], number>>;
}

const toNull = (): readonly string[] => NULL_SUBJECTS;
const DEEP = ['randwrite-4k-16x4', 'randread-4k-16x4'];
const SMALL = [
  'randwrite-4k-1x1',
  'randread-4k-1x1',
  'randwrite-4k-1x4',
  'randread-4k-1x4',
  'randwrite-4k-16x1',
  'randread-4k-16x1',
  'randwrite-4k-1x16',
];

export const ratioTargets: readonly RatioTarget[] = [
  { title: '4 KiB random, depth 16, 4 jobs: null image in C', tests: DEEP, against: toNull, wanted: { 'dev-fuse': 0.9, 'io-uring': 2 } },
  {
    title: '4 KiB random, depth 1, 4 jobs: null image in C',
    tests: ['randwrite-4k-1x4', 'randread-4k-1x4'],
    against: toNull,
    wanted: { 'dev-fuse': 0.9, 'io-uring': 1.4 },
  },
  {
    title: '4 KiB random, depth 1, 1 job: null image in C',
    tests: ['randwrite-4k-1x1', 'randread-4k-1x1'],
    against: toNull,
    wanted: { 'dev-fuse': 1, 'io-uring': 0.7 },
  },
  {
    title: '1 MiB sequential, 1 job: null image in C',
    tests: ['write-1m-1x1', 'read-1m-1x1'],
    against: toNull,
    wanted: { 'dev-fuse': 0.8, 'io-uring': 1 },
  },
  { title: '4 KiB random, depth 16, 4 jobs: nbdkit', tests: DEEP, against: () => ['nbdkit'], wanted: { 'dev-fuse': 5, 'io-uring': 10 } },
  { title: '4 KiB random, depth 16, 4 jobs: qemu', tests: DEEP, against: () => ['qemu'], wanted: { 'dev-fuse': 2.5, 'io-uring': 6 } },
  {
    title: '4 KiB random: data CRC on against off',
    tests: [...SMALL, ...DEEP],
    against: (transport) => [transport],
    subject: (transport) => `${transport}-crc`,
    wanted: { 'dev-fuse': 0.8, 'io-uring': 0.8 },
  },
];

export interface TargetRow {
  readonly title: string;
  /** Empty if the target is not about one. */
  readonly transport: string;
  readonly wanted: Wanted;
  /** The figure that decides; of several tests, the worst. */
  readonly measured?: number;
  /** What the transport with nothing behind it has in place of `measured`, in the same test: more than that no cache behind it can have. */
  readonly alone?: number;
  readonly unit: string;
  /** What decided, or why there is no figure. */
  readonly note: string;
  readonly met?: boolean;
}

export function meets(value: number, wanted: Wanted): boolean {
  return wanted.bound === 'at least' ? value >= wanted.value : value <= wanted.value;
}

/** All targets, those without a figure too. A ratio is the median over rounds; where a target is about several tests, each has to meet it. */
export function targetRows(results: readonly SingleResult[], measures: readonly Measure[]): TargetRow[] {
  const ratios = ratioTargets.flatMap((target) => TRANSPORTS.map((transport) => ratioRow(results, target, transport)));
  return [...ratios, ...measures.flatMap(measureRow)];
}

interface TestRatio {
  readonly test: string;
  readonly ratio: number;
  /** Of the transport alone. */
  readonly alone?: number;
}

function ratioRow(results: readonly SingleResult[], target: RatioTarget, transport: (typeof TRANSPORTS)[number]): TargetRow {
  const { title, tests, against, subject = (name: string) => name } = target;
  const wanted: Wanted = { bound: 'at least', value: target.wanted[transport] };
  const ratioOf = (test: string, name: string): number | undefined => {
    const ratios = ratiosOf(results, test, name, against(transport));
    return ratios.length === 0 ? undefined : median(ratios);
  };
  const medians = tests.flatMap((test): TestRatio[] => {
    const ratio = ratioOf(test, subject(transport));
    const alone = against === toNull ? ratioOf(test, transportAlone(transport)) : undefined;
    return ratio === undefined ? [] : [{ test, ratio, ...(alone === undefined ? {} : { alone }) }];
  });
  const common = { title, transport, wanted, unit: 'x' };
  if (medians.length === 0) return { ...common, note: 'not measured' };
  const worst = medians.reduce((a, b) => (b.ratio < a.ratio ? b : a));
  const others = medians.filter((each) => each !== worst);
  const more =
    others.length > 1
      ? `, the worst of ${medians.length}`
      : others.map((each) => `; ${each.test} ${each.ratio.toFixed(2)}${aloneText('alone', each)}`).join('');
  const alone = worst.alone === undefined ? {} : { alone: worst.alone };
  const note = `${worst.test}${aloneText('transport alone', worst)}${more}`;
  return { ...common, measured: worst.ratio, ...alone, note, met: meets(worst.ratio, wanted) };
}

function aloneText(name: string, { alone }: TestRatio): string {
  return alone === undefined ? '' : ` (${name} ${alone.toFixed(2)})`;
}

function measureRow({ title, transport = '', wanted, value, unit, missing, doubt }: Measure): TargetRow[] {
  if (wanted === undefined) return [];
  const common = { title, transport, wanted, unit: unit ?? '' };
  if (value === undefined) return [{ ...common, note: missing ?? 'not measured' }];
  return [{ ...common, measured: value, note: doubt ?? '', met: meets(value, wanted) }];
}
