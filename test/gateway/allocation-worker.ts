// A queue worker that measures what it allocates: the real one, but for a file system that looks at the heap between two requests.

import { getHeapSpaceStatistics } from 'node:v8';
import { isMainThread, parentPort, workerData } from 'node:worker_threads';
import { serveQueue } from '../../src/fuse/dev-fuse-transport.js';
import type { FuseRequest } from '../../src/fuse/request.js';
import type { RequestSlot } from '../../src/fuse/request-slots.js';
import { serveRing } from '../../src/fuse/io-uring-transport.js';
import { DataThread } from '../../src/gateway/gateway-shared.js';
import type { DataThreadStart } from '../../src/gateway/gateway-shared.js';
import type { RingStart } from '../../src/gateway/queue-worker.js';
import { VolumeFiles } from '../../src/gateway/volume-files.js';
import type { VolumeFilesOptions } from '../../src/gateway/volume-files.js';
import { MEASURED_REQUESTS, WARM_REQUESTS } from './allocation-server.js';
import type { AllocationResult, Operation } from './allocation-server.js';

export interface AllocationWorkerStart extends DataThreadStart {
  readonly files: VolumeFilesOptions;
  readonly fd: number;
  readonly wakeFd?: number;
  /** Of the requests that this worker measures. */
  readonly share: number;
  readonly ring: RingStart | undefined;
}

/** The measured requests are looked at in so many parts. */
const WINDOWS = 10;

/** What is new since the last collection. */
function youngBytes(): number {
  return getHeapSpaceStatistics().find((space) => space.space_name === 'new_space')!.space_used_size;
}

class Measurement {
  readonly #operation: Operation;
  readonly #first: number;
  readonly #windowRequests: number;
  readonly #growths: number[] = [];
  #count = 0;
  #before = 0;

  constructor(operation: Operation, share: number) {
    this.#operation = operation;
    this.#first = Math.floor(WARM_REQUESTS * share);
    this.#windowRequests = Math.floor((MEASURED_REQUESTS * share) / WINDOWS);
  }

  step(): void {
    const measured = this.#count++ - this.#first;
    if (measured < 0 || measured % this.#windowRequests !== 0 || this.#growths.length === WINDOWS) return;
    if (measured === 0) {
      globalThis.gc!();
      // The first look compiles and keeps what later ones need.
      youngBytes();
    } else {
      this.#growths.push(youngBytes() - this.#before);
    }
    if (this.#growths.length === WINDOWS) this.#tell();
    this.#before = youngBytes();
  }

  #tell(): void {
    // What is allocated for each request is in every window; what V8 does when it compiles something late, in some.
    const median = [...this.#growths].sort((a, b) => a - b)[WINDOWS >> 1]!;
    const result: AllocationResult = { operation: this.#operation, requests: this.#windowRequests * WINDOWS, bytes: median * WINDOWS };
    parentPort!.postMessage(result);
  }
}

class MeasuredFiles extends VolumeFiles {
  readonly #reads: Measurement;
  readonly #writes: Measurement;

  constructor(thread: DataThread, options: VolumeFilesOptions, share: number) {
    super(thread, options);
    this.#reads = new Measurement('READ', share);
    this.#writes = new Measurement('WRITE', share);
  }

  override read(request: FuseRequest, slot: RequestSlot): number {
    this.#reads.step();
    return super.read(request, slot);
  }

  override write(request: FuseRequest, slot: RequestSlot): number {
    this.#writes.step();
    return super.write(request, slot);
  }
}

function main(start: AllocationWorkerStart): void {
  const thread = new DataThread(start);
  const options = {
    fd: start.fd,
    slots: thread.slots,
    fileSystem: new MeasuredFiles(thread, start.files, start.share),
    timer: thread.times,
    stopWord: start.shared.words.subarray(0, 1),
    onError: (operation: string, error: unknown) => process.stderr.write(`${operation}: ${String(error)}\n`),
  };
  const ready = (): void => parentPort!.postMessage('ready');
  if (start.ring === undefined) {
    ready();
    serveQueue(start.wakeFd === undefined ? options : { ...options, wakeFd: start.wakeFd });
  } else {
    const { number: ring, queues, depth } = start.ring;
    serveRing({ ...options, ring, queues, depth, onRegistered: ready });
  }
  thread.end();
}

if (!isMainThread) main(workerData as AllocationWorkerStart);
