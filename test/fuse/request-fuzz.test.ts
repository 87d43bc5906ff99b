// FUSE requests as no kernel would send them. First through every row to a file system that checks what it is given; then, for the operations on
// data, to the real files of the gateway over a small cache, with the lanes' real threads, against a flat array. Every answer is a result or an
// errno, nothing throws, no other slot's memory changes, and the volume changes where it was written and nowhere else.
// PCACHE_SEED chooses other runs.

import { once } from 'node:events';
import { truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import test, { type ExecutionContext } from 'ava';
import fc from 'fast-check';
import { formatCache } from '../../src/cache/format.js';
import { openCache } from '../../src/cache/open.js';
import { Word } from '../../src/cache/shared-state.js';
import { errno } from '../../src/device/errno-codes.js';
import { openBackingDevice } from '../../src/device/file-backing-device.js';
import { createCacheFile, openCacheDevice } from '../../src/device/mapped-cache-device.js';
import { sendAnswer } from '../../src/fuse/answer.js';
import { NO_REPLY, PENDING, type FileSystem } from '../../src/fuse/file-system.js';
import { opcodeRows, type OpcodeRow } from '../../src/fuse/opcodes.js';
import { REPLY_BYTES_MAX } from '../../src/fuse/reply.js';
import { createRequestSlots, destroyRequestSlots, LOCAL_FD, RequestSlots, type RequestSlot } from '../../src/fuse/request-slots.js';
import type { FuseRequest } from '../../src/fuse/request.js';
import { FALLOCATE_IN, IN_HEADER, LSEEK_IN, READ_IN, WRITE_IN } from '../../src/fuse/structs.js';
import { createGatewayShared, DataThread, GatewayWord, type DataThreadStart } from '../../src/gateway/gateway-shared.js';
import { VolumeFiles } from '../../src/gateway/volume-files.js';
import { CACHE_BYTES_MIN, SECTOR_BYTES } from '../../src/media/layout.js';
import { signal } from '../../src/shared/event-word.js';
import { firstDifference } from '../support/model-rig.js';
import { memoryFolder, temporaryFolder } from '../support/tmp.js';

const seed = Number(process.env.PCACHE_SEED ?? 1);
const MAX_WRITE_BYTES = 256 * 1024;
const VOLUME_BYTES = 1024 * 1024 + 512;
const TWO_64 = 2 ** 64;
const extremes32: readonly number[] = [0, 1, 0x7fffffff, 0x80000000, 0xffffffff];
const extremes64: readonly bigint[] = [0n, 1n, 2n ** 31n, 2n ** 32n - 1n, 2n ** 32n, 2n ** 53n, 2n ** 63n - 1n, 2n ** 63n, 2n ** 64n - 1n];

/** Three slots; the middle one is used, the others are full of what must stay. */
class GuardedSlots {
  readonly slots: RequestSlots;
  readonly slot: RequestSlot;
  readonly #guards: readonly RequestSlot[];

  constructor(t: ExecutionContext, handle = createRequestSlots(MAX_WRITE_BYTES, 3)) {
    this.slots = new RequestSlots(handle);
    const [before, slot, after] = [this.slots.take(0)!, this.slots.take(0)!, this.slots.take(0)!];
    this.slot = slot;
    this.#guards = [before, after];
    for (const guard of this.#guards) guard.payload.fill(0xa5);
    t.deepEqual([before.index, slot.index, after.index], [0, 1, 2]);
  }

  /** Puts a request into the slot as a read of /dev/fuse would, and decodes it. */
  receive(bytes: Uint8Array): number {
    const { request } = this.slot;
    request.bytes.set(bytes, request.startBytes);
    return this.slot.receive(LOCAL_FD, bytes.length);
  }

  requireGuards(): void {
    for (const { payload, index } of this.#guards) {
      if (payload.some((byte) => byte !== 0xa5)) throw new Error(`slot ${index} was written to`);
    }
  }
}

interface RequestParts {
  readonly opcode: number;
  readonly nodeid?: bigint;
  readonly structureBytes: number;
  /** Fields of the structure: offset, value; u64 if it is a bigint. */
  readonly fields?: readonly (readonly [number, number | bigint])[];
  readonly payload?: Uint8Array;
}

function requestOf({ opcode, nodeid = 2n, structureBytes, fields = [], payload = new Uint8Array(0) }: RequestParts): Buffer {
  const bytes = Buffer.alloc(IN_HEADER.bytes + structureBytes + payload.length);
  bytes.writeUInt32LE(bytes.length, IN_HEADER.len);
  bytes.writeUInt32LE(opcode, IN_HEADER.opcode);
  bytes.writeBigUInt64LE(4n, IN_HEADER.unique);
  bytes.writeBigUInt64LE(nodeid, IN_HEADER.nodeid);
  for (const [offset, value] of fields) {
    if (typeof value === 'bigint') bytes.writeBigUInt64LE(value, IN_HEADER.bytes + offset);
    else bytes.writeUInt32LE(value, IN_HEADER.bytes + offset);
  }
  bytes.set(payload, IN_HEADER.bytes + structureBytes);
  return bytes;
}

const rowNamed = (name: string): OpcodeRow => opcodeRows.find((row) => row.name === name)!;

/** A request of each row that is well-formed. */
function validRequest(row: OpcodeRow): Buffer {
  const payload = row.name === 'WRITE' ? Buffer.from('abc') : Buffer.from('volume.img\0'.repeat(row.names));
  const { opcode, structureBytes } = row;
  return requestOf({ opcode, structureBytes, payload, fields: row.name === 'WRITE' ? [[WRITE_IN.size, 3]] : [] });
}

function requireNumbers(what: string, ...values: number[]): void {
  for (const value of values) {
    if (!(Number.isInteger(value) && value >= 0 && value <= TWO_64)) throw new RangeError(`${what}: ${value}`);
  }
}

/** Throws for arguments that it could not work with, and answers as generously as it may. */
class CheckingFileSystem implements FileSystem {
  calls = 0;

  #check(what: string, ...values: number[]): void {
    this.calls++;
    requireNumbers(what, ...values);
  }
  lookup(...[parent, name, reply, caller]: Parameters<FileSystem['lookup']>): number {
    this.#check('LOOKUP', parent, caller.uid, caller.gid, caller.pid);
    if (name === '' || name.includes('\0') || name.length > 255) throw new RangeError(`LOOKUP: '${name}'`);
    return reply.sought(0);
  }
  getattr(...[nodeid, reply]: Parameters<FileSystem['getattr']>): number {
    this.#check('GETATTR', nodeid);
    return reply.sought(0);
  }
  setattr(...[nodeid, { valid, sizeBytes, mode, uid, gid }, reply]: Parameters<FileSystem['setattr']>): number {
    this.#check('SETATTR', nodeid, valid, sizeBytes, mode, uid, gid);
    return reply.sought(0);
  }
  open(...[nodeid, flags, reply, caller]: Parameters<FileSystem['open']>): number {
    this.#check('OPEN', nodeid, flags, caller.uid);
    return reply.opened(0, 0);
  }
  release(nodeid: number, fh: number): number {
    this.#check('RELEASE', nodeid, fh);
    return 0;
  }
  opendir(...[nodeid, flags, reply]: Parameters<FileSystem['opendir']>): number {
    this.#check('OPENDIR', nodeid, flags);
    return reply.opened(0, 0);
  }
  readdir(...[nodeid, fh, offset, reply]: Parameters<FileSystem['readdir']>): number {
    this.#check('READDIR', nodeid, fh, offset);
    const attributes = { nodeid: 2, sizeBytes: 0, mode: 0o100644, linkCount: 1, uid: 0, gid: 0, storageBytes: 0, blockSizeBytes: 512 };
    while (reply.addEntry('n'.repeat(255), { ...attributes, atimeMs: 0, mtimeMs: 0, ctimeMs: 0 }, 1, 1));
    return 0;
  }
  releasedir(nodeid: number, fh: number): number {
    this.#check('RELEASEDIR', nodeid, fh);
    return 0;
  }
  statfs(...[nodeid, reply]: Parameters<FileSystem['statfs']>): number {
    this.#check('STATFS', nodeid);
    return reply.statfs({ blockSizeBytes: 512, blocks: 1, freeBlocks: 1, files: 1, nameBytesMax: 255 });
  }
  lseek(...[nodeid, fh, offsetBytes, whence, reply]: Parameters<FileSystem['lseek']>): number {
    this.#check('LSEEK', nodeid, fh, offsetBytes, whence);
    return reply.sought(offsetBytes);
  }
  read(request: FuseRequest, slot: RequestSlot): number {
    this.#check('READ', request.nodeid, request.fh, request.offsetBytes);
    if (!(request.sizeBytes >= 0 && request.sizeBytes <= slot.payload.length)) throw new RangeError(`READ of ${request.sizeBytes}`);
    slot.payload.fill(0x5a, 0, request.sizeBytes);
    slot.iovec.add(slot.payloadAddress, request.sizeBytes);
    return request.sizeBytes;
  }
  write(request: FuseRequest, slot: RequestSlot): number {
    this.#check('WRITE', request.nodeid, request.fh, request.offsetBytes);
    if (request.sizeBytes !== request.payloadBytes || request.sizeBytes > slot.payload.length) throw new RangeError('WRITE');
    return request.sizeBytes;
  }
  fsync(request: FuseRequest): number {
    this.#check('FSYNC', request.nodeid, request.fh, request.flags);
    return 0;
  }
  fallocate(request: FuseRequest): number {
    this.#check('FALLOCATE', request.nodeid, request.fh, request.offsetBytes, request.sizeBytes, request.mode);
    return 0;
  }
  afterReply(): void {
    this.calls++;
  }
}

/** Serves one request as a queue worker would; throws if what comes out could not be sent. Returns the result, or the errno it was refused with. */
function serveChecked(guarded: GuardedSlots, files: FileSystem, bytes: Uint8Array): number {
  const { slot } = guarded;
  const error = guarded.receive(bytes);
  if (error !== 0) {
    if (!(error < 0 && error > -512) || slot.row !== undefined) throw new Error(`refused with ${error}`);
    return error;
  }
  const { row } = slot;
  if (row === undefined) throw new Error('accepted without a row');
  const result = row.handle(files, slot);
  if (result === NO_REPLY) return result;
  if (result < 0) {
    if (result <= -512) throw new Error(`${row.name}: result ${result}`);
    return result;
  }
  const small = row.conclude(slot, result);
  if (!(Number.isInteger(small) && small > -512 && small <= REPLY_BYTES_MAX)) throw new Error(`${row.name}: an answer of ${small} bytes`);
  if (slot.iovec.dataBytes > Math.min(slot.request.sizeBytes, MAX_WRITE_BYTES)) throw new Error(`${row.name}: more than was asked for`);
  return result;
}

function checkedSlots(t: ExecutionContext): GuardedSlots {
  const guarded = new GuardedSlots(t);
  t.teardown(() => destroyRequestSlots(guarded.slots.handle));
  return guarded;
}

test('every prefix of a request of every row is refused or served whole, whatever lay in the slot before', (t) => {
  const guarded = checkedSlots(t);
  const files = new CheckingFileSystem();
  for (const row of opcodeRows) {
    const bytes = validRequest(row);
    t.is(guarded.receive(bytes), 0, row.name);
    serveChecked(guarded, files, bytes);
    t.is(guarded.slot.row, row);
    for (let length = 0; length < bytes.length; length++) {
      // What lies behind the prefix is what an earlier request left there.
      t.true(serveChecked(guarded, files, bytes.subarray(0, length)) < 0, `${row.name}, ${length} bytes`);
      if (length < IN_HEADER.bytes) continue;
      const honest = Buffer.from(bytes.subarray(0, length));
      honest.writeUInt32LE(length, 0);
      const calls = files.calls;
      const result = serveChecked(guarded, files, honest);
      const isShort = length < IN_HEADER.bytes + row.structureBytes || row.names > 0 || row.name === 'WRITE';
      if (isShort) t.deepEqual([result, files.calls], [-errno.EINVAL, calls], `${row.name}, ${length} honest bytes`);
    }
  }
  guarded.requireGuards();
});

test('every field of every row at its extremes is refused or reaches the file system within its bounds', (t) => {
  const guarded = checkedSlots(t);
  const files = new CheckingFileSystem();
  let served = 0;
  for (const row of opcodeRows) {
    const end = IN_HEADER.bytes + row.structureBytes;
    for (let at = IN_HEADER.unique; at < end; at += 4) {
      for (const value of extremes32) {
        const bytes = validRequest(row);
        bytes.writeUInt32LE(value, at);
        served += serveChecked(guarded, files, bytes) >= 0 ? 1 : 0;
      }
      for (const value of at + 8 <= end && at % 8 === 0 ? extremes64 : []) {
        const bytes = validRequest(row);
        bytes.writeBigUInt64LE(value, at);
        served += serveChecked(guarded, files, bytes) >= 0 ? 1 : 0;
      }
    }
    for (const length of extremes32) {
      const bytes = validRequest(row);
      bytes.writeUInt32LE(length, IN_HEADER.len);
      t.is(serveChecked(guarded, files, bytes), -errno.EINVAL, `${row.name} that says it has ${length} bytes`);
    }
  }
  t.true(served > 1000, `${served} were served`);
  guarded.requireGuards();
});

test('random bytes in place of a request, or in part of one, are refused or reach the file system within its bounds', (t) => {
  t.log(`seed ${seed}`);
  const guarded = checkedSlots(t);
  const files = new CheckingFileSystem();
  const noise = fc.record({
    row: fc.constantFrom(...opcodeRows),
    body: fc.uint8Array({ maxLength: 400 }),
    keep: fc.integer({ min: IN_HEADER.opcode, max: 120 }),
    isHonest: fc.boolean(),
  });
  const property = fc.property(noise, ({ row, body, keep, isHonest }) => {
    const bytes = Buffer.concat([validRequest(row).subarray(0, keep), body]);
    if (isHonest) bytes.writeUInt32LE(bytes.length, IN_HEADER.len);
    serveChecked(guarded, files, bytes);
  });
  t.notThrows(() => fc.assert(property, { seed, numRuns: 20_000, interruptAfterTimeLimit: 6000 }));
  t.true(files.calls > 500, `${files.calls} reached the file system`);
  guarded.requireGuards();
});

test('the largest listing and the largest read fill the payload and no more', (t) => {
  const guarded = checkedSlots(t);
  const files = new CheckingFileSystem();
  for (const name of ['READ', 'READDIR', 'READDIRPLUS']) {
    const { opcode, structureBytes } = rowNamed(name);
    for (const size of [0, 1, 23, 24, 511, MAX_WRITE_BYTES - 1, MAX_WRITE_BYTES, MAX_WRITE_BYTES + 1, 0xffffffff]) {
      const result = serveChecked(guarded, files, requestOf({ opcode, structureBytes, fields: [[READ_IN.size, size]] }));
      if (size > MAX_WRITE_BYTES) t.is(result, -errno.EINVAL);
      else t.true(result >= 0);
    }
  }
  guarded.requireGuards();
});

/** The gateway's files over a cache and a backing file, with the threads of the lanes, in this process. */
class ServedVolume {
  readonly guarded: GuardedSlots;
  readonly model = Buffer.alloc(VOLUME_BYTES);
  readonly #thread: DataThread;
  readonly #files: VolumeFiles;

  constructor(guarded: GuardedSlots, thread: DataThread, files: VolumeFiles) {
    this.guarded = guarded;
    this.#thread = thread;
    this.#files = files;
  }

  static start(t: ExecutionContext): ServedVolume {
    const folder = memoryFolder(t) ?? temporaryFolder(t);
    const [cachePath, backingPath] = [join(folder, 'cache.pmem'), join(folder, 'backing.img')];
    createCacheFile(cachePath, CACHE_BYTES_MIN);
    writeFileSync(backingPath, '');
    truncateSync(backingPath, VOLUME_BYTES);
    const device = openCacheDevice(cachePath);
    const backing = openBackingDevice(backingPath);
    formatCache(device, { dataCrc: true, gcPercent: 70, uuid: new Uint8Array(16).fill(7), nowMs: 1 });
    const { shared: cache } = openCache(device, {
      volumeBytes: VOLUME_BYTES,
      backingIdentity: backing.identity,
      adopt: false,
      bootId: '00000000-0000-4000-8000-000000000001',
      writers: 2,
      counterSlices: 4,
      readOnly: false,
      newUuid: new Uint8Array(16).fill(9),
      nowMs: 1,
      clock: () => performance.now(),
    });
    const guarded = new GuardedSlots(t);
    const pids = { supervisorPid: 1, enginePid: 1, engineRestarts: 0, startedMs: 1 };
    const paths = { cache: cachePath, backing: backingPath, mountpoint: folder, backingIdentity: backing.identity };
    const shared = createGatewayShared({
      cache,
      cacheDevice: device.handle,
      backingDevice: backing.handle,
      slots: guarded.slots.handle,
      facts: { ...pids, ...paths, sbFlags: 0, segTotal: 5, cacheFlags: 0, transport: 'libfuse', workers: 1 },
    });
    const thread = new DataThread({ shared, head: 0, counterSlice: 0 });
    const workers = ['miss-worker', 'write-worker', 'log-worker'].map((name, index) => {
      const workerData: DataThreadStart = { shared, head: 1, counterSlice: index + 1 };
      return new Worker(new URL(`../../src/gateway/${name}.js`, import.meta.url), { workerData });
    });
    for (const worker of workers) worker.on('error', (error) => t.fail(`a lane's thread died: ${error.message}`));
    t.teardown(async () => {
      Atomics.store(shared.words, GatewayWord.stopLanes, 1);
      Atomics.store(shared.words, GatewayWord.stopLog, 1);
      thread.misses.wakeAll();
      thread.writes.wakeAll();
      signal(cache.words, Word.logWorkEvent);
      await Promise.all(workers.map((worker) => once(worker, 'exit')));
      thread.end();
      destroyRequestSlots(guarded.slots.handle);
      backing.close();
      device.close();
    });
    const options = { kind: 'directory', readOnly: false, kernelCache: false, uid: 0, gid: 0, umask: 0 } as const;
    return new ServedVolume(guarded, thread, new VolumeFiles(thread, options));
  }

  /** Serves one request to its end. Resolves to the result; for a READ, the bytes are at the begin of the slot's payload. */
  async serve(bytes: Uint8Array): Promise<number> {
    const { slot } = this.guarded;
    const error = this.guarded.receive(bytes);
    if (error !== 0) return error;
    slot.expectAnswer();
    const result = slot.row!.handle(this.#files, slot);
    if (result !== PENDING) {
      sendAnswer(slot, result);
      if (slot.wantsAfterReply) this.#files.afterReply();
    }
    const answer = await slot.answerLeft();
    if (result === PENDING) this.#takeBack();
    if (!(Number.isInteger(answer) && answer > -512)) throw new Error(`${slot.row!.name}: answered ${answer}`);
    return answer;
  }

  /** A lane's thread gives the slot back after its answer. */
  #takeBack(): void {
    if (this.guarded.slots.take(10_000) !== this.guarded.slot) throw new Error('the slot was not given back');
  }

  /** Compares the whole volume, as READs show it, with the model. */
  async verify(): Promise<void> {
    const { opcode, structureBytes } = rowNamed('READ');
    for (let at = 0; at < VOLUME_BYTES; at += MAX_WRITE_BYTES) {
      const fields = [[READ_IN.offset, BigInt(at)] as const, [READ_IN.size, MAX_WRITE_BYTES] as const];
      const count = await this.serve(requestOf({ opcode, structureBytes, fields }));
      const expected = this.model.subarray(at, at + MAX_WRITE_BYTES);
      if (count !== expected.length) throw new Error(`READ at ${at}: ${count} bytes`);
      const different = firstDifference(this.guarded.slot.payload.subarray(0, count), expected);
      if (different !== undefined) throw new Error(`byte ${at + different} is wrong`);
    }
    if (this.#thread.misses.length + this.#thread.writes.length > 0) throw new Error('a lane is not empty');
    this.guarded.requireGuards();
  }
}

const offsets: fc.Arbitrary<bigint> = fc.oneof(
  fc.constantFrom(...extremes64),
  fc.constantFrom(...[-513, -512, -511, -1, 0, 1, 511, 512].map((more) => BigInt(VOLUME_BYTES + more))),
  fc.constantFrom(1n, 511n, 512n, 513n, 4095n),
  fc.nat(VOLUME_BYTES).map(BigInt),
);
const nodeids = fc.oneof({ weight: 8, arbitrary: fc.constant(2n) }, { weight: 1, arbitrary: fc.constantFrom(...extremes64, 3n, 4n, 5n) });

interface Operation {
  readonly name: 'READ' | 'WRITE' | 'FALLOCATE' | 'LSEEK' | 'FSYNC' | 'GETATTR' | 'OPEN' | 'READDIR';
  readonly nodeid: bigint;
  readonly offset: bigint;
  /** Bytes a WRITE brings. */
  readonly brings: number;
  /** What READ, READDIR and FALLOCATE ask for; a READ has its low 32 bits. */
  readonly size: bigint;
  /** Mode of FALLOCATE, whence of LSEEK, flags of OPEN. */
  readonly mode: number;
  readonly fh: bigint;
}

const operations: fc.Arbitrary<Operation> = fc.record({
  name: fc.constantFrom('READ', 'READ', 'WRITE', 'WRITE', 'FALLOCATE', 'FALLOCATE', 'LSEEK', 'FSYNC', 'GETATTR', 'OPEN', 'READDIR'),
  nodeid: nodeids,
  offset: offsets,
  brings: fc.oneof(fc.constantFrom(0, 1, 511, 512, 513, 4096, MAX_WRITE_BYTES), fc.nat(9000)),
  size: fc.oneof(fc.constantFrom(...extremes64, 511n, 512n, BigInt(MAX_WRITE_BYTES)), fc.nat(MAX_WRITE_BYTES).map(BigInt)),
  mode: fc.oneof(fc.constantFrom(0, 1, 3, 3, 0x10, 0x11, 2, 4), fc.constantFrom(...extremes32)),
  fh: fc.constantFrom(...extremes64),
});

function bytesOf({ name, nodeid, offset, brings, size, mode, fh }: Operation, fill: number): Buffer {
  const { opcode, structureBytes } = rowNamed(name);
  const parts = { opcode, nodeid, structureBytes };
  const low = Number(size & 0xffffffffn);
  switch (name) {
    case 'READ':
    case 'READDIR':
      return requestOf({ ...parts, fields: [[READ_IN.fh, fh] as const, [READ_IN.offset, offset] as const, [READ_IN.size, low] as const] });
    case 'WRITE': {
      const fields = [[WRITE_IN.fh, fh] as const, [WRITE_IN.offset, offset] as const, [WRITE_IN.size, brings] as const];
      return requestOf({ ...parts, fields, payload: new Uint8Array(brings).fill(fill) });
    }
    case 'FALLOCATE': {
      const range = [[FALLOCATE_IN.offset, offset] as const, [FALLOCATE_IN.length, size] as const];
      return requestOf({ ...parts, fields: [[FALLOCATE_IN.fh, fh] as const, ...range, [FALLOCATE_IN.mode, mode] as const] });
    }
    case 'LSEEK':
      return requestOf({ ...parts, fields: [[LSEEK_IN.offset, offset] as const, [LSEEK_IN.whence, mode] as const] });
    case 'OPEN':
      return requestOf({ ...parts, fields: [[0, mode] as const] });
    case 'FSYNC':
    case 'GETATTR':
      return requestOf(parts);
  }
}

/** What the volume must answer; the model is changed as the volume must be. Undefined: any result or errno. */
function expectedOf({ name, nodeid, offset, brings, size, mode }: Operation, fill: number, model: Buffer): number | undefined {
  const left = offset >= BigInt(VOLUME_BYTES) ? 0 : VOLUME_BYTES - Number(offset);
  const asked = Number(size & 0xffffffffn);
  switch (name) {
    case 'READ':
      if (asked > MAX_WRITE_BYTES) return -errno.EINVAL;
      return nodeid === 2n ? Math.min(left, asked) : undefined;
    case 'WRITE': {
      if (nodeid !== 2n) return -errno.EACCES;
      if (left === 0) return brings === 0 ? 0 : -errno.ENOSPC;
      const bytes = Math.min(left, brings);
      model.fill(fill, Number(offset), Number(offset) + bytes);
      return bytes;
    }
    case 'FALLOCATE':
      if (nodeid !== 2n) return -errno.EACCES;
      if ((mode & ~0x13) !== 0) return -errno.EOPNOTSUPP;
      if (offset + size > BigInt(VOLUME_BYTES) && (mode & 1) === 0) return -errno.ENOSPC;
      if ((mode & 0x12) !== 0 && left > 0) {
        const end = offset + size < BigInt(VOLUME_BYTES) ? Number(offset + size) : VOLUME_BYTES;
        model.fill(0, Number(offset), end);
      }
      return 0;
    case 'LSEEK':
      if (nodeid !== 2n) return -errno.ENXIO;
      if (left === 0) return -errno.ENXIO;
      return mode === 3 || mode === 4 ? undefined : -errno.EINVAL;
    default:
      return undefined;
  }
}

test('reads, writes, discards and seeks of any place and size change what they name and nothing else', async (t) => {
  t.log(`seed ${seed}`);
  const volume = ServedVolume.start(t);
  let fill = 0;
  const property = fc.asyncProperty(fc.array(operations, { minLength: 1, maxLength: 12 }), async (list) => {
    for (const operation of list) {
      fill = (fill % 255) + 1;
      const expected = expectedOf(operation, fill, volume.model);
      const result = await volume.serve(bytesOf(operation, fill));
      if (expected !== undefined && result !== expected) throw new Error(`answered ${result}, not ${expected}`);
      if (operation.name !== 'READ' || operation.nodeid !== 2n || result <= 0) continue;
      const { payload } = volume.guarded.slot;
      const at = Number(operation.offset);
      const different = firstDifference(payload.subarray(0, result), volume.model.subarray(at, at + result));
      if (different !== undefined) throw new Error(`READ: byte ${at + different} is wrong`);
    }
    await volume.verify();
  });
  await t.notThrowsAsync(fc.assert(property, { seed, numRuns: 400, interruptAfterTimeLimit: 12_000, endOnFailure: true }));
});

test('the same as noise: whatever its bytes are, a request is answered and the volume holds what was written', async (t) => {
  t.log(`seed ${seed}`);
  const volume = ServedVolume.start(t);
  // Not WRITE and FALLOCATE on the volume itself, which might succeed.
  const rows = opcodeRows.filter(({ name, handle }) => name !== 'WRITE' && name !== 'FALLOCATE' && handle.length > 0);
  const { opcode, structureBytes } = rowNamed('WRITE');
  for (let at = 0; at < VOLUME_BYTES; at += 5 * SECTOR_BYTES) {
    const payload = new Uint8Array(SECTOR_BYTES).fill(1 + (at % 251));
    const fields = [[WRITE_IN.offset, BigInt(at)] as const, [WRITE_IN.size, SECTOR_BYTES] as const];
    t.is(await volume.serve(requestOf({ opcode, nodeid: 2n, structureBytes, fields, payload })), SECTOR_BYTES);
    volume.model.set(payload, at);
  }
  const noise = fc.tuple(fc.constantFrom(...rows), fc.constantFrom(1n, 2n, 3n, 4n), fc.uint8Array({ maxLength: 200 }), fc.boolean());
  const property = fc.asyncProperty(noise, async ([row, nodeid, body, isShort]) => {
    const bytes = requestOf({ ...row, nodeid, structureBytes: isShort ? 0 : row.structureBytes, payload: body });
    if (!isShort) bytes.set(body.subarray(0, row.structureBytes), IN_HEADER.bytes);
    await volume.serve(bytes);
  });
  await t.notThrowsAsync(fc.assert(property, { seed, numRuns: 3000, interruptAfterTimeLimit: 6000 }));
  await t.notThrowsAsync(volume.verify());
});
