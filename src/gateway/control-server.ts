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
} from './control-protocol.js';
import type { Logger } from './log.js';
import type { StatusSnapshot } from './status.js';

/** What the engine does for its clients. Each may throw or reject with PcacheError, which the client is told. */
export interface ControlHandler {
  status(): StatusSnapshot;
  dmStatus(): string;
  flush(onProgress: (progress: FlushProgressLine) => void): Promise<void>;
  setGcPercent(percent: number): void;
  /** Who uses the mount, in words: `fio (1234)`, `/dev/loop0`. */
  users(): string[];
}

const CONNECTIONS_MAX = 64;
/** Answers that a client has not read; beyond it the client is dropped. */
const UNREAD_BYTES_MAX = 1024 * 1024;
const PROGRESS_INTERVAL_MS = 100;
/** How long `end` waits for clients to take their last answer. */
const END_TIMEOUT_MS = 2000;

export class ControlServer {
  readonly #server: Server;
  readonly #path: string;
  readonly #handler: ControlHandler;
  readonly #log: Logger;
  readonly #connections = new Set<Socket>();
  /** Those who asked `wait_end`. */
  readonly #waiting: { socket: Socket; id: number }[] = [];

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
    rmSync(path, { force: true });
    const server = createServer();
    try {
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
    for (const { socket, id } of this.#waiting) {
      this.#send(socket, last instanceof PcacheError ? { id, ok: false, error: errorBody(last) } : { id, ok: true, result: last });
    }
    const closed = new Promise<void>((resolve) => {
      this.#server.close(() => resolve());
    });
    rmSync(this.#path, { force: true });
    for (const socket of this.#connections) socket.end();
    const timer = setTimeout(() => {
      for (const socket of this.#connections) socket.destroy();
    }, END_TIMEOUT_MS);
    await closed;
    clearTimeout(timer);
  }

  #serve(socket: Socket): void {
    this.#connections.add(socket);
    socket.on('close', () => this.#connections.delete(socket));
    // A client that goes away in the middle of an answer is a client that went away.
    socket.on('error', (error) => this.#log.debug({ error: error.message }, 'control client left'));
    const reader = new LineReader();
    socket.on('data', (chunk) => {
      try {
        for (const line of reader.feed(chunk)) this.#answer(socket, parseControlRequest(line));
      } catch (error) {
        this.#send(socket, { id: null, ok: false, error: errorBody(error) });
        socket.removeAllListeners('data');
        socket.resume();
        socket.end();
      }
    });
  }

  #answer(socket: Socket, request: ControlRequest): void {
    if (request.op === 'wait_end') {
      this.#waiting.push({ socket, id: request.id });
      return;
    }
    this.#perform(socket, request).then(
      (result) => this.#send(socket, { id: request.id, ok: true, result }),
      (error: unknown) => this.#send(socket, { id: request.id, ok: false, error: errorBody(error) }),
    );
  }

  async #perform(socket: Socket, request: ControlRequest): Promise<unknown> {
    switch (request.op) {
      case 'ping':
        return { pid: process.pid };
      case 'status':
        return this.#handler.status();
      case 'dm_status':
        return this.#handler.dmStatus();
      case 'unmount_check':
        return { users: this.#handler.users() };
      case 'message':
        this.#handler.setGcPercent(request.gc_percent);
        return null;
      case 'flush': {
        let saidMs = -Infinity;
        await this.#handler.flush((progress) => {
          const nowMs = performance.now();
          if (nowMs - saidMs < PROGRESS_INTERVAL_MS) return;
          saidMs = nowMs;
          this.#send(socket, { id: request.id, progress });
        });
        return null;
      }
      case 'wait_end':
        throw new PcacheError('internal', 'wait_end: answered elsewhere');
    }
  }

  #send(socket: Socket, response: ControlResponse): void {
    if (!socket.writable) return;
    socket.write(encodeControlLine(response));
    if (socket.writableLength > UNREAD_BYTES_MAX) socket.destroy();
  }
}
