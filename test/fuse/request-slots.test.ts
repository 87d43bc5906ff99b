// Request slots: taking and giving, the layout that data operations rely on, and answering over a pipe in place of the kernel.

import * as fs from 'node:fs';
import * as path from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { errno } from '../../src/device/errno-codes.js';
import { sendAnswer } from '../../src/fuse/answer.js';
import { NO_REPLY } from '../../src/fuse/file-system.js';
import { createRequestSlots, destroyRequestSlots, LOCAL_FD, RequestSlots, type RequestSlot } from '../../src/fuse/request-slots.js';
import { temporaryFolder } from '../support/tmp.js';
import { fixtureNamed } from './requests.js';

const MAX_WRITE_BYTES = 65536;

function slotsFor(t: ExecutionContext, count: number): RequestSlots {
  const handle = createRequestSlots(MAX_WRITE_BYTES, count);
  t.teardown(() => destroyRequestSlots(handle));
  return new RequestSlots(handle);
}

/** Puts a request into a slot as a read from `fd` would. */
function receive(slot: RequestSlot, fd: number, bytes: Uint8Array): number {
  slot.request.bytes.set(bytes, slot.request.startBytes);
  return slot.receive(fd, bytes.length);
}

test('each slot is out once, and the one given back last is taken first', (t) => {
  const slots = slotsFor(t, 3);
  const taken = [slots.take(0)!, slots.take(0)!, slots.take(0)!];
  t.deepEqual(taken.map(({ index }) => index).sort(), [0, 1, 2]);
  t.is(slots.take(1), undefined);
  slots.give(taken[1]!);
  slots.give(taken[2]!);
  t.is(slots.freeCount, 2);
  t.is(slots.take(0), taken[2]);
  slots.give(taken[2]!);
  slots.give(taken[0]!);
  t.throws(() => slots.give(taken[0]!), { code: 'internal', message: /given back twice/ });
  t.throws(() => slots.slot(3), { instanceOf: RangeError });
});

test('a payload lies on a page of its own, and neighbours do not share memory', (t) => {
  const slots = slotsFor(t, 2);
  const [first, second] = [slots.slot(0), slots.slot(1)];
  t.is(first.payloadAddress % 4096, 0);
  t.is(first.payload.length, MAX_WRITE_BYTES);
  t.is(first.requestAddress + 80, first.payloadAddress);
  t.true(first.requestCapacityBytes >= MAX_WRITE_BYTES + 4096);
  t.true(first.iovec.address >= first.requestAddress + first.requestCapacityBytes);
  t.true(first.iovec.address + 16 * 1024 <= second.requestAddress - 4016 + 80 + 4096);
  t.is(receive(first, 9, fixtureNamed('WRITE')), 0);
  t.is(Buffer.from(first.payload.subarray(0, 3)).toString(), 'abc');
  t.is(second.payload[0], 0);
});

test('putting together the answer to a READ leaves the request readable for another thread', (t) => {
  const slots = slotsFor(t, 1);
  const slot = slots.slot(0);
  const read = fixtureNamed('READ');
  read.writeUInt32LE(65536, 56);
  receive(slot, 9, read);
  slot.payload.fill(0xff);
  slot.reply.written(7);
  const sameSlotElsewhere = new RequestSlots(slots.handle).slot(0);
  t.is(sameSlotElsewhere.reopen(), 0);
  t.is(sameSlotElsewhere.fd, 9);
  t.is(sameSlotElsewhere.row?.name, 'READ');
  t.deepEqual([sameSlotElsewhere.request.offsetBytes, sameSlotElsewhere.request.sizeBytes], [2 ** 32 + 4096, 65536]);
});

test('slots of impossible sizes are refused', (t) => {
  t.throws(() => createRequestSlots(1000, 1), { code: 'usage' });
  t.throws(() => createRequestSlots(1 << 20, 5000), { code: 'usage' });
  t.throws(() => createRequestSlots(1 << 20, 0), { code: 'usage' });
});

/** What `sendAnswer` writes, read back from a file. */
function answered(
  t: ExecutionContext,
  request: Uint8Array,
  answer: (slot: RequestSlot, error: number) => number,
): { bytes: Buffer; returned: number } {
  const file = path.join(temporaryFolder(t), 'answers');
  const fd = fs.openSync(file, 'w');
  try {
    const slot = slotsFor(t, 1).slot(0);
    const error = receive(slot, fd, request);
    const returned = sendAnswer(slot, answer(slot, error));
    return { bytes: fs.readFileSync(file), returned };
  } finally {
    fs.closeSync(fd);
  }
}
const header = (bytes: Buffer): number[] => [bytes.readUInt32LE(0), bytes.readInt32LE(4), bytes.readUInt32LE(8), bytes.readUInt32LE(12)];

test('a small answer follows its header', (t) => {
  const { bytes, returned } = answered(t, fixtureNamed('WRITE'), () => 3);
  t.is(returned, 0);
  t.is(bytes.length, 24);
  t.deepEqual(header(bytes), [24, 0, 4, 0]);
  t.is(bytes.readUInt32LE(16), 3);
});

test('data is sent from where it lies, in order', (t) => {
  const { bytes } = answered(t, fixtureNamed('WRITE').fill(15, 4, 5).fill(3, 56, 57), (slot) => {
    slot.payload.set(Buffer.from('xyz'));
    slot.iovec.add(slot.payloadAddress + 2, 1);
    slot.iovec.add(slot.payloadAddress, 2);
    return 3;
  });
  t.deepEqual(header(bytes), [19, 0, 4, 0]);
  t.is(bytes.toString('utf8', 16), 'zxy');
});

test('the mark of a resent request is kept in its answer', (t) => {
  const request = fixtureNamed('FSYNC');
  request.writeUInt32LE(0x80000000, 12);
  t.deepEqual(header(answered(t, request, () => 0).bytes), [16, 0, 4, 0x80000000]);
});

test('errors are sent alone; those that the kernel would not take, and data that is not there, become EIO', (t) => {
  t.deepEqual(header(answered(t, fixtureNamed('WRITE'), () => -errno.ENOSPC).bytes), [16, -28, 4, 0]);
  t.deepEqual(header(answered(t, fixtureNamed('WRITE'), () => -512).bytes), [16, -5, 4, 0]);
  const promisedTooMuch = answered(t, fixtureNamed('READ'), (slot, error) => {
    t.is(error, -errno.EINVAL, 'more than these slots hold');
    slot.iovec.add(slot.payloadAddress, 2);
    return 3;
  });
  t.deepEqual(header(promisedTooMuch.bytes), [16, -5, 4, 0]);
  t.deepEqual(header(answered(t, fixtureNamed('WRITE').fill(99, 4, 5), (_slot, error) => error).bytes), [16, -38, 4, 0]);
});

test('what nobody waits for is not answered', (t) => {
  t.is(answered(t, fixtureNamed('FORGET'), () => NO_REPLY).bytes.length, 0);
  t.is(answered(t, fixtureNamed('READ').subarray(0, 20), (_slot, error) => error).bytes.length, 0);
});

test('an answer that can not be written is reported', (t) => {
  const slot = slotsFor(t, 1).slot(0);
  receive(slot, 999_999, fixtureNamed('FSYNC'));
  t.is(sendAnswer(slot, 0), -errno.EBADF);
});

test('the answer to a request from within the process is left in its slot, data put together', async (t) => {
  const slots = slotsFor(t, 1);
  const slot = slots.slot(0);
  const read = fixtureNamed('READ');
  read.writeUInt32LE(4096, 56);
  receive(slot, LOCAL_FD, read);
  slot.expectAnswer();
  t.is(slot.answerIfLeft, undefined);
  const waiting = slot.answerLeft();
  const elsewhere = new RequestSlots(slots.handle).slot(0);
  elsewhere.reopen();
  elsewhere.payload.set(Buffer.from('abcd'));
  elsewhere.iovec.add(elsewhere.payloadAddress + 2, 2);
  elsewhere.iovec.add(elsewhere.payloadAddress, 2);
  t.is(sendAnswer(elsewhere, 4), 0);
  t.is(await waiting, 4);
  t.is(slot.answerIfLeft, 4);
  t.is(Buffer.from(slot.payload.subarray(0, 4)).toString(), 'cdab');
  slot.expectAnswer();
  sendAnswer(elsewhere, -errno.EIO);
  t.is(await slot.answerLeft(), -errno.EIO);
  slot.expectAnswer();
  sendAnswer(elsewhere, 3);
  t.is(await slot.answerLeft(), -errno.EIO, 'data that was promised and is not there');
});
