// Where the lines of a log leave the process: its descriptor 2, whatever that is, so that what the runtime prints while it dies has its place among them.
//
// Invariants:
// - Nothing that goes wrong with a log stops the program: a line that can't be written (the disk is full, the reader has gone) is counted, and the next one
//   that can be is preceded by their number.
// - Every line is in the file before `write` returns: a log that is lost when the process dies explains nothing.
// - A file that was renamed or removed meanwhile (logrotate) is made anew: descriptor 2 is then the new one.

import { closeSync, constants, fstatSync, openSync, statSync, writeSync } from 'node:fs';
import { dup2 } from '../device/libc.js';
import { messageOf } from '../errors.js';

export const LOG_FD = 2;
const { O_WRONLY, O_APPEND, O_CREAT, O_NONBLOCK, O_NOCTTY } = constants;
const LOG_FILE_MODE = 0o640;
/** A pipe whose reader is slow is waited for this long, a line. */
const FULL_PIPE_PAUSE_MS = 1;
const FULL_PIPE_PAUSES = 100;

/** Opens a file for a log to be appended to. Throws what `fs` throws. */
export function openLogFile(path: string): number {
  // O_NONBLOCK: a fifo without reader is refused, not waited for.
  return openSync(path, O_WRONLY | O_APPEND | O_CREAT | O_NONBLOCK | O_NOCTTY, LOG_FILE_MODE);
}

export class LogSink {
  readonly #file: string | undefined;
  readonly #noteOfLoss: (count: number, why: string) => string;
  #lostCount = 0;
  #lostWhy = '';

  /**
   * @param file the path of what descriptor 2 is, if it is a file that may be renamed; undefined for everything else
   * @param noteOfLoss makes the line that tells how many lines are missing, and why
   */
  constructor(file: string | undefined, noteOfLoss: (count: number, why: string) => string) {
    this.#file = file;
    this.#noteOfLoss = noteOfLoss;
  }

  /** Writes a line with its newline. Never throws. */
  write(line: string): void {
    try {
      if (this.#file !== undefined) followFile(this.#file);
      if (this.#lostCount > 0) writeAll(this.#noteOfLoss(this.#lostCount, this.#lostWhy));
      this.#lostCount = 0;
      writeAll(line);
    } catch (error) {
      this.#lostCount++;
      this.#lostWhy = messageOf(error);
    }
  }
}

/** Makes descriptor 2 the file at `path` if it is another one. */
function followFile(path: string): void {
  const now = statSync(path, { throwIfNoEntry: false });
  const open = fstatSync(LOG_FD);
  if (now?.ino === open.ino && now.dev === open.dev) return;
  let fd: number;
  try {
    fd = openLogFile(path);
  } catch {
    // Its folder has gone, say: the old file is better than none.
    return;
  }
  dup2(fd, LOG_FD);
  closeSync(fd);
}

function writeAll(text: string): void {
  const bytes = Buffer.from(text);
  let pauses = 0;
  for (let done = 0; done < bytes.length;) {
    try {
      done += writeSync(LOG_FD, bytes, done);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EAGAIN' || ++pauses > FULL_PIPE_PAUSES) throw error;
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, FULL_PIPE_PAUSE_MS);
    }
  }
}
