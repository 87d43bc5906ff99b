// The monitor's end of a control socket. It asks for the status once a second, and for the map less often; when the engine dies, which closes the
// socket, it tries every tenth of a second to reach the next; and it finds out when there will be none.

import { setTimeout as delay } from 'node:timers/promises';
import { PcacheError } from '../errors.js';
import type { ControlClient, ControlQuestion, RequestBounds } from '../gateway/control-client.js';
import { statusOfAnswer } from '../gateway/status-answer.js';
import type { SegmentMap } from '../gateway/control-protocol.js';
import type { StatusSnapshot } from '../gateway/status.js';
import type { Link } from './picture.js';
import { segmentMapOfAnswer } from './segment-answer.js';

/** How the monitor reaches a gateway, and what it can learn about it otherwise. */
export interface Endpoint {
  /** Rejects with PcacheError `closed` if nobody listens. */
  readonly connect: () => Promise<ControlClient>;
  readonly supervisorLives: () => boolean;
  readonly isMounted: () => boolean;
  /** Whether there is a process of this number: an engine that does not answer any more may still be busy with its end. */
  readonly processLives: (pid: number) => boolean;
  /** Why the gateway ended; undefined if it ended in order. */
  readonly failure: () => string | undefined;
}

export interface ConnectionUser {
  readonly onStatus: (status: StatusSnapshot) => void;
  readonly onSegments: (map: SegmentMap) => void;
  readonly onLink: (link: Link) => void;
  /** A second has passed, whatever came of it. */
  readonly onTick: () => void;
  /** How many cells of the map can be shown now; 0: none. */
  readonly cellsWanted: () => number;
}

export type GatewayEnd =
  /** `last`: the status at the very end, if the gateway was heard to say it. */
  { readonly kind: 'unmounted'; readonly last: StatusSnapshot | undefined } | { readonly kind: 'died'; readonly why: string };

const POLL_MS = 1000;
const RETRY_MS = 100;
const SEGMENTS_MS = 2000;
const ANSWER_TIMEOUT_MS = 3000;
/** Between the end of an engine's socket and that of its mount. */
const END_GRACE_MS = 3000;
const CELLS_MAX = 4096;

export class Connection {
  readonly #endpoint: Endpoint;
  readonly #user: ConnectionUser;
  #client: ControlClient | undefined;
  #link: Link = { kind: 'connecting', sinceMs: Date.now() };
  #last: StatusSnapshot | undefined;
  /** Of the engine that was heard last. */
  #enginePid: number | undefined;
  /** When the gateway said that this is its end. */
  #endedMs: number | undefined;
  #knowsSegments = true;
  #segmentsDueMs = 0;
  #supervisorGoneMs: number | undefined;
  #wake: () => void = () => undefined;

  constructor(endpoint: Endpoint, user: ConnectionUser) {
    this.#endpoint = endpoint;
    this.#user = user;
  }

  /** Until the gateway has ended, or `signal` says so: resolves with undefined then. */
  async run(signal: AbortSignal): Promise<GatewayEnd | undefined> {
    signal.addEventListener('abort', () => this.#wake(), { once: true });
    let tickMs = 0;
    try {
      while (!signal.aborted) {
        const startMs = performance.now();
        const end = await this.#step();
        if (end !== undefined) return end;
        if (startMs - tickMs >= POLL_MS * 0.9) {
          tickMs = startMs;
          this.#user.onTick();
        }
        const intervalMs = this.#client === undefined ? RETRY_MS : POLL_MS;
        await this.#sleep(Math.max(RETRY_MS / 2, startMs + intervalMs - performance.now()));
      }
      return undefined;
    } finally {
      this.#client?.close();
    }
  }

  /** A request of the user's. Rejects with PcacheError `closed` if no engine answers at the moment. */
  async request(question: ControlQuestion, bounds?: RequestBounds): Promise<unknown> {
    if (this.#client === undefined) throw nobodyAnswersError();
    return this.#client.request(question, bounds);
  }

  /** The status now: something has just been changed. Rejects as `request` does. */
  async status(): Promise<StatusSnapshot> {
    if (this.#client === undefined) throw nobodyAnswersError();
    return statusOf(this.#client);
  }

  /** Asks for a map at once: another view needs another. */
  hurrySegments(): void {
    this.#segmentsDueMs = 0;
    this.#wake();
  }

  async #step(): Promise<GatewayEnd | undefined> {
    const client = this.#endedMs === undefined ? await this.#connected() : undefined;
    if (this.#endedMs !== undefined) return this.#lastWords(this.#endedMs);
    if (client === undefined) return this.#nobodyAnswers();
    try {
      const status = await statusOf(client);
      this.#setLink(this.#endpoint.supervisorLives() ? 'serving' : 'orphaned');
      this.#enginePid = status.engine_pid;
      this.#user.onStatus(status);
      await this.#askSegments(client);
    } catch (error) {
      if (!(error instanceof PcacheError) || error.code !== 'closed') throw error;
      // Closed, or no answer in time. Of the first the client's own end tells, see #connected.
      if (this.#client === client) this.#setLink('silent');
    }
    return undefined;
  }

  async #connected(): Promise<ControlClient | undefined> {
    if (this.#client !== undefined) return this.#client;
    let client: ControlClient;
    try {
      client = await this.#endpoint.connect();
    } catch (error) {
      if (error instanceof PcacheError && error.code === 'closed') return undefined;
      throw error;
    }
    this.#client = client;
    const ended = (last: unknown): void => {
      this.#endedMs = performance.now();
      this.#last = last as StatusSnapshot;
      client.close();
      this.#client = undefined;
      this.#wake();
    };
    const lost = (): void => {
      client.close();
      this.#client = undefined;
      this.#wake();
    };
    client.request({ op: 'wait_end' }, {}).then(ended, lost);
    return client;
  }

  async #askSegments(client: ControlClient): Promise<void> {
    const cells = Math.min(CELLS_MAX, this.#user.cellsWanted());
    if (cells <= 0 || !this.#knowsSegments || performance.now() < this.#segmentsDueMs) return;
    this.#segmentsDueMs = performance.now() + SEGMENTS_MS * 0.9;
    try {
      const answer = await client.request({ op: 'segments', cells }, { timeoutMs: ANSWER_TIMEOUT_MS });
      this.#user.onSegments(segmentMapOfAnswer(answer));
    } catch (error) {
      // An older gateway has no such operation; the rest of the monitor works with it.
      if (!(error instanceof PcacheError) || error.code !== 'usage') throw error;
      this.#knowsSegments = false;
    }
  }

  #nobodyAnswers(): GatewayEnd | undefined {
    if (this.#endpoint.supervisorLives()) {
      this.#setLink('restarting');
      return undefined;
    }
    if (!this.#endpoint.isMounted()) return this.#endedHow();
    // The engine is taking the mount away; if it is dead too, or can't, nobody will.
    this.#supervisorGoneMs ??= performance.now();
    const isEnding = this.#enginePid !== undefined && this.#endpoint.processLives(this.#enginePid);
    this.#setLink(isEnding ? 'orphaned' : 'dead');
    return performance.now() - this.#supervisorGoneMs > END_GRACE_MS
      ? { kind: 'died', why: this.#endpoint.failure() ?? 'its supervisor and its engine are dead' }
      : undefined;
  }

  /** The log that tells of a failure is removed last of all in an orderly end. */
  #lastWords(endedMs: number): GatewayEnd | undefined {
    if (this.#endpoint.supervisorLives() && performance.now() - endedMs < END_GRACE_MS) return undefined;
    return this.#endedHow();
  }

  #endedHow(): GatewayEnd {
    const why = this.#endpoint.failure();
    return why === undefined || this.#endpoint.supervisorLives() ? { kind: 'unmounted', last: this.#last } : { kind: 'died', why };
  }

  #setLink(kind: Link['kind']): void {
    if (kind === this.#link.kind) return;
    this.#link = { kind, sinceMs: Date.now() };
    this.#user.onLink(this.#link);
  }

  async #sleep(intervalMs: number): Promise<void> {
    const aborter = new AbortController();
    this.#wake = () => aborter.abort();
    // Waking up early is the point of the signal.
    await delay(intervalMs, undefined, { signal: aborter.signal }).catch(() => undefined);
    this.#wake = () => undefined;
  }
}

async function statusOf(client: ControlClient): Promise<StatusSnapshot> {
  return statusOfAnswer(await client.request({ op: 'status' }, { timeoutMs: ANSWER_TIMEOUT_MS }));
}

function nobodyAnswersError(): PcacheError {
  return new PcacheError('closed', 'no engine answers at the moment');
}
