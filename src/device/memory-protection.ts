// Keeping a process that serves a block device alive and moving when memory is short. The kernel may need to write dirty pages *through* this
// process to get memory back, so the process must not wait for such memory, must not be paged out, and should be the last to be killed.
//
// Each helper says whether it worked; all need privileges, and the program works without them.

import * as fs from 'node:fs';
import { PcacheError } from '../errors.js';
import { mlock2, prctl } from './libc.js';
import { MLOCK_ONFAULT, PR_SET_IO_FLUSHER } from './linux-constants.js';
import { errnoOf } from './system-error.js';

/**
 * Tells the kernel that the calling thread takes part in writing out memory: its allocations then don't wait for I/O (prctl(2), Linux 5.6, CAP_SYS_RESOURCE). Threads
 * and processes that it starts afterwards inherit it; call it before starting workers.
 */
export function ioFlusher(): boolean {
  return worked(() => prctl(PR_SET_IO_FLUSHER, 1));
}

/**
 * Keeps what is touched of a range in memory. For memory that this program mapped itself, never for memory of V8's: V8 gives pages back with
 * madvise(2), which fails on locked ones, and then ends the process. (For the same reason there is no mlockall here: checked on Node 20.20, with
 * each of its flags; the process died on starting a worker, or at exit.) Without CAP_IPC_LOCK the limit on locked memory applies.
 */
export function lockRange(address: number, lengthBytes: number): boolean {
  return worked(() => mlock2(address, lengthBytes, MLOCK_ONFAULT));
}

/** Sets how readily the kernel kills this process for its memory: -1000 (never) to 1000. Below the present value it needs CAP_SYS_RESOURCE. */
export function oomScoreAdj(value: number): boolean {
  if (!(Number.isInteger(value) && value >= -1000 && value <= 1000)) throw new RangeError(`oomScoreAdj: ${value}: must be -1000 to 1000`);
  return worked(() => fs.writeFileSync('/proc/self/oom_score_adj', String(value)));
}

/** The kernel should rather end whoever fills a volume than who has to write it back. */
export const OOM_SCORE_ADJ = -900;

/**
 * Protects the calling process, and the processes and threads that it starts from then on, which inherit both. A supervisor calls this before it starts an
 * engine: so all threads of the engine have it, those too that Node starts before any of our code runs and on which V8's garbage collector waits.
 * @returns what could not be had; undefined if all is in force
 */
export function protectProcess(): string | undefined {
  const refused = [...(ioFlusher() ? [] : ['PR_SET_IO_FLUSHER']), ...(oomScoreAdj(OOM_SCORE_ADJ) ? [] : ['oom_score_adj'])];
  return refused.length === 0 ? undefined : `${refused.join(' and ')} (needs CAP_SYS_RESOURCE)`;
}

/** False for whatever the system refuses; a bug still throws. */
function worked(call: () => unknown): boolean {
  try {
    call();
    return true;
  } catch (error) {
    if (errnoOf(error) === undefined && !(error instanceof PcacheError)) throw error;
    return false;
  }
}
