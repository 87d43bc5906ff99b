// The engine's end of the control socket. Nothing a client sends or does may disturb the engine: input is bounded and checked, a client that
// breaks the protocol gets one error line and is disconnected, and one that stops reading is dropped when its answers pile up.

import { chmodSync, rmSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import { PcacheError } from '../errors.js';
import {
  LineReader,
  encodeControlLine,
  errorBody,
  parseControlRequest,
  type ControlRequest,
  type ControlResponse,
  type FlushProgressLine,
  type SegmentMap,
} from './control-protocol.js';
import type { Logger } from './log.js';
import type { StatusSnapshot } from './status.js';

/** What the engine does for its clients. Each may throw or reject with PcacheError, which the client is told. */
export interface ControlHandler {
  status(): StatusSnapshot;
  dmStatus(): string;
  flush(onProgress: (progress: FlushProgressLine) => void): Promise<void>;
  setGcPercent(percent: number): void;
  setWritebackPaused(isPaused: boolean): void;
  segments(cells: number): SegmentMap;
  /** Who uses the mount, in words: `fio (1234)`, `/dev/loop0`. */
  users(): string[];
}

const CONNECTIONS_MAX = 64;
/** Requests of one client that take their time (`flush`, `wait_end`) and are not answered yet; a client that has more breaks the protocol. */
const UNANSWERED_MAX = 64;
/** Answers that a client has not read; beyond it the client is dropped. */
const UNREAD_BYTES_MAX = 1024 * 1024;
const PROGRESS_INTERVAL_MS = 100;
/** How long a client has to take its last answer and to close its end. */
const END_TIMEOUT_MS = 2000;

/** What is answered at once. */
type QuickRequest = Exclude<ControlRequest, { op: 'flush' | 'wait_end' }>;

/** One connection. */
interface Client {
  readonly socket: Socket;
  /** Requests in progress, those that wait for the end included. */
  unanswered: number;
  /** Ids of the `wait_end` requests. */
  readonly waitIds: number[];
}

export class ControlServer {
  readonly #server: Server;
  readonly #path: string;
  readonly #handler: ControlHandler;
  readonly #log: Logger;
  readonly #clients = new Set<Client>();

  private constructor(server: Server, path: string, handler: ControlHandler, log: Logger) {
    this.#server = server;
    this.#path = path;
    this.#handler = handler;
    this.#log = log;
    server.maxConnections = CONNECTIONS_MAX;
    server.on('connection', (socket) => this.#serve(socket));
  }

  /** Listens at `path`, which only this user can reach; a socket left there by a dead engine is replaced. Rejects with PcacheError. */
  static async start(path: string, handler: ControlHandler, log: Logger): Promise<ControlServer> {
    const server = createServer();
    try {
      rmSync(path, { force: true });
      await new Promise<void>((resolve, reject) => {
        server.once('error', reject);
        server.listen(path, resolve);
      });
      // Until here the folder alone keeps others out (see runtime-files). The umask would do it at once, but is the whole process's.
      chmodSync(path, 0o600);
    } catch (error) {
      server.close();
      throw new PcacheError('io', `${path}: cannot listen: ${error instanceof Error ? error.message : String(error)}`, { cause: error });
    }
    server.on('error', (error) => log.warn({ error: error.message }, 'control socket'));
    return new ControlServer(server, path, handler, log);
  }

  /** Tells those who wait for the end, takes the socket away and disconnects everybody. Never rejects; takes two seconds at most. */
  async end(last: StatusSnapshot | PcacheError): Promise<void> {
    for (const { socket, waitIds } of this.#clients) {
      for (const id of waitIds) {
        this.#send(socket, last instanceof PcacheError ? { id, ok: false, error: errorBody(last) } : { id, ok: true, result: last });
      }
    }
    const closed = new Promise<void>((resolve) => {
      this.#server.close(() => resolve());
    });
    rmSync(this.#path, { force: true });
    for (const { socket } of this.#clients) socket.end();
    const timer = setTimeout(() => {
      for (const { socket } of this.#clients) socket.destroy();
    }, END_TIMEOUT_MS);
    await closed;
    clearTimeout(timer);
  }

  #serve(socket: Socket): void {
    const client: Client = { socket, unanswered: 0, waitIds: [] };
    this.#clients.add(client);
    socket.on('close', () => this.#clients.delete(client));
    // A client that goes away in the middle of an answer is a client that went away.
    socket.on('error', (error) => this.#log.debug({ error: error.message }, 'control client left'));
    const reader = new LineReader();
    socket.on('data', (chunk) => {
      try {
        for (const line of reader.feed(chunk)) this.#answer(client, parseControlRequest(line));
      } catch (error) {
        this.#disconnect(client, error);
      }
    });
  }

  /** What else the client has sent is read and forgotten, or its error line might be lost with the connection. */
  #disconnect({ socket }: Client, error: unknown): void {
    this.#send(socket, { id: null, ok: false, error: errorBody(error) });
    socket.removeAllListeners('data');
    socket.resume();
    socket.end();
    // A client that does not close its own end would keep its place for ever.
    const timer = setTimeout(() => socket.destroy(), END_TIMEOUT_MS);
    socket.on('close', () => clearTimeout(timer));
  }

  /** Throws PcacheError `usage` if the client has too many requests in progress; never for what the handler throws. */
  #answer(client: Client, request: ControlRequest): void {
    const { socket } = client;
    const { id } = request;
    if (request.op === 'wait_end' || request.op === 'flush') {
      if (client.unanswered === UNANSWERED_MAX) {
        throw new PcacheError('usage', `control message: more than ${UNANSWERED_MAX} requests at a time`);
      }
      client.unanswered++;
      if (request.op === 'wait_end') client.waitIds.push(id);
      else void this.#flush(client, id);
      return;
    }
    let response: ControlResponse;
    try {
      response = { id, ok: true, result: this.#perform(request) };
    } catch (error) {
      response = { id, ok: false, error: errorBody(error) };
    }
    this.#send(socket, response);
  }

  #perform(request: QuickRequest): unknown {
    switch (request.op) {
      case 'ping':
        return { pid: process.pid };
      case 'status':
        return this.#handler.status();
      case 'dm_status':
        return this.#handler.dmStatus();
      case 'unmount_check':
        return { users: this.#handler.users() };
      case 'segments':
        return this.#handler.segments(request.cells);
      case 'message':
        if ('writeback' in request) this.#handler.setWritebackPaused(request.writeback === 'pause');
        else this.#handler.setGcPercent(request.gc_percent);
        return null;
    }
  }

  /** Never rejects. */
  async #flush(client: Client, id: number): Promise<void> {
    const { socket } = client;
    let saidMs = -Infinity;
    try {
      await this.#handler.flush((progress) => {
        const nowMs = performance.now();
        if (nowMs - saidMs < PROGRESS_INTERVAL_MS) return;
        saidMs = nowMs;
        this.#send(socket, { id, progress });
      });
      this.#send(socket, { id, ok: true, result: null });
    } catch (error) {
      this.#send(socket, { id, ok: false, error: errorBody(error) });
    }
    client.unanswered--;
  }

  #send(socket: Socket, response: ControlResponse): void {
    if (!socket.writable) return;
    socket.write(encodeControlLine(response));
    if (socket.writableLength > UNREAD_BYTES_MAX) socket.destroy();
  }
}
