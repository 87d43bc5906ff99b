// The supervisor: a small process that opens and locks both devices, mounts, holds every FUSE descriptor, and keeps an engine running on them.
// Requests in progress belong to the open descriptors, so an engine may die and its successor answers them: users notice nothing.
//
// Invariants:
// - The supervisor never touches the mount itself, only the kernel's tables about it, so it can't hang on its own file system.
// - At most one engine process at a time; none is left when `run` resolves.
// - When `run` resolves the mount is gone, the descriptors are closed and so are the locks. The log stays if anything went wrong.

import { fork, type ChildProcess } from 'node:child_process';
import { closeSync, fstatSync, ftruncateSync } from 'node:fs';
import { openBackingDevice, type FileBackingDevice } from '../device/file-backing-device.js';
import { openCacheDevice, type MappedCacheDevice } from '../device/mapped-cache-device.js';
import { PcacheError, messageOf } from '../errors.js';
import { connectionNumber } from '../fuse/connection.js';
import type { NegotiatedSession } from '../fuse/init.js';
import { mountFuse, unmountFuse } from '../fuse/mount.js';
import { negotiate, queueDescriptors } from '../fuse/session.js';
import { errorOfBody, type ControlErrorBody } from './control-protocol.js';
import type { EngineStart } from './engine.js';
import { errorAbout } from './error-about.js';
import type { Logger } from './log.js';
import { listUsers, mountUsers } from './mount-users.js';
import { EXIT_DONE, EXIT_FAILED } from './process-exit.js';
import { startTicksOf } from './process-identity.js';
import type { EngineMessage, EngineStartMessage, MountPlan } from './process-messages.js';
import { RestartPolicy } from './restart-policy.js';
import {
  claimEntry,
  makeRuntimeDirectory,
  removeEntry,
  runtimePaths,
  updateEntry,
  type RuntimeEntry,
  type RuntimePaths,
} from './runtime-files.js';
import { takeMountAway } from './take-mount-away.js';

export interface SupervisorEvents {
  /** The volume can be read; called once. */
  ready(facts: { enginePid: number; volumeBytes: number }): void;
}

/** Descriptor numbers in the engine: 0 to 2 as usual, 3 the message channel. */
const ENGINE_CACHE_FD = 4;
const ENGINE_BACKING_FD = 5;
const ENGINE_FIRST_FUSE_FD = 6;
/** How long an engine that said it ended may take to exit. */
const EXIT_TIMEOUT_MS = 5000;

interface FuseSession {
  readonly fds: readonly number[];
  readonly negotiated: NegotiatedSession;
}

/** Either status 0, or what went wrong. */
interface Outcome {
  readonly error: PcacheError | undefined;
  /** Whether the log tells more than the error. */
  readonly logMatters: boolean;
}

export class Supervisor {
  readonly #plan: MountPlan;
  readonly #log: Logger;
  readonly #events: SupervisorEvents;
  readonly #engineMain: URL;
  readonly #paths: RuntimePaths;
  readonly #startedMs = Date.now();
  readonly #restarts = new RestartPolicy();
  #engineRestarts = 0;
  #cache: MappedCacheDevice | undefined;
  #backing: FileBackingDevice | undefined;
  #session: FuseSession | undefined;
  #connection: number | undefined;
  #entry: RuntimeEntry | undefined;
  #engine: ChildProcess | undefined;
  #engineSaid: EngineMessage | undefined;
  #served = false;
  #interrupted = false;
  #finish: ((outcome: Outcome) => void) | undefined;

  /** `engineMain` is the main module of the engine process. Throws PcacheError if there is no place for the runtime files. */
  constructor(plan: MountPlan, log: Logger, events: SupervisorEvents, engineMain = new URL('./engine-main.js', import.meta.url)) {
    this.#plan = plan;
    this.#log = log;
    this.#events = events;
    this.#engineMain = engineMain;
    this.#paths = runtimePaths(plan.mountpoint, makeRuntimeDirectory(plan.runtimeDirectory));
  }

  /**
   * Serves until the volume is unmounted. Resolves with exit status 0 if all ended in order. Rejects with a PcacheError if it could not start, or
   * had to give up; then too everything is cleaned up.
   */
  async run(): Promise<number> {
    const finished = new Promise<Outcome>((resolve) => (this.#finish = resolve));
    let outcome: Outcome;
    try {
      this.#open();
      this.#spawnEngine();
      outcome = await finished;
    } catch (error) {
      const shown = error instanceof PcacheError ? error : new PcacheError('internal', messageOf(error), { cause: error });
      outcome = { error: shown, logMatters: shown.code === 'internal' };
    }
    this.#cleanUp(outcome);
    if (outcome.error !== undefined) throw outcome.error;
    return outcome.logMatters ? EXIT_FAILED : EXIT_DONE;
  }

  /** Ends the mount in order, or says who uses it and goes on. For SIGTERM and SIGINT. */
  requestStop(): void {
    if (!this.#served) {
      // Nobody was told that there is a volume, so there is nothing to end in order; and an engine may be killed at any time.
      this.#interrupted = true;
      this.#engine?.kill('SIGKILL');
      return;
    }
    if (!this.#isMounted()) {
      this.#log.info('unmounted already: this ends when the last user of the volume goes');
      return;
    }
    try {
      if (unmountFuse(this.#plan.mountpoint) === 'busy') {
        const users = mountUsers(this.#plan.mountpoint, [process.pid, this.#engine?.pid ?? 0]);
        this.#log.warn(`${this.#plan.mountpoint} is in use by ${listUsers(users)}: still serving`);
        return;
      }
      this.#log.info('unmounted');
    } catch (error) {
      this.#log.error({ error: messageOf(error) }, 'cannot unmount: still serving');
    }
  }

  #open(): void {
    const plan = this.#plan;
    const entry: RuntimeEntry = {
      mountpoint: plan.mountpoint,
      mount_kind: plan.mountKind,
      cache: plan.cachePath,
      backing: plan.backingPath,
      supervisor_pid: process.pid,
      supervisor_start_ticks: startTicksOf(process.pid) ?? 0,
      engine_pid: 0,
      socket: this.#paths.socket,
      log: this.#paths.log,
      started_ms: this.#startedMs,
    };
    claimEntry(this.#paths, entry);
    this.#entry = entry;
    // What an earlier mount left in the log (of a mount in the background) was about that mount.
    if (plan.logFormat === 'json' && fstatSync(2).isFile()) ftruncateSync(2);
    const { readOnly } = plan.options;
    this.#cache = openCacheDevice(plan.cachePath, { readOnly });
    this.#backing = openBackingDevice(plan.backingPath, { readOnly });
    if (plan.options.transport === 'libfuse') return;
    const fd = mountFuse({
      mountpoint: plan.mountpoint,
      kind: plan.mountKind,
      fsName: plan.cachePath,
      readOnly: plan.options.readOnly,
      allowOther: plan.options.allowOther,
    });
    this.#session = { fds: [fd], negotiated: negotiate(fd) };
    this.#session = { ...this.#session, fds: queueDescriptors(fd, plan.options.workers) };
    this.#connection = connectionNumber(plan.mountpoint);
    this.#log.info({ ...plan.options, cache: plan.cachePath, backing: plan.backingPath }, `mounted at ${plan.mountpoint}`);
  }

  #spawnEngine(): void {
    const plan = this.#plan;
    const fuseFds = this.#session?.fds ?? [];
    this.#engineSaid = undefined;
    // Detached: Ctrl-C at a supervisor in the foreground is the supervisor's business alone.
    const engine = fork(this.#engineMain, [], {
      detached: true,
      serialization: 'advanced',
      stdio: ['ignore', 2, 2, 'ipc', this.#cache!.handle.fd, this.#backing!.handle.fd, ...fuseFds],
    });
    this.#engine = engine;
    engine.on('message', (message: EngineMessage) => this.#hear(message));
    engine.on('error', (error) => {
      this.#log.error({ error: error.message }, 'engine process');
      // Without a pid it never ran, and no exit will be told.
      if (engine.pid === undefined) this.#end(new PcacheError('internal', `engine: cannot be started: ${messageOf(error)}`));
    });
    engine.once('exit', (status, signal) => this.#engineExited(status, signal));
    const start: EngineStart = {
      cache: inheritedCache(this.#cache!, ENGINE_CACHE_FD),
      backing: inheritedBacking(this.#backing!, ENGINE_BACKING_FD),
      mountpoint: plan.mountpoint,
      mountKind: plan.mountKind,
      fuseFds: fuseFds.map((_, index) => ENGINE_FIRST_FUSE_FD + index),
      session: this.#session?.negotiated,
      resume: this.#engineRestarts > 0,
      options: plan.options,
      supervisorPid: process.pid,
      startedMs: this.#startedMs,
      engineRestarts: this.#engineRestarts,
    };
    const message: EngineStartMessage = {
      type: 'start',
      start,
      socket: this.#paths.socket,
      logLevel: plan.logLevel,
      logFormat: plan.logFormat,
    };
    engine.send(message, (error) => {
      if (error !== null) this.#log.error({ error: error.message }, 'engine process takes no message');
    });
    this.#entry = { ...this.#entry!, engine_pid: engine.pid ?? 0 };
    updateEntry(this.#paths, this.#entry);
  }

  #hear(message: EngineMessage): void {
    this.#engineSaid = message;
    if (message.type === 'ready' && !this.#served) {
      this.#served = true;
      // A transport that mounts by itself has done so by now.
      this.#connection ??= connectionNumber(this.#plan.mountpoint);
      this.#events.ready({ enginePid: this.#engine?.pid ?? 0, volumeBytes: message.volumeBytes });
    }
    if (message.type === 'ended') {
      const engine = this.#engine;
      setTimeout(() => engine?.kill('SIGKILL'), EXIT_TIMEOUT_MS).unref();
    }
  }

  #engineExited(status: number | null, signal: NodeJS.Signals | null): void {
    this.#engine = undefined;
    const said = this.#engineSaid;
    if (said?.type === 'ended') {
      this.#end(said.error === undefined ? undefined : errorOfBody(said.error));
      return;
    }
    const how =
      said?.type === 'fatal' ? said.message : signal === null ? `exited with status ${status ?? 'unknown'}` : `killed by ${signal}`;
    if (!this.#served) {
      if (this.#interrupted) this.#end(new PcacheError('closed', `${this.#plan.mountpoint}: interrupted before it was ready`), false);
      else if (said?.type === 'failed') this.#end(this.#refusal(said.error), said.error.code === 'internal');
      else this.#end(new PcacheError('internal', `engine: ${how}`));
      return;
    }
    const reason = said?.type === 'failed' ? said.error.message : how;
    this.#log.error({ reason }, 'the engine died');
    if (this.#session === undefined) {
      this.#end(new PcacheError('internal', `engine: ${reason}: transport libfuse can't go on after that`));
    } else if (this.#restarts.shouldRestart(performance.now())) {
      this.#engineRestarts++;
      this.#log.warn({ engineRestarts: this.#engineRestarts }, 'starting another engine');
      this.#spawnEngine();
    } else {
      this.#end(new PcacheError('internal', `engine: died too often: ${reason}`));
    }
  }

  /** What an engine says of media that it refuses is about the cache. */
  #refusal(body: ControlErrorBody): PcacheError {
    const error = errorOfBody(body);
    const isAboutCache = ['not-a-cache', 'damaged', 'mismatch', 'unsupported'].includes(error.code);
    return isAboutCache ? errorAbout(this.#plan.cachePath, error) : error;
  }

  #end(error: PcacheError | undefined, logMatters = error !== undefined): void {
    this.#finish?.({ error, logMatters });
  }

  #cleanUp({ error, logMatters }: Outcome): void {
    if (error !== undefined) this.#log.error({ code: error.code }, error.message);
    if (this.#connection !== undefined && this.#isMounted()) {
      try {
        takeMountAway(this.#plan.mountpoint, this.#connection);
      } catch (unmountError) {
        this.#log.warn({ error: messageOf(unmountError) }, 'cannot take the mount away');
      }
    }
    for (const fd of this.#session?.fds ?? []) closeSync(fd);
    this.#backing?.close();
    this.#cache?.close();
    if (this.#entry !== undefined) removeEntry(this.#paths, { log: logMatters ? 'keep' : 'remove' });
  }

  /** Whether the mount that this supervisor made is still where it made it. */
  #isMounted(): boolean {
    return this.#connection !== undefined && connectionNumber(this.#plan.mountpoint) === this.#connection;
  }
}

/** What another process can use of a handle: neither this process's addresses nor its shared memory. */
function inheritedCache({ handle }: MappedCacheDevice, fd: number): EngineStart['cache'] {
  return { path: handle.path, fd, sizeBytes: handle.sizeBytes, persistence: handle.persistence, readOnly: handle.readOnly };
}

function inheritedBacking({ handle }: FileBackingDevice, fd: number): EngineStart['backing'] {
  const { path, sizeBytes, readOnly, identity, alignment } = handle;
  return { path, fd, sizeBytes, readOnly, identity, alignment };
}
