// Sockets of the Unix domain that Node does not have: datagrams, abstract names, and streams whose descriptor another process is to inherit.
//
// Layout (sys/un.h): sockaddr_un is {family u16, path}. A path in the file system ends with a zero; an abstract name, written with `@` in front, starts with
// one, and the address ends where the name does.

import { PcacheError } from '../errors.js';
import { close, connect, sendto, socket } from './libc.js';
import { AF_UNIX, MSG_NOSIGNAL, SOCK_CLOEXEC, SOCK_DGRAM, SOCK_NONBLOCK, SOCK_STREAM } from './linux-constants.js';

/** sizeof(sun_path). */
const PATH_BYTES_MAX = 108;

/** The address of `/PATH` or `@NAME` as a struct sockaddr_un. Throws PcacheError `unsupported` for anything else, and for what is too long. */
export function unixAddress(name: string): Uint8Array {
  const isAbstract = name.startsWith('@');
  if (!isAbstract && !name.startsWith('/')) throw new PcacheError('unsupported', `${name}: not the address of a Unix socket`);
  const path = Buffer.from(isAbstract ? `\0${name.slice(1)}` : `${name}\0`);
  if (path.length > PATH_BYTES_MAX) throw new PcacheError('unsupported', `${name}: too long for the address of a Unix socket`);
  const address = Buffer.alloc(2 + path.length);
  address.writeUInt16LE(AF_UNIX, 0);
  path.copy(address, 2);
  return address;
}

/** Sends datagrams to one address, and never waits: what the receiver has no room for is an error. */
export class DatagramSender {
  readonly #fd: number;
  readonly #address: Uint8Array;

  /** Throws PcacheError `unsupported` for what is no address. */
  constructor(name: string) {
    this.#address = unixAddress(name);
    this.#fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK);
  }

  /** Throws PcacheError with what sendto(2) reports. */
  send(text: string): void {
    sendto(this.#fd, Buffer.from(text), MSG_NOSIGNAL, this.#address);
  }

  close(): void {
    close(this.#fd);
  }
}

/** A descriptor (close-on-exec, blocking) that is connected to the stream socket at `/PATH` or `@NAME`. Throws PcacheError. */
export function connectStream(name: string): number {
  const address = unixAddress(name);
  const fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC);
  try {
    connect(fd, address);
    return fd;
  } catch (error) {
    close(fd);
    throw error;
  }
}
