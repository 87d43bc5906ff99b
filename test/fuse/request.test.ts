// Decoding requests: the usual ones to the last field, everything else to an errno.

import test from 'ava';
import fc from 'fast-check';
import { errno } from '../../src/device/errno-codes.js';
import { decodeRequest, opcodeRows, type DecodedSlot } from '../../src/fuse/opcodes.js';
import { FuseRequest } from '../../src/fuse/request.js';
import { SETATTR_IN } from '../../src/fuse/structs.js';
import { bytesOf, fixtureNamed, fixtures } from './requests.js';

const MAX_WRITE_BYTES = 1 << 20;
/** Requests do not begin at the buffer's begin, to see that offsets are relative. */
const START = 4016;

/** A decoder whose memory beyond the request is full of what must not be read. */
function decode(bytes: Uint8Array, lengthBytes = bytes.length): { slot: DecodedSlot; error: number; request: FuseRequest } {
  const memory = new Uint8Array(START + MAX_WRITE_BYTES + 8192).fill(0xff);
  memory.set(bytes.subarray(0, lengthBytes), START);
  const request = new FuseRequest(memory.buffer, START, MAX_WRITE_BYTES);
  const slot: DecodedSlot = { request, row: undefined };
  return { slot, error: decodeRequest(slot, lengthBytes), request };
}

for (const fixture of fixtures) {
  test(`${fixture.name} is decoded with its header`, (t) => {
    const { slot, error, request } = decode(bytesOf(fixture));
    t.is(error, 0);
    t.is(slot.row?.name, fixture.name);
    t.deepEqual([request.uniqueLo, request.uniqueHi, request.uid, request.gid, request.pid], [4, 0, 1000, 100, 1234]);
    t.is(
      request.nodeid,
      fixture.hex.includes('0100000000000000    #') || ['LOOKUP', 'STATFS', 'OPENDIR', 'READDIR', 'RELEASEDIR'].includes(fixture.name)
        ? 1
        : 2,
    );
  });

  test(`every prefix of ${fixture.name} that lacks something is refused`, (t) => {
    const bytes = bytesOf(fixture);
    for (let length = 0; length < bytes.length; length++) {
      const { slot, error, request } = decode(bytes, length);
      t.true(error < 0, `prefix of ${length}`);
      t.is(slot.row, undefined);
      if (length < 40) t.is(request.uniqueLo, 0, 'nobody can be answered');
      // The same prefix with a length that agrees with it: what it lacks is then seen by the operation.
      if (length < 40) continue;
      bytes.writeUInt32LE(length, 0);
      const again = decode(bytes, length);
      const row = opcodeRows.find(({ name }) => name === fixture.name)!;
      const lacks = length < 40 + row.structureBytes || row.names > 0 || fixture.name === 'WRITE';
      t.is(again.error, lacks ? -errno.EINVAL : 0, `prefix of ${length} that says so`);
      bytes.writeUInt32LE(bytes.length, 0);
    }
  });
}

test('the fields of the data operations are decoded', (t) => {
  const read = decode(fixtureNamed('READ')).request;
  t.deepEqual([read.fh, read.offsetBytes, read.sizeBytes], [7, 2 ** 32 + 4096, 131072]);
  const write = decode(fixtureNamed('WRITE')).request;
  t.deepEqual([write.fh, write.offsetBytes, write.sizeBytes, write.payloadBytes], [7, 513, 3, 3]);
  t.is(write.payloadStart, START + 80);
  t.is(Buffer.from(write.bytes.subarray(write.payloadStart, write.payloadStart + 3)).toString(), 'abc');
  const fsync = decode(fixtureNamed('FSYNC')).request;
  t.deepEqual([fsync.fh, fsync.flags], [7, 1]);
  const fallocate = decode(fixtureNamed('FALLOCATE')).request;
  t.deepEqual([fallocate.offsetBytes, fallocate.sizeBytes, fallocate.mode], [1 << 20, 2 ** 32, 3]);
});

test('the fields of the other operations are decoded', (t) => {
  t.is(decode(fixtureNamed('LOOKUP')).request.name(), 'volume.img');
  const setattr = decode(fixtureNamed('SETATTR')).request;
  t.deepEqual([setattr.flags, setattr.sizeBytes, setattr.mode], [0x48, 1 << 24, 0o100644]);
  t.deepEqual([setattr.u32(SETATTR_IN.uid), setattr.u32(SETATTR_IN.gid)], [1001, 101]);
  const readdir = decode(fixtureNamed('READDIR')).request;
  t.deepEqual([readdir.offsetBytes, readdir.sizeBytes], [2, 4096]);
  const lseek = decode(fixtureNamed('LSEEK')).request;
  t.deepEqual([lseek.offsetBytes, lseek.flags], [8192, 4]);
});

test('a READ or WRITE of more than was negotiated is refused', (t) => {
  const read = fixtureNamed('READ');
  read.writeUInt32LE(MAX_WRITE_BYTES, 56);
  t.is(decode(read).error, 0);
  read.writeUInt32LE(MAX_WRITE_BYTES + 1, 56);
  t.is(decode(read).error, -errno.EINVAL);
});

test('a WRITE whose size is not that of its payload is refused', (t) => {
  const write = fixtureNamed('WRITE');
  for (const size of [0, 2, 4, 0xffffffff]) {
    write.writeUInt32LE(size, 56);
    t.is(decode(write).error, -errno.EINVAL);
  }
});

test('a name of more than 255 bytes is too long, and an empty one is invalid', (t) => {
  const header = fixtureNamed('LOOKUP').subarray(0, 40);
  const lookup = (name: string): number => {
    const bytes = Buffer.concat([header, Buffer.from(`${name}\0`)]);
    bytes.writeUInt32LE(bytes.length, 0);
    return decode(bytes).error;
  };
  t.is(lookup('n'.repeat(255)), 0);
  t.is(lookup('n'.repeat(256)), -errno.ENAMETOOLONG);
  t.is(lookup(''), -errno.EINVAL);
});

test('operations without a row are answered with ENOSYS', (t) => {
  const bytes = fixtureNamed('STATFS');
  for (const opcode of [0, 7, 19, 21, 26, 48, 52, 4096, 0x7fffffff, 0xffffffff]) {
    bytes.writeUInt32LE(opcode, 4);
    t.is(decode(bytes).error, -errno.ENOSYS);
  }
});

test('whatever arrives, decoding ends with 0 or an errno and keeps within the request', (t) => {
  const memory = new Uint8Array(8192);
  const request = new FuseRequest(memory.buffer, 0, 4096);
  const slot: DecodedSlot = { request, row: undefined };
  const header = fc.record({ opcode: fc.integer({ min: 0, max: 60 }), body: fc.uint8Array({ maxLength: 300 }), honest: fc.boolean() });
  fc.assert(
    fc.property(header, ({ opcode, body, honest }) => {
      memory.fill(0xff);
      memory.set(body, 40);
      request.words[0] = honest ? 40 + body.length : body.length;
      request.words[1] = opcode;
      const error = decodeRequest(slot, 40 + body.length);
      if (error !== 0) return error < 0 && error > -512 && slot.row === undefined;
      return (
        honest &&
        slot.row?.opcode === opcode &&
        request.payloadBytes >= 0 &&
        request.payloadStart + request.payloadBytes === 40 + body.length
      );
    }),
    { numRuns: 2000 },
  );
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
      memory.fill(0);
      memory.set(bytes);
      const error = decodeRequest(slot, bytes.length);
      return error <= 0 && error > -512;
    }),
  );
  t.pass();
});
