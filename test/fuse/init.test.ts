// INIT: what is taken of what kernels offer.

import test from 'ava';
import fc from 'fast-check';
import * as init from '../../src/fuse/init.js';

interface Offer {
  major?: number;
  minor?: number;
  flags: number;
  flags2?: number;
}

/** An INIT request; kernels from 5.17 on send 64 bytes of arguments, earlier ones 16. */
function initRequest({ major = 7, minor = 45, flags, flags2 }: Offer): Buffer {
  const bytes = Buffer.alloc(40 + (flags2 === undefined ? 16 : 64));
  bytes.writeUInt32LE(bytes.length, 0);
  bytes.writeUInt32LE(26, 4);
  bytes.writeBigUInt64LE(2n, 8);
  bytes.writeUInt32LE(major, 40);
  bytes.writeUInt32LE(minor, 44);
  bytes.writeUInt32LE(131072, 48);
  bytes.writeUInt32LE(flags >>> 0, 52);
  if (flags2 !== undefined) bytes.writeUInt32LE(flags2 >>> 0, 56);
  return bytes;
}

test('a new kernel that offers everything gets requests of 1 MiB, resending and mapping, and nothing that was not asked for', (t) => {
  const session = init.decideInit(initRequest({ flags: -1, flags2: -1 }));
  t.is(session.minor, 42);
  t.is(session.maxWriteBytes, 1 << 20);
  t.is(session.maxPages, 256);
  t.true(session.canResend);
  t.true(session.canMapDirect);
  t.is(session.flags2, init.FUSE2_DIRECT_IO_ALLOW_MMAP | init.FUSE2_HAS_RESEND);
  const writebackCache = 1 << 16;
  const posixLocks = 1 << 1;
  const flockLocks = 1 << 10;
  t.is(session.flags & (writebackCache | posixLocks | flockLocks), 0);
});

test('an old kernel gets requests of 128 KiB, and its flags2 are not read', (t) => {
  const session = init.decideInit(initRequest({ minor: 27, flags: init.FUSE_ASYNC_READ | init.FUSE_BIG_WRITES }));
  t.is(session.minor, 27);
  t.is(session.maxWriteBytes, 131072);
  t.false(session.canResend);
  t.is(init.decideInit(initRequest({ flags: init.FUSE_MAX_PAGES, flags2: -1 })).flags2, 0, 'without INIT_EXT, flags2 means nothing');
  t.is(init.decideInit(initRequest({ flags: init.FUSE_INIT_EXT })).flags & init.FUSE_INIT_EXT, 0, 'a short request has no flags2');
});

test('flags that were not offered are never taken', (t) => {
  fc.assert(
    fc.property(fc.integer(), fc.integer(), (flags, flags2) => {
      const session = init.decideInit(initRequest({ flags, flags2 }));
      return (session.flags & ~flags) === 0 && (session.flags2 & ~flags2) === 0;
    }),
  );
  t.pass();
});

test('the answer says what was decided', (t) => {
  const request = initRequest({ flags: -1, flags2: -1 });
  const session = init.decideInit(request);
  const answer = Buffer.from(init.encodeInitAnswer(request, session));
  t.is(answer.length, 80);
  t.deepEqual([answer.readUInt32LE(0), answer.readInt32LE(4), answer.readBigUInt64LE(8)], [80, 0, 2n]);
  t.deepEqual([answer.readUInt32LE(16), answer.readUInt32LE(20), answer.readUInt32LE(24)], [7, 42, 131072]);
  t.is(answer.readInt32LE(28), session.flags);
  t.deepEqual([answer.readUInt16LE(32), answer.readUInt16LE(34), answer.readUInt32LE(36), answer.readUInt32LE(40)], [128, 96, 1 << 20, 1]);
  t.deepEqual([answer.readUInt16LE(44), answer.readUInt32LE(48)], [256, session.flags2]);
  t.deepEqual(answer.subarray(52), Buffer.alloc(28));
});

test('a protocol too old or unknown is refused, with an answer', (t) => {
  t.throws(() => init.decideInit(initRequest({ minor: 22, flags: 0 })), { code: 'unsupported', message: /protocol 7.22/ });
  t.throws(() => init.decideInit(initRequest({ major: 8, flags: 0 })), { code: 'unsupported' });
  const refusal = Buffer.from(init.encodeInitRefusal(initRequest({ major: 8, flags: 0 })));
  t.deepEqual([refusal.readUInt32LE(0), refusal.readInt32LE(4), refusal.readBigUInt64LE(8)], [16, -71, 2n]);
});

test('every prefix of an INIT request is refused', (t) => {
  const request = initRequest({ flags: -1, flags2: -1 });
  for (let length = 0; length < request.length; length++) {
    t.throws(() => init.decideInit(request.subarray(0, length)), { code: 'io' });
  }
});

test('what was decided can be sent to another process', (t) => {
  const session = init.decideInit(initRequest({ flags: -1, flags2: -1 }));
  t.deepEqual(JSON.parse(JSON.stringify(session)), session);
});
