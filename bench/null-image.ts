// Builds and starts null-image.c.

import { existsSync } from 'node:fs';
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { repositoryRoot } from '../test/support/paths.js';
import { Daemon, lacking, run } from './command.js';
import { untilMounted } from './mounted.js';
import type { Workspace } from './workspace.js';

const SOURCE = join(repositoryRoot, 'bench', 'null-image.c');
const BUILD_MS = 60_000;

/** Why it can't be built here; undefined if it can. */
export function lacksNullImage(): string | undefined {
  const missing = lacking('gcc', 'pkg-config');
  if (missing !== undefined) return missing;
  const found = spawnSync('pkg-config', ['--exists', 'fuse3 >= 3.12'], { timeout: 10_000 });
  return found.status === 0 ? undefined : 'no libfuse3-dev of version 3.12 or later';
}

/** Compiles it into the workspace, once. @returns the program */
export async function buildNullImage(workspace: Workspace): Promise<string> {
  const program = join(workspace.disk, 'null-image');
  if (existsSync(program)) return program;
  const { signal } = workspace;
  const flags = await run('pkg-config', ['--cflags', '--libs', 'fuse3'], { timeoutMs: BUILD_MS, signal });
  await run('gcc', ['-O2', '-o', program, SOURCE, ...flags.trim().split(/\s+/)], { timeoutMs: BUILD_MS, signal });
  return program;
}

export interface NullImageOptions {
  readonly name: string;
  readonly sizeBytes: number;
  /** 1: libfuse's single-threaded loop. */
  readonly threads: number;
  /** What every read takes, as on a slow device. */
  readonly readDelayUs: number;
  /** Asynchronous requests that the kernel hands out at a time: many, or as few as it does for a daemon that says nothing. Default many. */
  readonly background?: 'many' | 'default';
}

/** Mounts one. @returns the file */
export async function startNullImage(workspace: Workspace, program: string, options: NullImageOptions): Promise<string> {
  const mountpoint = workspace.folder(`${options.name}.mnt`);
  const background = options.background === 'default' ? [0] : [];
  const args = [mountpoint, options.sizeBytes, options.threads, options.readDelayUs, ...background].map(String);
  const daemon = new Daemon(program, args, workspace.env(options.name));
  await untilMounted(workspace, daemon, mountpoint);
  return join(mountpoint, 'image');
}
