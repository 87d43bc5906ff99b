// A supervisor as a process: in the background, started by `pcache mount`, or that command itself with --foreground. Signals ask for an
// orderly end; SIGHUP is ignored, since the terminal that went away is not what the volume depends on.
//
// Users wait while this starts, so the engine's process is started first of all, in the background before the plan is there, and the supervisor's own program is
// loaded beside it. A wish to end that comes meanwhile is kept.

import { errno } from '../device/errno-codes.js';
import { setsid } from '../device/libc.js';
import { errnoOf } from '../device/system-error.js';
import { messageOf } from '../errors.js';
import { errorBody } from './control-protocol.js';
import { startFirstEngine, type FirstEngine } from './first-engine.js';
import type { Logger } from './log.js';
import { logBecomesOutput } from './log-target.js';
import { EXIT_DONE, EXIT_FAILED, exitProcess, exitWithoutThreads } from './process-exit.js';
import type { MountMessage, MountOutcome, MountPlan, MountProgress } from './process-messages.js';
import type { ServiceNotifier } from './service-notifier.js';
import { runtimePaths } from './runtime-files.js';
import type { Supervisor, SupervisorEvents, SupervisorParts } from './supervisor.js';

/** Resolves with the exit status when the volume is unmounted. Rejects with a PcacheError as `Supervisor.run` does. */
export function supervise(plan: MountPlan, events: SupervisorEvents, parts?: SupervisorParts): Promise<number> {
  return new Supervision(plan, events, { parts }).run();
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
  const first = earlyEngine(parts);
  // The command line has ended without a mount.
  const unused = (): void => {
    first?.child.kill();
    exitProcess(EXIT_DONE);
  };
  process.once('disconnect', unused);
  process.once('message', (message: MountMessage) => {
    process.off('disconnect', unused);
    void serveInBackground(message, first, parts);
  });
}

function earlyEngine(parts: SupervisorParts | undefined): FirstEngine | undefined {
  try {
    return startFirstEngine(parts?.engineMain);
  } catch {
    // Whatever is short now: it is asked for again when there is somebody to tell.
    return undefined;
  }
}

async function serveInBackground(
  { plan, log }: MountMessage,
  first: FirstEngine | undefined,
  parts: SupervisorParts | undefined,
): Promise<void> {
  const outcome = new OutcomeChannel();
  const supervision = new Supervision(
    plan,
    {
      mounted: leaveGroup,
      opening: ({ phase, doneBytes, totalBytes }) => outcome.progress({ type: 'opening', phase, doneBytes, totalBytes }),
      ready: (facts) => outcome.tell({ type: 'ready', supervisorPid: process.pid, ...facts }),
    },
    { parts, first, onLog: (log) => process.on('uncaughtException', (error) => dieOf(error, log)) },
  );
  // The command line left before it had its answer: it was interrupted, and nobody knows of this mount.
  process.once('disconnect', () => {
    if (!outcome.told) supervision.requestStop();
  });
  try {
    if (log !== undefined) logBecomesOutput(log);
    exitProcess(await supervision.run());
  } catch (error) {
    first?.child.kill();
    outcome.tell({ type: 'failed', error: errorBody(error) }, () => exitProcess(EXIT_FAILED));
  }
}

/**
 * From now on a terminal's Ctrl-C is not for this process. It must not come earlier: where an automounter waits for this mount, the kernel lets the automounter's own
 * process group alone reach the place (fs/autofs), and takes anybody else for one more user who waits.
 */
function leaveGroup(): void {
  try {
    setsid();
  } catch (error) {
    // It was started as the leader of a group.
    if (errnoOf(error) !== errno.EPERM) throw error;
  }
}

function dieOf(error: Error, log: Logger): void {
  log.fatal({ error: messageOf(error), stack: error.stack }, 'supervisor failed');
  // The engine sees the channel close, and takes the mount away.
  exitWithoutThreads(EXIT_FAILED);
}

interface SupervisionOptions {
  readonly parts?: SupervisorParts | undefined;
  /** One that waits to be prepared already. */
  readonly first?: FirstEngine | undefined;
  /** Called when there is a log, before anything is opened or mounted. */
  readonly onLog?: (log: Logger) => void;
}

class Supervision {
  readonly #plan: MountPlan;
  readonly #events: SupervisorEvents;
  readonly #parts: SupervisorParts;
  readonly #onLog: (log: Logger) => void;
  readonly #first: FirstEngine | undefined;
  #supervisor: Supervisor | undefined;
  #notifier: ServiceNotifier | undefined;
  #isStopWanted = false;

  constructor(plan: MountPlan, events: SupervisorEvents, { parts = {}, first, onLog = () => undefined }: SupervisionOptions) {
    this.#plan = plan;
    this.#first = first;
    this.#events = events;
    this.#parts = parts;
    this.#onLog = onLog;
  }

  async run(): Promise<number> {
    const stop = (): void => this.requestStop();
    const ignore = (): void => undefined;
    process.on('SIGTERM', stop).on('SIGINT', stop).on('SIGHUP', ignore);
    try {
      const first = this.#first ?? startFirstEngine(this.#parts.engineMain);
      first.child.prepare({ ...this.#plan.options, isAwaited: true });
      this.#supervisor = await this.#makeSupervisor(first);
      if (this.#isStopWanted) this.#supervisor.requestStop();
      return await this.#supervisor.run();
    } finally {
      this.#notifier?.end();
      process.off('SIGTERM', stop).off('SIGINT', stop).off('SIGHUP', ignore);
    }
  }

  requestStop(): void {
    this.#isStopWanted = true;
    this.#supervisor?.requestStop();
  }

  async #makeSupervisor(first: FirstEngine): Promise<Supervisor> {
    try {
      const [{ Supervisor }, { createLog }] = await Promise.all([import('./supervisor.js'), import('./log.js')]);
      const { logLevel: level, logFormat: format, logFile: file } = this.#plan;
      const log = createLog({ name: 'supervisor', level, format, file });
      this.#onLog(log);
      const events = await this.#eventsForService(log);
      return new Supervisor(this.#plan, first, log, events, this.#parts);
    } catch (error) {
      first.child.kill();
      await first.child.ended;
      throw error;
    }
  }

  /** The events, told to a service manager too if there is one. */
  async #eventsForService(log: Logger): Promise<SupervisorEvents> {
    const { service, mountpoint, runtimeDirectory } = this.#plan;
    if (service === undefined) return this.#events;
    const { ServiceNotifier, askThrough } = await import('./service-notifier.js');
    const { ask, close } = askThrough(runtimePaths(mountpoint, runtimeDirectory).socket);
    const notifier = new ServiceNotifier(service, {
      ask,
      replaceHungEngine: (silentMs) => this.#supervisor?.replaceHungEngine(silentMs) === true,
      log,
    });
    this.#notifier = notifier;
    return {
      opening: (progress) => {
        this.#events.opening?.(progress);
        notifier.opening(progress);
      },
      ready: (facts) => {
        this.#events.ready(facts);
        notifier.ready();
      },
      busy: (users) => notifier.busy(users),
      stopping: () => {
        close();
        notifier.stopping();
      },
      flushing: (bytesLeft) => notifier.flushing(bytesLeft),
    };
  }
}

/** Tells the command line how it went: once, and only if it is still there; and before that how far it is. */
class OutcomeChannel {
  told = false;

  progress(progress: MountProgress): void {
    // Nothing depends on its being heard.
    if (!this.told && process.connected) process.send?.(progress, undefined, undefined, () => undefined);
  }

  tell(outcome: MountOutcome, then: () => void = () => process.disconnect()): void {
    if (this.told || process.send === undefined || !process.connected) {
      if (outcome.type === 'failed') then();
      return;
    }
    this.told = true;
    process.send(outcome, undefined, undefined, then);
  }
}
