// Requests to a backing device through Linux AIO (io_submit(2)): many under way at a time, and none outlives the process. When a process dies the kernel waits
// for its AIO before the process is gone (fs/aio.c, exit_aio); for an io_uring it doesn't: there a write may reach the device seconds after the death, over
// what the next process has written since. So what writes to the backing device uses this.
//
// Invariants, beside those of every DirectQueue: a flush is the device's own, synchronous one.

import { outcomeOf } from './backing-queue.js';
import { DirectQueue } from './direct-queue.js';
import type { DirectDevice, DirectRequest } from './direct-queue.js';
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

export class BackingAio extends DirectQueue {
  readonly #context: number;
  /** The kernel reads and fills this: iocbs, pointers to those to submit, events. */
  readonly #memoryAddress: number;
  readonly #memoryBytes: number;
  readonly #words: Int32Array;
  readonly #pointersAt: number;
  readonly #eventsAt: number;
  /** Requests to be submitted; their pointers are in place. */
  readonly #prepared: Int32Array;
  #preparedCount = 0;
  #inKernel = 0;
  /** Throws PcacheError with `errno`: ENOSYS (no AIO in this kernel), EAGAIN (too many contexts on this machine: fs.aio-max-nr). */
  constructor(device: DirectDevice, depth: number) {
    super(device, depth);
    this.#prepared = new Int32Array(depth);
    this.#pointersAt = depth * IOCB.words;
    this.#eventsAt = this.#pointersAt + depth * POINTER_WORDS;
    this.#memoryBytes = (this.#eventsAt + depth * EVENT.words) * WORD_BYTES;
    this.#context = ioSetup(depth);
    this.#memoryAddress = mmap(this.#memoryBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    this.#words = new Int32Array(view(this.#memoryAddress, this.#memoryBytes));
  }

  submitFlush(token: number): boolean {
    const request = this.take(token);
    if (request === undefined) return false;
    this.complete(
      request,
      outcomeOf(() => this.device.device.flush()),
    );
    return true;
  }

  wait(count: number): void {
    const wanted = Math.min(count, this.inFlight);
    do {
      this.#start();
      this.#takeEvents(Math.min(Math.max(0, wanted - this.doneCount), this.#inKernel));
    } while (this.doneCount < wanted || this.#preparedCount > 0);
  }

  close(): void {
    this.wait(this.depth);
    while (this.next());
    ioDestroy(this.#context);
    munmap(this.#memoryAddress, this.#memoryBytes);
  }

  protected prepareTransfer(request: DirectRequest): void {
    const { index } = request;
    const words = this.#words;
    const at = index * IOCB.words;
    const address = request.address + request.doneBytes;
    const offset = request.offsetBytes + request.doneBytes;
    words.fill(0, at, at + IOCB.words);
    words[at + IOCB.data] = index;
    words[at + IOCB.opcode] = request.isWrite ? IOCB_CMD_PWRITE : IOCB_CMD_PREAD;
    words[at + IOCB.fd] = this.device.fd;
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
        this.finish(this.requests[this.#prepared[place]!]!, result < 0 ? result : -errno.EAGAIN);
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
      this.finish(this.requests[this.#words[at + EVENT.data]!]!, this.#words[at + EVENT.result]!);
    }
  }
}
