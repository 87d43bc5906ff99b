// Where to listen: HOST:PORT, as a user writes it.

import { isIPv4, isIPv6 } from 'node:net';
import { PcacheError } from '../errors.js';

export interface ListenAddress {
  /** An address, or a name that stands for one; IPv6 without brackets. */
  readonly host: string;
  /** 1 to 65535. */
  readonly port: number;
}

const HOST_NAME = /^(?!-)[a-z0-9-]{1,63}(?:\.[a-z0-9-]{1,63})*$/i;
const PORT_MAX = 65_535;

/** `option` names it in errors. Throws PcacheError `usage`. */
export function parseListenAddress(option: string, text: string): ListenAddress {
  const wrong = (why: string): PcacheError =>
    new PcacheError('usage', `${option} ${text}: ${why}`, { hint: 'It is HOST:PORT, such as 127.0.0.1:9464 or [::1]:9464.' });
  const parts = /^(?:\[([^\]]*)\]|([^:]*)):([^:]*)$/.exec(text);
  if (parts === null) throw wrong('not HOST:PORT');
  const [, inBrackets, plain, digits = ''] = parts;
  const port = /^\d{1,5}$/.test(digits) ? Number(digits) : NaN;
  if (!(port >= 1 && port <= PORT_MAX)) throw wrong(`the port is not a number from 1 to ${PORT_MAX}`);
  if (inBrackets !== undefined) {
    if (!isIPv6(inBrackets)) throw wrong('what is in brackets is not an IPv6 address');
    return { host: inBrackets, port };
  }
  const host = plain ?? '';
  // Digits and dots alone are meant for an address.
  if (/^[\d.]+$/.test(host) ? !isIPv4(host) : !HOST_NAME.test(host)) throw wrong('the host is neither an address nor a name');
  return { host, port };
}

export function listenAddressText({ host, port }: ListenAddress): string {
  return isIPv6(host) ? `[${host}]:${port}` : `${host}:${port}`;
}
