// Whether a process that was written down is still the one that runs. Process ids are used again; the time a process started is not.

import { readFileSync } from 'node:fs';

/** When a process started, in clock ticks since the machine did (field 22 of /proc/PID/stat, proc(5)); undefined if there is none. */
export function startTicksOf(pid: number): number | undefined {
  let stat: string;
  try {
    stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  } catch {
    // No such process, which is the answer.
    return undefined;
  }
  // The second field is the name in parentheses and may hold anything, spaces and parentheses too.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return fields[0] === 'Z' ? undefined : Number(fields[19]);
}

export function isSameProcess(pid: number, startTicks: number): boolean {
  return startTicksOf(pid) === startTicks;
}
