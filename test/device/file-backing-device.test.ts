import { spawnSync } from 'node:child_process';
import { once } from 'node:events';
import * as fs from 'node:fs';
import * as path from 'node:path';
import { Worker } from 'node:worker_threads';
import test, { type ExecutionContext } from 'ava';
import fc from 'fast-check';
import { PcacheError } from '../../src/errors.js';
import type { BackingDevice } from '../../src/device/device.js';
import { errno } from '../../src/device/errno-codes.js';
import { adoptBackingDevice, attachBackingDevice, openBackingDevice } from '../../src/device/file-backing-device.js';
import type { OpenBackingDeviceOptions } from '../../src/device/file-backing-device.js';
import { mmap, munmap, view } from '../../src/device/libc.js';
import { MAP_ANONYMOUS, MAP_SHARED, PROT_READ, PROT_WRITE } from '../../src/device/linux-constants.js';
import { attachedLoop, noLoopDevices } from '../support/loop.js';
import { isRoot, memoryFolder, smallTmpfs, temporaryFolder } from '../support/tmp.js';

const rootTest = isRoot ? test : test.skip;
const rootTitle = (title: string): string => (isRoot ? title : `${title} (skipped: needs root)`);
const loopTest = noLoopDevices === undefined ? test : test.skip;
const loopTitle = (title: string): string => (noLoopDevices === undefined ? title : `${title} (skipped: ${noLoopDevices})`);

function fileOf(t: ExecutionContext, sizeBytes: number, folder = temporaryFolder(t)): string {
  const file = path.join(folder, 'backing');
  fs.closeSync(fs.openSync(file, 'w'));
  fs.truncateSync(file, sizeBytes);
  return file;
}

function opened(t: ExecutionContext, file: string, options?: OpenBackingDeviceOptions): ReturnType<typeof openBackingDevice> {
  const device = openBackingDevice(file, options);
  t.teardown(() => device.close());
  return device;
}

/** Random reads and writes of any sectors, from memory of any alignment, against a flat array. */
function checkAgainstArray(device: BackingDevice): void {
  const sectors = device.sizeBytes / 512;
  const operation = fc.record({
    write: fc.boolean(),
    sector: fc.nat(sectors - 1),
    sectors: fc.oneof(fc.integer({ min: 1, max: 20 }), fc.integer({ min: 1, max: sectors })),
    misalignment: fc.constantFrom(0, 0, 1, 512, 1000),
    value: fc.integer({ min: 1, max: 255 }),
  });
  const memoryAddress = mmap(device.sizeBytes + 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  const memory = new Uint8Array(view(memoryAddress, device.sizeBytes + 4096));
  const expected = new Uint8Array(device.sizeBytes);
  device.read(0, expected, 0, expected.length);
  fc.assert(
    fc.property(fc.array(operation, { maxLength: 30 }), (operations) => {
      for (const { write, sector, sectors: wanted, misalignment, value } of operations) {
        const length = Math.min(wanted, sectors - sector) * 512;
        const offset = sector * 512;
        if (write) {
          for (let i = 0; i < length; i++) memory[misalignment + i] = (value + i * 7) & 0xff;
          device.write(offset, memory, misalignment, length);
          expected.set(memory.subarray(misalignment, misalignment + length), offset);
        } else {
          memory.fill(0xee);
          device.read(offset, memory, misalignment, length);
          const got = memory.subarray(misalignment, misalignment + length);
          if (Buffer.compare(got, expected.subarray(offset, offset + length)) !== 0) throw new Error(`wrong bytes at ${offset}`);
          if (memory[misalignment + length] !== 0xee) throw new Error('wrote beyond the range');
        }
      }
    }),
    { numRuns: 40 },
  );
  const all = new Uint8Array(device.sizeBytes);
  device.read(0, all, 0, all.length);
  munmap(memoryAddress, device.sizeBytes + 4096);
  if (Buffer.compare(all, expected) !== 0) throw new Error('wrong bytes at the end');
}

test('a file behaves as a flat array of sectors for every offset, length and alignment of memory', (t) => {
  const device = opened(t, fileOf(t, 2 * 1024 * 1024 + 4096));
  t.log(`alignment: ${JSON.stringify(device.handle.alignment)}`);
  t.notThrows(() => checkAgainstArray(device));
  t.notThrows(() => device.flush());
});

test('so does a file read and written through the page cache', (t) => {
  const device = opened(t, fileOf(t, 300 * 512), { direct: 'never' });
  t.false(device.handle.alignment.direct);
  t.notThrows(() => checkAgainstArray(device));
});

test('so does a file on tmpfs', (t) => {
  const folder = memoryFolder(t);
  if (folder === undefined) return t.pass('skipped: no writable /dev/shm');
  t.notThrows(() => checkAgainstArray(opened(t, fileOf(t, 512 * 1024, folder))));
});

loopTest(loopTitle('so does a block device with sectors of 4096 bytes, though requests are multiples of 512'), (t) => {
  const loop = attachedLoop(t, fileOf(t, 2 * 1024 * 1024), { sectorBytes: 4096, directIo: false });
  const device = opened(t, loop);
  t.deepEqual([device.handle.alignment.direct, device.handle.alignment.offsetBytes], [true, 4096]);
  t.is(device.sizeBytes, 2 * 1024 * 1024);
  t.notThrows(() => checkAgainstArray(device));
  t.notThrows(() => device.flush());
});

loopTest(loopTitle('threads that write different sectors of the same blocks do not undo each other'), async (t) => {
  const loop = attachedLoop(t, fileOf(t, 64 * 1024), { sectorBytes: 4096, directIo: false });
  const device = opened(t, loop);
  const workers = [0, 1, 2, 3].map(
    (remainder) => new Worker(new URL('./file-backing-worker.js', import.meta.url), { workerData: { handle: device.handle, remainder } }),
  );
  const codes = await Promise.all(workers.map(async (worker) => (await once(worker, 'exit'))[0] as unknown));
  t.deepEqual(codes, [0, 0, 0, 0]);
  const all = new Uint8Array(device.sizeBytes);
  device.read(0, all, 0, all.length);
  for (let sector = 0; sector < all.length / 512; sector++) t.is(all[sector * 512], (sector % 4) + 1, `sector ${sector}`);
});

test('a file whose size is no multiple of the alignment for direct I/O is used through the page cache', (t) => {
  const device = opened(t, fileOf(t, 512));
  const sector = new Uint8Array(512).fill(7);
  device.write(0, sector, 0, 512);
  const back = new Uint8Array(600);
  device.read(0, back, 88, 512);
  t.is(back[87], 0);
  t.deepEqual(back.subarray(88), sector);
});

test('memory shared between threads can be read into and written from', (t) => {
  const device = opened(t, fileOf(t, 8192));
  const shared = new Uint8Array(new SharedArrayBuffer(8192)).fill(3);
  device.write(4096, shared, 0, 4096);
  shared.fill(0);
  device.read(4096, shared, 100, 512);
  t.deepEqual([shared[99], shared[100], shared[611], shared[612]], [0, 3, 3, 0]);
});

test('a volume of several TiB is reached up to its last sector', (t) => {
  // ext4 with blocks of 4 KiB has no larger files than 16 TiB less a block, other file systems smaller ones.
  const sizeBytes = 8 * 1024 ** 4;
  const device = opened(t, fileOf(t, sizeBytes));
  const memory = new Uint8Array(1024).fill(5, 0, 512);
  device.write(sizeBytes - 512, memory, 0, 512);
  device.read(sizeBytes - 512, memory, 512, 512);
  t.is(memory[1023], 5);
  t.is(device.sizeBytes, sizeBytes);
});

test('ranges that are not sectors of the device, or not in the memory given, are refused', (t) => {
  const device = opened(t, fileOf(t, 8192));
  const memory = new Uint8Array(1024);
  const cases: [number, number, number][] = [
    [1, 0, 512],
    [0, 0, 100],
    [8192, 0, 512],
    [-512, 0, 512],
    [0, 600, 512],
    [0, -1, 512],
    [NaN, 0, 512],
    [0, 0.5, 512],
  ];
  for (const [offset, memoryOffset, length] of cases) {
    t.throws(() => device.read(offset, memory, memoryOffset, length), { instanceOf: RangeError }, `${offset} ${memoryOffset} ${length}`);
    t.throws(() => device.write(offset, memory, memoryOffset, length), { instanceOf: RangeError });
  }
});

test('what cannot be a volume is refused in one line', (t) => {
  const refusal = (sizeBytes: number): PcacheError =>
    t.throws(() => openBackingDevice(fileOf(t, sizeBytes)), { instanceOf: PcacheError, message: /^[^\n]+$/ });
  t.is(refusal(0).code, 'too-small');
  t.regex(refusal(1000).message, /: 1000 bytes: the size of a volume must be a multiple of 512$/);
  t.is(t.throws(() => openBackingDevice('/proc'), { instanceOf: PcacheError }).code, 'unsupported');
  t.is(t.throws(() => openBackingDevice('/dev/null'), { instanceOf: PcacheError }).code, 'unsupported');
  t.is(t.throws(() => openBackingDevice('/nonexistent'), { instanceOf: PcacheError }).code, 'not-found');
});

test('a file without permission is refused and not blamed on the device', (t) => {
  const file = fileOf(t, 4096);
  fs.chmodSync(file, 0o400);
  if (isRoot) return t.pass('skipped: root may write everything');
  const error = t.throws(() => openBackingDevice(file), { instanceOf: PcacheError });
  t.is(error.message, `${file}: permission denied (EACCES)`);
});

test('writers exclude each other and readers, readers share', (t) => {
  const file = fileOf(t, 4096);
  const writer = openBackingDevice(file);
  t.is(t.throws(() => openBackingDevice(file), { instanceOf: PcacheError }).code, 'in-use');
  t.is(t.throws(() => openBackingDevice(file, { readOnly: true }), { instanceOf: PcacheError }).code, 'in-use');
  writer.close();
  const readers = [openBackingDevice(file, { readOnly: true }), openBackingDevice(file, { readOnly: true })];
  t.is(t.throws(() => openBackingDevice(file), { instanceOf: PcacheError }).code, 'in-use');
  for (const reader of readers) reader.close();
  openBackingDevice(file).close();
});

loopTest(loopTitle('a block device that is mounted is in use, for writers and readers'), (t) => {
  const file = fileOf(t, 16 * 1024 * 1024);
  if (spawnSync('mkfs.ext4', ['-q', file]).status !== 0) return t.pass('skipped: no mkfs.ext4');
  const loop = attachedLoop(t, file);
  const folder = fs.mkdtempSync('/tmp/pcache-mount-');
  t.teardown(() => fs.rmdirSync(folder));
  t.is(spawnSync('mount', [loop, folder]).status, 0);
  t.teardown(() => {
    spawnSync('umount', [folder]);
  });
  for (const readOnly of [false, true]) {
    const error = t.throws(() => openBackingDevice(loop, { readOnly }), { instanceOf: PcacheError });
    t.is(error.code, 'in-use');
    t.is(error.message, `${loop}: in use: mounted, or held by a driver or another pcache`);
  }
});

loopTest(loopTitle('readers share a block device and keep writers out'), (t) => {
  const loop = attachedLoop(t, fileOf(t, 1024 * 1024));
  const readers = [openBackingDevice(loop, { readOnly: true }), openBackingDevice(loop, { readOnly: true })];
  t.is(t.throws(() => openBackingDevice(loop), { instanceOf: PcacheError }).code, 'in-use');
  for (const reader of readers) reader.close();
  openBackingDevice(loop).close();
});

test('writing to a device opened for reading is an error of the device, with its number', (t) => {
  const file = fileOf(t, 4096);
  const device = opened(t, file, { readOnly: true });
  const error = t.throws(() => device.write(512, new Uint8Array(4096), 0, 512), { instanceOf: PcacheError });
  t.is(error.code, 'io');
  t.is(error.errno, errno.EBADF);
});

test('a device that ends early is an error, not a short read', (t) => {
  const file = fileOf(t, 8192);
  const device = opened(t, file);
  fs.truncateSync(file, 4096);
  const error = t.throws(() => device.read(4096, new Uint8Array(4096), 0, 4096), { instanceOf: PcacheError });
  t.is(error.message, `${file}: read of 4096 bytes at 4096: the device ended early`);
  t.is(error.errno, errno.EIO);
});

rootTest(rootTitle('a full disk under a sparse file is no-space, and says what was to be written'), (t) => {
  const file = fileOf(t, 8 * 1024 * 1024, smallTmpfs(t, 1024 * 1024));
  const device = opened(t, file);
  const error = t.throws(() => device.write(0, new Uint8Array(4 * 1024 * 1024), 0, 4 * 1024 * 1024), { instanceOf: PcacheError });
  t.is(error.code, 'no-space');
  t.true(error.message.startsWith(`${file}: write of `));
  t.regex(error.message, /write of \d+ bytes at \d+: no space left on device \(ENOSPC\)$/);
  t.is(error.errno, errno.ENOSPC);
});

test('an attached object leaves the descriptor open, and an adopted one closes it', (t) => {
  const file = fileOf(t, 4096);
  const device = openBackingDevice(file);
  const attached = attachBackingDevice(structuredClone(device.handle));
  attached.write(0, new Uint8Array(512).fill(9), 0, 512);
  attached.close();
  const back = new Uint8Array(512);
  device.read(0, back, 0, 512);
  t.is(back[0], 9);
  t.is(attached.identity, device.identity);
  adoptBackingDevice(JSON.parse(JSON.stringify(device.handle)) as typeof device.handle).close();
  t.throws(() => device.read(0, back, 0, 512), { instanceOf: PcacheError, code: 'io' });
});

test('a closed device says that it is closed', (t) => {
  const device = openBackingDevice(fileOf(t, 4096));
  device.close();
  device.close();
  t.is(t.throws(() => device.read(0, new Uint8Array(512), 0, 512), { instanceOf: PcacheError }).code, 'closed');
  t.is(t.throws(() => device.flush(), { instanceOf: PcacheError }).code, 'closed');
});

test('says of a sparse file where it has holes', (t) => {
  const device = opened(t, fileOf(t, 4 * 1024 * 1024));
  t.true(device.isHole(0, device.sizeBytes));
  device.write(1024 * 1024, new Uint8Array(4096).fill(7), 0, 4096);
  t.false(device.isHole(0, device.sizeBytes));
  t.false(device.isHole(1024 * 1024, 4096));
  t.true(device.isHole(0, 512 * 1024));
  t.true(device.isHole(3 * 1024 * 1024, 1024 * 1024), 'up to the end of the file');
});

test('a file that was cut is known to be so by all that share the device, also when it has its length again', (t) => {
  const file = fileOf(t, 64 * 1024);
  const device = opened(t, file);
  const other = attachBackingDevice(device.handle);
  t.teardown(() => other.close());
  device.requireWhole();
  fs.truncateSync(file, 128 * 1024);
  device.requireWhole();
  t.is(device.lostBytes, 0);
  const says = { code: 'mismatch', message: `${file} became 61440 bytes shorter than the volume: it was cut while in use` };
  fs.truncateSync(file, 4096);
  t.throws(() => device.requireWhole(), says);
  t.is(other.lostBytes, 61_440);
  fs.truncateSync(file, 64 * 1024);
  t.throws(() => other.requireWhole(), says);
  t.throws(() => device.requireWhole(), says);
});
