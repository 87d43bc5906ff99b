// A process that uses a mount on behalf of a test. Calls on a mount must not block the process that serves it, nor the one that would have to end
// a hang: so they are made in a child, and each has a bound.

import { fork, type ChildProcess } from 'node:child_process';
import { errnoName } from '../../src/device/errno-codes.js';
import type { ClientCalls } from './client-calls.js';
import type { ClientAnswer, ClientOrder } from './client-process.js';

const CALL_MS = 20_000;

/** A call that failed, with the name of its errno. */
export class CallFailed extends Error {
  readonly errno: string;
  constructor(call: string, errno: number, message: string) {
    super(`${call}: ${message}`);
    this.errno = errno === 103 ? 'ECONNABORTED' : errnoName(errno);
  }
}

export class Client {
  readonly #child: ChildProcess;

  constructor() {
    this.#child = fork(new URL('./client-process.js', import.meta.url), { serialization: 'advanced' });
  }

  /** Makes one call and resolves to its result. Rejects with CallFailed, or Error if there is no answer in 20 seconds. One call at a time. */
  call<K extends keyof ClientCalls>(call: K, ...values: Parameters<ClientCalls[K]>): Promise<ReturnType<ClientCalls[K]>> {
    const child = this.#child;
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => finish(() => reject(new Error(`${call}: no answer in ${CALL_MS} ms`))), CALL_MS);
      const onExit = (): void => finish(() => reject(new Error(`${call}: the client ended`)));
      const onMessage = (answer: ClientAnswer): void =>
        finish(() => {
          if ('errno' in answer) reject(new CallFailed(call, answer.errno, answer.message));
          else resolve(answer.result as ReturnType<ClientCalls[K]>);
        });
      const finish = (settle: () => void): void => {
        clearTimeout(timer);
        child.off('message', onMessage).off('exit', onExit);
        settle();
      };
      child.once('message', onMessage).once('exit', onExit);
      child.send({ call, values } satisfies ClientOrder);
    });
  }

  /** Makes a call that should fail. @returns the name of the errno, or 'none' */
  async errnoOf<K extends keyof ClientCalls>(call: K, ...values: Parameters<ClientCalls[K]>): Promise<string> {
    try {
      await this.call(call, ...values);
      return 'none';
    } catch (error) {
      if (error instanceof CallFailed) return error.errno;
      throw error;
    }
  }

  /** Ends the process; files it has open are closed. Resolves when it is gone. */
  async close(): Promise<void> {
    const child = this.#child;
    if (child.exitCode !== null || child.signalCode !== null) return;
    await new Promise<void>((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error('client: does not end')), CALL_MS);
      child.once('exit', () => {
        clearTimeout(timer);
        resolve();
      });
      child.kill('SIGKILL');
    });
  }
}

/** So many clients for the time of `body`. */
export async function withClients(count: number, body: (clients: Client[]) => Promise<void>): Promise<void> {
  const clients = Array.from({ length: count }, () => new Client());
  try {
    await body(clients);
  } finally {
    await Promise.all(clients.map((client) => client.close()));
  }
}
