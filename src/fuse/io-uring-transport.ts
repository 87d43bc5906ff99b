// A ring worker: serves requests that the kernel hands out through io_uring, one system call for many answers and the next requests. Runs in a worker
// thread, which it blocks until the session ends.
//
// The kernel keeps one queue of requests for each CPU, and puts a request into the queue of the CPU that its caller runs on. A ring has entries in
// one or more of these queues; each entry is a request slot. Facts about the kernel (fs/fuse/dev_uring.c, 6.14 to 6.18; test/fuse checks them):
//
// - It starts to use the rings when every queue, of every possible CPU, has an entry. Until then requests wait.
// - A request stays with its entry until the answer is committed, from the ring's own thread. COMMIT_AND_FETCH also makes the entry free for the next.
// - FORGET, INTERRUPT and notifications stay on the descriptor: one queue worker (dev-fuse-transport.ts) is needed beside the rings.
// - When the session ends, every entry that waits for a request completes with ENOTCONN.
// - Requests can't be sent again after the death of the process: they are lost with the rings, and some callers hang until the connection is aborted.
//
// Invariants: nothing is allocated for a READ or WRITE; a slot is with the kernel, with this thread, or handed on (PENDING) and on its way
// back; an exception in the file system becomes EIO for its request and is reported, and the worker goes on.

import { readFileSync } from 'node:fs';
import { errno } from '../device/errno-codes.js';
import { IoUring } from '../device/io-uring.js';
import { addressOf } from '../device/libc.js';
import { IORING_OP_READ, IORING_OP_URING_CMD } from '../device/linux-constants.js';
import { systemError } from '../device/system-error.js';
import { WakeEvent } from '../device/wake-event.js';
import { PcacheError } from '../errors.js';
import { sendAnswer } from './answer.js';
import { carryOut } from './carry-out.js';
import type { QueueEnd, QueueOptions } from './dev-fuse-transport.js';
import { NO_REPLY, PENDING } from './file-system.js';
import type { RequestSlot } from './request-slots.js';
import { PollPolicy } from './poll-policy.js';
import { RingReturn } from './ring-return.js';
import type { RingReturnState } from './ring-return.js';
import { RING_COMMIT_AND_FETCH, RING_REGISTER } from './structs.js';

const ENOTCONN = 107;
const ECONNABORTED = 103;
const ECANCELED = 125;
/** user_data of the entry that reads the eventfd; slots have lower numbers. */
const EVENT = 0x7fff_ffff;
/** Words of `struct io_uring_sqe`: descriptor, offset (for a command, its number), address, length; then the command's own area. */
const SQE = { fd: 1, offset: 2, address: 4, length: 6, command: 12 } as const;
/** In the command area: flags u64, commit_id u64, qid u16. */
const COMMAND = { commitId: 2, queue: 4 } as const;
const TWO_32 = 4294967296;
/** Looks at the clock once in so many tries. */
const TRIES_PER_LOOK = 8;

export interface RingOptions extends QueueOptions {
  /** Number of this ring among the rings of the process; its way back is `slots.handle.rings[ring]`. */
  readonly ring: number;
  /** The kernel's queues that this ring serves, by number of the CPU. */
  readonly queues: readonly number[];
  /** Entries in each queue, 1 or more: requests of it that can be in hand at a time. */
  readonly depth: number;
  /** Called once all entries are prepared; the kernel gets them right after. */
  readonly onRegistered?: () => void;
}

/** Numbers of the kernel's queues: one for each CPU that this machine may ever have. */
export function ringQueueCount(): number {
  const last = /(\d+)\s*$/.exec(readFileSync('/sys/devices/system/cpu/possible', 'latin1'));
  if (last === null) throw new PcacheError('unsupported', 'io_uring: the number of possible CPUs is not known');
  return Number(last[1]) + 1;
}

/**
 * Serves requests until the session ends or the stop word is set and the ring woken (`wakeRings`).
 * Throws PcacheError `unsupported` if the kernel refuses the ring or its entries, `io` if it fails later.
 */
export function serveRing(options: RingOptions): QueueEnd {
  const worker = new RingWorker(options);
  try {
    worker.register();
    return worker.serve();
  } finally {
    worker.close();
  }
}

/** Has all rings of a process, and the queue worker beside them, see the stop word, which was set before. */
export function wakeRings(rings: readonly RingReturnState[], wakeFd: number): void {
  for (const ring of rings) new RingReturn(ring).wake();
  new WakeEvent(wakeFd).wake();
}

class RingWorker {
  readonly #options: RingOptions;
  readonly #ring: IoUring;
  readonly #back: RingReturn;
  /** The kernel's queue that a slot is an entry of, by slot. */
  readonly #queueOf: Uint16Array;
  /** Where the eventfd's count goes: a page, because V8 moves small arrays about. */
  readonly #event = new Uint8Array(4096);
  #isOver = false;
  readonly #policy: PollPolicy;

  constructor(options: RingOptions) {
    this.#options = options;
    this.#policy = new PollPolicy(options.pollUs ?? 0);
    this.#queueOf = new Uint16Array(options.slots.handle.count);
    this.#back = options.slots.ringReturn(options.ring);
    // Each entry may be prepared once between two submissions, and so may the reading of the eventfd.
    this.#ring = new IoUring(options.queues.length * options.depth + 1);
  }

  register(): void {
    const { slots, queues, depth, ring } = this.#options;
    for (const queue of queues) {
      for (let i = 0; i < depth; i++) {
        const slot = slots.take(0);
        if (slot === undefined) throw new PcacheError('internal', `FUSE ring ${ring}: there are too few request slots`);
        this.#queueOf[slot.index] = queue;
        const iovec = slot.joinRing(ring);
        const at = this.#command(slot, RING_REGISTER);
        const { sqes } = this.#ring;
        sqes[at + SQE.address] = iovec;
        sqes[at + SQE.address + 1] = Math.floor(iovec / TWO_32);
        sqes[at + SQE.length] = 2;
      }
    }
    this.#readEvent();
    this.#options.onRegistered?.();
  }

  serve(): QueueEnd {
    const { stopWord } = this.#options;
    const ring = this.#ring;
    for (;;) {
      for (let slot = this.#back.take(); slot >= 0; slot = this.#back.take()) this.#commit(this.#options.slots.slot(slot));
      if (Atomics.load(stopWord, 0) !== 0) return 'stopped';
      const maySleep = this.#back.fallAsleep() && Atomics.load(stopWord, 0) === 0;
      const result = maySleep ? this.#wait() : ring.submitAndWait(0);
      this.#back.wakeUp();
      if (result < 0 && result !== -errno.EINTR && result !== -errno.EAGAIN && result !== -errno.EBUSY) {
        throw systemError('FUSE ring: io_uring_enter', -result, 'io');
      }
      while (ring.next()) this.#complete(ring.completedData, ring.completedResult);
      if (this.#isOver) return 'unmounted';
    }
  }

  /** Submits and waits for a completion, polling first while that pays. Whoever gives a slot back wakes the ring meanwhile as if it slept. */
  #wait(): number {
    const ring = this.#ring;
    const policy = this.#policy;
    if (!policy.polls) {
      policy.slept();
      return ring.submitAndWait(1);
    }
    let result = ring.submitAndWait(0);
    // There was one already: nothing is learned about waiting.
    if (result !== 0 || ring.hasNext()) return result;
    const end = performance.now() + policy.limitUs / 1000;
    do {
      for (let i = 0; i < TRIES_PER_LOOK && result === 0 && !ring.hasNext(); i++) result = ring.submitAndWait(0);
    } while (result === 0 && !ring.hasNext() && performance.now() < end);
    policy.polled(ring.hasNext());
    return result === 0 && !ring.hasNext() ? ring.submitAndWait(1) : result;
  }

  close(): void {
    this.#ring.close();
  }

  #complete(data: number, result: number): void {
    if (data === EVENT) {
      this.#readEvent();
      return;
    }
    if (result === 0) {
      this.#serve(this.#options.slots.slot(data));
    } else if (result === -ENOTCONN || result === -ECONNABORTED || result === -errno.ENODEV || result === -ECANCELED) {
      this.#isOver = true;
    } else if (result === -errno.EINVAL || result === -errno.EOPNOTSUPP) {
      throw systemError('FUSE ring: entry', -result, 'unsupported');
    } else {
      // The request was ended before its answer came (its caller is gone with the connection); the entry is lost with it.
      this.#options.onError('ring entry', systemError('FUSE answer', -result, 'io'));
    }
  }

  #serve(slot: RequestSlot): void {
    const { fileSystem, onError, stopWord, timer } = this.#options;
    timer?.arrive();
    const decodeError = slot.receiveFromRing();
    if (slot.row?.touchesData === true && Atomics.load(stopWord, 0) !== 0) return;
    const result = carryOut(fileSystem, slot, decodeError, onError);
    if (result === PENDING) return;
    // The kernel sends no such request to a ring; it must not keep the entry if it does.
    sendAnswer(slot, result === NO_REPLY ? -errno.EIO : result);
    timer?.answered(slot);
    if (slot.wantsAfterReply) fileSystem.afterReply(slot);
    this.#commit(slot);
  }

  #commit(slot: RequestSlot): void {
    const at = this.#command(slot, RING_COMMIT_AND_FETCH);
    const { sqes } = this.#ring;
    sqes[at + SQE.command + COMMAND.commitId] = slot.commitIdLow;
    sqes[at + SQE.command + COMMAND.commitId + 1] = slot.commitIdHigh;
  }

  /** @returns where the words of the prepared entry begin */
  #command(slot: RequestSlot, command: number): number {
    const at = this.#ring.prepare(IORING_OP_URING_CMD, slot.index);
    if (at < 0) throw new PcacheError('internal', 'FUSE ring: no submission entry is free');
    const { sqes } = this.#ring;
    sqes[at + SQE.fd] = this.#options.fd;
    sqes[at + SQE.offset] = command;
    sqes[at + SQE.command + COMMAND.queue] = this.#queueOf[slot.index]!;
    return at;
  }

  #readEvent(): void {
    const at = this.#ring.prepare(IORING_OP_READ, EVENT);
    if (at < 0) throw new PcacheError('internal', 'FUSE ring: no submission entry is free');
    const { sqes } = this.#ring;
    const address = addressOf(this.#event);
    sqes[at + SQE.fd] = this.#back.state.eventFd;
    sqes[at + SQE.offset] = 0xffff_ffff;
    sqes[at + SQE.offset + 1] = 0xffff_ffff;
    sqes[at + SQE.address] = address;
    sqes[at + SQE.address + 1] = Math.floor(address / TWO_32);
    sqes[at + SQE.length] = 8;
  }
}
