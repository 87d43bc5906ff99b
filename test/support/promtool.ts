// Prometheus' own check of what it will be given.

import { spawnSync } from 'node:child_process';

const TIMEOUT_MS = 60_000;

/** Why it can't be asked here. */
export const noPromtool = spawnSync('promtool', ['--version'], { timeout: TIMEOUT_MS }).status === 0 ? undefined : 'no promtool here';

/** What it has to say of `input`, or of the files in its arguments; empty if nothing is wrong. */
export function complaints(args: readonly string[], input = ''): string {
  const { status, stdout, stderr } = spawnSync('promtool', args, { input, encoding: 'utf8', timeout: TIMEOUT_MS });
  // For `check metrics` every line is a complaint, whatever the status.
  return status === 0 && (args[1] !== 'metrics' || stdout + stderr === '') ? '' : `status ${status ?? 'none'}: ${stdout}${stderr}`;
}
