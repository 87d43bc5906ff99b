// FUSE requests as no kernel would send them. First through every row to a file system that checks what it is given; then, for the operations on
// data, to the real files of the gateway over a small cache, with the lanes' real threads, against a flat array. Every answer is a result or an
// errno, nothing throws, no other slot's memory changes, and the volume changes where it was written and nowhere else.
// PCACHE_SEED chooses other runs.

import { once } from 'node:events';
import { truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import fc from 'fast-check';
import { formatCache } from '../../src/cache/format.js';
import { openCache } from '../../src/cache/open.js';
import { Word } from '../../src/cache/shared-state.js';
import { errno } from '../../src/device/errno-codes.js';
import { openBackingDevice } from '../../src/device/file-backing-device.js';
import { createCacheFile, openCacheDevice } from '../../src/device/mapped-cache-device.js';
import { sendAnswer } from '../../src/fuse/answer.js';
import { PENDING } from '../../src/fuse/file-system.js';
import { opcodeRows } from '../../src/fuse/opcodes.js';
import { destroyRequestSlots } from '../../src/fuse/request-slots.js';
import { FALLOCATE_IN, IN_HEADER, LSEEK_IN, READ_IN, WRITE_IN } from '../../src/fuse/structs.js';
import { createGatewayShared, DataThread, GatewayWord, type DataThreadStart } from '../../src/gateway/gateway-shared.js';
import { ParkedThreads } from '../../src/gateway/parked-threads.js';
import { VolumeFiles } from '../../src/gateway/volume-files.js';
import { CACHE_BYTES_MIN, SECTOR_BYTES } from '../../src/media/layout.js';
import { signal } from '../../src/shared/event-word.js';
import { firstDifference } from '../support/model-rig.js';
import { memoryFolder, temporaryFolder } from '../support/tmp.js';
import {
  CheckingFileSystem,
  GuardedSlots,
  MAX_WRITE_BYTES,
  extremes32,
  extremes64,
  requestNoise,
  requestOf,
  rowNamed,
  serveChecked,
  validRequest,
} from './request-noise.js';

const seed = Number(process.env.PCACHE_SEED ?? 1);
const VOLUME_BYTES = 1024 * 1024 + 512;

function checkedSlots(t: ExecutionContext): GuardedSlots {
  const guarded = new GuardedSlots();
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
  const property = fc.property(requestNoise, (bytes) => {
    serveChecked(guarded, files, bytes);
  });
  t.notThrows(() => fc.assert(property, { seed, numRuns: 20_000 }));
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
    const guarded = new GuardedSlots();
    const pids = { supervisorPid: 1, enginePid: 1, engineRestarts: 0, startedMs: 1 };
    const paths = { cache: cachePath, backing: backingPath, mountpoint: folder, backingIdentity: backing.identity };
    const shared = createGatewayShared({
      cache,
      cacheDevice: device.handle,
      backingDevice: backing.handle,
      slots: guarded.slots.handle,
      facts: { ...pids, ...paths, sbFlags: 0, segTotal: 5, cacheFlags: 0, version: '1.2.3', transport: 'libfuse', workers: 1 },
    });
    const thread = new DataThread({ shared, head: 0, counterSlice: 0 });
    const threads = new ParkedThreads();
    const workers = ['miss-worker', 'write-worker', 'log-worker'].map((name, index) => {
      const parked = threads.take({ name, file: `./${name}.js` });
      parked.go({ shared, head: 1, counterSlice: index + 1 } satisfies DataThreadStart);
      return parked.worker;
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
      if (slot.wantsAfterReply) this.#files.afterReply(slot);
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
