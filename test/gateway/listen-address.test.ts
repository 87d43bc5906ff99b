import test from 'ava';
import fc from 'fast-check';
import { PcacheError } from '../../src/errors.js';
import { listenAddressText, parseListenAddress } from '../../src/gateway/listen-address.js';

test('addresses and names with a port are taken, IPv6 in brackets', (t) => {
  for (const [text, host, port] of [
    ['127.0.0.1:9464', '127.0.0.1', 9464],
    ['0.0.0.0:1', '0.0.0.0', 1],
    ['[::1]:9464', '::1', 9464],
    ['[fe80::1]:65535', 'fe80::1', 65_535],
    ['localhost:80', 'localhost', 80],
    ['metrics.example.org:9464', 'metrics.example.org', 9464],
  ] as const) {
    t.deepEqual(parseListenAddress('x', text), { host, port });
    t.is(listenAddressText({ host, port }), text);
  }
});

test('anything else is refused, and the message says what it should be', (t) => {
  const bad = [
    '',
    '9464',
    ':9464',
    '127.0.0.1',
    '127.0.0.1:',
    '127.0.0.1:0',
    '127.0.0.1:65536',
    '127.0.0.1:1e3',
    '::1:9464',
    '[::1]',
    '[::1]9464',
  ];
  for (const text of [...bad, '[127.0.0.1]:9464', '256.0.0.1:9464', '1.2:3', 'a b:1', '-a:1', 'a,b:1', 'http://a:1', '127.0.0.1:9464 ']) {
    const error = t.throws(() => parseListenAddress('--metrics-listen', text), { instanceOf: PcacheError, code: 'usage' }, text);
    t.true(error.message.startsWith(`--metrics-listen ${text}: `), text);
    t.regex(error.hint ?? '', /HOST:PORT/);
  }
});

test('whatever is written, it is an address or a refusal', (t) => {
  fc.assert(
    fc.property(fc.string(), (text) => {
      try {
        t.is(listenAddressText(parseListenAddress('x', text)), text.replace(/:0*(?=\d+$)/, ':'));
      } catch (error) {
        if (!(error instanceof PcacheError)) throw error;
      }
    }),
  );
  t.pass();
});
