// Starts null-transport-main.ts.

import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Daemon, waitUntil } from './command.js';
import { WORKING_SET_BYTES } from './fio.js';
import type { Transport } from './gateway.js';
import { turnOnFuseOverIoUring } from './io-uring-parameter.js';
import { IMAGE_NAME } from './null-files.js';
import type { Workspace } from './workspace.js';

const PROGRAM = fileURLToPath(new URL('null-transport-main.js', import.meta.url));
const START_MS = 20_000;

/** Mounts one. @returns the file */
export async function startNullTransport(workspace: Workspace, name: string, transport: Transport, sizeBytes: number): Promise<string> {
  if (transport === 'io-uring') turnOnFuseOverIoUring(workspace);
  const mountpoint = workspace.folder(`${name}.mnt`);
  const args = [PROGRAM, mountpoint, String(sizeBytes), String(WORKING_SET_BYTES), transport];
  const daemon = new Daemon(process.execPath, args, workspace.env(name));
  await waitUntil(() => daemon.hasEnded || daemon.stdout !== '', `${name} serves`, START_MS, workspace.signal);
  if (daemon.hasEnded) throw new Error(`${name}: ended: ${daemon.lastWords}`);
  return join(mountpoint, IMAGE_NAME);
}
