// A device's write queue: Linux AIO on real files, on a file system whose calls go wrong on order, and in a process that dies.

import { fork } from 'node:child_process';
import { once } from 'node:events';
import * as fs from 'node:fs';
import * as path from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { BackingAio } from '../../src/device/backing-aio.js';
import { openWriteQueue } from '../../src/device/backing-queue.js';
import type { BackingQueue } from '../../src/device/backing-queue.js';
import { errno } from '../../src/device/errno-codes.js';
import { openBackingDevice, type FileBackingDevice } from '../../src/device/file-backing-device.js';
import { seededRandom } from '../../src/device/seeded-random.js';
import type { PcacheError } from '../../src/errors.js';
import { alignedBuffer } from '../../src/gateway/aligned-buffer.js';
import { FaultMount } from '../support/fault-mount.js';
import { attachedLoop, noLoopDevices } from '../support/loop.js';
import { noFuse } from '../support/mounted.js';
import { temporaryFolder } from '../support/tmp.js';
import { drain } from './drain-queue.js';

const KIB = 1024;

function opened(t: ExecutionContext, file: string, depth: number): { device: FileBackingDevice; queue: BackingQueue } {
  const device = openBackingDevice(file);
  t.teardown(() => device.close());
  const queue = openWriteQueue(device, depth);
  t.teardown(() => queue.close());
  return { device, queue };
}

function fileOf(t: ExecutionContext, sizeBytes: number): string {
  const file = path.join(temporaryFolder(t), 'backing');
  fs.writeFileSync(file, new Uint8Array(sizeBytes));
  return file;
}

function messageOf(call: () => void): string | undefined {
  try {
    call();
    return undefined;
  } catch (error) {
    return (error as PcacheError).message;
  }
}

test('a device on files has AIO for its writes', (t) => {
  const { queue } = opened(t, fileOf(t, 64 * KIB), 4);
  t.true(queue instanceof BackingAio);
  t.is(queue.depth, 4);
});

test('many writes and reads together, of blocks and parts of blocks, do what they say', (t) => {
  const { device, queue } = opened(t, fileOf(t, 1024 * KIB), 16);
  const random = seededRandom(7);
  const pick = (below: number): number => Math.floor(random() * below);
  const expected = new Uint8Array(device.sizeBytes);
  for (let round = 0; round < 60; round++) {
    const reads: { memory: Uint8Array; from: number; length: number; offset: number }[] = [];
    let sector = pick(64);
    for (let token = 0; token < 16; token++) {
      const isAligned = pick(3) > 0;
      const first = isAligned ? Math.ceil(sector / 8) * 8 : sector;
      const sectors = isAligned ? 8 * (1 + pick(8)) : 1 + pick(20);
      if (first + sectors > 2048) break;
      sector = first + sectors + pick(40);
      const length = sectors * 512;
      const from = pick(4) === 0 ? 3 : 0;
      const memory = alignedBuffer(length + 8);
      if (pick(3) > 0) {
        for (let at = 0; at < length; at++) memory[from + at] = pick(256);
        expected.set(memory.subarray(from, from + length), first * 512);
        t.true(queue.submitWrite(token, first * 512, memory, from, length));
      } else {
        reads.push({ memory, from, length, offset: first * 512 });
        t.true(queue.submitRead(token, first * 512, memory, from, length));
      }
    }
    for (const error of drain(queue).values()) if (error !== undefined) throw error;
    for (const { memory, from, length, offset } of reads) {
      t.is(Buffer.compare(memory.subarray(from, from + length), expected.subarray(offset, offset + length)), 0);
    }
  }
  const all = new Uint8Array(device.sizeBytes);
  device.read(0, all, 0, all.length);
  t.is(Buffer.compare(all, expected), 0);
});

test('it takes as many requests as it is deep, each completes once, and a flush is one', (t) => {
  const { queue } = opened(t, fileOf(t, 64 * KIB), 3);
  const memory = alignedBuffer(4096);
  t.true(queue.submitWrite(11, 0, memory, 0, 4096));
  t.true(queue.submitFlush(12));
  t.true(queue.submitWrite(13, 4096, memory, 0, 4096));
  t.false(queue.submitWrite(14, 8192, memory, 0, 4096));
  t.false(queue.submitFlush(15));
  t.is(queue.inFlight, 3);
  t.deepEqual([...drain(queue)].sort(), [
    [11, undefined],
    [12, undefined],
    [13, undefined],
  ]);
  t.false(queue.next());
  queue.wait(5);
  t.is(queue.inFlight, 0);
});

const onMount = noFuse === undefined ? test : test.skip;
const why = noFuse === undefined ? '' : ` (skipped: ${noFuse})`;

onMount(`transfers that end early, and devices that fail, are told of as by the synchronous call${why}`, async (t) => {
  const mount = await FaultMount.start(t, { sizeBytes: 256 * KIB });
  const { device, queue } = opened(t, mount.file, 4);
  const source = alignedBuffer(64 * KIB).fill(9);
  for (const shortBytes of [0, 100, 4096, 20_000, -1]) {
    await mount.set({ shortBytes });
    t.true(queue.submitWrite(1, 64 * KIB, source, 0, source.length));
    t.is(
      drain(queue).get(1)?.message,
      messageOf(() => device.write(64 * KIB, source, 0, source.length)),
      `no more than ${shortBytes} bytes`,
    );
  }
  await mount.set({ writeErrno: errno.ENOSPC, fsyncErrno: errno.EIO });
  t.true(queue.submitWrite(1, 0, source, 0, 4096));
  t.true(queue.submitFlush(2));
  const outcomes = drain(queue);
  t.is(outcomes.get(1)?.code, 'no-space');
  t.is(
    outcomes.get(1)?.message,
    messageOf(() => device.write(0, source, 0, 4096)),
  );
  t.is(
    outcomes.get(2)?.message,
    messageOf(() => device.flush()),
  );
});

const whyNoLoop = noFuse ?? noLoopDevices;
const onLoop = whyNoLoop === undefined ? test : test.skip;

onLoop(
  `a process that is killed is not gone before its writes are${whyNoLoop === undefined ? '' : ` (skipped: ${whyNoLoop})`}`,
  async (t) => {
    const mount = await FaultMount.start(t, { sizeBytes: 256 * KIB });
    // FUSE alone would do one write after another.
    const loop = attachedLoop(t, mount.file, { directIo: true });
    const child = fork(new URL('./backing-aio-child.js', import.meta.url), [loop]);
    t.teardown(() => child.kill('SIGKILL'));
    const within = { signal: AbortSignal.timeout(20_000) };
    t.is((await once(child, 'message', within))[0], 'open');
    await mount.set({ hangs: 1 });
    child.send('write');
    t.is((await once(child, 'message', within))[0], 'submitted');
    let isGone = false;
    const gone = once(child, 'exit', within).then(() => (isGone = true));
    child.kill('SIGKILL');
    await new Promise((resolve) => setTimeout(resolve, 300));
    t.false(isGone, 'its writes hang');
    await mount.heal();
    await gone;
    const bytes = fs.readFileSync(mount.bytesFile).subarray(0, 4 * 4096);
    t.is(bytes.filter((byte) => byte === 5).length, bytes.length);
  },
);
