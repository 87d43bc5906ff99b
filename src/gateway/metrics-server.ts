// The metrics over HTTP, for Prometheus to fetch: `GET /metrics` and nothing else. Runs in the engine's main thread, which touches no data, so whoever asks
// holds up nobody who uses the volume.
//
// Invariants: what clients send is bounded in size, time and number of connections, and never looked at but for method and path; nothing can be changed
// through it. There is no password: who can reach the address can read the figures and the paths of cache, backing device and mount point.

import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { PcacheError } from '../errors.js';
import type { ListenAddress } from './listen-address.js';
import { listenAddressText } from './listen-address.js';
import type { Logger } from './log.js';

const CONNECTIONS_MAX = 16;
const HEADER_BYTES_MAX = 8 * 1024;
/** For a request to arrive, and between two of one connection. */
const PATIENCE_MS = 5000;
/** A connection that nothing happens on, a reader that stopped included, is closed after this. */
const IDLE_MS = 10_000;
const RETRY_MS = 1000;
const CONTENT_TYPE = 'text/plain; version=0.0.4; charset=utf-8';

export class MetricsServer {
  readonly #server: Server;
  readonly #address: ListenAddress;
  readonly #log: Logger;
  #retry: NodeJS.Timeout | undefined;
  #isEnding = false;

  private constructor(address: ListenAddress, text: () => string, log: Logger) {
    this.#address = address;
    this.#log = log;
    this.#server = createServer(
      {
        maxHeaderSize: HEADER_BYTES_MAX,
        headersTimeout: PATIENCE_MS,
        requestTimeout: PATIENCE_MS,
        keepAliveTimeout: PATIENCE_MS,
        connectionsCheckingInterval: PATIENCE_MS,
      },
      (request, response) => this.#answer(request, response, text),
    );
    this.#server.maxConnections = CONNECTIONS_MAX;
    this.#server.setTimeout(IDLE_MS);
  }

  /** Listens. Rejects with PcacheError `in-use`, `permission` or `io` if it can't. @param text makes the metrics, for each request */
  static async start(address: ListenAddress, text: () => string, log: Logger): Promise<MetricsServer> {
    const server = new MetricsServer(address, text, log);
    await server.#listen();
    server.#server.on('error', (error) => log.warn({ error: error.message }, 'metrics'));
    return server;
  }

  /** The same for a volume that is served already, whose users don't care: returns at once, logs why it can't listen, and tries again until it can. */
  static startAnyhow(address: ListenAddress, text: () => string, log: Logger): MetricsServer {
    const server = new MetricsServer(address, text, log);
    void server.#listenAnyhow();
    return server;
  }

  /** Disconnects everybody. */
  end(): void {
    this.#isEnding = true;
    clearTimeout(this.#retry);
    this.#server.close();
    this.#server.closeAllConnections();
  }

  async #listenAnyhow(hasFailed = false): Promise<void> {
    try {
      await this.#listen();
    } catch (error) {
      if (!hasFailed) this.#log.warn({ error: (error as Error).message }, 'metrics: trying again');
      if (!this.#isEnding) this.#retry = setTimeout(() => void this.#listenAnyhow(true), RETRY_MS).unref();
      return;
    }
    this.#server.on('error', (error) => this.#log.warn({ error: error.message }, 'metrics'));
    if (hasFailed) this.#log.info('metrics: served again');
    if (this.#isEnding) this.end();
  }

  #listen(): Promise<void> {
    const server = this.#server;
    const { host, port } = this.#address;
    return new Promise((resolve, reject) => {
      const failed = (error: NodeJS.ErrnoException): void => reject(this.#cannotListen(error));
      server.once('error', failed);
      server.listen({ host, port, exclusive: true }, () => {
        server.off('error', failed);
        resolve();
      });
    });
  }

  #cannotListen(error: NodeJS.ErrnoException): PcacheError {
    const address = listenAddressText(this.#address);
    const options = { cause: error };
    switch (error.code) {
      case 'EADDRINUSE':
        return new PcacheError('in-use', `metrics: ${address}: another program listens there`, {
          ...options,
          hint: 'Each volume needs a port of its own.',
        });
      case 'EACCES':
        return new PcacheError('permission', `metrics: ${address}: not permitted; ports below 1024 are for root`, options);
      case 'EADDRNOTAVAIL':
        return new PcacheError('io', `metrics: ${address}: not an address of this machine`, options);
      case 'ENOTFOUND':
      case 'EAI_AGAIN':
        return new PcacheError('io', `metrics: ${address}: the name is not known`, options);
      default:
        return new PcacheError('io', `metrics: ${address}: cannot listen: ${error.message}`, options);
    }
  }

  #answer(request: IncomingMessage, response: ServerResponse, text: () => string): void {
    // A body is not wanted, and its end is not waited for.
    request.resume();
    const path = (request.url ?? '').split('?', 1)[0];
    if (path !== '/metrics') {
      send(response, 404, 'Not found. The metrics are at /metrics.\n');
    } else if (request.method !== 'GET') {
      response.setHeader('Allow', 'GET');
      send(response, 405, 'Only GET.\n');
    } else {
      let metrics: string;
      try {
        metrics = text();
      } catch (error) {
        this.#log.error({ error: error instanceof Error ? error.message : String(error) }, 'metrics');
        send(response, 500, 'The status is not known.\n');
        return;
      }
      response.setHeader('Content-Type', CONTENT_TYPE);
      send(response, 200, metrics);
    }
  }
}

function send(response: ServerResponse, status: number, text: string): void {
  if (!response.hasHeader('Content-Type')) response.setHeader('Content-Type', 'text/plain; charset=utf-8');
  response.setHeader('Cache-Control', 'no-store');
  response.statusCode = status;
  response.end(text);
}
