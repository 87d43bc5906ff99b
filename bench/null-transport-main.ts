// A null image as null-image.c is one, but served by this project's own transports, laid out as the gateway lays them out: the ceiling of the gateway, which
// does the same and keeps a cache besides.
//
//     node null-transport-main.js MOUNTPOINT BYTES HUGE_BYTES TRANSPORT
//
// Prints a line when it serves. Ends when it is unmounted, or at SIGTERM and SIGINT, which unmount.
//
// Invariants: the memory is anonymous and shared, so that nothing is left of it whatever ends the process; its first HUGE_BYTES are in huge pages, where the
// kernel can, as a cache in memory is. The rest costs nothing until it is written.

import { Worker } from 'node:worker_threads';
import { HugePageGatherer, mmapForHugePages } from '../src/device/huge-pages.js';
import { MAP_ANONYMOUS, MAP_NORESERVE, MAP_SHARED, PROT_READ, PROT_WRITE } from '../src/device/linux-constants.js';
import { createWakeEvent } from '../src/device/wake-event.js';
import { PcacheError, messageOf } from '../src/errors.js';
import { connectionNumber } from '../src/fuse/connection.js';
import { mountFuse } from '../src/fuse/mount.js';
import { createRequestSlots, lockRequestSlots } from '../src/fuse/request-slots.js';
import { negotiate, setNonBlocking, workerDescriptors, type WorkerDescriptors } from '../src/fuse/session.js';
import type { EngineOptions } from '../src/gateway/engine.js';
import { parseMountOptions } from '../src/gateway/mount-options.js';
import { EXIT_FAILED, exitWithoutThreads } from '../src/gateway/process-exit.js';
import { planQueues } from '../src/gateway/queue-plan.js';
import { takeMountAway } from '../src/gateway/take-mount-away.js';
import type { NullImageMemory } from './null-files.js';
import type { NullWorkerMessage, NullWorkerStart } from './null-transport-worker.js';

function mapMemory(sizeBytes: number, hugeBytes: number): NullImageMemory {
  const address = mmapForHugePages(sizeBytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1);
  const gatherer = new HugePageGatherer(address, hugeBytes);
  while (gatherer.step());
  return { address, sizeBytes };
}

/** Serves until the session ends. Rejects if a thread can't; nothing is mounted any more then. */
async function serve(mountpoint: string, memory: NullImageMemory, transport: string): Promise<void> {
  const options = parseMountOptions([`transport=${transport}`]);
  const fd = mountFuse({ mountpoint, kind: 'directory', fsName: 'null-transport' });
  const takeAway = (): void => {
    const connection = connectionNumber(mountpoint);
    if (connection !== undefined) takeMountAway(mountpoint, connection);
  };
  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, takeAway);
  try {
    const session = negotiate(fd, options.transport === 'io-uring');
    if (session.overIoUring !== (options.transport === 'io-uring')) throw new PcacheError('unsupported', 'the kernel offers no rings');
    const { fds: fuseFds, eagerFds }: WorkerDescriptors = session.overIoUring ? { fds: [fd] } : workerDescriptors(fd, options.workers);
    // All of an engine's options that decide it.
    const engine: Pick<EngineOptions, 'fuseFds' | 'session' | 'options'> = { fuseFds, session, options };
    const plan = planQueues(engine as EngineOptions);
    const slots = createRequestSlots(session.maxWriteBytes, plan.slots, plan.rings.length);
    // Refused to some users, and then it is done without, as in the gateway.
    lockRequestSlots(slots);
    if (session.overIoUring) setNonBlocking(fd);
    const common = { slots, memory, pollUs: options.pollUs, stopWord: new Int32Array(new SharedArrayBuffer(4)) };
    const wakeFd = session.overIoUring ? createWakeEvent() : undefined;
    const threads = Array.from({ length: plan.threads }, (_, index) => {
      return startThread({ ...common, fd: fuseFds[index % fuseFds.length]!, eagerFd: eagerFds?.[index], ring: plan.rings[index], wakeFd });
    });
    await Promise.all(threads.map(({ ready }) => ready));
    process.stdout.write('serving\n');
    await Promise.all(threads.map(({ ended }) => ended));
  } catch (error) {
    takeAway();
    throw error;
  }
}

interface Thread {
  readonly ready: Promise<void>;
  readonly ended: Promise<void>;
}

/** Both promises reject if the thread fails. */
function startThread(workerData: NullWorkerStart): Thread {
  const worker = new Worker(new URL('null-transport-worker.js', import.meta.url), { workerData });
  const failed = new Promise<never>((_, reject) => worker.once('error', reject));
  const ready = new Promise<void>((resolve) => {
    worker.on('message', (message: NullWorkerMessage) => {
      if (message === 'ready') resolve();
      else process.stderr.write(`${message.error}\n`);
    });
  });
  const ended = new Promise<void>((resolve) => worker.once('exit', () => resolve()));
  const thread = { ready: Promise.race([ready, failed]), ended: Promise.race([ended, failed]) };
  // Whoever awaits them hears of it.
  for (const promise of Object.values(thread)) promise.catch(() => undefined);
  return thread;
}

const [mountpoint, size, huge, transport] = process.argv.slice(2);
process.title = 'null-transport';
try {
  if (mountpoint === undefined || transport === undefined) {
    throw new PcacheError('usage', 'null-transport-main MOUNTPOINT BYTES HUGE_BYTES TRANSPORT');
  }
  await serve(mountpoint, mapMemory(Number(size), Number(huge)), transport);
} catch (error) {
  process.stderr.write(`null-transport: ${messageOf(error)}\n`);
  // Another thread may be waiting for requests.
  exitWithoutThreads(EXIT_FAILED);
}
