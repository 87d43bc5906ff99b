// A report with made-up figures, small enough to reckon with by hand.

import { gridTests } from '../../bench/fio.js';
import type { BenchReport } from '../../bench/report.js';
import { summaries, type SingleResult } from '../../bench/results.js';
import { targetRows } from '../../bench/targets.js';

/** A result of which only the rate matters. */
export function result(
  subject: string,
  test: string,
  round: number,
  requestsPerSecond: number,
  more: Partial<SingleResult> = {},
): SingleResult {
  return {
    subject,
    test,
    round,
    requestsPerSecond,
    bytesPerSecond: requestsPerSecond * 4096,
    requests: requestsPerSecond,
    bytes: requestsPerSecond * 4096,
    seconds: 1,
    meanLatencyUs: 10,
    p99LatencyUs: 30,
    ...more,
  };
}

export function sampleReport(results: readonly SingleResult[], more: Partial<BenchReport> = {}): BenchReport {
  return {
    format: 2,
    startedAt: '2026-01-02T03:04:05.000Z',
    seconds: 12,
    quick: true,
    rounds: 2,
    secondsPerTest: 0.3,
    cacheBytes: 1 << 30,
    machine: { cores: 2, cpu: 'a processor', kernel: '6.18.0', memoryBytes: 2 ** 34, backingOnMemory: false, load: '0.00 0.00 0.00' },
    versions: { fio: 'fio-3.33' },
    subjects: [
      { id: 'dev-fuse', title: 'pcache dev-fuse', kind: 'gateway' },
      { id: 'null-mt', title: 'null image, threads', kind: 'null' },
      { id: 'null-st', title: 'null image, one thread', kind: 'null' },
      { id: 'qemu', title: 'qemu & co. <1>', kind: 'peer' },
      { id: 'loop', title: 'loop', kind: 'peer', leftOut: 'needs root' },
    ],
    tests: gridTests,
    results,
    summaries: summaries(results),
    measures: [],
    targets: targetRows(results, []),
    ...more,
  };
}
