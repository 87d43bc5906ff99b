// The mount of a daemon of which nothing lives any more: everybody who uses it gets errors, and nobody can mount there.

import { mountAt } from '../fuse/mountinfo.js';
import { mountPointName } from '../gateway/mount-point-name.js';
import { findEntry, isRunning } from '../gateway/runtime-files.js';
import { PCACHE_FILE_SYSTEM_TYPE } from './gateway-of.js';
import type { Output } from './output.js';

/**
 * Takes it away, so that a service whose processes were all killed starts again by itself. Leaves everything alone that is not surely dead.
 * @returns whether it did
 */
export async function clearDeadMount(path: string, output: Output): Promise<boolean> {
  const mountpoint = mountPointName(path);
  if (mountAt(mountpoint)?.type !== PCACHE_FILE_SYSTEM_TYPE) return false;
  const entry = findEntry(mountpoint);
  if (entry === undefined || isRunning(entry)) return false;
  // Loaded here: it needs the C library, and is needed hardly ever.
  const { unmountFuse } = await import('../fuse/mount.js');
  const { loopsOver } = await import('../gateway/loop-use.js');
  const { orphanText } = await import('./loop-hints.js');
  const loops = loopsOver(mountpoint).map(({ device }) => device);
  unmountFuse(mountpoint, { lazy: true });
  output.warn(`${path}: the last daemon was dead; its mount is taken away`);
  if (loops.length > 0) output.warn(orphanText(loops));
  return true;
}
