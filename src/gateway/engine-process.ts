// The life of an engine process, around an engine: wait as a spare, start as the supervisor says, serve the control socket, end in order when the
// volume is unmounted, die at once when something breaks (the supervisor starts another), and end when the supervisor is gone, taking the mount along: unless a loop device is
// over the volume, which keeps the mount as a dead one. Only as long as that is there does the kernel tell which volume the device is over.
// Invariants:
// - Until it is started it holds nothing of the volume: no descriptor, no lock, no mapping, no file. So a spare can't be in anybody's way, dead or alive.
// - The supervisor has heard why before the process ends; signals meant for the whole group are left to the supervisor.

import { closeSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { receiveFileDescriptors } from '../device/descriptor-passing.js';
import { OOM_SCORE_ADJ, ioFlusher, oomScoreAdj } from '../device/memory-protection.js';
import type { TellProgress } from '../cache/tell-progress.js';
import { PcacheError, messageOf } from '../errors.js';
import { abortConnection, connectionNamed } from '../fuse/connection.js';
import { errorBody } from './control-protocol.js';
import { ControlServer, type ControlHandler } from './control-server.js';
import { LastFlush } from './last-flush.js';
import { ENGINE_LOG_PLACE, withDescriptors, type Engine, type EngineProgram, type EngineStart, type StartEngine } from './engine.js';
import { noteFailure } from './last-failure.js';
import { createLog, type Logger } from './log.js';
import { becomeOutput } from './log-target.js';
import { loopsOver } from './loop-use.js';
import { metricsText } from './metrics.js';
import type { MetricsServer } from './metrics-server.js';
import { mountUsers } from './mount-users.js';
import { EXIT_DONE, EXIT_FAILED, EXIT_SOFTWARE, exitProcess, exitWithoutThreads } from './process-exit.js';
import { ENGINE_SOCKET_FD, type EngineMessage, type EngineStartMessage, type MessageToEngine } from './process-messages.js';
import { pathsForSocket, removeEntry } from './runtime-files.js';
import { StateKeeper } from './state-keeper.js';
import { dmStatusLine } from './status.js';
import { takeMountAway } from './take-mount-away.js';

/** What `ps` shows of an engine that waits to be needed, and of one that works. */
const SPARE_TITLE = 'pcache-spare';
const ENGINE_TITLE = 'pcache-engine';
/** How long an engine without supervisor waits for its users to see the unmounting, and then for its log to be closed. */
const ORPHAN_UNMOUNT_MS = 3000;
const ORPHAN_STOP_MS = 60_000;
/** How far a long start is, is told this often at most. */
const OPENING_INTERVAL_MS = 250;

/** Called once, by the main module of an engine process. `early`: the messages that it has heard and not followed; nobody listens to them any more. */
export function runEngineProcess(program: EngineProgram, early: readonly MessageToEngine[] = []): void {
  process.title = SPARE_TITLE;
  if (process.send === undefined) {
    process.stderr.write('pcache: engine: started by `pcache mount` only\n');
    exitProcess(EXIT_FAILED);
  }
  // In force already, and in the threads that were made before, unless this was started by no supervisor.
  const isIoFlusher = ioFlusher();
  // Without supervisor there is nothing to wait for; threads that are parked would keep the process.
  const endSpare = (): void => exitWithoutThreads(EXIT_FAILED);
  process.on('disconnect', endSpare);
  if (!process.connected) endSpare();
  for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) process.on(signal, () => undefined);
  const hear = (message: MessageToEngine): void => {
    if (message.type === 'prepare') void program.prepare?.(message.outline);
    if (message.type !== 'start') return;
    process.title = ENGINE_TITLE;
    process.off('disconnect', endSpare);
    void new EngineProcess(message, isIoFlusher).run(program.start);
  };
  process.on('message', hear);
  for (const message of early) process.emit('message', message, undefined);
}

class EngineProcess {
  readonly #message: EngineStartMessage;
  readonly #log: Logger;
  readonly #isIoFlusher: boolean;
  #engine: Engine | undefined;
  #server: ControlServer | undefined;
  #keeper: StateKeeper | undefined;
  #metrics: MetricsServer | undefined;
  #isUnmountWanted: boolean;
  #ending = false;

  constructor(message: EngineStartMessage, isIoFlusher: boolean) {
    this.#message = message;
    this.#isIoFlusher = isIoFlusher;
    this.#isUnmountWanted = message.start.unmountWanted === true;
    this.#log = createLog({ name: 'engine', level: message.logLevel, format: message.logFormat, file: message.logFile });
  }

  /** Never rejects. */
  async run(startEngine: StartEngine): Promise<void> {
    process.on('uncaughtException', (error) => this.#die(error));
    process.on('unhandledRejection', (reason) => this.#die(reason));
    for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) {
      process.on(signal, () => this.#log.info({ signal }, 'signal left to the supervisor'));
    }
    process.on('disconnect', () => void this.#endWithoutSupervisor());
    process.on('message', ({ type }: MessageToEngine) => {
      if (type !== 'unmount-wanted') return;
      this.#isUnmountWanted = true;
      this.#engine?.setUnmountWanted();
    });
    const { start, socket } = this.#message;
    try {
      const fds = receiveFileDescriptors(ENGINE_SOCKET_FD);
      closeSync(ENGINE_SOCKET_FD);
      becomeOutput(fds[ENGINE_LOG_PLACE]!);
      this.#protectMemory();
      this.#engine = await startEngine({ ...withDescriptors(start, fds), log: this.#log, tell: this.#tellOpening() });
      if (this.#isUnmountWanted) this.#engine.setUnmountWanted();
      await this.#serveMetrics(this.#engine);
      this.#server = await ControlServer.start(socket, this.#handlerOf(this.#engine), this.#log);
    } catch (error) {
      this.#log.error({ error: messageOf(error) }, 'cannot start');
      this.#tell({ type: 'failed', error: errorBody(error) });
      await this.#engine?.stop().catch((stopError: unknown) => this.#log.error({ error: messageOf(stopError) }, 'cannot stop'));
      exitWithoutThreads(EXIT_FAILED);
      return;
    }
    const { volume_bytes: volumeBytes } = this.#engine.snapshot();
    this.#log.info({ volumeBytes, resumed: start.resume }, 'serving');
    this.#tell({ type: 'ready', volumeBytes });
    this.#keeper = new StateKeeper(this.#engine, (kept) => this.#tell({ type: 'kept', kept }));
    const end = await this.#engine.ended;
    if (end.reason === 'failed') this.#die(end.error);
    else await this.#endInOrder(this.#engine, this.#server, end.isAborted === true);
  }

  /** A mount that asks for what can't be had fails; one that lives goes on without. */
  async #serveMetrics(engine: Engine): Promise<void> {
    const { options, resume } = this.#message.start;
    if (options.metricsListen === undefined) return;
    const { MetricsServer } = await import('./metrics-server.js');
    const text = (): string => metricsText(engine.snapshot());
    this.#metrics = resume
      ? MetricsServer.startAnyhow(options.metricsListen, text, this.#log)
      : await MetricsServer.start(options.metricsListen, text, this.#log);
  }

  #handlerOf(engine: Engine): ControlHandler {
    return {
      status: () => engine.snapshot(),
      dmStatus: () => dmStatusLine(engine.snapshot()),
      flush: (onProgress) => {
        this.#log.info('flush asked for');
        return engine.flush(({ bytesTotal, bytesLeft }) => onProgress({ bytes_total: bytesTotal, bytes_left: bytesLeft }));
      },
      setGcPercent: (percent) => {
        engine.setGcPercent(percent);
        this.#log.info({ gcPercent: percent }, 'gc_percent set');
      },
      setWritebackPaused: (isPaused) => {
        this.#log.info(isPaused ? 'writeback paused' : 'writeback resumed');
        engine.setWritebackPaused(isPaused);
        this.#keeper?.look();
      },
      segments: (cells) => engine.segments(cells),
      users: () => mountUsers(this.#message.start.mountpoint, [process.pid, this.#message.start.supervisorPid]),
    };
  }

  async #endInOrder(engine: Engine, server: ControlServer, isAborted: boolean): Promise<void> {
    if (this.#ending) return;
    this.#ending = true;
    this.#keeper?.end();
    if (isAborted) this.#log.warn('the connection was aborted, its users got errors: closing the log');
    else this.#log.info('unmounted, closing the log');
    this.#tell({ type: 'unmounted' });
    // Whoever aborts can't wait for the backing device.
    const flushError = isAborted ? undefined : await this.#flushAtEnd(engine);
    let error = flushError === undefined ? undefined : this.#aboutWhatStays(engine, flushError);
    try {
      await engine.stop();
      this.#sayWhatStays(engine);
    } catch (caught) {
      this.#log.error({ error: messageOf(caught) }, 'the log could not be closed');
      error = aboutLog(caught, error);
    }
    this.#metrics?.end();
    await server.end(error ?? engine.snapshot());
    this.#tell({ type: 'ended', error: error === undefined ? undefined : errorBody(error) });
    exitProcess(error === undefined ? EXIT_DONE : EXIT_FAILED);
  }

  /** Writes back what is dirty if that is wanted. Returns why not everything was; undefined if it was, or was not wanted (any more). */
  async #flushAtEnd(engine: Engine): Promise<Error | undefined> {
    const { options } = this.#message.start;
    if (!options.flushOnStop || options.readOnly || engine.snapshot().dirty_bytes === 0) return undefined;
    const flush = new LastFlush(engine, this.#log, (progress) => this.#tell({ type: 'flushing', ...progress }));
    process.on('message', ({ type }: MessageToEngine) => {
      if (type === 'give-up-flush') flush.giveUp();
    });
    return flush.run();
  }

  #aboutWhatStays(engine: Engine, error: Error): PcacheError {
    const { cache, backing } = this.#message.start;
    const { dirty_bytes: dirtyBytes, state } = engine.snapshot();
    const what = `${dirtyBytes} bytes of dirty data could not be written back to ${backing.path} and stay in ${cache.path}`;
    // Of a cache device that fails nobody knows what it still has, nor of a backing device that was cut what it has lost.
    const isCut = error instanceof PcacheError && error.code === 'mismatch';
    const safe = state === 'cache-error' || isCut ? '' : ', nothing is lost';
    const why = messageOf(error).replace(/^flush: /, '');
    return new PcacheError(asPcacheError(error).code, `${what}${safe}: ${why}`, {
      cause: error,
      hint: (isCut ? error.hint : undefined) ?? stayHint(cache, backing),
    });
  }

  /** The last word of a log: whether the backing device has everything. */
  #sayWhatStays(engine: Engine): void {
    const { cache, backing } = this.#message.start;
    const { dirty_bytes: dirtyBytes, last_error: lastError } = engine.snapshot();
    if (lastError?.device === 'backing') this.#log.warn({ dirtyBytes }, `the log is closed; the backing device: ${lastError.message}`);
    if (dirtyBytes > 0) this.#log.info({ dirtyBytes }, `the log is closed; ${dirtyBytes} bytes of dirty data stay in ${cache.path}`);
    else if (lastError === null) this.#log.info(`the log is closed; everything is on ${backing.path}`);
  }

  /** Something is broken, and the state in this process's memory with it. What was acknowledged is in the cache; the next engine finds it. */
  #die(reason: unknown): void {
    this.#log.fatal({ error: messageOf(reason), stack: reason instanceof Error ? reason.stack : undefined }, 'engine failed');
    this.#tell({ type: 'fatal', message: messageOf(reason) });
    exitWithoutThreads(EXIT_SOFTWARE);
  }

  /** Nobody would start another engine, or unmount: the volume must not be served any more, and no program may hang on it. */
  async #endWithoutSupervisor(): Promise<void> {
    if (this.#ending) return;
    this.#ending = true;
    const { start, socket } = this.#message;
    const loops = loopsOver(start.mountpoint).map(({ device }) => device);
    const code = 'closed';
    const reason = `the supervisor is gone: ${loops.length === 0 ? 'unmounting and closing the log' : 'closing the log; the dead mount stays, since loop devices are over it'}`;
    if (loops.length === 0) this.#log.error({ code }, reason);
    else this.#log.error({ code, loops }, reason);
    // For `pcache status`, where the log is elsewhere.
    if (this.#message.logFormat !== 'json') this.#noteFailure(pathsForSocket(socket).log, code, reason);
    this.#endMount(start.mountpoint, loops.length > 0);
    const engine = this.#engine;
    if (engine !== undefined) {
      await Promise.race([engine.ended, delay(ORPHAN_UNMOUNT_MS)]);
      const stopped = engine.stop().then(
        () => this.#log.info('the log is closed'),
        (error: unknown) => this.#log.error({ error: messageOf(error) }, 'the log could not be closed'),
      );
      await Promise.race([stopped, delay(ORPHAN_STOP_MS)]);
      await this.#server?.end(new PcacheError('closed', `${start.mountpoint}: the supervisor was killed`));
    }
    // With the mount stays the entry, by which every command knows that it is dead.
    if (loops.length === 0) removeEntry(pathsForSocket(socket), { log: 'keep' });
    exitWithoutThreads(EXIT_FAILED);
  }

  #noteFailure(log: string, code: 'closed', reason: string): void {
    try {
      noteFailure(log, 'engine', code, reason);
    } catch (error) {
      this.#log.warn({ error: messageOf(error) }, 'cannot note why this ended');
    }
  }

  #endMount(mountpoint: string, stays: boolean): void {
    try {
      const connection = connectionNamed(mountpoint);
      if (connection === undefined) return;
      if (stays) abortConnection(connection);
      else takeMountAway(mountpoint, connection);
    } catch (error) {
      this.#log.warn({ error: messageOf(error) }, 'unmounting');
    }
  }

  #protectMemory(): void {
    this.#log.debug({ ioFlusher: this.#isIoFlusher, oomScoreAdj: oomScoreAdj(OOM_SCORE_ADJ) }, 'memory protection');
  }

  /** Also while this thread is busy with nothing else: a message is on its way when it is sent. */
  #tellOpening(): TellProgress {
    let toldMs = -Infinity;
    return (phase, doneBytes, totalBytes) => {
      const nowMs = performance.now();
      if (nowMs - toldMs < OPENING_INTERVAL_MS) return;
      toldMs = nowMs;
      this.#tell({ type: 'opening', phase, doneBytes, totalBytes });
    };
  }

  #tell(message: EngineMessage): void {
    // Once the channel is closed there is nobody to tell.
    if (process.connected) process.send?.(message);
  }
}

/** What to do about dirty data that stays. */
function stayHint({ path, persistence }: EngineStart['cache'], backing: EngineStart['backing']): string {
  const until = persistence === 'memory' ? 'It is in memory: do it before the machine restarts. ' : '';
  return `${until}When ${backing.path} works again, pcache recover ${path} ${backing.path} writes it back, or mount both again.`;
}

/** `before`: what went wrong before the log was to be closed. */
function aboutLog(error: unknown, before: PcacheError | undefined): PcacheError {
  const { code, hint } = asPcacheError(error);
  const more = before === undefined ? '' : `; before that, ${before.message}`;
  return new PcacheError(code, `the log could not be closed: ${messageOf(error)}${more}`, {
    cause: error,
    ...(hint === undefined ? {} : { hint }),
  });
}

function asPcacheError(error: unknown): PcacheError {
  return error instanceof PcacheError ? error : new PcacheError('internal', messageOf(error), { cause: error });
}
