// Processes that carry a mark in their environment, and what processor time they have used (proc(5)).

import { readFileSync, readdirSync } from 'node:fs';

/** USER_HZ, which is 100 on every architecture that Node runs on. */
const TICKS_PER_SECOND = 100;
/** Fields 14 to 17 of /proc/PID/stat: user and system time, its own and of children that it has waited for; counted after the name. */
const CPU_FIELDS = [11, 12, 13, 14];

/** Living processes whose environment has a variable that starts like this. Those of other users can't be seen. */
export function processesWith(variable: string): number[] {
  return readdirSync('/proc')
    .map(Number)
    .filter((pid) => {
      if (!Number.isInteger(pid) || pid === process.pid) return false;
      return textOf(`/proc/${pid}/environ`)
        .split('\0')
        .some((each) => each.startsWith(variable));
    });
}

/** Whether there is such a process, and more of it than an entry that its parent has not read yet. */
export function isAlive(pid: number): boolean {
  const fields = statFields(textOf(`/proc/${pid}/stat`));
  return fields.length > 0 && fields[0] !== 'Z';
}

/** Processor seconds that these processes have used in all their threads, user and system, with the children that have ended. */
export function cpuSecondsOf(pids: readonly number[]): number {
  return pids.reduce((sum, pid) => sum + parseCpuSeconds(textOf(`/proc/${pid}/stat`)), 0);
}

/** From the text of /proc/PID/stat; 0 of an empty one. */
export function parseCpuSeconds(stat: string): number {
  const fields = statFields(stat);
  if (fields.length === 0) return 0;
  return CPU_FIELDS.reduce((ticks, field) => ticks + Number(fields[field]), 0) / TICKS_PER_SECOND;
}

export function killNow(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}

/** What follows the name, which is in parentheses and may hold anything. */
function statFields(stat: string): string[] {
  const end = stat.lastIndexOf(')');
  return end < 0 ? [] : stat.slice(end + 2).split(' ');
}

function textOf(path: string): string {
  try {
    return readFileSync(path, 'latin1');
  } catch {
    // Ended meanwhile, or somebody else's: not one of ours.
    return '';
  }
}
