// What a result depends on and a reader has to know: the machine and the versions of everything.

import { accessSync, constants, existsSync, readFileSync, statfsSync } from 'node:fs';
import { availableParallelism, cpus, release, tmpdir, totalmem } from 'node:os';
import { join } from 'node:path';
import { repositoryRoot } from '../test/support/paths.js';
import { lacking, run } from './command.js';

export const isRoot = process.getuid?.() === 0;

export interface MachineFacts {
  readonly cores: number;
  readonly cpu: string;
  readonly kernel: string;
  readonly memoryBytes: number;
  /** Where the backing files are: tmpfs or not. */
  readonly backingOnMemory: boolean;
  /** Load averages when the run began: what else the machine had to do. */
  readonly load: string;
}

const TMPFS_MAGIC = 0x0102_1994;

export function machineFacts(): MachineFacts {
  return {
    cores: availableParallelism(),
    cpu: cpus()[0]?.model.trim() ?? 'unknown',
    kernel: release(),
    memoryBytes: totalmem(),
    backingOnMemory: statfsSync(tmpdir()).type === TMPFS_MAGIC,
    load: readFileSync('/proc/loadavg', 'utf8').split(' ').slice(0, 3).join(' '),
  };
}

const VERSION_COMMANDS: Readonly<Record<string, readonly [string, ...string[]]>> = {
  fio: ['fio', '--version'],
  gcc: ['gcc', '--version'],
  libfuse: ['pkg-config', '--modversion', 'fuse3'],
  nbdkit: ['nbdkit', '--version'],
  nbdfuse: ['nbdfuse', '--version'],
  'qemu-storage-daemon': ['qemu-storage-daemon', '--version'],
};

/** Versions by name; what is not there is left out. */
export async function versionsOf(signal: AbortSignal): Promise<Record<string, string>> {
  const { version } = JSON.parse(readFileSync(join(repositoryRoot, 'package.json'), 'utf8')) as { version: string };
  const versions: Record<string, string> = { 'pcache-gateway': version, node: process.version };
  const commit = commitOf(repositoryRoot);
  if (commit !== undefined) versions.commit = commit;
  for (const [name, [program, ...args]] of Object.entries(VERSION_COMMANDS)) {
    if (lacking(program) !== undefined) continue;
    versions[name] = (await run(program, args, { timeoutMs: 10_000, signal })).split('\n')[0]!.trim();
  }
  return versions;
}

/** The commit that is checked out, as git's files tell it. */
function commitOf(root: string): string | undefined {
  const head = join(root, '.git', 'HEAD');
  if (!existsSync(head)) return undefined;
  const text = readFileSync(head, 'utf8').trim();
  const reference = /^ref: (\S+)$/.exec(text)?.[1];
  if (reference === undefined) return text;
  const file = join(root, '.git', reference);
  return existsSync(file) ? readFileSync(file, 'utf8').trim() : undefined;
}

/** Why nothing can be mounted; undefined if it can. */
export function lacksFuse(): string | undefined {
  try {
    accessSync('/dev/fuse', constants.R_OK | constants.W_OK);
  } catch {
    return 'no /dev/fuse that this user may open';
  }
  return isRoot ? undefined : lacking('fusermount3');
}

/** Bytes of memory that may be taken without pushing anything out. */
export function memoryAvailableBytes(): number {
  const kib = /^MemAvailable:\s+(\d+) kB/m.exec(readFileSync('/proc/meminfo', 'utf8'))?.[1];
  const { bavail, bsize } = statfsSync('/dev/shm');
  return Math.min(Number(kib ?? 0) * 1024, bavail * bsize);
}
