// File systems on loop devices, over a mounted volume or over a backing file alone. Needs root; mounts are below the gateway's folder, whose
// `dispose` takes them away if a test fails.

import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { noLoopDevices } from './loop.js';
import { lacking, runOk } from './mounted-commands.js';
import type { TestGateway } from './mounted.js';

export interface FileSystemKind {
  readonly name: 'ext4' | 'xfs';
  /** Smallest device that its mkfs takes without complaint, with some room for files. */
  readonly volumeBytes: number;
  readonly mkfs: readonly string[];
  /** Program and arguments of a check that changes nothing and fails if anything is wrong. */
  readonly check: readonly string[];
}

const MIB = 1 << 20;

export const fileSystemKinds: readonly FileSystemKind[] = [
  { name: 'ext4', volumeBytes: 256 * MIB, mkfs: ['mkfs.ext4', '-q', '-F'], check: ['fsck.ext4', '-f', '-n'] },
  { name: 'xfs', volumeBytes: 320 * MIB, mkfs: ['mkfs.xfs', '-q', '-f'], check: ['xfs_repair', '-n'] },
];

export function whyNoFileSystem({ mkfs, check }: FileSystemKind): string | undefined {
  return noLoopDevices ?? lacking(mkfs[0]!, check[0]!, 'losetup', 'mount', 'umount');
}

/** Mounts a device or an image on a folder of the gateway called `name`. @returns the folder */
export async function mountOn(gateway: TestGateway, device: string, name: string, options = 'rw'): Promise<string> {
  const folder = join(gateway.folder, name);
  mkdirSync(folder, { recursive: true });
  await runOk('mount', ['-o', options, device, folder]);
  return folder;
}

export async function unmountFrom(folder: string): Promise<void> {
  await runOk('umount', [folder]);
}
