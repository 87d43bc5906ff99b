// A run from start to end. Whatever ends it early (an interrupt, a hang, an error of fio), what it had measured until then is in its report, and
// nothing that it started is left.

import { messageOf } from '../src/errors.js';
import { lacking } from './command.js';
import { MIB } from './fio.js';
import { runGrid, startWarm, type Started } from './grid.js';
import { machineFacts, memoryAvailableBytes, versionsOf } from './machine.js';
import type { Measure } from './measure.js';
import type { BenchOptions } from './options.js';
import type { ProgressLine } from './progress-line.js';
import type { BenchReport, SubjectFacts } from './report.js';
import { summaries, type SingleResult } from './results.js';
import type { Subject, SubjectSetting } from './subject.js';
import { targetRows } from './targets.js';
import { Workspace, noMemoryFolder } from './workspace.js';

const VOLUME_BYTES = 1024 * MIB;
const CACHE_BYTES_MAX = { full: 3072 * MIB, quick: 1536 * MIB };
/** The working set, three times: room for it, for a test's writes, and for what is being collected. */
const CACHE_BYTES_MIN = 768 * MIB;
const CACHE_BYTES_STEP = 256 * MIB;
/** Of what is free, for all caches together; the rest is for the other subjects and everything else. */
const MEMORY_SHARE = 0.5;
/** How much of a run's time the measures beside the grid take, for the progress line. */
const MEASURES_SHARE = 0.2;

/** Why nothing can be measured here; undefined if it can. */
export function lacksForBench(): string | undefined {
  return lacking('fio', 'dd') ?? noMemoryFolder();
}

export async function runBench(options: BenchOptions, progress: ProgressLine, signal: AbortSignal): Promise<BenchReport> {
  const machine = machineFacts();
  const startedAt = new Date().toISOString();
  const startMs = performance.now();
  const results: SingleResult[] = [];
  const measures: Measure[] = [];
  const facts: SubjectFacts[] = [];
  const gateways = options.subjects.filter(({ kind, lacks }) => kind === 'gateway' && lacks === undefined).length;
  const cacheBytes = cacheBytesFor(gateways, options.isQuick ? CACHE_BYTES_MAX.quick : CACHE_BYTES_MAX.full);
  let versions: Record<string, string> = {};
  let problem: string | undefined;
  try {
    versions = await versionsOf(signal);
    await inWorkspace(signal, progress, (workspace) =>
      measureGrid({ workspace, volumeBytes: VOLUME_BYTES, cacheBytes }, options, progress, facts, results),
    );
    await measureBeside(options, progress, signal, measures);
  } catch (error) {
    problem = messageOf(error);
  }
  progress.clear();
  return {
    format: 2,
    startedAt,
    seconds: (performance.now() - startMs) / 1000,
    quick: options.isQuick,
    rounds: options.rounds,
    secondsPerTest: options.seconds,
    cacheBytes,
    machine,
    versions,
    ...(problem === undefined ? {} : { problem }),
    subjects: facts,
    tests: options.tests,
    results,
    summaries: summaries(results),
    measures,
    targets: targetRows(results, measures),
  };
}

/** What each of so many caches in memory may have; less than the smallest that makes sense if there is too little. */
function cacheBytesFor(gateways: number, bytesMax: number): number {
  const each = (memoryAvailableBytes() * MEMORY_SHARE) / Math.max(1, gateways);
  return Math.min(bytesMax, Math.floor(each / CACHE_BYTES_STEP) * CACHE_BYTES_STEP);
}

/** Runs something in a workspace, which is gone afterwards. What could not be taken away is told. */
async function inWorkspace(signal: AbortSignal, progress: ProgressLine, body: (workspace: Workspace) => Promise<void>): Promise<void> {
  const workspace = new Workspace(signal);
  try {
    await body(workspace);
  } finally {
    for (const problem of await workspace.dispose()) progress.note(`bench: left behind: ${problem}`);
  }
}

async function measureGrid(
  setting: SubjectSetting,
  options: BenchOptions,
  progress: ProgressLine,
  facts: SubjectFacts[],
  results: SingleResult[],
): Promise<void> {
  const started: Started[] = [];
  for (const subject of options.subjects) {
    const { id, title, kind } = subject;
    progress.show(`start ${title}`, 0);
    const why = await startOrSayWhyNot(setting, subject, options.isQuick, started);
    facts.push({ id, title, kind, ...(why === undefined ? {} : { leftOut: why }) });
    if (why !== undefined) progress.note(`bench: left out: ${title}: ${why}`);
  }
  if (started.length === 0) return;
  const gridShare = options.measures.length === 0 ? 1 : 1 - MEASURES_SHARE;
  await runGrid(
    setting,
    started,
    options,
    progress,
    (result) => results.push(result),
    (done) => done * gridShare,
  );
}

async function startOrSayWhyNot(
  setting: SubjectSetting,
  subject: Subject,
  isQuick: boolean,
  started: Started[],
): Promise<string | undefined> {
  if (subject.lacks !== undefined) return subject.lacks;
  if (subject.kind === 'gateway' && setting.cacheBytes < CACHE_BYTES_MIN) return 'not enough memory for a cache';
  try {
    started.push(await startWarm(setting, subject, isQuick));
    return undefined;
  } catch (error) {
    setting.workspace.signal.throwIfAborted();
    return `did not start: ${messageOf(error)}`;
  }
}

async function measureBeside(options: BenchOptions, progress: ProgressLine, signal: AbortSignal, measures: Measure[]): Promise<void> {
  const { isQuick, rounds, seconds } = options;
  for (const [index, row] of options.measures.entries()) {
    const { id, title, lacks } = row;
    const isGridMeasured = options.subjects.length > 0;
    const before = index / options.measures.length;
    progress.show(title, isGridMeasured ? 1 - MEASURES_SHARE + before * MEASURES_SHARE : before);
    if (lacks !== undefined) {
      measures.push({ id, title, missing: lacks });
      progress.note(`bench: left out: ${title}: ${lacks}`);
      continue;
    }
    await inWorkspace(signal, progress, async (workspace) => {
      measures.push(...(await row.run({ workspace, isQuick, rounds, seconds })));
    });
  }
}
