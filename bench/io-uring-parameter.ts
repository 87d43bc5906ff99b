// The kernel's switch for FUSE over io_uring: off by default, root may turn it on while the system runs. It is put back at the end of a run.

import { readFileSync, writeFileSync } from 'node:fs';
import { isRoot } from './machine.js';
import type { Workspace } from './workspace.js';

const PARAMETER = '/sys/module/fuse/parameters/enable_uring';

function value(): string | undefined {
  try {
    return readFileSync(PARAMETER, 'utf8').trim();
  } catch {
    // A kernel before 6.14, or one without FUSE.
    return undefined;
  }
}

/** Why FUSE over io_uring can't be had here; undefined if it can. */
export function lacksFuseOverIoUring(): string | undefined {
  const now = value();
  if (now === undefined) return 'this kernel has no FUSE over io_uring';
  return now === 'Y' || isRoot ? undefined : `${PARAMETER} is off, and only root can turn it on`;
}

/** Turns it on until the workspace is disposed of. */
export function turnOnFuseOverIoUring(workspace: Workspace): void {
  if (value() !== 'N') return;
  writeFileSync(PARAMETER, 'Y');
  workspace.atEnd(() => writeFileSync(PARAMETER, 'N'));
}
