// Which requests a queue worker has timed while it sends answers together. A socket takes the place of /dev/fuse: a message is a request, or an answer.

import { closeSync, writeSync } from 'node:fs';
import test from 'ava';
import { socketpair } from '../../src/device/libc.js';
import { AF_UNIX, SOCK_CLOEXEC } from '../../src/device/linux-constants.js';
import { closeWakeEvent, createWakeEvent } from '../../src/device/wake-event.js';
import { serveQueue } from '../../src/fuse/dev-fuse-transport.js';
import type { FileSystem } from '../../src/fuse/file-system.js';
import { RequestSlots, createRequestSlots, destroyRequestSlots } from '../../src/fuse/request-slots.js';
import type { FuseRequest } from '../../src/fuse/request.js';
import { setNonBlocking } from '../../src/fuse/session.js';
import { READ_IN } from '../../src/fuse/structs.js';
import { requestOf, rowNamed } from './request-noise.js';

const SOCK_SEQPACKET = 5;
const REQUESTS = 60;
/** By their number. From the sixteenth on answers are held back, so the later ones end batches that began before them. */
const TIMED = [1, 2, 22, 31, 34, 47];

test('of answers that are sent together, only that of the request that is timed counts as answered', (t) => {
  const [kernel, fd] = socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC);
  setNonBlocking(fd);
  const wakeFd = createWakeEvent();
  const handle = createRequestSlots(64 * 1024, 16);
  t.teardown(() => {
    closeSync(kernel);
    closeSync(fd);
    closeWakeEvent(wakeFd);
    destroyRequestSlots(handle);
  });
  const { opcode, structureBytes } = rowNamed('READ');
  for (let number = 1; number <= REQUESTS; number++) {
    writeSync(kernel, requestOf({ opcode, structureBytes, fields: [[READ_IN.offset, BigInt(number)] as const] }));
  }
  const stopWord = new Int32Array(new SharedArrayBuffer(4));
  const files: Pick<FileSystem, 'read'> = {
    read: ({ offsetBytes }: FuseRequest) => {
      if (offsetBytes === REQUESTS) stopWord[0] = 1;
      return 0;
    },
  };
  let arrived = 0;
  let batches = 0;
  const counted: [arrived: number, answered: number][] = [];
  const timer = {
    isTiming: false,
    arrive: () => {
      arrived++;
      timer.isTiming = TIMED.includes(arrived);
    },
    answered: ({ request }: { request: FuseRequest }) => {
      batches++;
      if (timer.isTiming) counted.push([arrived, request.offsetBytes]);
      timer.isTiming = false;
    },
  };
  const onError = (operation: string, error: unknown): void => t.fail(`${operation}: ${String(error)}`);
  const slots = new RequestSlots(handle);
  t.is(serveQueue({ fd, eagerFd: fd, wakeFd, slots, fileSystem: files as FileSystem, stopWord, timer, onError }), 'stopped');
  t.is(arrived, REQUESTS);
  t.deepEqual(
    counted,
    TIMED.map((number) => [number, number]),
  );
  t.true(batches < REQUESTS, 'answers were sent together');
  t.is(slots.freeCount, 16);
});
