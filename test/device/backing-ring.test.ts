import { once } from 'node:events';
import * as fs from 'node:fs';
import * as path from 'node:path';
import { Worker } from 'node:worker_threads';
import test, { type ExecutionContext } from 'ava';
import fc from 'fast-check';
import type { BackingRing } from '../../src/device/backing-ring.js';
import { errno } from '../../src/device/errno-codes.js';
import { openBackingDevice, type FileBackingDevice, type OpenBackingDeviceOptions } from '../../src/device/file-backing-device.js';
import { whyNoIoUring } from '../../src/device/io-uring.js';
import { WakeEvent, closeWakeEvent, createWakeEvent } from '../../src/device/wake-event.js';
import type { PcacheError } from '../../src/errors.js';
import { alignedBuffer } from '../../src/gateway/aligned-buffer.js';
import { FaultMount } from '../support/fault-mount.js';
import { attachedLoop, noLoopDevices } from '../support/loop.js';
import { noFuse } from '../support/mounted.js';
import { isRoot, memoryFolder, smallTmpfs, temporaryFolder } from '../support/tmp.js';
import { drain } from './drain-queue.js';

const KIB = 1024;
const noRing = whyNoIoUring()?.message;

/** A test of a ring that needs something more besides; skipped, with the reason, where it is not there. */
function ringTest(title: string, lacks: string | undefined, body: (t: ExecutionContext) => Promise<void> | void): void {
  const why = noRing ?? lacks;
  if (why === undefined) test(title, body);
  else test.skip(`${title} (skipped: ${why})`, body);
}

function fileOf(t: ExecutionContext, sizeBytes: number, folder = temporaryFolder(t)): string {
  const file = path.join(folder, 'backing');
  fs.closeSync(fs.openSync(file, 'w'));
  fs.truncateSync(file, sizeBytes);
  return file;
}

function opened(
  t: ExecutionContext,
  file: string,
  depth: number,
  options?: OpenBackingDeviceOptions,
): { device: FileBackingDevice; ring: BackingRing } {
  const device = openBackingDevice(file, options);
  t.teardown(() => device.close());
  const ring = device.ring(depth)!;
  t.teardown(() => ring.close());
  return { device, ring };
}

function outcomeOf(call: () => void): string | undefined {
  try {
    call();
    return undefined;
  } catch (error) {
    return (error as PcacheError).message;
  }
}

function failed(call: () => void): PcacheError {
  try {
    call();
  } catch (error) {
    return error as PcacheError;
  }
  throw new Error('it did not fail');
}

/** Rounds of reads and writes of any sectors that do not overlap, all of a round in flight together, against a flat array. */
function checkAgainstArray(device: FileBackingDevice, ring: BackingRing): void {
  const sectors = device.sizeBytes / 512;
  const operation = fc.record({
    write: fc.boolean(),
    gap: fc.nat(9),
    sectors: fc.oneof(fc.integer({ min: 1, max: 20 }), fc.constantFrom(8, 64, 256)),
    isAligned: fc.boolean(),
    misalignment: fc.constantFrom(0, 0, 0, 512, 1, 1000),
    value: fc.integer({ min: 1, max: 255 }),
  });
  const expected = new Uint8Array(device.sizeBytes);
  device.read(0, expected, 0, expected.length);
  fc.assert(
    fc.property(fc.array(fc.array(operation, { maxLength: 12 }), { maxLength: 4 }), (rounds) => {
      for (const round of rounds) {
        const reads: { memory: Uint8Array; from: number; length: number; offset: number }[] = [];
        let at = 0;
        for (const [token, { write, gap, sectors: wanted, isAligned, misalignment, value }] of round.entries()) {
          const first = isAligned ? Math.ceil((at + gap) / 8) * 8 : at + gap;
          const length = Math.min(wanted, sectors - first) * 512;
          if (length <= 0) break;
          at = first + length / 512;
          const memory = alignedBuffer(length + 1001).fill(0xee);
          if (write) {
            for (let i = 0; i < length; i++) memory[misalignment + i] = (value + i * 7) & 0xff;
            expected.set(memory.subarray(misalignment, misalignment + length), first * 512);
            if (!ring.submitWrite(token, first * 512, memory, misalignment, length)) throw new Error('no room for a write');
          } else {
            reads.push({ memory, from: misalignment, length, offset: first * 512 });
            if (!ring.submitRead(token, first * 512, memory, misalignment, length)) throw new Error('no room for a read');
          }
        }
        for (const error of drain(ring).values()) if (error !== undefined) throw error;
        for (const { memory, from, length, offset } of reads) {
          const got = memory.subarray(from, from + length);
          if (Buffer.compare(got, expected.subarray(offset, offset + length)) !== 0) throw new Error(`wrong bytes at ${offset}`);
          if (memory[from + length] !== 0xee) throw new Error('wrote beyond the range');
        }
      }
    }),
    { numRuns: 40 },
  );
  const all = new Uint8Array(device.sizeBytes);
  device.read(0, all, 0, all.length);
  if (Buffer.compare(all, expected) !== 0) throw new Error('wrong bytes at the end');
}

ringTest('a file is a flat array of sectors for requests of every offset, length and alignment in flight together', undefined, (t) => {
  const { device, ring } = opened(t, fileOf(t, 512 * KIB), 12);
  t.log(`alignment: ${JSON.stringify(device.handle.alignment)}`);
  t.notThrows(() => checkAgainstArray(device, ring));
});

ringTest('so is a file through the page cache', undefined, (t) => {
  const { device, ring } = opened(t, fileOf(t, 300 * 512), 12, { direct: 'never' });
  t.notThrows(() => checkAgainstArray(device, ring));
});

ringTest('so is a file on tmpfs', undefined, (t) => {
  const folder = memoryFolder(t);
  if (folder === undefined) {
    t.pass('skipped: no writable /dev/shm');
    return;
  }
  const { device, ring } = opened(t, fileOf(t, 512 * KIB, folder), 12);
  t.notThrows(() => checkAgainstArray(device, ring));
});

ringTest('so is a block device with sectors of 4096 bytes', noLoopDevices, (t) => {
  const loop = attachedLoop(t, fileOf(t, 512 * KIB), { sectorBytes: 4096, directIo: false });
  const { device, ring } = opened(t, loop, 12);
  t.is(device.handle.alignment.offsetBytes, 4096);
  t.notThrows(() => checkAgainstArray(device, ring));
  t.true(ring.submitFlush(1));
  t.deepEqual([...drain(ring)], [[1, undefined]]);
});

ringTest('threads that write different sectors of the same blocks do not undo each other', noLoopDevices, async (t) => {
  const loop = attachedLoop(t, fileOf(t, 64 * KIB), { sectorBytes: 4096, directIo: false });
  const device = openBackingDevice(loop);
  t.teardown(() => device.close());
  const workers = [0, 1, 2, 3].map((remainder) => {
    return new Worker(new URL('./file-backing-worker.js', import.meta.url), {
      workerData: { handle: device.handle, remainder, depth: 4 },
    });
  });
  const codes = await Promise.all(workers.map(async (worker) => (await once(worker, 'exit'))[0] as unknown));
  t.deepEqual(codes, [0, 0, 0, 0]);
  const all = new Uint8Array(device.sizeBytes);
  device.read(0, all, 0, all.length);
  for (let sector = 0; sector < all.length / 512; sector++) t.is(all[sector * 512], (sector % 4) + 1, `sector ${sector}`);
});

ringTest('no more requests than the depth are taken, whatever they are, until completions are taken', undefined, (t) => {
  const { ring } = opened(t, fileOf(t, 64 * KIB), 3);
  const memory = alignedBuffer(8 * KIB);
  t.is(ring.depth, 3);
  t.true(ring.submitRead(10, 0, memory, 0, 4096));
  // From memory that suits no direct I/O: done at once, and counted all the same.
  t.true(ring.submitRead(11, 8192, memory, 4097, 512));
  t.true(ring.submitFlush(12));
  t.is(ring.inFlight, 3);
  t.false(ring.submitRead(13, 0, memory, 0, 4096));
  t.false(ring.submitWrite(13, 0, memory, 0, 4096));
  t.false(ring.submitFlush(13));
  ring.wait(3);
  t.is(ring.inFlight, 3);
  t.true(ring.next());
  t.is(ring.inFlight, 2);
  t.true(ring.submitWrite(14, 0, memory, 0, 4096));
  t.false(ring.submitRead(15, 0, memory, 0, 4096));
  t.is(drain(ring).size, 3);
  t.false(ring.next());
});

ringTest('to wait for more than is in flight, or for nothing, does not block', undefined, (t) => {
  const { ring } = opened(t, fileOf(t, 64 * KIB), 4);
  ring.wait(0);
  ring.wait(5);
  t.true(ring.submitRead(1, 0, alignedBuffer(4096), 0, 4096));
  ring.wait(9);
  t.true(ring.next());
  t.is(ring.completedToken, 1);
});

ringTest('ranges that are not sectors of the device are refused as the device refuses them, and take no place', undefined, (t) => {
  const { ring } = opened(t, fileOf(t, 8192), 1);
  const memory = new Uint8Array(1024);
  for (const [offset, memoryOffset, length] of [
    [1, 0, 512],
    [0, 0, 100],
    [8192, 0, 512],
    [0, 600, 512],
    [0, -1, 512],
  ] as const) {
    t.throws(() => ring.submitRead(0, offset, memory, memoryOffset, length), { instanceOf: RangeError });
    t.throws(() => ring.submitWrite(0, offset, memory, memoryOffset, length), { instanceOf: RangeError });
  }
  t.is(ring.inFlight, 0);
});

ringTest(
  'a read beyond the end of a file that shrank is the error of read(), and others in flight are not touched by it',
  undefined,
  (t) => {
    const file = fileOf(t, 64 * KIB);
    const { device, ring } = opened(t, file, 8);
    fs.truncateSync(file, 16 * KIB);
    const memory = alignedBuffer(64 * KIB);
    for (let i = 0; i < 8; i++) t.true(ring.submitRead(i, i * 8 * KIB, memory, i * 8 * KIB, 8 * KIB));
    const outcomes = drain(ring);
    for (let i = 0; i < 8; i++) {
      const error = outcomes.get(i);
      if (i < 2) {
        t.is(error, undefined, `read ${i}`);
        continue;
      }
      const expected = failed(() => device.read(i * 8 * KIB, memory, 0, 8 * KIB));
      t.deepEqual([error?.message, error?.code, error?.errno], [expected.message, 'io', errno.EIO]);
    }
  },
);

ringTest('a write to a device that was opened for reading fails as write() does', undefined, (t) => {
  const { device, ring } = opened(t, fileOf(t, 8192), 2, { readOnly: true });
  const memory = alignedBuffer(4096);
  const expected = failed(() => device.write(4096, memory, 0, 4096));
  t.true(ring.submitWrite(1, 4096, memory, 0, 4096));
  const error = drain(ring).get(1);
  t.deepEqual([error?.message, error?.code, error?.errno], [expected.message, expected.code, errno.EBADF]);
});

ringTest('a full disk under a sparse file is no-space, as it is for write()', isRoot ? undefined : 'needs root', (t) => {
  const file = fileOf(t, 8 * KIB * KIB, smallTmpfs(t, KIB * KIB));
  const { device, ring } = opened(t, file, 2);
  const memory = alignedBuffer(4 * KIB * KIB);
  t.true(ring.submitWrite(1, 0, memory, 0, memory.length));
  const error = drain(ring).get(1);
  const expected = failed(() => device.write(0, memory, 0, memory.length));
  t.deepEqual([error?.message, error?.code, error?.errno], [expected.message, 'no-space', errno.ENOSPC]);
});

ringTest('a transfer that ends early goes on, or fails as the synchronous call does', noFuse, async (t) => {
  const mount = await FaultMount.start(t, { sizeBytes: 256 * KIB });
  const { device, ring } = opened(t, mount.file, 4);
  const pattern = alignedBuffer(64 * KIB).map((_, i) => (i * 31 + (i >> 9)) & 0xff);
  const source = alignedBuffer(64 * KIB);
  source.set(pattern);
  for (const shortBytes of [0, 100, 4096, 20_000, -1]) {
    await mount.set({ shortBytes });
    const target = alignedBuffer(64 * KIB);
    t.true(ring.submitWrite(1, 64 * KIB, source, 0, 64 * KIB));
    const written = drain(ring).get(1);
    t.true(ring.submitRead(2, 64 * KIB, target, 0, 64 * KIB));
    const read = drain(ring).get(2);
    const wanted = {
      written: outcomeOf(() => device.write(64 * KIB, source, 0, 64 * KIB)),
      read: outcomeOf(() => device.read(64 * KIB, alignedBuffer(64 * KIB), 0, 64 * KIB)),
    };
    t.deepEqual({ written: written?.message, read: read?.message }, wanted, `no more than ${shortBytes} bytes`);
    if (read === undefined) t.true(Buffer.from(target).equals(pattern), `bytes, ${shortBytes}`);
    t.is(wanted.read === undefined, shortBytes >= 512 || shortBytes < 0);
  }
});

ringTest('a device that fails is told of by each request, with the text of the synchronous call', noFuse, async (t) => {
  const mount = await FaultMount.start(t, { sizeBytes: 256 * KIB });
  const { device, ring } = opened(t, mount.file, 4);
  const memory = alignedBuffer(4096);
  await mount.set({ readErrno: errno.EIO, writeErrno: errno.ENOSPC, fsyncErrno: errno.EIO });
  t.true(ring.submitRead(1, 4096, memory, 0, 4096));
  t.true(ring.submitWrite(2, 8192, memory, 0, 4096));
  t.true(ring.submitFlush(3));
  const outcomes = drain(ring);
  const expected = [
    failed(() => device.read(4096, memory, 0, 4096)),
    failed(() => device.write(8192, memory, 0, 4096)),
    failed(() => device.flush()),
  ];
  for (const [i, { message, code, errno: number }] of expected.entries()) {
    const error = outcomes.get(i + 1);
    t.deepEqual([error?.message, error?.code, error?.errno], [message, code, number]);
  }
  await mount.heal();
  t.true(ring.submitFlush(4));
  t.deepEqual([...drain(ring)], [[4, undefined]]);
});

ringTest('flushes that come while one is under way share the next; if it fails, they fail with it', noFuse, async (t) => {
  const mount = await FaultMount.start(t, { sizeBytes: 256 * KIB });
  const { ring } = opened(t, mount.file, 8);
  for (const [fsyncErrno, fsyncs] of [
    [0, 2],
    [errno.EIO, 1],
  ] as const) {
    const before = (await mount.set({ hangs: 1, fsyncErrno })).fsyncs;
    t.true(ring.submitFlush(1));
    await untilHanging(mount, ring, 1);
    for (const token of [2, 3, 4]) t.true(ring.submitFlush(token));
    ring.wait(0);
    t.false(ring.next());
    await mount.set({ hangs: 0 });
    const outcomes = drain(ring);
    t.deepEqual([...outcomes.keys()].sort(), [1, 2, 3, 4]);
    for (const error of outcomes.values()) t.is(error?.errno, fsyncErrno === 0 ? undefined : fsyncErrno);
    t.is((await mount.counts()).fsyncs - before, fsyncs);
    await mount.heal();
  }
});

ringTest('all requests of a file system that makes its callers wait are under way at the same time', noFuse, async (t) => {
  const mount = await FaultMount.start(t, { sizeBytes: 256 * KIB });
  const { ring } = opened(t, mount.file, 12);
  await mount.set({ hangs: 1 });
  const memory = alignedBuffer(12 * 4096);
  for (let i = 0; i < 12; i++) t.true(ring.submitRead(i, i * 4096, memory, i * 4096, 4096));
  // As many as the server has threads, and more than the kernel lets wait by default on a machine with two processors.
  t.is(await untilHanging(mount, ring, 12), 12);
  await mount.heal();
  t.deepEqual([...drain(ring).values()], new Array(12).fill(undefined));
});

ringTest('what is watched ends a sleep, as often as it happens, and so does the interval', undefined, (t) => {
  const eventFd = createWakeEvent();
  t.teardown(() => closeWakeEvent(eventFd));
  const { ring } = opened(t, fileOf(t, 64 * KIB), 2);
  const event = new WakeEvent(eventFd);
  ring.watch(eventFd, 3_600_000);
  for (let round = 0; round < 3; round++) {
    event.wake();
    ring.sleep();
  }
  t.true(ring.submitRead(7, 0, alignedBuffer(4096), 0, 4096));
  while (!ring.next()) ring.sleep();
  t.is(ring.completedToken, 7);
  // Nobody writes this one.
  const second = opened(t, fileOf(t, 64 * KIB), 2).ring;
  second.watch(eventFd, 1);
  for (let round = 0; round < 3; round++) second.sleep();
  t.false(second.next());
});

ringTest('a ring that is closed leaves what it watched to others', undefined, (t) => {
  const eventFd = createWakeEvent();
  t.teardown(() => closeWakeEvent(eventFd));
  const device = openBackingDevice(fileOf(t, 64 * KIB));
  t.teardown(() => device.close());
  const first = device.ring(1)!;
  first.watch(eventFd, 3_600_000);
  first.wait(0);
  t.true(first.submitRead(1, 0, alignedBuffer(4096), 0, 4096));
  first.close();
  const second = device.ring(1)!;
  t.teardown(() => second.close());
  second.watch(eventFd, 3_600_000);
  new WakeEvent(eventFd).wake();
  // It would sleep for an hour if the first had taken the event.
  second.sleep();
  t.false(second.next());
});

test('where io_uring is forbidden, a queue does each request when it is submitted', async (t) => {
  const file = fileOf(t, 64 * KIB);
  const device = openBackingDevice(file);
  t.teardown(() => device.close());
  const worker = new Worker(new URL('./no-io-uring-worker.js', import.meta.url), { workerData: device.handle });
  const [[message]] = await Promise.all([once(worker, 'message') as Promise<[unknown]>, once(worker, 'exit')]);
  t.deepEqual(message, { errno: errno.EPERM, hasRing: false, isSynchronous: true, outcomes: [true, true, false], tokens: [1, 2] });
  t.deepEqual(fs.readFileSync(file).subarray(4095, 4098), Buffer.from([0, 6, 6]));
});

/** Looks, a bounded number of times, until so many requests hang. @returns how many do */
async function untilHanging(mount: FaultMount, ring: BackingRing, wanted: number): Promise<number> {
  for (let look = 0; look < 500; look++) {
    ring.wait(0);
    const { hanging } = await mount.counts();
    if (hanging >= wanted) return hanging;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  return (await mount.counts()).hanging;
}
