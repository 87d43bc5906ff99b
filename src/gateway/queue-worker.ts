// A queue worker's thread: takes requests from its FUSE descriptor or its ring and answers them, or hands them on, until the session ends.

import { pinThreadToCpu } from '../device/libc.js';
import { PcacheError } from '../errors.js';
import { serveQueue, type QueueEnd } from '../fuse/dev-fuse-transport.js';
import { serveRing } from '../fuse/io-uring-transport.js';
import { DataThread } from './gateway-shared.js';
import type { DataThreadStart } from './gateway-shared.js';
import { noteRequestError } from './request-errors.js';
import { tellMain, threadStart } from './thread-messages.js';
import { VolumeFiles } from './volume-files.js';
import type { VolumeFilesOptions } from './volume-files.js';

export interface QueueWorkerStart extends DataThreadStart {
  readonly fuseFd: number;
  readonly eagerFd: number | undefined;
  readonly files: VolumeFilesOptions;
  /** With transport io-uring. */
  readonly ring: RingStart | undefined;
  /** As MountOptions. */
  readonly pollUs: number;
  /** See QueueOptions. */
  readonly wakeFd: number | undefined;
}

export interface RingStart {
  readonly number: number;
  /** The kernel's queues that it serves; a single one is that of the CPU to run on. */
  readonly queues: readonly number[];
  readonly depth: number;
}

const start = threadStart() as QueueWorkerStart;
const thread = new DataThread(start);
const fileSystem = new VolumeFiles(thread, start.files);
const options = {
  fd: start.fuseFd,
  eagerFd: start.eagerFd,
  pollUs: start.pollUs,
  slots: thread.slots,
  fileSystem,
  timer: thread.times,
  stopWord: start.shared.words.subarray(0, 1),
  onError: noteRequestError,
};

function serve(): QueueEnd {
  const { ring, wakeFd } = start;
  if (ring !== undefined) {
    const [cpu, ...others] = ring.queues;
    if (cpu !== undefined && others.length === 0) runOn(cpu);
    return serveRing({
      ...options,
      ring: ring.number,
      queues: ring.queues,
      depth: ring.depth,
      onRegistered: () => tellMain({ type: 'ready' }),
    });
  }
  tellMain({ type: 'ready' });
  return serveQueue(wakeFd === undefined ? options : { ...options, wakeFd });
}

/** A ring's thread runs best where its requests come from. */
function runOn(cpu: number): void {
  try {
    pinThreadToCpu(cpu);
  } catch (error) {
    // Not one of the CPUs that this process was given; any other does as well, more slowly.
    if (!(error instanceof PcacheError)) throw error;
  }
}

const queueEnd = serve();
thread.end();
tellMain({ type: 'ended', queueEnd });
