// fio jobs as the tests of mounts use them. Every job has a seed, so that two runs of it write the same bytes to the same places.

import { lacking, run } from './mounted-commands.js';

export const noFio = lacking('fio');

export type FioJob = Readonly<Record<string, string | number>>;

export function fioArguments(file: string, job: FioJob): string[] {
  const options = {
    name: 'job',
    filename: file,
    thread: 1,
    randseed: 4711,
    fallocate: 'none',
    invalidate: 0,
    verify_state_save: 0,
    ...job,
  };
  return [...Object.entries(options).map(([name, value]) => `--${name}=${value}`), '--minimal'];
}

/** Runs a job on a file that exists. Rejects with what fio says if it finds any error. */
export async function fio(file: string, job: FioJob, timeoutMs = 60_000): Promise<void> {
  const { status, stdout, stderr } = await run('fio', fioArguments(file, job), { timeoutMs });
  // In the terse format a job's fifth field is its error.
  const error = stdout
    .split('\n')
    .find((line) => line.startsWith('3;'))
    ?.split(';')[4];
  if (status !== 0 || error !== '0') throw new Error(`fio: status ${status ?? 'killed'}, error ${error ?? '?'}: ${stderr}`);
}
