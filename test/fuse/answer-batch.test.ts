// Answers that are sent together, to pipes in place of the kernel.

import { closeSync, openSync, readSync } from 'node:fs';
import test, { type ExecutionContext } from 'ava';
import { errno } from '../../src/device/errno-codes.js';
import { socketpair, view } from '../../src/device/libc.js';
import { AF_UNIX, SOCK_CLOEXEC, SOCK_STREAM } from '../../src/device/linux-constants.js';
import { AnswerBatch } from '../../src/fuse/answer-batch.js';
import { NO_REPLY } from '../../src/fuse/file-system.js';
import { RequestSlots, createRequestSlots, destroyRequestSlots, type RequestSlot } from '../../src/fuse/request-slots.js';
import { IN_HEADER, OUT_HEADER, READ_IN } from '../../src/fuse/structs.js';
import { requestOf, rowNamed } from './request-noise.js';

const SLOTS = 8;
const BATCH = 4;
const ANSWER_BYTES = OUT_HEADER.bytes + 2;

interface Rig {
  /** A READ of two bytes that came from `fd`, whose answer is its number twice. */
  readonly request: (unique: number, fd?: number) => RequestSlot;
  /** What has been written so far: unique, error, bytes. */
  readonly written: (count: number) => { unique: number; error: number; data: number[] }[];
  readonly batch: AnswerBatch;
  /** Sends the batch, and gives the slots back. @returns what became of each */
  readonly send: () => { index: number; failure: number }[];
}

function rigOf(t: ExecutionContext): Rig {
  const handle = createRequestSlots(64 * 1024, SLOTS);
  const slots = new RequestSlots(handle);
  const [ours, theirs] = socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC);
  const batch = new AnswerBatch(BATCH);
  t.teardown(() => {
    batch.close();
    closeSync(ours);
    closeSync(theirs);
    destroyRequestSlots(handle);
  });
  const request = (unique: number, fd = theirs): RequestSlot => {
    const slot = slots.take(0)!;
    const { opcode, structureBytes } = rowNamed('READ');
    const bytes = requestOf({ opcode, structureBytes, nodeid: 2n, fields: [[READ_IN.size, 2] as const] });
    new DataView(bytes.buffer, bytes.byteOffset).setBigUint64(IN_HEADER.unique, BigInt(unique), true);
    new Uint8Array(view(slot.requestAddress, bytes.length)).set(bytes);
    t.is(slot.receive(fd, bytes.length), 0);
    slot.payload.fill(unique, 0, 2);
    slot.iovec.add(slot.payloadAddress, 2);
    return slot;
  };
  const written = (count: number): { unique: number; error: number; data: number[] }[] => {
    const bytes = Buffer.alloc(count * ANSWER_BYTES + 1);
    const length = count === 0 ? 0 : readSync(ours, bytes);
    t.is(length, count * ANSWER_BYTES);
    return Array.from({ length: count }, (_, i) => {
      const at = i * ANSWER_BYTES;
      t.is(bytes.readUInt32LE(at), ANSWER_BYTES);
      const data = [...bytes.subarray(at + OUT_HEADER.bytes, at + ANSWER_BYTES)];
      return { error: bytes.readInt32LE(at + 4), unique: Number(bytes.readBigUInt64LE(at + 8)), data };
    });
  };
  const send = (): { index: number; failure: number }[] => {
    const announced: number[] = [];
    const sent: { index: number; failure: number }[] = [];
    batch.send(
      ({ index }) => announced.push(sent.length === 0 ? index : -1),
      (slot, failure) => {
        sent.push({ index: slot.index, failure });
        slots.give(slot);
      },
    );
    t.deepEqual(
      announced,
      sent.map(({ index }) => index),
    );
    return sent;
  };
  return { request, written, batch, send };
}

const answerTo = (unique: number): { unique: number; error: number; data: number[] } => ({ unique, error: 0, data: [unique, unique] });

for (const count of [1, 2, BATCH]) {
  test(`${count} answers are sent in order, and every slot comes back once`, (t) => {
    const { request, written, batch, send } = rigOf(t);
    for (let round = 0; round < 100; round++) {
      const slots = Array.from({ length: count }, (_, i) => request(i + 1));
      for (const slot of slots) batch.add(slot, 2);
      t.is(batch.count, count);
      t.is(batch.isFull, count === BATCH);
      const sent = send();
      t.true(batch.isEmpty);
      t.deepEqual(
        sent,
        slots.map(({ index }) => ({ index, failure: 0 })),
      );
      t.deepEqual(
        written(count),
        slots.map((_, i) => answerTo(i + 1)),
      );
    }
  });
}

test('what needs no answer is given back unsent, and an answer that can not be written fails alone', (t) => {
  const { request, written, batch, send } = rigOf(t);
  const unwritable = openSync('/dev/null', 'r');
  t.teardown(() => closeSync(unwritable));
  const slots = [request(1), request(2), request(3, unwritable), request(4)];
  batch.add(slots[0]!, 2);
  batch.add(slots[1]!, NO_REPLY);
  batch.add(slots[2]!, 2);
  batch.add(slots[3]!, 2);
  t.deepEqual(
    send().map(({ failure }) => failure),
    [0, 0, -errno.EBADF, 0],
  );
  t.deepEqual(written(2), [answerTo(1), answerTo(4)]);
});
