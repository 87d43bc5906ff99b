import { closeSync, openSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import { IoUring, whyNoIoUring } from '../../src/device/io-uring.js';
import { addressOf } from '../../src/device/libc.js';
import { IORING_OP_READ } from '../../src/device/linux-constants.js';
import { temporaryFolder } from '../support/tmp.js';

const reason = whyNoIoUring()?.message;
const ringTest = reason === undefined ? test : test.skip;
const suffix = reason === undefined ? '' : ` (${reason})`;

/** Prepares a read of a file from an offset. */
function prepareRead(ring: IoUring, userData: number, fd: number, memory: Uint8Array, offset: number): void {
  const at = ring.prepare(IORING_OP_READ, userData);
  const address = addressOf(memory);
  ring.sqes[at + 1] = fd;
  ring.sqes[at + 2] = offset;
  ring.sqes[at + 4] = address;
  ring.sqes[at + 5] = Math.floor(address / 2 ** 32);
  ring.sqes[at + 6] = memory.length;
}

ringTest(`what was prepared is done, and completed with its user_data, also when the indices wrap${suffix}`, (t) => {
  const fd = openSync(join(temporaryFolder(t), 'file'), 'w+');
  const ring = new IoUring(4);
  try {
    const bytes = Uint8Array.from({ length: 8192 }, (_, i) => (i * 7 + (i >> 8)) & 0xff);
    writeSync(fd, bytes);
    for (let round = 0; round < 10; round++) {
      const targets = Array.from({ length: 3 }, () => new Uint8Array(1000));
      for (const [i, target] of targets.entries()) prepareRead(ring, 100 * round + i, fd, target, round * 10 + i * 1000);
      t.is(ring.prepared, 3);
      t.is(ring.submitAndWait(3), 0);
      t.is(ring.prepared, 0);
      const seen: number[] = [];
      while (ring.next()) {
        t.is(ring.completedResult, 1000);
        seen.push(ring.completedData);
      }
      t.deepEqual(
        seen.sort((a, b) => a - b),
        [0, 1, 2].map((i) => 100 * round + i),
      );
      for (const [i, target] of targets.entries()) t.deepEqual(target, bytes.subarray(round * 10 + i * 1000, round * 10 + i * 1000 + 1000));
    }
  } finally {
    ring.close();
    closeSync(fd);
  }
});

ringTest(`an entry that fails completes with -errno, and a full ring gives none${suffix}`, (t) => {
  const ring = new IoUring(2);
  try {
    const memory = new Uint8Array(4096);
    prepareRead(ring, 1, 1_000_000, memory, 0);
    prepareRead(ring, 2, 1_000_000, memory, 0);
    t.is(ring.prepare(IORING_OP_READ, 3), -1);
    t.is(ring.submitAndWait(2), 0);
    for (const data of [1, 2]) {
      t.true(ring.next());
      t.deepEqual([ring.completedData, ring.completedResult], [data, -9]);
    }
    t.false(ring.next());
  } finally {
    ring.close();
  }
});
