// How a process dies, in two steps that lie 60 ms and more apart: first all its threads stop running its program, then the kernel takes its memory apart,
// waits for what it had under way (asynchronous writes, say), closes its descriptors, and tells its parent. Who takes over from it can begin at the first.
//
// A thread that is on its way out has PF_EXITING among its flags (field 9 of /proc/PID/task/TID/stat, proc(5); include/linux/sched.h). It has left its
// last system call by then and does not return to user space. When a process is killed all its threads have been told before the first of them goes, and
// none of them can make another.

import { readdirSync } from 'node:fs';
import { setImmediate as turn, setTimeout as delay } from 'node:timers/promises';
import { close, threadDescriptor, waitReadable } from '../device/libc.js';
import { PcacheError } from '../errors.js';
import { STAT_FLAGS, STAT_THREADS, isLeft, statFields, type ProcessIdentity } from './process-identity.js';

const PF_EXITING = 0x4;
/** A wait for a process that lives ends so late at most if this process wants to exit. */
const POLL_TIMEOUT_MS = 2000;
/** Threads that are watched: one of them is not the last to go, which has all the work to do. */
const WATCHED_THREADS = 2;
const LOOK_FIRST_MS = 1;
const LOOK_LAST_MS = 100;
const GONE_LOOK_MS = 5;

/**
 * Resolves when no thread of the process runs its program any more, or there is no such process. It may be a zombie by then, or still have things under way
 * in the kernel. The process must be one of Node's, whose oldest threads live as long as it does. Never resolves if this system (before Linux 6.9) can't tell.
 */
export async function programEnd(pid: number): Promise<void> {
  const watched = await watchThreads(pid);
  if (watched === undefined) return new Promise(() => undefined);
  try {
    while (watched.length > 0 && !(await waitReadable(watched, POLL_TIMEOUT_MS)));
  } finally {
    for (const descriptor of watched) close(descriptor);
  }
  // One has gone, so the others were told, unless the process is on its way to exit by itself.
  for (let lookMs = LOOK_FIRST_MS; hasRunningThread(pid); lookMs = Math.min(LOOK_LAST_MS, lookMs * 1.1)) await delay(lookMs);
  // What it said last may lie in a channel that this turn of the event loop has not come to.
  await turn();
}

/** Descriptors of its oldest threads beside the main one; none if the process is gone, undefined if the system can't watch. */
async function watchThreads(pid: number): Promise<number[] | undefined> {
  let threads: number[];
  // They are there some 10 ms after the process is.
  while ((threads = otherThreads(pid)).length < WATCHED_THREADS) {
    if (!hasRunningThread(pid)) return [];
    await delay(LOOK_LAST_MS);
  }
  const descriptors: number[] = [];
  try {
    for (const thread of threads.slice(0, WATCHED_THREADS)) descriptors.push(threadDescriptor(thread));
  } catch (error) {
    for (const descriptor of descriptors) close(descriptor);
    if (!(error instanceof PcacheError)) throw error;
    return hasRunningThread(pid) ? undefined : [];
  }
  return descriptors;
}

function otherThreads(pid: number): number[] {
  return threadsOf(pid)
    .map(Number)
    .filter((thread) => thread !== pid)
    .sort((a, b) => a - b);
}

/** None if the process is gone; some may be missing if others of them end meanwhile. */
function threadsOf(pid: number): string[] {
  try {
    return readdirSync(`/proc/${pid}/task`);
  } catch (error) {
    if (!['ENOENT', 'ESRCH'].includes((error as NodeJS.ErrnoException).code ?? '')) throw error;
    return [];
  }
}

function hasRunningThread(pid: number): boolean {
  const count = Number(statFields(`/proc/${pid}/stat`)?.[STAT_THREADS] ?? 0);
  const threads = threadsOf(pid);
  // The kernel ends the list early at a thread that ends just then.
  if (threads.length < count) return true;
  return threads.some((thread) => {
    const fields = statFields(`/proc/${pid}/task/${thread}/stat`);
    return fields !== undefined && (Number(fields[STAT_FLAGS]) & PF_EXITING) === 0;
  });
}

/**
 * Resolves when nothing of the process is left but perhaps a zombie that its parent has not looked at: whatever it had under way in the kernel is done, or
 * will not be. At most 5 ms later than that.
 */
export async function processGone(process: ProcessIdentity): Promise<void> {
  while (isLeft(process)) await delay(GONE_LOOK_MS);
}
