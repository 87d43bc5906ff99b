// The files of a mount as one queue worker serves them: what holds between a request and its answer, when several answers are sent together.

import { truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { formatCache } from '../../src/cache/format.js';
import { openCache } from '../../src/cache/open.js';
import { openBackingDevice } from '../../src/device/file-backing-device.js';
import { view } from '../../src/device/libc.js';
import { createCacheFile, openCacheDevice } from '../../src/device/mapped-cache-device.js';
import { LOCAL_FD, createRequestSlots, destroyRequestSlots, type RequestSlot } from '../../src/fuse/request-slots.js';
import { READ_IN, WRITE_IN } from '../../src/fuse/structs.js';
import { createGatewayShared, DataThread } from '../../src/gateway/gateway-shared.js';
import { VolumeFiles } from '../../src/gateway/volume-files.js';
import { CACHE_BYTES_MIN, SECTOR_BYTES } from '../../src/media/layout.js';
import { requestOf, rowNamed } from '../fuse/request-noise.js';
import { memoryFolder, temporaryFolder } from '../support/tmp.js';

const VOLUME_BYTES = 1024 * 1024;
const SLOTS = 16;
const MAX_WRITE_BYTES = 64 * 1024;

interface Served {
  readonly thread: DataThread;
  readonly files: VolumeFiles;
  /** Has a request carried out. Its answer is sent when `afterReply` is called. */
  readonly serve: (bytes: Uint8Array) => RequestSlot;
  /** Pins of all segments together. */
  readonly pins: () => number;
}

function start(t: ExecutionContext): Served {
  const folder = memoryFolder(t) ?? temporaryFolder(t);
  const [cachePath, backingPath] = [join(folder, 'cache.pmem'), join(folder, 'backing.img')];
  createCacheFile(cachePath, CACHE_BYTES_MIN);
  writeFileSync(backingPath, '');
  truncateSync(backingPath, VOLUME_BYTES);
  const device = openCacheDevice(cachePath);
  const backing = openBackingDevice(backingPath);
  formatCache(device, { dataCrc: false, gcPercent: 70, uuid: new Uint8Array(16).fill(7), nowMs: 1 });
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
  const slots = createRequestSlots(MAX_WRITE_BYTES, SLOTS);
  const shared = createGatewayShared({
    cache,
    cacheDevice: device.handle,
    backingDevice: backing.handle,
    slots,
    facts: {
      ...{ supervisorPid: 1, enginePid: 1, engineRestarts: 0, startedMs: 1 },
      ...{ cache: cachePath, backing: backingPath, mountpoint: folder, backingIdentity: backing.identity },
      ...{ sbFlags: 0, segTotal: 5, cacheFlags: 0, version: '1.2.3', transport: 'libfuse', workers: 1 },
    },
  });
  const thread = new DataThread({ shared, head: 0, counterSlice: 0 });
  const files = new VolumeFiles(thread, { kind: 'directory', readOnly: false, kernelCache: false, uid: 0, gid: 0, umask: 0 });
  t.teardown(() => {
    thread.end();
    destroyRequestSlots(slots);
    backing.close();
    device.close();
  });
  const serve = (bytes: Uint8Array): RequestSlot => {
    const slot = thread.slots.take(0)!;
    new Uint8Array(view(slot.requestAddress, bytes.length)).set(bytes);
    t.is(slot.receive(LOCAL_FD, bytes.length), 0);
    t.true(slot.row!.handle(files, slot) > 0);
    return slot;
  };
  return { thread, files, serve, pins: () => cache.pins.reduce((sum, pins) => sum + pins, 0) };
}

function request(name: 'READ' | 'WRITE', offset: number, payload: Uint8Array): Uint8Array {
  const { opcode, structureBytes } = rowNamed(name);
  const place = name === 'READ' ? READ_IN : WRITE_IN;
  const fields = [[place.offset, BigInt(offset)] as const, [place.size, payload.length] as const];
  return requestOf({ opcode, structureBytes, nodeid: 2n, fields, ...(name === 'WRITE' ? { payload } : {}) });
}

test('each of several answers that are not sent yet keeps its own bytes pinned, until it is', (t) => {
  const { thread, files, serve, pins } = start(t);
  const blocks = [1, 2, 3, 4].map((fill) => new Uint8Array(8 * SECTOR_BYTES).fill(fill));
  for (const [at, block] of blocks.entries()) thread.slots.give(serve(request('WRITE', at * block.length, block)));
  t.is(pins(), 0);
  for (let round = 0; round < 3; round++) {
    const answers = blocks.map((block, at) => serve(request('READ', at * block.length, block)));
    t.is(pins(), blocks.length);
    for (const [at, slot] of answers.entries()) {
      t.deepEqual(slot.gather(), blocks[at]);
      t.true(slot.wantsAfterReply);
      files.touched[0] = 0;
      files.beforeReply(slot);
      t.is(files.touched[0], blocks[at]![0]!, 'its one page was looked at, once');
      files.afterReply(slot);
      thread.slots.give(slot);
      t.is(pins(), blocks.length - 1 - at);
    }
  }
});
