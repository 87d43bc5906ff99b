// How the processes of a gateway end. Status values are what the supervisor, a service manager and the tests see.

import { exitAtOnce } from '../device/libc.js';

/** Everything in order. */
export const EXIT_DONE = 0;
/** Could not start, or had to give up; the media are intact. */
export const EXIT_FAILED = 1;
/** A bug or a thread that failed; the supervisor starts the engine again (EX_SOFTWARE of sysexits.h). */
export const EXIT_SOFTWARE = 70;

/** Ends a process whose threads have all come to their end. */
export function exitProcess(status: number): never {
  process.exit(status);
}

/**
 * Ends a process in which a thread may be blocked in a system call. `process.exit` joins the threads first and so would wait for that call,
 * which may take for ever; _exit(2) doesn't. What was to be said must have been said before.
 */
export function exitWithoutThreads(status: number): void {
  exitAtOnce(status);
}
