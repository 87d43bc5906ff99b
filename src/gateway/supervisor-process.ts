// A supervisor as a process: in the background, started by `pcache mount`, or that command itself with --foreground. Signals ask for an
// orderly end; SIGHUP is ignored, since the terminal that went away is not what the volume depends on.

import { messageOf } from '../errors.js';
import { errorBody } from './control-protocol.js';
import { createLog } from './log.js';
import { EXIT_FAILED, exitProcess, exitWithoutThreads } from './process-exit.js';
import type { MountMessage, MountOutcome, MountPlan } from './process-messages.js';
import { Supervisor, type SupervisorEvents, type SupervisorParts } from './supervisor.js';

/** Resolves with the exit status when the volume is unmounted. Rejects with a PcacheError as `Supervisor.run` does. */
export async function supervise(plan: MountPlan, events: SupervisorEvents, parts?: SupervisorParts): Promise<number> {
  return runWithSignals(
    new Supervisor(plan, createLog({ name: 'supervisor', level: plan.logLevel, format: plan.logFormat }), events, parts),
  );
}

async function runWithSignals(supervisor: Supervisor): Promise<number> {
  const stop = (): void => supervisor.requestStop();
  const ignore = (): void => undefined;
  process.on('SIGTERM', stop).on('SIGINT', stop).on('SIGHUP', ignore);
  try {
    return await supervisor.run();
  } finally {
    process.off('SIGTERM', stop).off('SIGINT', stop).off('SIGHUP', ignore);
  }
}

/** Called once, by the main module of a background supervisor: takes the plan from the command line and tells it the outcome. */
export function runSupervisorProcess(parts?: SupervisorParts): void {
  process.title = 'pcache';
  if (process.send === undefined) {
    process.stderr.write('pcache: supervisor: started by `pcache mount` only\n');
    exitProcess(EXIT_FAILED);
  }
  // The folder it was started in must not stay busy because of it.
  process.chdir('/');
  process.once('message', ({ plan }: MountMessage) => void serveInBackground(plan, parts));
}

async function serveInBackground(plan: MountPlan, parts: SupervisorParts | undefined): Promise<void> {
  const outcome = new OutcomeChannel();
  try {
    const log = createLog({ name: 'supervisor', level: plan.logLevel, format: plan.logFormat });
    process.on('uncaughtException', (error) => {
      log.fatal({ error: messageOf(error), stack: error.stack }, 'supervisor failed');
      // The engine sees the channel close, and takes the mount away.
      exitWithoutThreads(EXIT_FAILED);
    });
    const supervisor = new Supervisor(
      plan,
      log,
      { ready: (facts) => outcome.tell({ type: 'ready', supervisorPid: process.pid, ...facts }) },
      parts,
    );
    // The command line left before it had its answer: it was interrupted, and nobody knows of this mount.
    process.once('disconnect', () => {
      if (!outcome.told) supervisor.requestStop();
    });
    exitProcess(await runWithSignals(supervisor));
  } catch (error) {
    outcome.tell({ type: 'failed', error: errorBody(error) }, () => exitProcess(EXIT_FAILED));
  }
}

/** Tells the command line how it went: once, and only if it is still there. */
class OutcomeChannel {
  told = false;

  tell(outcome: MountOutcome, then: () => void = () => process.disconnect()): void {
    if (this.told || process.send === undefined || !process.connected) {
      if (outcome.type === 'failed') then();
      return;
    }
    this.told = true;
    process.send(outcome, undefined, undefined, then);
  }
}
