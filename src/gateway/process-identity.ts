// Whether a process that was written down is still the one that runs. Process ids are used again; the time a process started is not.

import { readFileSync } from 'node:fs';

export interface ProcessIdentity {
  readonly pid: number;
  /** See startTicksOf. */
  readonly startTicks: number;
}

/** Places in what `statFields` gives: the numbers in proc(5) less 3. */
export const STAT_STATE = 0;
export const STAT_FLAGS = 6;
export const STAT_THREADS = 17;
const STAT_START = 19;

/** The fields of a /proc/PID/stat or /proc/PID/task/TID/stat from the third on; undefined if there is no such process. */
export function statFields(path: string): string[] | undefined {
  let stat: string;
  try {
    stat = readFileSync(path, 'utf8');
  } catch (error) {
    // Too few descriptors or too little memory say nothing about the process; anything else: no such process, which is the answer.
    if (['EMFILE', 'ENFILE', 'ENOMEM'].includes((error as NodeJS.ErrnoException).code ?? '')) throw error;
    return undefined;
  }
  // The second field is the name in parentheses and may hold anything, spaces and parentheses too.
  return stat.slice(stat.lastIndexOf(')') + 2).split(' ');
}

/** When a process started, in clock ticks since the machine did (field 22 of /proc/PID/stat, proc(5)); undefined if there is none. */
export function startTicksOf(pid: number): number | undefined {
  const fields = statFields(`/proc/${pid}/stat`);
  return fields === undefined || fields[STAT_STATE] === 'Z' ? undefined : Number(fields[STAT_START]);
}

export function isSameProcess(pid: number, startTicks: number): boolean {
  return startTicksOf(pid) === startTicks;
}

/** Whether something is left of a process, be it that its memory is still being taken apart. Not a zombie that only waits for its parent to look. */
export function isLeft({ pid, startTicks }: ProcessIdentity): boolean {
  const fields = statFields(`/proc/${pid}/stat`);
  if (fields === undefined || Number(fields[STAT_START]) !== startTicks) return false;
  // The main thread is a zombie as soon as it has ended, the process when it is the last.
  return fields[STAT_STATE] !== 'Z' || Number(fields[STAT_THREADS]) > 1;
}
