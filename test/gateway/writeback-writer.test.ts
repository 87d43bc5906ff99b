// Many writes of a batch under way at a time, on a device that completes them in any order and only when somebody waits.

import test from 'ava';
import { errno } from '../../src/device/errno-codes.js';
import { seededRandom } from '../../src/device/seeded-random.js';
import { OutOfOrderQueue } from '../../src/device/simulated-backing-queue.js';
import type { OutOfOrderDevice } from '../../src/device/simulated-backing-queue.js';
import type { BackingDevice } from '../../src/device/device.js';
import { systemError } from '../../src/device/system-error.js';
import type { InlineVolume } from '../../src/gateway/inline-volume.js';
import { Maintenance } from '../../src/gateway/maintenance.js';
import { WRITE_BYTES_IN_FLIGHT_MAX, WRITE_BYTES_MAX, WRITE_DEPTH } from '../../src/gateway/writeback-writer.js';
import { payload } from '../support/model-payload.js';
import { MIB, Rig, layerOverBacking, sameBytes } from '../support/model-rig.js';

interface Seen {
  /** Most that was in flight together. */
  requests: number;
  bytes: number;
  /** Requests in flight when a flush was submitted. */
  atFlush: number[];
  writes: { offset: number; length: number }[];
}

/** A layer whose queue is watched; `fails` says which write, counted from 1, fails. */
function watched(rig: Rig, seen: Seen, fails: (write: number) => boolean = () => false): BackingDevice {
  let writes = 0;
  const inFlight = new Map<number, number>();
  const random = seededRandom(3);
  class Queue extends OutOfOrderQueue {
    override submitWrite(token: number, offset: number, source: Uint8Array, sourceOffset: number, length: number): boolean {
      const isTaken = super.submitWrite(token, offset, source, sourceOffset, length);
      if (!isTaken) throw new Error('more writes than the queue takes');
      inFlight.set(token, length);
      seen.requests = Math.max(seen.requests, inFlight.size);
      seen.bytes = Math.max(
        seen.bytes,
        [...inFlight.values()].reduce((sum, bytes) => sum + bytes, 0),
      );
      return true;
    }

    override submitFlush(token: number): boolean {
      seen.atFlush.push(this.inFlight);
      return super.submitFlush(token);
    }

    override next(): boolean {
      const has = super.next();
      if (has) inFlight.delete(this.completedToken);
      return has;
    }
  }
  const { backing } = rig;
  const device: OutOfOrderDevice = {
    read: (offset, target, targetOffset, length) => backing.read(offset, target, targetOffset, length),
    write(offset, source, sourceOffset, length) {
      seen.writes.push({ offset, length });
      if (fails(++writes)) throw systemError('simulated backing device: write', errno.EIO, 'io');
      backing.write(offset, source, sourceOffset, length);
    },
    startFlush: () => () => backing.flush(),
  };
  return layerOverBacking(backing, { writeQueue: (depth) => new Queue(device, depth, random) });
}

const nothingSeen = (): Seen => ({ requests: 0, bytes: 0, atFlush: [], writes: [] });

/** Pieces far apart, in an order that is not that of the volume. */
function writeScattered(volume: InlineVolume, count: number): void {
  for (let at = 0; at < count; at++) volume.write(((at * 37) % count) * 16_384, payload(at, 4096));
  volume.flush();
}

function isScattered(rig: Rig, count: number): boolean {
  for (let at = 0; at < count; at++) {
    if (!sameBytes(rig.backing.content(((at * 37) % count) * 16_384, 4096), payload(at, 4096))) return false;
  }
  return true;
}

test('small writes fill the depth, and the flush is submitted when all of them have completed', (t) => {
  const rig = new Rig({ volumeBytes: 8 * MIB });
  const seen = nothingSeen();
  const volume = rig.open({ backing: watched(rig, seen) });
  writeScattered(volume, 300);
  t.true(volume.writebackStep());
  t.is(seen.requests, WRITE_DEPTH);
  t.deepEqual(seen.atFlush, [0]);
  t.is(volume.dirtyBytes, 0);
  t.true(isScattered(rig, 300));
  volume.close();
});

test('of large writes few are in flight, each at most 1 MiB', (t) => {
  const rig = new Rig({ volumeBytes: 32 * MIB, cacheBytes: 160 * MIB });
  const seen = nothingSeen();
  const volume = rig.open({ backing: watched(rig, seen) });
  const bytes = new Uint8Array(20 * MIB);
  for (let at = 0; at < bytes.length; at += MIB) bytes.set(payload(at, MIB), at);
  volume.write(512, bytes);
  volume.flush();
  while (volume.writebackStep());
  t.true(seen.requests > 1 && seen.bytes > WRITE_BYTES_MAX, `${seen.requests} writes of ${seen.bytes} bytes`);
  t.true(seen.bytes < WRITE_BYTES_IN_FLIGHT_MAX + WRITE_BYTES_MAX, `${seen.bytes} bytes`);
  t.true(seen.writes.every(({ length }) => length <= WRITE_BYTES_MAX));
  t.true(
    seen.writes.every(({ offset, length }) => (offset + length) % 4096 === 0 || offset + length === 512 + bytes.length),
    'none ends within a page if more follows',
  );
  t.true(sameBytes(rig.backing.content(512, bytes.length), bytes));
  volume.close();
});

test('neighbours that lie apart in the cache are written together, and right', (t) => {
  const rig = new Rig({ volumeBytes: 8 * MIB });
  const seen = nothingSeen();
  const volume = rig.open({ backing: watched(rig, seen) });
  const wanted = new Uint8Array(3 * MIB);
  for (let at = 0; at < wanted.length / 8192; at++) {
    // Every second one first, so that those that follow each other in the volume do not in the cache.
    const place = ((at * 2) % (wanted.length / 8192)) + (at * 2 >= wanted.length / 8192 ? 1 : 0);
    const bytes = payload(at, 8192);
    wanted.set(bytes, place * 8192);
    volume.write(place * 8192, bytes);
  }
  volume.flush();
  t.true(volume.writebackStep());
  t.is(seen.writes.length, 3);
  t.true(sameBytes(rig.backing.content(0, wanted.length), wanted));
  volume.close();
});

test('many neighbours that lie apart in the cache take 32 buffers at most', (t) => {
  const rig = new Rig({ volumeBytes: 8 * MIB });
  const seen = nothingSeen();
  const volume = rig.open({ backing: watched(rig, seen) });
  const pairs = 200;
  // The second halves first.
  for (const half of [1, 0]) for (let at = 0; at < pairs; at++) volume.write(at * 16_384 + half * 4096, payload(at * 2 + half, 4096));
  volume.flush();
  t.true(volume.writebackStep());
  t.is(seen.writes.length, pairs);
  t.is(seen.requests, 32);
  for (let at = 0; at < pairs; at++) {
    for (const half of [1, 0]) {
      t.true(sameBytes(rig.backing.content(at * 16_384 + half * 4096, 4096), payload(at * 2 + half, 4096)), `${at} ${half}`);
    }
  }
  volume.close();
});

test('what lies together and is large is not copied to be written with a neighbour that lies elsewhere', (t) => {
  const rig = new Rig({ volumeBytes: 8 * MIB });
  const seen = nothingSeen();
  const volume = rig.open({ backing: watched(rig, seen) });
  // Last first, so that none lies behind the one before it.
  for (const [offset, length] of [
    [256 * 1024, 4096],
    [192 * 1024, 64 * 1024],
    [64 * 1024 - 4096, 4096],
    [0, 64 * 1024 - 4096],
  ] as const) {
    volume.write(offset, payload(offset + 1, length));
  }
  volume.flush();
  t.true(volume.writebackStep());
  t.deepEqual(
    seen.writes.map(({ offset, length }) => [offset, length]).sort(([x], [y]) => x! - y!),
    [
      [0, 64 * 1024],
      [192 * 1024, 64 * 1024],
      [256 * 1024, 4096],
    ],
  );
  volume.close();
});

test('after a write that failed nothing more is submitted and nothing flushed; it is told when nothing is in flight, and all is written again', (t) => {
  const rig = new Rig({ volumeBytes: 8 * MIB });
  const seen = nothingSeen();
  let isFailing = true;
  const backing = watched(rig, seen, (write) => isFailing && write === 40);
  const volume = rig.open({ backing });
  writeScattered(volume, 300);
  t.throws(() => volume.writebackStep(), { code: 'io' });
  t.true(seen.writes.length >= 40 && seen.writes.length < 40 + 2 * WRITE_DEPTH, `${seen.writes.length} writes`);
  t.deepEqual(seen.atFlush, []);
  t.is(volume.dirtyBytes, 300 * 4096);
  isFailing = false;
  seen.writes = [];
  t.true(volume.writebackStep());
  t.is(seen.writes.length, 300);
  t.deepEqual(seen.atFlush, [0]);
  t.true(isScattered(rig, 300));
  volume.close();
});

test('what the device has taken is told as it goes, and taken back if the batch fails', (t) => {
  const rig = new Rig({ volumeBytes: 8 * MIB });
  let isFailing = true;
  const backing = watched(rig, nothingSeen(), (write) => isFailing && write === 100);
  const volume = rig.open({ backing });
  writeScattered(volume, 300);
  const taken: number[] = [];
  const maintenance = new Maintenance(volume.caches[0]!, backing, (bytes) => taken.push(bytes));
  const sum = (): number => taken.reduce((total, bytes) => total + bytes, 0);
  t.throws(() => maintenance.writebackStep(), { code: 'io' });
  t.true(taken.length > 10, 'some of it was taken');
  t.is(sum(), 0);
  isFailing = false;
  t.true(maintenance.writebackStep());
  t.is(sum(), 300 * 4096);
  maintenance.close();
  volume.close();
});

test('a batch whose parts are written one after another, closed in between, is written again as a whole by the next', (t) => {
  const rig = new Rig({ volumeBytes: 8 * MIB });
  const seen = nothingSeen();
  const backing = watched(rig, seen);
  const volume = rig.open({ backing });
  writeScattered(volume, 100);
  const first = new Maintenance(volume.caches[0]!, backing);
  let nowMs = 0;
  const clock = (): number => nowMs++;
  t.is(first.writebackPart(10, clock), 'under-way');
  first.close();
  const before = seen.writes.length;
  t.true(before > 0 && before < 100);
  t.is(volume.dirtyBytes, 100 * 4096);
  const second = new Maintenance(volume.caches[0]!, backing);
  let parts = 0;
  for (let outcome = 'under-way'; outcome !== 'done' && parts < 1000; parts++) outcome = second.writebackPart(nowMs + 10, clock);
  t.true(parts > 5);
  t.is(seen.writes.length, before + 100);
  t.is(volume.dirtyBytes, 0);
  t.true(isScattered(rig, 100));
  second.close();
  volume.close();
});

test('whatever of the writes in flight a loss of power takes, the next batch has all of it', (t) => {
  const random = seededRandom(5);
  for (let run = 0; run < 20; run++) {
    const rig = new Rig({ volumeBytes: 4 * MIB });
    rig.backing.completeOutOfOrder(random);
    let volume = rig.open();
    writeScattered(volume, 64);
    const maintenance = new Maintenance(volume.caches[0]!, rig.backing);
    let nowMs = 0;
    const parts = Math.floor(random() * 8);
    for (let part = 0; part < parts; part++) maintenance.writebackPart(nowMs + 10, () => nowMs++);
    volume.close({ crash: true });
    if (run % 2 === 0) rig.losePower(random, 4096);
    else rig.killProcess();
    volume = rig.open();
    while (volume.writebackStep());
    t.true(isScattered(rig, 64), `run ${run}`);
    rig.backing.crash(() => 0);
    t.true(isScattered(rig, 64), `run ${run}, durably`);
    volume.close();
  }
});
