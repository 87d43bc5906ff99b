// Runs the grid: subjects are started once; then, in each round, each test runs on every subject in turn, so that the machine's drift hits all alike.
// One subject works at a time: before the next has its turn, the last has finished what it kept for later (a gateway's writing back).

import { messageOf } from '../src/errors.js';
import { run } from './command.js';
import { WORKING_SET_BYTES, MIB, fioArguments, isWrite, parseFio, type FioJob, type GridTest } from './fio.js';
import { cpuSecondsOf } from './processes.js';
import type { ProgressLine } from './progress-line.js';
import type { SingleResult } from './results.js';
import type { RunningSubject, Subject, SubjectSetting } from './subject.js';

export interface GridOptions {
  readonly rounds: number;
  readonly seconds: number;
  readonly tests: readonly GridTest[];
  readonly isQuick: boolean;
}

/** What fio may take beyond the time it was given: starting its jobs, and waiting for requests in flight. */
const FIO_EXTRA_MS = 30_000;
const WARM_MS = 60_000;

export interface Started {
  readonly subject: Subject;
  readonly running: RunningSubject;
}

/** Runs fio on a file. Rejects if it finds an error or hangs. */
export async function fio(setting: Pick<SubjectSetting, 'workspace'>, file: string, job: FioJob): Promise<SingleFio> {
  const { workspace } = setting;
  const timeoutMs = (job.seconds ?? 60) * 1000 + FIO_EXTRA_MS;
  const text = await run('fio', fioArguments(file, job), { timeoutMs, signal: workspace.signal, env: workspace.env('fio') });
  return parseFio(text, isWrite(job) ? 'write' : 'read');
}
type SingleFio = ReturnType<typeof parseFio>;

/**
 * How long a subject is used in small requests, first writing, then reading, before it is measured. A volume serves for days; what a program of any kind
 * does in its first second (compiling, taking memory, filling the kernel's tables) is measured as such, see measure-start.ts.
 */
const WARM_SECONDS = { full: 1, quick: 0.5 };

/**
 * Starts a subject, writes its working set, so that it is in memory wherever the subject has some, and uses it for a moment.
 */
export async function startWarm(setting: SubjectSetting, subject: Subject, isQuick: boolean): Promise<Started> {
  const seconds = isQuick ? WARM_SECONDS.quick : WARM_SECONDS.full;
  const running = await subject.start(setting);
  await fio(setting, running.file, { rw: 'write', blockBytes: MIB, depth: 1, jobs: 1, bytesMax: WORKING_SET_BYTES });
  for (const rw of ['randwrite', 'randread'] as const) {
    await fio(setting, running.file, { rw, blockBytes: 4096, depth: 16, jobs: 4, seconds, bytesMax: 2 * WORKING_SET_BYTES });
  }
  await running.settle();
  return { subject, running };
}

/**
 * All results of all rounds, handed to `onResult` one by one. Rejects with the first failure: a benchmark in which one subject hangs or returns errors
 * has no result.
 */
export async function runGrid(
  setting: SubjectSetting,
  started: readonly Started[],
  options: GridOptions,
  progress: ProgressLine,
  onResult: (result: SingleResult) => void,
  share: (done: number) => number,
): Promise<void> {
  const { rounds, tests, isQuick } = options;
  const isRun = ({ subject }: Started, { depth, jobs }: GridTest): boolean =>
    !isQuick || subject.quick !== 'deep' || (depth === 16 && jobs === 4);
  const total = rounds * tests.reduce((sum, test) => sum + started.filter((each) => isRun(each, test)).length, 0);
  let done = 0;
  for (let round = 0; round < rounds; round++) {
    // Each has every neighbour's place once.
    const first = round % started.length;
    const order = [...started.slice(first), ...started.slice(0, first)];
    for (const test of tests) {
      for (const { subject, running } of order.filter((each) => isRun(each, test))) {
        progress.show(`round ${round + 1} of ${rounds}: ${subject.title}: ${test.title}`, share(done / total));
        try {
          onResult(await runOne(setting, { subject, running }, test, round, options.seconds));
        } catch (error) {
          throw new Error(`${subject.title}: ${test.title}: ${messageOf(error)}`, { cause: error });
        }
        done++;
      }
    }
  }
}

async function runOne(
  setting: SubjectSetting,
  { subject, running }: Started,
  test: GridTest,
  round: number,
  seconds: number,
): Promise<SingleResult> {
  const { workspace, cacheBytes } = setting;
  if (!isWrite(test) && subject.mayForget) {
    const args = [`if=${running.file}`, 'of=/dev/null', 'bs=1M', `count=${WORKING_SET_BYTES / MIB}`, 'iflag=direct', 'status=none'];
    await run('dd', args, { timeoutMs: WARM_MS, signal: workspace.signal, env: workspace.env('dd') });
  }
  const fullBefore = await running.fullWaits();
  const pids = running.pids();
  const cpuBefore = pids === undefined ? 0 : cpuSecondsOf(pids);
  // No more than what a gateway has room for without waiting for its backing device: this is about memory, not about that device.
  const limit = isWrite(test) ? { bytesMax: cacheBytes / 4 } : {};
  const { rw, blockBytes, depth, jobs } = test;
  const figures = await fio(setting, running.file, { rw, blockBytes, depth, jobs, seconds, ...limit });
  const sameProcesses = pids !== undefined && pids.join() === running.pids()!.join();
  const cpu = sameProcesses ? { cpuUsPerRequest: ((cpuSecondsOf(pids) - cpuBefore) * 1e6) / figures.requests } : {};
  const fullAfter = await running.fullWaits();
  const full = fullBefore === undefined || fullAfter === undefined ? {} : { fullWaits: fullAfter - fullBefore };
  if (isWrite(test)) await running.settle();
  return { round, test: test.id, subject: subject.id, ...figures, ...cpu, ...full };
}
