// What a mount tells the service manager that started it, in the words of sd_notify(3): that it is ready, how it is, that it lives, that it ends and needs
// time for that.
//
// Invariants:
// - Whatever becomes of a message, the mount goes on.
// - The keep-alive (WATCHDOG=1) says that this process's event loop turns *and* that the engine answers, or is just being started. An engine that gives no
//   answer for half of the watchdog's time is ended, for another to take over, and that is before three quarters of that time have gone since the last
//   keep-alive: the manager must not come first. If it does not help, the keep-alives stay out.

import { DatagramSender } from '../device/unix-socket.js';
import { PcacheError, messageOf } from '../errors.js';
import { ControlClient } from './control-client.js';
import type { Logger } from './log.js';
import { oneLine } from './one-line.js';
import type { OpeningProgress, ServicePlan } from './process-messages.js';
import { statusOfAnswer } from './status-answer.js';
import type { StatusSnapshot } from './status.js';

/** The state is asked for, and told if it is another, this often at most. */
const PROBE_INTERVAL_MS = 2000;
const PROBE_TIMEOUT_MS = 10_000;
/** Without answer to so many questions in a row an engine hangs. More than one: this process may have been stopped meanwhile too. */
const SILENT_PROBES = 3;
/** Nothing that works takes longer to start; it replays its log meanwhile. */
const START_LIMIT_MS = 15 * 60_000;
/** What a start or a stop is given with each sign of progress, and how often. */
const EXTENSION_MS = 60_000;
const EXTEND_INTERVAL_MS = 5000;

/** Asks the engine how it is. Rejects with PcacheError. */
export type AskStatus = (timeoutMs: number) => Promise<Pick<StatusSnapshot, 'state' | 'dirty_bytes' | 'last_error'>>;

export interface NotifierParts {
  readonly ask: AskStatus;
  /** See Supervisor.replaceHungEngine. */
  readonly replaceHungEngine: (silentMs: number) => boolean;
  readonly log: Logger;
}

export class ServiceNotifier {
  readonly #sender: DatagramSender | undefined;
  readonly #watchdogMs: number | undefined;
  readonly #parts: NotifierParts;
  #timer: NodeJS.Timeout | undefined;
  #hasEnded = false;
  #isStopping = false;
  #status = '';
  #users: string | undefined;
  #aliveSentMs = -Infinity;
  #silentProbes = 0;
  #silentSinceMs = 0;
  #hasReplaced = false;
  #startingSinceMs: number | undefined;
  #extendedMs = -Infinity;
  #leftBytes = Infinity;
  #hasWarned = false;

  /** Says nothing, for ever, if the address is none that can be sent to. */
  constructor({ socket, watchdogUs }: ServicePlan, parts: NotifierParts) {
    this.#parts = parts;
    this.#watchdogMs = watchdogUs === undefined ? undefined : watchdogUs / 1000;
    try {
      this.#sender = new DatagramSender(socket);
    } catch (error) {
      this.#warn(error);
    }
  }

  /** Before that: a start that gets on may take as long as it takes. */
  opening({ phase, doneBytes, totalBytes }: OpeningProgress): void {
    const nowMs = performance.now();
    if (nowMs - this.#extendedMs < EXTEND_INTERVAL_MS) return;
    this.#extendedMs = nowMs;
    const percent = Math.floor((doneBytes / Math.max(totalBytes, 1)) * 100);
    this.#send(`EXTEND_TIMEOUT_USEC=${EXTENSION_MS * 1000}`, `STATUS=${phase}, ${percent} %`);
  }

  /** The volume can be read. */
  ready(): void {
    // With its pid: the manager may know of the command that started it only.
    this.#send('READY=1', `MAINPID=${process.pid}`, 'STATUS=serving');
    this.#status = 'serving';
    this.#schedule(0);
  }

  /** An end was asked for, and these use the volume. */
  busy(users: string): void {
    this.#users = users;
    this.#tellStatus(`in use by ${users}: still serving until they are gone`);
  }

  stopping(): void {
    this.#isStopping = true;
    this.#status = 'unmounted, closing the log';
    this.#send('STOPPING=1', `STATUS=${this.#status}`);
  }

  /** Dirty data is written back before the end: while that goes on, it may take as long as it takes. */
  flushing(bytesLeft: number): void {
    const nowMs = performance.now();
    if (bytesLeft >= this.#leftBytes || nowMs - this.#extendedMs < EXTEND_INTERVAL_MS) return;
    this.#leftBytes = bytesLeft;
    this.#extendedMs = nowMs;
    this.#status = `writing back before the end, ${sizeText(bytesLeft)} left`;
    this.#send(`EXTEND_TIMEOUT_USEC=${EXTENSION_MS * 1000}`, `STATUS=${this.#status}`);
  }

  end(): void {
    if (this.#hasEnded) return;
    this.#hasEnded = true;
    clearTimeout(this.#timer);
    this.#sender?.close();
  }

  get #probeIntervalMs(): number {
    return this.#watchdogMs === undefined ? PROBE_INTERVAL_MS : Math.min(PROBE_INTERVAL_MS, this.#watchdogMs / 16);
  }

  /** So that an engine falls silent, and is found to hang, within half of the watchdog's time: intervals count too. */
  get #probeTimeoutMs(): number {
    return this.#watchdogMs === undefined ? PROBE_TIMEOUT_MS : this.#watchdogMs / (2 * SILENT_PROBES) - this.#probeIntervalMs;
  }

  #schedule(delayMs: number): void {
    // While it stops it is not watched any more, and what there is to tell comes by itself.
    if (this.#hasEnded || this.#isStopping) return;
    this.#timer = setTimeout(() => {
      void this.#probe().then(() => this.#schedule(this.#probeIntervalMs));
    }, delayMs);
  }

  /** Never rejects. */
  async #probe(): Promise<void> {
    const askedMs = performance.now();
    try {
      const status = await this.#parts.ask(this.#probeTimeoutMs);
      this.#silentProbes = 0;
      this.#hasReplaced = false;
      this.#startingSinceMs = undefined;
      if (this.#users === undefined) this.#tellStatus(statusText(status));
      this.#tellAlive();
    } catch (error) {
      if (this.#hasEnded || this.#isStopping) return;
      if (isSilence(error)) this.#hearNothing(askedMs);
      else this.#findNobody(askedMs);
    }
  }

  /** Nobody listens: an engine died, and the next one is being started. */
  #findNobody(nowMs: number): void {
    this.#silentProbes = 0;
    this.#startingSinceMs ??= nowMs;
    if (nowMs - this.#startingSinceMs > START_LIMIT_MS) return;
    this.#tellStatus('the engine is being started again');
    this.#tellAlive();
  }

  #hearNothing(askedMs: number): void {
    if (this.#silentProbes++ === 0) this.#silentSinceMs = askedMs;
    if (this.#silentProbes < SILENT_PROBES) return;
    this.#tellStatus('the engine gives no answer');
    if (this.#watchdogMs === undefined || this.#hasReplaced || this.#isStopping) return;
    this.#hasReplaced = this.#parts.replaceHungEngine(performance.now() - this.#silentSinceMs);
  }

  #tellAlive(): void {
    if (this.#watchdogMs === undefined) return;
    const nowMs = performance.now();
    // Often: the silence of an engine that is to be replaced comes on top of the time since the last one.
    if (nowMs - this.#aliveSentMs + this.#probeIntervalMs < this.#watchdogMs / 4) return;
    this.#aliveSentMs = nowMs;
    this.#send('WATCHDOG=1');
  }

  #tellStatus(text: string): void {
    if (this.#isStopping || text === this.#status) return;
    this.#status = text;
    this.#send(`STATUS=${text}`);
  }

  #send(...lines: readonly string[]): void {
    if (this.#sender === undefined || this.#hasEnded) return;
    try {
      this.#sender.send(lines.map(oneLine).join('\n'));
    } catch (error) {
      this.#warn(error);
    }
  }

  #warn(error: unknown): void {
    if (this.#hasWarned) return;
    this.#hasWarned = true;
    this.#parts.log.warn({ error: messageOf(error) }, 'cannot tell the service manager');
  }
}

/** A client of the engine's control socket that connects anew whenever it has to. */
export function askThrough(socket: string): { readonly ask: AskStatus; readonly close: () => void } {
  let client: ControlClient | undefined;
  const close = (): void => {
    client?.close();
    client = undefined;
  };
  const ask: AskStatus = async (timeoutMs) => {
    try {
      client ??= await ControlClient.connect(socket);
      return statusOfAnswer(await client.request({ op: 'status' }, { timeoutMs }), ['state', 'dirty_bytes', 'last_error']);
    } catch (error) {
      close();
      throw error;
    }
  };
  return { ask, close };
}

/** Whether somebody is there and does not answer; otherwise there is nobody, or somebody who answers with an error. */
function isSilence(error: unknown): boolean {
  return error instanceof PcacheError && error.code === 'closed' && /no answer within/.test(error.message);
}

function statusText({ state, dirty_bytes: dirtyBytes, last_error: lastError }: Awaited<ReturnType<AskStatus>>): string {
  const dirty = dirtyBytes === 0 ? 'nothing dirty' : `${sizeText(dirtyBytes)} dirty`;
  return `${state}, ${dirty}${lastError === null ? '' : `: ${lastError.message}`}`;
}

function sizeText(bytes: number): string {
  const mebibytes = bytes / 1024 ** 2;
  return mebibytes >= 1024 ? `${(mebibytes / 1024).toFixed(1)} GiB` : `${mebibytes.toFixed(mebibytes >= 10 ? 0 : 1)} MiB`;
}
