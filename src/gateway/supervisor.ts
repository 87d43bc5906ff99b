// The supervisor: a small process that opens and locks both devices, mounts, holds every FUSE descriptor, and keeps an engine running on them, and
// spare ones beside it. Requests in progress belong to the open descriptors, so an engine may die and its successor answers them: users notice nothing.
//
// Invariants:
// - The supervisor never touches the mount itself, only the kernel's tables about it, so it can't hang on its own file system.
// - At most one engine works at a time: the next is started when no thread of the one before runs its program any more. What that had under way in the
//   kernel are reads, and writes to the backing device, so the next one writes nothing there before it is gone (EngineStart.predecessors). No engine is left
//   when `run` resolves, and no spare. The first engine's process is there before the mount is, but it works only, and has something to work on, from `#startEngine` on.
// - A session that can't have its requests sent again ends with its engine, at once: its users get errors, not silence.
// - When `run` resolves the mount is gone, the descriptors are closed and so are the locks. The log stays if anything went wrong.

import { closeSync, fstatSync, ftruncateSync, rmSync } from 'node:fs';
import { mayAllocate } from '../cache/allocation-look.js';
import type { FileBackingDevice } from '../device/file-backing-device.js';
import { openCacheDevice, type MappedCacheDevice } from '../device/mapped-cache-device.js';
import { PcacheError, messageOf } from '../errors.js';
import { connectionNamed } from '../fuse/connection.js';
import type { NegotiatedSession } from '../fuse/init.js';
import { mountFuse, unmountFuse } from '../fuse/mount.js';
import { whyNoRings } from '../fuse/ring-support.js';
import { negotiate, workerDescriptors, type WorkerDescriptors } from '../fuse/session.js';
import { errorOfBody, type ControlErrorBody } from './control-protocol.js';
import { ENGINE_BACKING_PLACE, ENGINE_CACHE_PLACE, ENGINE_FIRST_FUSE_PLACE, type EngineStart, type KeptState } from './engine.js';
import { EngineChild } from './engine-child.js';
import { engineMainDefault, type FirstEngine } from './first-engine.js';
import { errorAbout } from './error-about.js';
import { noteFailure } from './last-failure.js';
import { LOG_FD } from './log-sink.js';
import type { Logger } from './log.js';
import { listUsers, mountUsers } from './mount-users.js';
import { EXIT_DONE, EXIT_FAILED } from './process-exit.js';
import { startTicksOf } from './process-identity.js';
import type { Transport } from './mount-options.js';
import { openBacking } from './open-backing.js';
import type { EngineMessage, MountPlan, OpeningProgress } from './process-messages.js';
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
import { SpareEngines } from './spare-engines.js';
import { takeMountAway } from './take-mount-away.js';

export interface ReadyFacts {
  readonly enginePid: number;
  readonly volumeBytes: number;
  /** What the user should know although all is well: one line. */
  readonly note: string | undefined;
}

export interface SupervisorEvents {
  /** Until the volume can be read for the first time, if that takes long. */
  opening?(progress: OpeningProgress): void;
  /** What is to be mounted by this process is. */
  mounted?(): void;
  /** The volume can be read; called once. */
  ready(facts: ReadyFacts): void;
  /** An end was asked for, but these still use the volume; it is unmounted when they are gone. */
  busy?(users: string): void;
  /** The volume is unmounted, whoever did it. */
  stopping?(): void;
  /** Dirty data is written back before the end. */
  flushing?(bytesLeft: number): void;
}

/** What tests replace. */
export interface SupervisorParts {
  /** Main module of the engine process. */
  readonly engineMain?: URL | undefined;
  readonly restarts?: RestartPolicy | undefined;
  readonly negotiate?: typeof negotiate | undefined;
  readonly whyNoRings?: typeof whyNoRings | undefined;
}

/** While an end is wanted and the volume is in use. */
const UNMOUNT_RETRY_MS = 1000;

interface FuseSession extends WorkerDescriptors {
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
  readonly #first: FirstEngine;
  readonly #negotiate: typeof negotiate;
  readonly #whyNoRings: typeof whyNoRings;
  readonly #paths: RuntimePaths;
  readonly #startedMs = Date.now();
  readonly #restarts: RestartPolicy;
  readonly #spares: SpareEngines;
  #engineRestarts = 0;
  #kept: KeptState | undefined;
  #cache: MappedCacheDevice | undefined;
  #backing: FileBackingDevice | undefined;
  #session: FuseSession | undefined;
  /** The transport in use: what was asked for, or what came in its place. */
  #transport: Transport;
  #note: string | undefined;
  #connection: number | undefined;
  #entry: RuntimeEntry | undefined;
  #engine: EngineChild | undefined;
  /** Those that were started and may not be gone yet. */
  readonly #engines = new Set<EngineChild>();
  #served = false;
  #interrupted = false;
  /** Runs while an end is wanted and the volume is in use. */
  #unmountTimer: NodeJS.Timeout | undefined;
  #isUnmountWanted = false;
  #usersSaid = '';
  #finish: ((outcome: Outcome) => void) | undefined;

  /**
   * Throws PcacheError if there is no place for the runtime files. `run` sees to the end of the first engine, whatever happens.
   */
  constructor(plan: MountPlan, first: FirstEngine, log: Logger, events: SupervisorEvents, parts: SupervisorParts = {}) {
    this.#plan = plan;
    this.#log = log;
    this.#events = events;
    this.#engineMain = parts.engineMain ?? engineMainDefault;
    this.#first = first;
    this.#engine = first.child;
    this.#restarts = parts.restarts ?? new RestartPolicy();
    this.#negotiate = parts.negotiate ?? negotiate;
    this.#whyNoRings = parts.whyNoRings ?? whyNoRings;
    this.#transport = plan.options.transport;
    this.#spares = new SpareEngines(() => new EngineChild(this.#engineMain, { ...plan.options, isAwaited: false }), log);
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
      this.#events.mounted?.();
      this.#tellProtection();
      this.#startEngine(this.#first.child);
      outcome = await finished;
    } catch (error) {
      const shown = error instanceof PcacheError ? error : new PcacheError('internal', messageOf(error), { cause: error });
      outcome = { error: shown, logMatters: shown.code === 'internal' };
    }
    await this.#cleanUp(outcome);
    if (outcome.error !== undefined) throw outcome.error;
    return outcome.logMatters ? EXIT_FAILED : EXIT_DONE;
  }

  /**
   * Ends the mount in order; if it is in use, when its users are gone: until then it is served as before. Asked for again while dirty data is written back
   * at the end, gives that up. For SIGTERM and SIGINT.
   */
  requestStop(): void {
    if (!this.#served) {
      // Nobody was told that there is a volume, so there is nothing to end in order; and an engine may be killed at any time.
      this.#interrupted = true;
      this.#engine?.kill();
      return;
    }
    if (!this.#isMounted()) {
      if (this.#engine?.said?.type === 'flushing') this.#engine.giveUpFlush();
      else this.#log.info('unmounted already: this ends when the last user of the volume goes');
      return;
    }
    this.#usersSaid = '';
    this.#unmountOrWait();
  }

  #unmountOrWait(): void {
    clearTimeout(this.#unmountTimer);
    if (!this.#isMounted()) return;
    const { mountpoint } = this.#plan;
    try {
      if (unmountFuse(mountpoint) === 'done') {
        this.#log.info('unmounted');
        return;
      }
      const users = listUsers(mountUsers(mountpoint, [process.pid, this.#engine?.pid ?? 0]));
      if (users !== this.#usersSaid) this.#log.warn(`${mountpoint} is in use by ${users}: still serving until they are gone`);
      this.#usersSaid = users;
      this.#events.busy?.(users);
      this.#unmountTimer = setTimeout(() => this.#unmountOrWait(), UNMOUNT_RETRY_MS);
      this.#noteUnmountWanted();
    } catch (error) {
      this.#log.error({ error: messageOf(error) }, 'cannot unmount: still serving');
    }
  }

  /** For the status, which engines tell. */
  #noteUnmountWanted(): void {
    if (this.#isUnmountWanted) return;
    this.#isUnmountWanted = true;
    this.#engine?.tellUnmountWanted();
  }

  /** An engine gives no answer: ends it, so that another takes over, where users do not notice that. Returns whether it did. */
  replaceHungEngine(silentMs: number): boolean {
    const engine = this.#engine;
    if (engine === undefined || !this.#served || !this.#survivesEngineDeath || !this.#isMounted()) return false;
    this.#log.error({ silentMs: Math.round(silentMs), enginePid: engine.pid }, 'the engine hangs: killing it');
    engine.kill();
    return true;
  }

  /** Only when this mount has the log for itself. */
  #tellProtection(): void {
    const refused = this.#first.unprotected;
    if (refused === undefined) return;
    // Nothing to warn of where nobody can expect it.
    const level = process.geteuid?.() === 0 ? 'warn' : 'info';
    this.#log[level](`not protected against shortage of memory: no ${refused}`);
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
    else if (plan.logFormat !== 'json') rmSync(this.#paths.log, { force: true });
    const { readOnly } = plan.options;
    this.#cache = openCacheDevice(plan.cachePath, { readOnly, mayAllocate });
    this.#backing = openBacking(plan.backingPath, { readOnly });
    this.#entry = { ...entry, cache_fd: this.#cache.handle.fd, backing_fd: this.#backing.handle.fd };
    if (plan.options.transport === 'libfuse') return;
    const fd = mountFuse({
      mountpoint: plan.mountpoint,
      kind: plan.mountKind,
      fsName: plan.fsName ?? plan.cachePath,
      readOnly: plan.options.readOnly,
      allowOther: plan.options.allowOther,
    });
    const whyNot = this.#transport === 'io-uring' ? this.#whyNoRings() : undefined;
    const negotiated = this.#negotiate(fd, this.#transport === 'io-uring' && whyNot === undefined);
    this.#session = { fds: [fd], negotiated };
    if (this.#transport === 'io-uring' && !negotiated.overIoUring) {
      this.#transport = 'dev-fuse';
      this.#note = `transport dev-fuse instead of io-uring: ${whyNot ?? 'the kernel does not offer it'}`;
      this.#log.warn(this.#note);
    }
    // Beside rings, a descriptor has little to do.
    if (!negotiated.overIoUring) this.#session = { negotiated, ...workerDescriptors(fd, plan.options.workers) };
    this.#connection = connectionNamed(plan.mountpoint);
    this.#log.info({ ...plan.options, cache: plan.cachePath, backing: plan.backingPath }, `mounted at ${plan.mountpoint}`);
  }

  #startEngine(engine: EngineChild): void {
    const plan = this.#plan;
    const fuseFds = this.#session?.fds ?? [];
    const { eagerFds } = this.#session ?? {};
    this.#engine = engine;
    engine.onMessage = (message) => this.#hear(engine, message);
    const start: EngineStart = {
      cache: inheritedCache(this.#cache!, ENGINE_CACHE_PLACE, this.#engineRestarts === 0),
      backing: inheritedBacking(this.#backing!, ENGINE_BACKING_PLACE),
      mountpoint: plan.mountpoint,
      mountKind: plan.mountKind,
      fuseFds: fuseFds.map((_, index) => ENGINE_FIRST_FUSE_PLACE + index),
      eagerFds: eagerFds?.map((_, index) => ENGINE_FIRST_FUSE_PLACE + fuseFds.length + index),
      session: this.#session?.negotiated,
      resume: this.#engineRestarts > 0,
      predecessors: [...this.#engines].map(({ pid, startTicks }) => ({ pid, startTicks })),
      options: { ...plan.options, transport: this.#transport },
      supervisorPid: process.pid,
      startedMs: this.#startedMs,
      engineRestarts: this.#engineRestarts,
      unmountWanted: this.#isUnmountWanted,
      kept: this.#kept,
    };
    const { logLevel, logFormat, logFile } = plan;
    const fds = [LOG_FD, this.#cache!.handle.fd, this.#backing!.handle.fd, ...fuseFds, ...(eagerFds ?? [])];
    engine.start({ type: 'start', start, socket: this.#paths.socket, logLevel, logFormat, logFile }, fds);
    this.#engines.add(engine);
    void engine.programStopped().then(() => this.#engineStopped(engine));
    void engine.ended.then((how) => this.#engineEnded(engine, how));
    this.#entry = { ...this.#entry!, engine_pid: engine.pid };
    updateEntry(this.#paths, this.#entry);
  }

  /** Whether a new engine can go on where one died. If not, the requests in progress have nobody to answer them, and the session must end. */
  get #survivesEngineDeath(): boolean {
    return this.#session?.negotiated.canResend === true;
  }

  #hear(engine: EngineChild, message: EngineMessage): void {
    if (message.type === 'opening' && !this.#served) this.#events.opening?.(message);
    if (message.type === 'kept') this.#kept = message.kept;
    if (message.type === 'unmounted') this.#events.stopping?.();
    if (message.type === 'flushing') this.#events.flushing?.(message.bytesLeft);
    if (message.type !== 'ready') return;
    if (!this.#served) {
      this.#served = true;
      // A transport that mounts by itself has done so by now.
      this.#connection ??= connectionNamed(this.#plan.mountpoint);
      this.#events.ready({ enginePid: engine.pid, volumeBytes: message.volumeBytes, note: this.#note });
    }
    if (this.#survivesEngineDeath) this.#spares.want();
  }

  /** Its successor takes over now, if there is to be one. Anything else has time until the engine is gone. */
  #engineStopped(engine: EngineChild): void {
    if (this.#engine !== engine || engine.said?.type === 'ended' || !this.#served || !this.#survivesEngineDeath) return;
    if (!this.#restarts.shouldRestart(performance.now())) return;
    this.#engineRestarts++;
    const spare = this.#spares.take();
    this.#startEngine(spare ?? new EngineChild(this.#engineMain, { ...this.#plan.options, isAwaited: true }));
    // Only now: writing to the log takes longer than starting.
    this.#log.warn({ engineRestarts: this.#engineRestarts, spare: spare !== undefined }, 'started another engine');
  }

  #engineEnded(engine: EngineChild, ended: string): void {
    this.#engines.delete(engine);
    const { said } = engine;
    const how = said?.type === 'fatal' ? said.message : ended;
    const reason = said?.type === 'failed' ? said.error.message : how;
    // `programStopped` was first, or comes at the same time.
    this.#engineStopped(engine);
    if (this.#engine !== engine) {
      this.#log.error({ reason }, 'the engine died');
      return;
    }
    this.#engine = undefined;
    if (said?.type === 'ended') {
      this.#end(said.error === undefined ? undefined : errorOfBody(said.error));
    } else if (!this.#served) {
      if (this.#interrupted) this.#end(new PcacheError('closed', `${this.#plan.mountpoint}: interrupted before it was ready`), false);
      else if (said?.type === 'failed') this.#end(this.#refusal(said.error), said.error.code === 'internal');
      else this.#end(new PcacheError('internal', `engine: ${how}`));
    } else if (!this.#survivesEngineDeath) {
      const what = this.#transport === 'dev-fuse' ? 'this kernel (before Linux 6.9)' : `transport ${this.#transport}`;
      this.#end(new PcacheError('internal', `engine: ${reason}: ${what} can't go on after that`));
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

  async #cleanUp({ error, logMatters }: Outcome): Promise<void> {
    clearTimeout(this.#unmountTimer);
    if (error !== undefined) this.#tellFailure(error);
    if (this.#connection !== undefined && this.#isMounted()) {
      try {
        takeMountAway(this.#plan.mountpoint, this.#connection);
      } catch (unmountError) {
        this.#log.warn({ error: messageOf(unmountError) }, 'cannot take the mount away');
      }
    }
    // If it was never started; otherwise it is gone.
    this.#first.child.kill();
    await this.#first.child.ended;
    await this.#spares.end();
    await Promise.all([...this.#engines].map((engine) => engine.ended));
    for (const fd of [...(this.#session?.fds ?? []), ...(this.#session?.eagerFds ?? [])]) closeSync(fd);
    this.#backing?.close();
    this.#cache?.close();
    if (this.#entry !== undefined) removeEntry(this.#paths, { log: logMatters ? 'keep' : 'remove' });
  }

  /** Where the log is not among the runtime files, that says there all the same why the mount ended, for `pcache status` (see last-failure). */
  #tellFailure({ code, message: msg }: PcacheError): void {
    this.#log.error({ code }, msg);
    if (this.#plan.logFormat === 'json' || !this.#served) return;
    try {
      noteFailure(this.#paths.log, 'supervisor', code, msg);
    } catch (error) {
      this.#log.warn({ error: messageOf(error) }, 'cannot note why this ended');
    }
  }

  /** Whether the mount that this supervisor made is still where it made it. */
  #isMounted(): boolean {
    return this.#connection !== undefined && connectionNamed(this.#plan.mountpoint) === this.#connection;
  }
}

/** What another process can use of a handle: neither this process's addresses nor its shared memory. Where the data ended holds for the first engine only. */
function inheritedCache({ handle }: MappedCacheDevice, fd: number, isFirst: boolean): EngineStart['cache'] {
  const { path, sizeBytes, persistence, readOnly, dataEnd } = handle;
  return { path, fd, sizeBytes, persistence, readOnly, ...(isFirst && dataEnd !== undefined ? { dataEnd } : {}) };
}

function inheritedBacking({ handle }: FileBackingDevice, fd: number): EngineStart['backing'] {
  const { path, sizeBytes, readOnly, identity, alignment } = handle;
  return { path, fd, sizeBytes, readOnly, identity, alignment };
}
