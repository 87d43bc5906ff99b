// Requests to a backing device through Linux AIO (io_submit(2)): many under way at a time, and none outlives the process. When a process dies the kernel waits
// for its AIO before the process is gone (fs/aio.c, exit_aio); for an io_uring it doesn't: there a write may reach the device seconds after the death, over
// what the next process has written since. So what writes to the backing device uses this.
//
// Invariants, beside those of every BackingQueue:
// - A request that does not suit direct I/O, or that the kernel refuses to do this way, is done by the device's own synchronous calls, with all their rules
//   (bounce buffer, lock over blocks that are written in part). So is a flush.
// - A transfer that ends early goes on where it ended, or is the error that the synchronous call would give; errors have the same texts and codes.
// - Nothing is allocated for a request but an error.

import { PcacheError } from '../errors.js';
import { outcomeOf } from './backing-queue.js';
import type { BackingQueue } from './backing-queue.js';
import { isRefusal } from './backing-ring.js';
import type { RingDevice } from './backing-ring.js';
import { errno } from './errno-codes.js';
import { ioDestroy, ioGetEvents, ioSetup, ioSubmit, mmap, munmap, view } from './libc.js';
import { MAP_ANONYMOUS, MAP_PRIVATE, PROT_READ, PROT_WRITE } from './linux-constants.js';
import { systemError } from './system-error.js';

/** `struct iocb` and `struct io_event` of linux/aio_abi.h, in 32-bit words. */
const IOCB = { words: 16, data: 0, opcode: 4, fd: 5, address: 6, length: 8, offset: 10 } as const;
const EVENT = { words: 8, data: 0, result: 4 } as const;
const IOCB_CMD_PREAD = 0;
const IOCB_CMD_PWRITE = 1;
const WORD_BYTES = 4;
const POINTER_WORDS = 2;
const TWO_32 = 4294967296;

class AioRequest {
  token = 0;
  isWrite = false;
  offsetBytes = 0;
  lengthBytes = 0;
  /** Kept, so that its memory stays while the kernel uses it. */
  memory: Uint8Array | undefined;
  memoryOffset = 0;
  address = 0;
  doneBytes = 0;
  error: PcacheError | undefined;
}

export class BackingAio implements BackingQueue {
  readonly depth: number;
  completedToken = 0;
  completedError: PcacheError | undefined;
  readonly #device: RingDevice;
  readonly #context: number;
  /** The kernel reads and fills this: iocbs, pointers to those to submit, events. */
  readonly #memoryAddress: number;
  readonly #memoryBytes: number;
  readonly #words: Int32Array;
  readonly #pointersAt: number;
  readonly #eventsAt: number;
  readonly #requests: AioRequest[];
  readonly #free: Int32Array;
  #freeCount: number;
  /** Requests to be submitted; their pointers are in place. */
  readonly #prepared: Int32Array;
  #preparedCount = 0;
  #inKernel = 0;
  /** Requests that are complete, oldest first, from `#doneHead` on, and round. */
  readonly #done: Int32Array;
  #doneHead = 0;
  #doneCount = 0;

  /** Throws PcacheError with `errno`: ENOSYS (no AIO in this kernel), EAGAIN (too many contexts on this machine: fs.aio-max-nr). */
  constructor(device: RingDevice, depth: number) {
    if (!(Number.isInteger(depth) && depth > 0)) throw new RangeError(`backing aio: a depth of ${depth}`);
    this.depth = depth;
    this.#device = device;
    this.#requests = Array.from({ length: depth }, () => new AioRequest());
    this.#free = Int32Array.from({ length: depth }, (_, index) => depth - 1 - index);
    this.#freeCount = depth;
    this.#prepared = new Int32Array(depth);
    this.#done = new Int32Array(depth);
    this.#pointersAt = depth * IOCB.words;
    this.#eventsAt = this.#pointersAt + depth * POINTER_WORDS;
    this.#memoryBytes = (this.#eventsAt + depth * EVENT.words) * WORD_BYTES;
    this.#context = ioSetup(depth);
    this.#memoryAddress = mmap(this.#memoryBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    this.#words = new Int32Array(view(this.#memoryAddress, this.#memoryBytes));
  }

  get inFlight(): number {
    return this.depth - this.#freeCount;
  }

  submitRead(token: number, offsetBytes: number, target: Uint8Array, targetOffset: number, lengthBytes: number): boolean {
    return this.#submit(token, false, offsetBytes, target, targetOffset, lengthBytes);
  }

  submitWrite(token: number, offsetBytes: number, source: Uint8Array, sourceOffset: number, lengthBytes: number): boolean {
    return this.#submit(token, true, offsetBytes, source, sourceOffset, lengthBytes);
  }

  submitFlush(token: number): boolean {
    if (this.#freeCount === 0) return false;
    const index = this.#free[--this.#freeCount]!;
    this.#requests[index]!.token = token;
    this.#complete(
      index,
      outcomeOf(() => this.#device.device.flush()),
    );
    return true;
  }

  wait(count: number): void {
    const wanted = Math.min(count, this.inFlight);
    do {
      this.#start();
      this.#takeEvents(Math.min(Math.max(0, wanted - this.#doneCount), this.#inKernel));
    } while (this.#doneCount < wanted || this.#preparedCount > 0);
  }

  next(): boolean {
    if (this.#doneCount === 0) return false;
    const index = this.#done[this.#doneHead]!;
    this.#doneHead = this.#doneHead + 1 === this.depth ? 0 : this.#doneHead + 1;
    this.#doneCount--;
    const request = this.#requests[index]!;
    this.completedToken = request.token;
    this.completedError = request.error;
    request.error = undefined;
    this.#free[this.#freeCount++] = index;
    return true;
  }

  close(): void {
    this.wait(this.depth);
    while (this.next());
    ioDestroy(this.#context);
    munmap(this.#memoryAddress, this.#memoryBytes);
  }

  #submit(token: number, isWrite: boolean, offsetBytes: number, memory: Uint8Array, memoryOffset: number, lengthBytes: number): boolean {
    if (this.#freeCount === 0) return false;
    let address = 0;
    let refusal: PcacheError | undefined;
    try {
      address = this.#device.directAddress(offsetBytes, memory, memoryOffset, lengthBytes);
    } catch (error) {
      if (!(error instanceof PcacheError)) throw error;
      refusal = error;
    }
    const index = this.#free[--this.#freeCount]!;
    const request = this.#requests[index]!;
    request.token = token;
    request.isWrite = isWrite;
    request.offsetBytes = offsetBytes;
    request.lengthBytes = lengthBytes;
    request.memory = memory;
    request.memoryOffset = memoryOffset;
    request.address = address;
    request.doneBytes = 0;
    if (refusal !== undefined) this.#complete(index, refusal);
    else if (address === 0 || lengthBytes === 0) this.#doSynchronously(index);
    else this.#prepare(index);
    return true;
  }

  /** What is left of a transfer is to be submitted. */
  #prepare(index: number): void {
    const request = this.#requests[index]!;
    const words = this.#words;
    const at = index * IOCB.words;
    const address = request.address + request.doneBytes;
    const offset = request.offsetBytes + request.doneBytes;
    words.fill(0, at, at + IOCB.words);
    words[at + IOCB.data] = index;
    words[at + IOCB.opcode] = request.isWrite ? IOCB_CMD_PWRITE : IOCB_CMD_PREAD;
    words[at + IOCB.fd] = this.#device.fd;
    words[at + IOCB.address] = address;
    words[at + IOCB.address + 1] = Math.floor(address / TWO_32);
    words[at + IOCB.length] = request.lengthBytes - request.doneBytes;
    words[at + IOCB.offset] = offset;
    words[at + IOCB.offset + 1] = Math.floor(offset / TWO_32);
    this.#prepared[this.#preparedCount++] = index;
  }

  /** Submits what is prepared. */
  #start(): void {
    const words = this.#words;
    const count = this.#preparedCount;
    for (let place = 0; place < count; place++) {
      const address = this.#memoryAddress + this.#prepared[place]! * IOCB.words * WORD_BYTES;
      words[this.#pointersAt + place * POINTER_WORDS] = address;
      words[this.#pointersAt + place * POINTER_WORDS + 1] = Math.floor(address / TWO_32);
    }
    this.#preparedCount = 0;
    for (let place = 0; place < count;) {
      const pointer = this.#memoryAddress + (this.#pointersAt + place * POINTER_WORDS) * WORD_BYTES;
      const result = ioSubmit(this.#context, count - place, pointer);
      if (result > 0) {
        place += result;
        this.#inKernel += result;
      } else {
        // The first of them is what it does not take.
        this.#finish(this.#prepared[place]!, result < 0 ? result : -errno.EAGAIN);
        place++;
      }
    }
  }

  /** Waits for `count` events, and deals with all that are there. Throws PcacheError `io` if that fails. */
  #takeEvents(count: number): void {
    if (this.#inKernel === 0) return;
    const result = ioGetEvents(this.#context, count, this.depth, this.#memoryAddress + this.#eventsAt * WORD_BYTES);
    if (result < 0 && result !== -errno.EINTR) throw systemError('backing aio: io_getevents', -result, 'io');
    for (let event = 0; event < result; event++) {
      const at = this.#eventsAt + event * EVENT.words;
      this.#inKernel--;
      this.#finish(this.#words[at + EVENT.data]!, this.#words[at + EVENT.result]!);
    }
  }

  #finish(index: number, result: number): void {
    const request = this.#requests[index]!;
    const { isWrite, lengthBytes, offsetBytes } = request;
    const wanted = lengthBytes - request.doneBytes;
    if (result === wanted) {
      this.#complete(index, undefined);
    } else if (isRefusal(result) || (result === -errno.EIO && isWrite && this.#device.hidesShortWrites)) {
      this.#doSynchronously(index);
    } else {
      const progress = this.#device.progressOf(result, wanted);
      if (progress <= 0) {
        this.#complete(index, this.#device.failure(isWrite ? 'write' : 'read', lengthBytes, offsetBytes, result));
      } else {
        request.doneBytes += progress;
        this.#prepare(index);
      }
    }
  }

  /** The whole of it: what was moved before is moved once more. */
  #doSynchronously(index: number): void {
    const { device } = this.#device;
    const { isWrite, offsetBytes, memoryOffset, lengthBytes, memory } = this.#requests[index]!;
    this.#complete(
      index,
      outcomeOf(() =>
        isWrite
          ? device.write(offsetBytes, memory!, memoryOffset, lengthBytes)
          : device.read(offsetBytes, memory!, memoryOffset, lengthBytes),
      ),
    );
  }

  #complete(index: number, error: PcacheError | undefined): void {
    const request = this.#requests[index]!;
    request.error = error;
    request.memory = undefined;
    let place = this.#doneHead + this.#doneCount++;
    if (place >= this.depth) place -= this.depth;
    this.#done[place] = index;
  }
}
