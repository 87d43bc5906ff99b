// The end of a datagram socket at which a service manager listens, for tests of what is told to it. Node has no such sockets.

import { createRequire } from 'node:module';
import type { ExecutionContext } from 'ava';
import { close, socket } from '../../src/device/libc.js';
import { AF_UNIX, SOCK_CLOEXEC, SOCK_DGRAM, SOCK_NONBLOCK } from '../../src/device/linux-constants.js';
import { unixAddress } from '../../src/device/unix-socket.js';

const koffi = createRequire(import.meta.url)('koffi') as typeof import('koffi');
const library = koffi.load(null);
const bind = library.func('bind', 'int', ['int', 'void *', 'uint']) as (fd: number, address: Uint8Array, length: number) => number;
const recv = library.func('recv', 'int64_t', ['int', 'void *', 'size_t', 'int']) as (
  fd: number,
  data: Uint8Array,
  length: number,
  flags: number,
) => number;

/** Keeps what comes; closed at the end of the test. */
export class DatagramReceiver {
  readonly name: string;
  /** All so far, as of the last `take`. */
  readonly messages: string[] = [];
  readonly #fd: number;

  /** `/PATH`, or `@NAME` for an abstract socket. */
  constructor(t: ExecutionContext, name: string) {
    this.name = name;
    this.#fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK);
    t.teardown(() => close(this.#fd));
    const address = unixAddress(name);
    if (bind(this.#fd, address, address.length) !== 0) throw new Error(`cannot bind ${name}`);
  }

  /** Everything that has come, old and new. */
  take(): readonly string[] {
    const bytes = Buffer.alloc(4096);
    for (let length = recv(this.#fd, bytes, bytes.length, 0); length >= 0; length = recv(this.#fd, bytes, bytes.length, 0)) {
      this.messages.push(bytes.toString('utf8', 0, length));
    }
    return this.messages;
  }

  /** The lines of all messages. */
  get lines(): string[] {
    return this.take().flatMap((message) => message.split('\n'));
  }
}
