// A supervisor for tests that want another one than that of `pcache mount`: the same program with a part replaced. Everything else goes the way that
// `pcache mount` goes.

import { fork } from 'node:child_process';
import { closeSync, openSync } from 'node:fs';
import { checkMount } from '../../src/gateway/mount-checks.js';
import { parseMountOptions } from '../../src/gateway/mount-options.js';
import type { MountMessage, MountOutcome } from '../../src/gateway/process-messages.js';
import { runtimePaths } from '../../src/gateway/runtime-files.js';
import { within } from './mounted-commands.js';

const READY_MS = 60_000;

export interface SupervisorStart {
  /** Its main module, which calls `runSupervisorProcess`. */
  readonly main: URL;
  readonly cache: string;
  readonly backing: string;
  readonly mountpoint: string;
  /** As for `-o`. */
  readonly mountOptions?: string | undefined;
  readonly runtimeDirectory: string;
  readonly env?: NodeJS.ProcessEnv;
  /** For Node, of supervisor and engines. */
  readonly execArgv?: readonly string[];
}

export interface StartedPids {
  readonly supervisor: number;
  readonly engine: number;
}

/** Resolves when the volume can be read. Rejects with what the supervisor says if it can't. */
export async function startSupervisor(start: SupervisorStart): Promise<StartedPids> {
  const { runtimeDirectory } = start;
  const options = parseMountOptions(start.mountOptions === undefined ? [] : [start.mountOptions]);
  const checked = checkMount(start.cache, start.backing, start.mountpoint, options.transport);
  const logFd = openSync(runtimePaths(checked.mountpoint, runtimeDirectory).log, 'a', 0o600);
  const supervisor = fork(start.main, [], {
    detached: true,
    serialization: 'advanced',
    stdio: ['ignore', logFd, logFd, 'ipc'],
    env: { ...process.env, PCACHE_RUNTIME_DIR: runtimeDirectory, ...start.env },
    execArgv: [...(start.execArgv ?? [])],
  });
  closeSync(logFd);
  const outcome = new Promise<MountOutcome | undefined>((resolve) => {
    supervisor.once('message', (message) => resolve(message as MountOutcome));
    supervisor.once('exit', () => resolve(undefined));
  });
  const plan = { ...checked, options, runtimeDirectory, logLevel: 'info', logFormat: 'json' } as const;
  supervisor.send({ type: 'mount', plan } satisfies MountMessage);
  const told = await within(outcome, 'the mount is ready', READY_MS);
  if (told?.type !== 'ready') throw new Error(`not mounted: ${told?.error.message ?? 'the supervisor ended'}`);
  if (supervisor.connected) supervisor.disconnect();
  supervisor.unref();
  return { supervisor: told.supervisorPid, engine: told.enginePid };
}
