// Folders for tests, gone when the test is over, whatever its outcome.

import { execFileSync } from 'node:child_process';
import * as fs from 'node:fs';
import * as os from 'node:os';
import * as path from 'node:path';
import type { ExecutionContext } from 'ava';

export const isRoot = process.getuid?.() === 0;

/** A fresh folder below `parent` (default: the system's folder for temporary files). */
export function temporaryFolder(t: ExecutionContext, parent = os.tmpdir()): string {
  const folder = fs.mkdtempSync(path.join(parent, 'pcache-test-'));
  t.teardown(() => fs.rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/** A folder on tmpfs, which every Linux has at /dev/shm; undefined where it is missing or not writable. */
export function memoryFolder(t: ExecutionContext): string | undefined {
  try {
    fs.accessSync('/dev/shm', fs.constants.W_OK);
  } catch {
    t.log('no writable /dev/shm');
    return undefined;
  }
  return temporaryFolder(t, '/dev/shm');
}

/** A fresh folder with a file system of its own mounted on it by `mount ARGUMENTS FOLDER`; needs root. Unmounted at the end. */
export function mountedFolder(t: ExecutionContext, mountArguments: string[]): string {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'pcache-mount-'));
  t.teardown(() => fs.rmdirSync(folder));
  execFileSync('mount', [...mountArguments, folder], { timeout: 20_000 });
  // Teardowns run last registered first.
  t.teardown(() => {
    execFileSync('umount', [folder], { timeout: 20_000 });
  });
  return folder;
}

/** A small tmpfs of its own; needs root. */
export function smallTmpfs(t: ExecutionContext, sizeBytes: number): string {
  return mountedFolder(t, ['-t', 'tmpfs', '-o', `size=${sizeBytes}`, 'pcache-test']);
}
