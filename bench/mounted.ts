// Waiting for a mount by the kernel's table of mounts, which can't hang.

import { readMounts } from '../src/fuse/mountinfo.js';
import { waitUntil, type Daemon } from './command.js';
import type { Workspace } from './workspace.js';

const MOUNT_MS = 20_000;

/** Waits until something is mounted there. Rejects with its last words if the daemon that is to do it ends instead. */
export async function untilMounted(workspace: Workspace, daemon: Daemon, mountpoint: string): Promise<void> {
  const isMounted = (): boolean => readMounts().some((mount) => mount.mountpoint === mountpoint);
  await waitUntil(() => daemon.hasEnded || isMounted(), `${daemon.name} mounts`, MOUNT_MS, workspace.signal);
  if (daemon.hasEnded) throw new Error(`${daemon.name}: ended: ${daemon.lastWords}`);
}
