// Answers that a queue worker sends with one system call: each is a write of its own to the kernel, and a ring takes several at once.
//
// Why: every answer wakes a program that waits, which then wants this processor. Answers that are written one by one are interrupted by that after each;
// written together, the program finds several, and asks for several in turn.
//
// Invariants: a slot is the batch's from `add` until `send` has given it back; `send` returns when the kernel has taken or refused every answer, so what they
// are made of must stay until then, and needn't any longer. Without io_uring they are written one by one. Nothing is allocated for an answer; the ring is made
// when it is first wanted.

import { PcacheError } from '../errors.js';
import { IoUring } from '../device/io-uring.js';
import { errno } from '../device/errno-codes.js';
import { writev } from '../device/libc.js';
import { IORING_OP_WRITEV } from '../device/linux-constants.js';
import { systemError } from '../device/system-error.js';
import { answerTaken, sealAnswer } from './answer.js';
import type { RequestSlot } from './request-slots.js';

/** Words of `struct io_uring_sqe`. */
const SQE = { fd: 1, offset: 2, address: 4, length: 6 } as const;
const TWO_32 = 4294967296;
/** As the offset: where the descriptor stands, which is nowhere. */
const NO_OFFSET = 0xffff_ffff;

export class AnswerBatch {
  readonly #capacity: number;
  #count = 0;
  readonly #slots: RequestSlot[] = [];
  /** By answer: entries of its scatter list to write, 0 if it is done with; then what the kernel said of it, bytes or -errno. */
  readonly #entries: Int32Array;
  readonly #sent: Int32Array;
  #ring: IoUring | undefined;
  #isRingTried = false;

  /** @param capacity answers at most */
  constructor(capacity: number) {
    this.#capacity = capacity;
    this.#entries = new Int32Array(capacity);
    this.#sent = new Int32Array(capacity);
  }

  /** Answers in it. */
  get count(): number {
    return this.#count;
  }

  get isEmpty(): boolean {
    return this.#count === 0;
  }

  get isFull(): boolean {
    return this.#count === this.#capacity;
  }

  /** Adds the answer to a request, with its slot. There must be room. @param result as for `sendAnswer` */
  add(slot: RequestSlot, result: number): void {
    this.#slots[this.#count] = slot;
    this.#entries[this.#count] = sealAnswer(slot, result);
    this.#count++;
  }

  /**
   * Sends all of them, and empties the batch.
   * @param sending called for each with its slot, right before the first is sent
   * @param given called for each with its slot, and 0 or the -errno of its failure, as from `sendAnswer`
   */
  send(sending: (slot: RequestSlot) => void, given: (slot: RequestSlot, failure: number) => void): void {
    const count = this.#count;
    for (let i = 0; i < count; i++) sending(this.#slots[i]!);
    const ring = count > 1 ? this.#ringIfAllowed() : undefined;
    if (ring === undefined) this.#sendOneByOne(count);
    else this.#sendTogether(ring, count);
    this.#count = 0;
    for (let i = 0; i < count; i++) {
      const slot = this.#slots[i]!;
      given(slot, this.#entries[i] === 0 ? 0 : answerTaken(slot, this.#sent[i]!));
    }
  }

  close(): void {
    this.#ring?.close();
  }

  #ringIfAllowed(): IoUring | undefined {
    if (this.#isRingTried) return this.#ring;
    this.#isRingTried = true;
    try {
      this.#ring = new IoUring(this.#capacity);
    } catch (error) {
      // Not in this kernel, or forbidden.
      if (!(error instanceof PcacheError)) throw error;
    }
    return this.#ring;
  }

  #sendOneByOne(count: number): void {
    for (let i = 0; i < count; i++) {
      const { fd, iovec } = this.#slots[i]!;
      if (this.#entries[i] !== 0) this.#sent[i] = writev(fd, iovec.address, this.#entries[i]!);
    }
  }

  #sendTogether(ring: IoUring, count: number): void {
    let left = 0;
    for (let i = 0; i < count; i++) {
      if (this.#entries[i] === 0) continue;
      const { fd, iovec } = this.#slots[i]!;
      const at = ring.prepare(IORING_OP_WRITEV, i);
      ring.sqes[at + SQE.fd] = fd;
      ring.sqes[at + SQE.offset] = NO_OFFSET;
      ring.sqes[at + SQE.offset + 1] = NO_OFFSET;
      ring.sqes[at + SQE.address] = iovec.address;
      ring.sqes[at + SQE.address + 1] = iovec.address / TWO_32;
      ring.sqes[at + SQE.length] = this.#entries[i]!;
      left++;
    }
    while (left > 0) {
      const failure = ring.submitAndWait(left);
      if (failure < 0 && failure !== -errno.EINTR && failure !== -errno.EAGAIN) throw systemError('io_uring: answers', -failure, 'io');
      for (; ring.next(); left--) this.#sent[ring.completedData] = ring.completedResult;
    }
  }
}
