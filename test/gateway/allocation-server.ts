// A gateway in small for the test of allocation, in a process of its own whose young generation is so large that nothing is collected while it is
// measured: a cache, and queue workers over it that measure themselves (allocation-worker.ts). The requests come from the kernel through rings,
// or, for the transport dev-fuse, from this process: the other end of a socket stands for the kernel, which needs no FUSE.

import * as fs from 'node:fs';
import { join } from 'node:path';
import { spawn } from 'node:child_process';
import { Worker } from 'node:worker_threads';
import { Cache } from '../../src/cache/cache.js';
import { formatCache } from '../../src/cache/format.js';
import { openCache } from '../../src/cache/open.js';
import { openBackingDevice } from '../../src/device/file-backing-device.js';
import { addressOf, read, socketpair, write } from '../../src/device/libc.js';
import { AF_UNIX } from '../../src/device/linux-constants.js';
import { createCacheFile, openCacheDevice } from '../../src/device/mapped-cache-device.js';
import { createWakeEvent } from '../../src/device/wake-event.js';
import { ringQueueCount, wakeRings } from '../../src/fuse/io-uring-transport.js';
import { mountFuse, unmountFuse } from '../../src/fuse/mount.js';
import { createRequestSlots } from '../../src/fuse/request-slots.js';
import { negotiate, setNonBlocking } from '../../src/fuse/session.js';
import { IN_HEADER, OUT_HEADER, READ_IN, WRITE_IN } from '../../src/fuse/structs.js';
import { createGatewayShared } from '../../src/gateway/gateway-shared.js';
import type { GatewayShared } from '../../src/gateway/gateway-shared.js';
import type { StatusFacts } from '../../src/gateway/status.js';
import type { AllocationWorkerStart } from './allocation-worker.js';

/** Requests of each kind that are measured, after as many as it takes until all that is hot is compiled. */
export const MEASURED_REQUESTS = 100_000;
export const WARM_REQUESTS = 50_000;
export const BLOCK_BYTES = 512;

export type AllocationTransport = 'dev-fuse' | 'io-uring';
export type Operation = 'READ' | 'WRITE';

export interface AllocationServerStart {
  readonly transport: AllocationTransport;
  /** An empty folder. */
  readonly folder: string;
}

/** Bytes that one worker allocated during its share of the measured requests of one kind. */
export interface AllocationResult {
  readonly operation: Operation;
  readonly requests: number;
  readonly bytes: number;
}

/** So large that offsets and addresses are numbers that V8 can't keep in a word. */
const VOLUME_BYTES = 8 * 2 ** 30;
const AREA_START_BYTES = 6 * 2 ** 30;
const AREA_BYTES = 32 << 20;
/** Room for all that is written, since nothing is written back here. */
const CACHE_BYTES = 256 << 20;
const SOCK_SEQPACKET = 5;
const VOLUME_NODEID = 2;
const RING_DEPTH = 8;
const BATCH = 16;
const REQUESTS = WARM_REQUESTS + MEASURED_REQUESTS + BATCH;
const MAX_WRITE_BYTES = 1 << 20;

function openGateway(folder: string, ringCount: number, slotCount: number): { shared: GatewayShared; logCache: Cache } {
  const cachePath = join(folder, 'cache');
  const backingPath = join(folder, 'backing');
  createCacheFile(cachePath, CACHE_BYTES);
  fs.writeFileSync(backingPath, '');
  fs.truncateSync(backingPath, VOLUME_BYTES);
  const device = openCacheDevice(cachePath);
  formatCache(device, { dataCrc: false, gcPercent: 70, uuid: new Uint8Array(16).fill(7), nowMs: Date.now() });
  const backing = openBackingDevice(backingPath);
  const clock = (): number => performance.now();
  const { shared: cache } = openCache(device, {
    volumeBytes: VOLUME_BYTES,
    backingIdentity: backing.identity,
    adopt: false,
    bootId: '00000000-0000-4000-8000-000000000001',
    writers: 3,
    counterSlices: 4,
    readOnly: false,
    newUuid: new Uint8Array(16).fill(1),
    nowMs: Date.now(),
    clock,
  });
  const shared = createGatewayShared({
    cache,
    cacheDevice: device.handle,
    backingDevice: backing.handle,
    slots: createRequestSlots(MAX_WRITE_BYTES, slotCount, ringCount),
    facts: { startedMs: Date.now() } as StatusFacts,
  });
  return { shared, logCache: new Cache(cache, device, 0, 3, clock) };
}

const results: AllocationResult[] = [];
const files = { kind: 'directory', readOnly: false, kernelCache: false, uid: 0, gid: 0, umask: 0 } as const;

/** @returns the worker, once it is about to serve */
async function startWorker(start: AllocationWorkerStart): Promise<{ exited: Promise<void> }> {
  const worker = new Worker(new URL('./allocation-worker.js', import.meta.url), { workerData: start });
  let isReady: () => void = () => undefined;
  const ready = new Promise<void>((resolve) => (isReady = resolve));
  worker.on('message', (message: AllocationResult | 'ready') => {
    if (message === 'ready') isReady();
    else results.push(message);
  });
  const exited = new Promise<void>((resolve, reject) => {
    worker.once('exit', () => resolve());
    worker.once('error', reject);
  });
  await Promise.race([ready, exited]);
  return { exited };
}

/** The kernel's side of a session: sends requests over the socket, a batch at a time, and takes the answers. */
async function serveSocket(folder: string): Promise<void> {
  const { shared, logCache } = openGateway(folder, 0, 64);
  const [ours, theirs] = socketpair(AF_UNIX, SOCK_SEQPACKET);
  const { exited } = await startWorker({ shared, head: 0, counterSlice: 0, files, fd: theirs, share: 1, ring: undefined });
  for (const operation of ['WRITE', 'READ'] as const) {
    sendRequests(ours, operation, () => logCache.logStep(0));
    // Lets the worker's messages in.
    await new Promise((resolve) => setImmediate(resolve));
  }
  fs.closeSync(ours);
  await exited;
}

function sendRequests(fd: number, operation: Operation, afterBatch: () => void): void {
  const structure = operation === 'READ' ? READ_IN : WRITE_IN;
  const request = new Uint8Array(IN_HEADER.bytes + structure.bytes + (operation === 'READ' ? 0 : BLOCK_BYTES) + 4096);
  const lengthBytes = request.length - 4096;
  const view = new DataView(request.buffer);
  view.setUint32(IN_HEADER.len, lengthBytes, true);
  view.setUint32(IN_HEADER.opcode, operation === 'READ' ? 15 : 16, true);
  view.setUint32(IN_HEADER.nodeid, VOLUME_NODEID, true);
  view.setUint32(IN_HEADER.bytes + structure.size, BLOCK_BYTES, true);
  const answer = new Uint8Array(8192);
  const answerView = new DataView(answer.buffer);
  const [requestAddress, answerAddress] = [addressOf(request), addressOf(answer)];
  for (let sent = 0; sent < REQUESTS;) {
    for (let i = 0; i < BATCH; i++, sent++) {
      view.setUint32(IN_HEADER.unique, sent + 1, true);
      const offset = AREA_START_BYTES + ((sent * 7919) % (AREA_BYTES / BLOCK_BYTES)) * BLOCK_BYTES;
      view.setBigUint64(IN_HEADER.bytes + structure.offset, BigInt(offset), true);
      if (write(fd, requestAddress, lengthBytes) !== lengthBytes) throw new Error('the worker takes no request');
    }
    for (let i = 0; i < BATCH; i++) {
      const expected = OUT_HEADER.bytes + (operation === 'READ' ? BLOCK_BYTES : 8);
      if (read(fd, answerAddress, answer.length) !== expected) throw new Error(`${operation}: answer ${answerView.getInt32(4, true)}`);
    }
    afterBatch();
  }
}

/** Requests that the kernel makes of what `dd` does, through rings. */
async function serveRings(folder: string): Promise<void> {
  const mountpoint = join(folder, 'mnt');
  fs.mkdirSync(mountpoint);
  const rings = ringQueueCount();
  const fd = mountFuse({ mountpoint, kind: 'directory', fsName: 'allocation', maxReadBytes: 1 << 20 });
  try {
    negotiate(fd, true);
    const { shared, logCache } = openGateway(folder, rings, rings * RING_DEPTH + 16);
    setNonBlocking(fd);
    const wakeFd = createWakeEvent();
    const exits: Promise<void>[] = [];
    for (let number = 0; number <= rings; number++) {
      const ring = number < rings ? { number, queues: [number], depth: RING_DEPTH } : undefined;
      // The requests of one process come from any CPU, so each ring's worker measures half of what there is.
      const start = { shared, head: number, counterSlice: Math.min(number, 2), files, fd, wakeFd, share: 0.5, ring };
      exits.push((await startWorker(start)).exited);
    }
    const timer = setInterval(() => {
      while (logCache.logStep(0));
    }, 1);
    const file = join(mountpoint, 'volume.img');
    const range = [`bs=${BLOCK_BYTES}`, `count=${AREA_BYTES / BLOCK_BYTES}`, 'status=none'];
    const start = AREA_START_BYTES / BLOCK_BYTES;
    for (let done = 0; done < 2 * REQUESTS; done += AREA_BYTES / BLOCK_BYTES) {
      await command('dd', ['if=/dev/zero', `of=${file}`, `seek=${start}`, 'oflag=direct', 'conv=notrunc', ...range]);
    }
    for (let done = 0; done < 2 * REQUESTS; done += AREA_BYTES / BLOCK_BYTES) {
      await command('dd', [`if=${file}`, 'of=/dev/null', `skip=${start}`, 'iflag=direct', ...range]);
    }
    clearInterval(timer);
    Atomics.store(shared.words, 0, 1);
    wakeRings(shared.slots.rings, wakeFd);
    await Promise.all(exits);
  } finally {
    unmountFuse(mountpoint, { lazy: true });
    fs.closeSync(fd);
  }
}

function command(program: string, args: readonly string[]): Promise<void> {
  return new Promise((resolve, reject) => {
    spawn(program, args, { stdio: 'inherit' }).once('exit', (status) => {
      if (status === 0) resolve();
      else reject(new Error(`${program} ${args.join(' ')}: status ${status}`));
    });
  });
}

process.once('message', ({ transport, folder }: AllocationServerStart) => {
  void (transport === 'dev-fuse' ? serveSocket(folder) : serveRings(folder)).then(
    () => process.send!(results, undefined, undefined, () => process.exit(0)),
    (error: unknown) => {
      process.stderr.write(`${String(error)}\n`);
      process.exit(1);
    },
  );
});
