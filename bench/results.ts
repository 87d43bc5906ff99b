// What a run of the grid yields, and what is derived from it: medians, and ratios of two subjects in the same round. Pure.
//
// Invariant: a ratio is only ever taken between two results of one test and one round. The machine drifts by more than the differences that matter.

import type { FioFigures } from './fio.js';
import { median, spreadOf, type Spread } from './statistics.js';

export interface SingleResult extends FioFigures {
  /** From 0. */
  readonly round: number;
  readonly test: string;
  readonly subject: string;
  /** Processor time of the subject's processes. Undefined if the kernel did the work, or a process came or went. */
  readonly cpuUsPerRequest?: number;
  /** How often a writer waited because the cache was full: if it did, the backing device was measured too. */
  readonly fullWaits?: number;
}

export interface Summary {
  readonly test: string;
  readonly subject: string;
  readonly rounds: number;
  readonly requestsPerSecond: Spread;
  readonly bytesPerSecond: Spread;
  readonly meanLatencyUs: number;
  readonly p99LatencyUs: number;
  readonly cpuUsPerRequest?: number;
  /** Against the better of the null image's two modes. */
  readonly ratio?: Spread;
  /** Of a gateway: against its transport alone. */
  readonly transportRatio?: Spread;
  /** Rounds in which the cache was full. */
  readonly fullRounds: number;
}

export const NULL_SUBJECTS: readonly string[] = ['null-mt', 'null-st'];

/** The transport that a gateway is measured with; undefined of other subjects. */
export function transportOf(subject: string): string | undefined {
  return /^(dev-fuse|io-uring)(-|$)/.exec(subject)?.[1];
}

/** The subject that is a transport with nothing behind it. */
export function transportAlone(transport: string): string {
  return `null-${transport}`;
}

function of(results: readonly SingleResult[], test: string, subject: string): SingleResult[] {
  return results.filter((result) => result.test === test && result.subject === subject);
}

/** Requests a second of the best of some subjects in a round; undefined if none of them was measured then. */
function bestOf(results: readonly SingleResult[], test: string, names: readonly string[], round: number): number | undefined {
  const rates = results
    .filter((result) => result.test === test && result.round === round && names.includes(result.subject))
    .map((result) => result.requestsPerSecond);
  return rates.length === 0 ? undefined : Math.max(...rates);
}

/** A subject's rate over the best of `against`, in each round that has both. */
export function ratiosOf(results: readonly SingleResult[], test: string, subject: string, against: readonly string[]): number[] {
  return of(results, test, subject).flatMap((result) => {
    const other = bestOf(results, test, against, result.round);
    return other === undefined || other === 0 ? [] : [result.requestsPerSecond / other];
  });
}

/** Undefined if the subject has no result of the test. */
export function summaryOf(results: readonly SingleResult[], test: string, subject: string): Summary | undefined {
  const own = of(results, test, subject);
  const requestsPerSecond = spreadOf(own.map((result) => result.requestsPerSecond));
  const bytesPerSecond = spreadOf(own.map((result) => result.bytesPerSecond));
  if (requestsPerSecond === undefined || bytesPerSecond === undefined) return undefined;
  const cpu = own.flatMap((result) => result.cpuUsPerRequest ?? []);
  const ratio = spreadOf(ratiosOf(results, test, subject, NULL_SUBJECTS));
  const transport = transportOf(subject);
  const transportRatio = transport === undefined ? undefined : spreadOf(ratiosOf(results, test, subject, [transportAlone(transport)]));
  return {
    test,
    subject,
    rounds: own.length,
    requestsPerSecond,
    bytesPerSecond,
    meanLatencyUs: median(own.map((result) => result.meanLatencyUs)),
    p99LatencyUs: median(own.map((result) => result.p99LatencyUs)),
    ...(cpu.length === 0 ? {} : { cpuUsPerRequest: median(cpu) }),
    ...(ratio === undefined ? {} : { ratio }),
    ...(transportRatio === undefined ? {} : { transportRatio }),
    fullRounds: own.filter((result) => (result.fullWaits ?? 0) > 0).length,
  };
}

export function summaries(results: readonly SingleResult[]): Summary[] {
  const pairs = new Map(results.map(({ test, subject }) => [`${test} ${subject}`, { test, subject }]));
  return [...pairs.values()].flatMap(({ test, subject }) => summaryOf(results, test, subject) ?? []);
}
