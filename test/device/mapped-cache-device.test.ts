import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import * as fs from 'node:fs';
import * as path from 'node:path';
import { fileURLToPath } from 'node:url';
import { Worker } from 'node:worker_threads';
import test from 'ava';
import { PcacheError } from '../../src/errors.js';
import { createCacheFile, openCacheDevice } from '../../src/device/mapped-cache-device.js';
import { CACHE_BYTES_MIN, SEGMENTS_OFFSET, SEGMENT_BYTES } from '../../src/media/layout.js';
import type { PhysicalSegmentId } from '../../src/media/layout.js';
import { attachedLoop, noLoopDevices } from '../support/loop.js';
import { isRoot, memoryFolder, mountedFolder, smallTmpfs, temporaryFolder } from '../support/tmp.js';

const segmentId = (id: number): PhysicalSegmentId => id as PhysicalSegmentId;
const rootTest = isRoot ? test : test.skip;
const rootTitle = (title: string): string => (isRoot ? title : `${title} (skipped: needs root)`);
const loopTest = noLoopDevices === undefined ? test : test.skip;
const loopTitle = (title: string): string => (noLoopDevices === undefined ? title : `${title} (skipped: ${noLoopDevices})`);

function sparseFile(folder: string, sizeBytes: number): string {
  const file = path.join(folder, 'cache');
  fs.closeSync(fs.openSync(file, 'w'));
  fs.truncateSync(file, sizeBytes);
  return file;
}

test('a created cache file has all its bytes allocated, reads as zeros and is private to its owner', (t) => {
  const file = path.join(temporaryFolder(t), 'cache');
  createCacheFile(file, CACHE_BYTES_MIN);
  const stat = fs.statSync(file);
  t.is(stat.size, CACHE_BYTES_MIN);
  t.true(stat.blocks * 512 >= CACHE_BYTES_MIN);
  t.is(stat.mode & 0o777, 0o600);
  const device = openCacheDevice(file);
  t.is(device.segmentCount, 5);
  t.is(
    device.segment(segmentId(4)).bytes.findIndex((byte) => byte !== 0),
    -1,
  );
  device.close();
});

test('creating over something that exists is refused and leaves it alone', (t) => {
  const file = path.join(temporaryFolder(t), 'cache');
  fs.writeFileSync(file, 'precious');
  const error = t.throws(() => createCacheFile(file, CACHE_BYTES_MIN), { instanceOf: PcacheError });
  t.is(error.code, 'holds-data');
  t.is(error.message, `${file}: exists already`);
  t.is(fs.readFileSync(file, 'utf8'), 'precious');
});

test('creating a cache that is too small, too large or of an odd size makes no file', (t) => {
  const file = path.join(temporaryFolder(t), 'cache');
  t.is(t.throws(() => createCacheFile(file, CACHE_BYTES_MIN - 512), { instanceOf: PcacheError }).code, 'too-small');
  t.is(t.throws(() => createCacheFile(file, 2 ** 41), { instanceOf: PcacheError }).code, 'unsupported');
  t.is(t.throws(() => createCacheFile(file, CACHE_BYTES_MIN + 1), { instanceOf: PcacheError }).code, 'usage');
  t.false(fs.existsSync(file));
});

test('creating in a folder that does not exist says so in one line', (t) => {
  const file = path.join(temporaryFolder(t), 'missing', 'cache');
  const error = t.throws(() => createCacheFile(file, CACHE_BYTES_MIN), { instanceOf: PcacheError });
  t.is(error.code, 'not-found');
  t.is(error.message, `${file}: no such file or directory (ENOENT)`);
});

test('what is stored through the views is in the file, at the offsets of the layout', (t) => {
  const file = path.join(temporaryFolder(t), 'cache');
  createCacheFile(file, CACHE_BYTES_MIN);
  const device = openCacheDevice(file);
  t.is(device.persistence, 'synced');
  device.control.bytes[0x1000] = 1;
  device.segment(segmentId(0)).bytes[3] = 2;
  device.segment(segmentId(4)).words[SEGMENT_BYTES / 4 - 1] = 0x03000000;
  device.segment(segmentId(2)).view.setUint16(10, 0x0605, true);
  device.persist(0, SEGMENTS_OFFSET + 5 * SEGMENT_BYTES);
  device.persist(SEGMENTS_OFFSET + 5, 3);
  t.is(device.segment(segmentId(2)), device.segment(segmentId(2)));
  t.is(device.addressOf(SEGMENTS_OFFSET) - device.addressOf(0), SEGMENTS_OFFSET);
  device.close();
  const content = fs.readFileSync(file);
  t.is(content[0x1000], 1);
  t.is(content[SEGMENTS_OFFSET + 3], 2);
  t.is(content[SEGMENTS_OFFSET + 5 * SEGMENT_BYTES - 1], 3);
  t.is(content.readUInt16LE(SEGMENTS_OFFSET + 2 * SEGMENT_BYTES + 10), 0x0605);
});

test('segments and ranges that the device does not have are refused', (t) => {
  const device = openCacheDevice(sparseFile(temporaryFolder(t), CACHE_BYTES_MIN));
  for (const id of [-1, 5, 1.5, NaN, 2 ** 31]) t.throws(() => device.segment(segmentId(id)), { instanceOf: RangeError }, String(id));
  t.throws(() => device.persist(SEGMENTS_OFFSET + 5 * SEGMENT_BYTES, 1), { instanceOf: RangeError });
  t.throws(() => device.persist(-1, 1), { instanceOf: RangeError });
  device.close();
  t.is(t.throws(() => device.segment(segmentId(0)), { instanceOf: PcacheError }).code, 'closed');
  t.is(t.throws(() => device.persist(0, 1), { instanceOf: PcacheError }).code, 'closed');
  t.notThrows(() => device.close());
});

test('views of more than one window see their own segments of a large sparse device', (t) => {
  const file = sparseFile(temporaryFolder(t), 1536 * 1024 * 1024);
  const fd = fs.openSync(file, 'r+');
  for (const id of [63, 64, 94]) fs.writeSync(fd, Uint8Array.of(id), 0, 1, SEGMENTS_OFFSET + id * SEGMENT_BYTES);
  fs.closeSync(fd);
  const device = openCacheDevice(file, { readOnly: true });
  t.is(device.segmentCount, 95);
  for (const id of [94, 64, 63]) t.is(device.segment(segmentId(id)).bytes[0], id);
  device.close();
  t.true(fs.statSync(file).blocks * 512 < 1024 * 1024, 'a read-only opener allocates nothing');
});

test('a sparse file is allocated when opened for writing and keeps its content', (t) => {
  const file = sparseFile(temporaryFolder(t), CACHE_BYTES_MIN);
  const fd = fs.openSync(file, 'r+');
  fs.writeSync(fd, 'kept', SEGMENTS_OFFSET + SEGMENT_BYTES);
  fs.closeSync(fd);
  const device = openCacheDevice(file);
  t.true(fs.statSync(file).blocks * 512 >= CACHE_BYTES_MIN);
  t.is(Buffer.from(device.segment(segmentId(1)).bytes.subarray(0, 5)).toString(), 'kept\0');
  device.close();
});

test('memory on tmpfs counts as durable by itself', (t) => {
  const folder = memoryFolder(t);
  if (folder === undefined) return t.pass('skipped: no writable /dev/shm');
  const file = path.join(folder, 'cache');
  createCacheFile(file, CACHE_BYTES_MIN);
  const device = openCacheDevice(file);
  t.is(device.persistence, 'memory');
  t.notThrows(() => device.persist(0, 4096));
  device.close();
});

test('a second user is kept out with the pid of the first, until the first closes', (t) => {
  const file = path.join(temporaryFolder(t), 'cache');
  createCacheFile(file, CACHE_BYTES_MIN);
  const device = openCacheDevice(file);
  for (const readOnly of [false, true]) {
    const error = t.throws(() => openCacheDevice(file, { readOnly }), { instanceOf: PcacheError });
    t.is(error.code, 'in-use');
    t.regex(error.message, new RegExp(`^${file}: in use by another pcache( \\(pid ${process.pid}\\))?$`));
  }
  const beside = openCacheDevice(file, { readOnly: true, lock: 'none' });
  device.control.bytes[5] = 9;
  t.is(beside.control.bytes[5], 9);
  beside.close();
  device.close();
  openCacheDevice(file).close();
});

test('readers share a cache and keep writers out', (t) => {
  const file = path.join(temporaryFolder(t), 'cache');
  createCacheFile(file, CACHE_BYTES_MIN);
  const readers = [openCacheDevice(file, { readOnly: true }), openCacheDevice(file, { readOnly: true })];
  t.is(t.throws(() => openCacheDevice(file), { instanceOf: PcacheError }).code, 'in-use');
  for (const reader of readers) reader.close();
  openCacheDevice(file).close();
});

test('what is no cache device is refused in one line', (t) => {
  const folder = temporaryFolder(t);
  const refusal = (name: string): PcacheError => t.throws(() => openCacheDevice(path.join(folder, name)), { instanceOf: PcacheError });
  t.is(refusal('missing').code, 'not-found');
  t.is(refusal('.').message, `${folder}: is a directory: a regular file or a block device is needed`);
  execFileSync('mkfifo', [path.join(folder, 'fifo')]);
  t.is(refusal('fifo').message, `${folder}/fifo: is a special file: a regular file or a block device is needed`);
  fs.writeFileSync(path.join(folder, 'small'), 'x');
  t.is(refusal('small').message, `${folder}/small: 1 B: a cache needs 96 MiB or more`);
});

test('a refused device is not left locked', (t) => {
  const file = path.join(temporaryFolder(t), 'small');
  fs.writeFileSync(file, 'x');
  for (let i = 0; i < 2; i++) t.is(t.throws(() => openCacheDevice(file), { instanceOf: PcacheError }).code, 'too-small');
});

test('a worker thread works on the mapping of its process', async (t) => {
  const file = path.join(temporaryFolder(t), 'cache');
  createCacheFile(file, CACHE_BYTES_MIN);
  const device = openCacheDevice(file);
  const worker = new Worker(new URL('./mapped-cache-worker.js', import.meta.url), { workerData: device.handle });
  t.deepEqual(await once(worker, 'exit'), [0]);
  t.is(device.segment(segmentId(2)).bytes[7], 42);
  t.is(device.control.bytes[9], 43);
  device.close();
});

test('a child that inherits the descriptor works on the same cache and keeps it locked after its parent closed it', async (t) => {
  const file = path.join(temporaryFolder(t), 'cache');
  createCacheFile(file, CACHE_BYTES_MIN);
  const device = openCacheDevice(file);
  const script = fileURLToPath(new URL('./mapped-cache-child.js', import.meta.url));
  const child = spawn(process.execPath, [script, JSON.stringify(device.handle)], {
    stdio: ['pipe', 'pipe', 'inherit', device.handle.fd],
    timeout: 30_000,
  });
  await once(child.stdout!, 'data');
  t.is(device.segment(segmentId(1)).bytes[100], 44);
  device.close();
  t.is(t.throws(() => openCacheDevice(file), { instanceOf: PcacheError }).code, 'in-use');
  child.stdin!.end();
  await once(child, 'exit');
  openCacheDevice(file).close();
});

rootTest(rootTitle('a full disk is an error when the cache is made or opened, and nothing is left or allocated'), (t) => {
  const folder = smallTmpfs(t, 64 * 1024 * 1024);
  const file = path.join(folder, 'cache');
  const error = t.throws(() => createCacheFile(file, CACHE_BYTES_MIN), { instanceOf: PcacheError });
  t.is(error.code, 'no-space');
  t.is(error.message, `${file}: 96 MiB more are needed: no space left on device`);
  t.false(fs.existsSync(file));
  t.is(t.throws(() => openCacheDevice(sparseFile(folder, CACHE_BYTES_MIN)), { instanceOf: PcacheError }).code, 'no-space');
  t.is(fs.statSync(file).blocks, 0);
});

rootTest(rootTitle('a cache can be made on a file system without fallocate, by writing it out'), (t) => {
  let folder: string;
  try {
    folder = mountedFolder(t, ['-t', 'ramfs', 'pcache-test']);
  } catch (error) {
    t.log(`skipped: no ramfs: ${String(error)}`);
    return t.pass();
  }
  const file = path.join(folder, 'cache');
  createCacheFile(file, CACHE_BYTES_MIN);
  const device = openCacheDevice(file);
  t.is(device.persistence, 'memory');
  t.is(device.segment(segmentId(4)).bytes[0], 0);
  device.close();
});

loopTest(loopTitle('a block device is mapped whole, keeps out a second user, and what is persisted is on it'), (t) => {
  const file = sparseFile(temporaryFolder(t), CACHE_BYTES_MIN + SEGMENT_BYTES);
  const loop = attachedLoop(t, file, { directIo: false });
  const device = openCacheDevice(loop);
  t.deepEqual([device.sizeBytes, device.segmentCount, device.persistence], [CACHE_BYTES_MIN + SEGMENT_BYTES, 6, 'synced']);
  t.is(t.throws(() => openCacheDevice(loop), { instanceOf: PcacheError }).code, 'in-use');
  t.is(t.throws(() => openCacheDevice(loop, { readOnly: true }), { instanceOf: PcacheError }).code, 'in-use');
  device.segment(segmentId(5)).bytes[SEGMENT_BYTES - 1] = 17;
  device.persist(SEGMENTS_OFFSET + 6 * SEGMENT_BYTES - 1, 1);
  const fd = fs.openSync(file, 'r');
  const byte = new Uint8Array(1);
  fs.readSync(fd, byte, 0, 1, SEGMENTS_OFFSET + 6 * SEGMENT_BYTES - 1);
  fs.closeSync(fd);
  t.is(byte[0], 17);
  device.close();
  openCacheDevice(loop, { readOnly: true }).close();
});

loopTest(loopTitle('a disk that turns out full only when blocks are allocated leaves no file either'), (t) => {
  const disk = sparseFile(temporaryFolder(t), 128 * 1024 * 1024);
  if (spawnSync('mkfs.ext4', ['-q', '-m', '0', '-O', '^has_journal', disk]).status !== 0) return t.pass('skipped: no mkfs.ext4');
  const folder = mountedFolder(t, ['-o', 'loop', disk]);
  // Free space in more pieces than an inode has room to list, so that the file needs blocks beyond its own size.
  for (let i = 0; i < 40; i++) fs.writeFileSync(path.join(folder, `piece-${i}`), new Uint8Array(256 * 1024), { flush: true });
  for (let i = 0; i < 40; i += 2) fs.unlinkSync(path.join(folder, `piece-${i}`));
  const file = path.join(folder, 'cache');
  const free = fs.statfsSync(folder);
  const sizeBytes = Math.floor((free.bfree * free.bsize) / 4096) * 4096;
  t.true(sizeBytes > CACHE_BYTES_MIN);
  const error = t.throws(() => createCacheFile(file, sizeBytes), { instanceOf: PcacheError });
  t.is(error.code, 'no-space');
  t.false(fs.existsSync(file));
  t.is((error.cause as PcacheError).message, 'fallocate: no space left on device (ENOSPC)');
});
