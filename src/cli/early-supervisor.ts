// The supervisor of a mount in the background, started before this command knows whether it will want one: its process, an empty Node.js for its first tens of ms,
// gets ready, and an engine with it, while the command line is loaded, read and checked.
//
// Invariants: until it is given a plan it has touched nothing, and it goes with this command, whatever ends that. This module loads as good as nothing, since
// what it loads comes before everything else.

import { fork, type ChildProcess } from 'node:child_process';
import { withoutCertificates } from '../gateway/daemon-environment.js';
import { supervisorMain } from '../gateway/supervisor-file.js';
import { withoutServiceVariables } from './service-plan.js';

let early: ChildProcess | undefined;

/** Called first of all. A wrong guess costs two processes, nothing else. */
export function startEarlySupervisor(args: readonly string[]): void {
  if (!mountsInBackground(args)) return;
  let supervisor: ChildProcess;
  try {
    supervisor = startSupervisor();
  } catch {
    // Whatever is short now, a process or memory: it is asked for again when it is wanted, and told then.
    return;
  }
  early = supervisor;
  const forget = (): void => {
    if (early === supervisor) early = undefined;
  };
  supervisor.once('error', forget).once('exit', forget);
  process.once('exit', () => early?.kill('SIGKILL'));
}

/** A supervisor that waits for its plan: the early one, or a new one. It is the caller's to end. */
export function takeSupervisor(): ChildProcess {
  const supervisor = early ?? startSupervisor();
  early = undefined;
  return supervisor;
}

/** Whether the arguments look so. Options of the whole program that have a value are not understood, and take the longer way. */
function mountsInBackground(args: readonly string[]): boolean {
  const name = args.find((arg) => !arg.startsWith('-'));
  if (name !== 'mount' && name !== 'mount-helper') return false;
  return !args.some((arg) => arg === '--foreground' || arg === '--help');
}

/** It leaves this command's process group when it has mounted (supervisor-process.ts). Its descriptor 1 is nothing until it has a log; what it says before goes to this command's stderr. */
function startSupervisor(): ChildProcess {
  return fork(supervisorMain, [], {
    serialization: 'advanced',
    stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
    env: withoutCertificates(withoutServiceVariables(process.env)),
  });
}
