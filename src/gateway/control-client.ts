// The command line's end of the control socket. Every wait has a bound, but for the answers to `flush` and `wait_end`, which take as long as
// they take and end with the connection at the latest.

import { connect, type Socket } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { PcacheError, messageOf } from '../errors.js';
import {
  LineReader,
  encodeControlLine,
  errorOfBody,
  parseControlResponse,
  type ControlRequest,
  type ControlResponse,
  type FlushProgressLine,
} from './control-protocol.js';

export interface RequestBounds {
  /** Undefined: as long as the connection lives. */
  readonly timeoutMs?: number | undefined;
  readonly onProgress?: (progress: FlushProgressLine) => void;
}

/** A request without its id, which the client chooses. */
export type ControlQuestion = ControlRequest extends infer Request ? (Request extends ControlRequest ? Omit<Request, 'id'> : never) : never;

interface Pending {
  resolve(result: unknown): void;
  reject(error: Error): void;
  readonly onProgress: ((progress: FlushProgressLine) => void) | undefined;
}

const ANSWER_TIMEOUT_MS = 10_000;
const RETRY_INTERVAL_MS = 50;

export class ControlClient {
  readonly #socket: Socket;
  readonly #pending = new Map<number, Pending>();
  #nextId = 1;
  #closed: PcacheError | undefined;

  private constructor(socket: Socket) {
    this.#socket = socket;
    const reader = new LineReader();
    socket.on('data', (chunk) => {
      try {
        for (const line of reader.feed(chunk)) this.#take(parseControlResponse(line));
      } catch (error) {
        // Of kind `usage` where a server reads it; here it is not the user's fault.
        this.#close(new PcacheError('internal', `the gateway's answer: ${messageOf(error)}`, { cause: error }));
      }
    });
    socket.on('error', (error) => this.#close(new PcacheError('closed', `control socket: ${messageOf(error)}`, { cause: error })));
    socket.on('close', () => this.#close(new PcacheError('closed', 'control socket: the gateway closed the connection')));
  }

  /**
   * Connects to the socket at `path`. While nobody listens there and `worthWaiting` says so (an engine is being started again), tries again,
   * for `timeoutMs` at most. Rejects with PcacheError `closed`, or `permission`.
   */
  static async connect(path: string, worthWaiting: () => boolean = () => false, timeoutMs = 5000): Promise<ControlClient> {
    const deadlineMs = performance.now() + timeoutMs;
    for (;;) {
      try {
        return new ControlClient(await connectOnce(path));
      } catch (error) {
        const { code } = error as NodeJS.ErrnoException;
        const nobodyListens = code === 'ENOENT' || code === 'ECONNREFUSED';
        if (!nobodyListens || performance.now() > deadlineMs || !worthWaiting()) {
          const kind = code === 'EACCES' || code === 'EPERM' ? 'permission' : 'closed';
          const why = nobodyListens ? 'no gateway answers' : messageOf(error);
          throw new PcacheError(kind, `${path}: ${why}`, { cause: error });
        }
        await delay(RETRY_INTERVAL_MS);
      }
    }
  }

  /** The result of one request. Rejects with the gateway's own error, or `closed` if it went away or did not answer in time. */
  async request(question: ControlQuestion, bounds: RequestBounds = { timeoutMs: ANSWER_TIMEOUT_MS }): Promise<unknown> {
    if (this.#closed !== undefined) throw this.#closed;
    const id = this.#nextId++;
    let timer: NodeJS.Timeout | undefined;
    try {
      return await new Promise<unknown>((resolve, reject) => {
        this.#pending.set(id, { resolve, reject, onProgress: bounds.onProgress });
        if (bounds.timeoutMs !== undefined) {
          const { timeoutMs } = bounds;
          timer = setTimeout(() => reject(new PcacheError('closed', `${question.op}: no answer within ${timeoutMs / 1000} s`)), timeoutMs);
        }
        this.#socket.write(encodeControlLine({ ...question, id }));
      });
    } finally {
      clearTimeout(timer);
      this.#pending.delete(id);
    }
  }

  close(): void {
    this.#socket.destroy();
  }

  #take(response: ControlResponse): void {
    if ('ok' in response && !response.ok && response.id === null) {
      this.#close(errorOfBody(response.error));
      return;
    }
    const pending = this.#pending.get(response.id ?? 0);
    // An answer that came after its time has nobody to take it.
    if (pending === undefined) return;
    if ('progress' in response) pending.onProgress?.(response.progress);
    else if (response.ok) pending.resolve(response.result);
    else pending.reject(errorOfBody(response.error));
  }

  #close(error: PcacheError): void {
    this.#closed ??= error;
    for (const pending of this.#pending.values()) pending.reject(error);
    this.#pending.clear();
    this.#socket.destroy();
  }
}

function connectOnce(path: string): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect(path);
    socket.once('error', reject);
    socket.once('connect', () => {
      socket.off('error', reject);
      resolve(socket);
    });
  });
}
