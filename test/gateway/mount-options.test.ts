import test from 'ava';
import { PcacheError } from '../../src/errors.js';
import { defaultMountOptions, mountOptionRows, parseMountOptions } from '../../src/gateway/mount-options.js';
import { nearest } from '../../src/gateway/nearest.js';

function refusal(text: string): { message: string; hint: string | undefined } {
  try {
    parseMountOptions([text]);
  } catch (error) {
    if (error instanceof PcacheError && error.code === 'usage') return { message: error.message, hint: error.hint };
    throw error;
  }
  throw new Error(`'${text}' was taken`);
}

test('no option gives the defaults: one worker a core, up to 64', (t) => {
  const options = parseMountOptions([]);
  t.deepEqual(options, defaultMountOptions());
  t.true(options.workers >= 1 && options.workers <= 64);
  t.is(options.transport, 'dev-fuse');
});

test('options of several -o and several to one -o add up, a later one wins', (t) => {
  const options = parseMountOptions([
    'workers=4,gc_percent=60',
    'workers=8,ro',
    'uid=1000,gid=0,umask=027,allow_other,kernel_cache,adopt,poll_us=20,metrics_listen=[::1]:9464',
  ]);
  t.deepEqual(options, {
    transport: 'dev-fuse',
    workers: 8,
    pollUs: 20,
    gcPercent: 60,
    readOnly: true,
    allowOther: true,
    uid: 1000,
    gid: 0,
    umask: 0o27,
    kernelCache: true,
    metricsListen: { host: '::1', port: 9464 },
    adopt: true,
    flushOnStop: false,
  });
});

test('rw takes ro back, and empty items are nothing', (t) => {
  t.false(parseMountOptions(['ro,,rw', '']).readOnly);
});

test('each transport is taken, and no other', (t) => {
  t.is(parseMountOptions([]).transport, 'dev-fuse');
  for (const transport of ['dev-fuse', 'io-uring', 'libfuse'] as const)
    t.is(parseMountOptions([`transport=${transport}`]).transport, transport);
  t.is(refusal('transport=tcp').message, 'mount option transport=tcp: not one of dev-fuse, io-uring, libfuse');
});

test('an unknown option names the nearest that exists', (t) => {
  t.deepEqual(refusal('worker=3'), { message: 'mount option worker: unknown option', hint: 'Did you mean workers?' });
  t.is(refusal('gc-percent=3').hint, 'Did you mean gc_percent?');
  t.regex(refusal('zzz').hint ?? '', /^There are transport, workers/);
});

test('values out of range, missing or given to a flag are refused', (t) => {
  const bad = ['workers=0', 'workers=65', 'workers=2.5', 'workers=-1', 'workers=', 'workers', 'gc_percent=91', 'gc_percent=7e1', 'uid=x'];
  for (const text of [
    ...bad,
    'uid=4294967295',
    'umask=9',
    'umask=7777',
    'umask=0x1',
    'ro=1',
    'adopt=yes',
    'rw=1',
    'transport',
    '=',
    'ro =',
  ]) {
    t.truthy(refusal(text).message, text);
  }
});

test('every option has help', (t) => {
  for (const row of mountOptionRows) t.regex(row.help, /^\S.{10,}$/, row.name);
});

test('the nearest word is at most two letters away, and one in a short word', (t) => {
  const words = ['mount', 'umount', 'status', 'flush'];
  t.is(nearest('monut', words), 'mount');
  t.is(nearest('omnut', words), undefined);
  t.is(nearest('mout', words), 'mount');
  t.is(nearest('statsu', words), 'status');
  t.is(nearest('Flush', words), 'flush');
  t.is(nearest('x', words), undefined);
});
