// One io_uring, for the thread that makes it: entries of 128 bytes (IORING_SETUP_SQE128), which commands to a device need; completions are
// posted only while that thread is in `submitAndWait`.
//
// Invariants: only the thread that made a ring uses it (SINGLE_ISSUER); an entry that was prepared is submitted with the next
// `submitAndWait`; nothing is allocated after the constructor.

import { PcacheError } from '../errors.js';
import { close, ioUringEnter, ioUringRegister, ioUringSetup, mmap, munmap, view } from './libc.js';
import {
  IORING_ENTER_GETEVENTS,
  IORING_FEAT_SINGLE_MMAP,
  IORING_OFF_SQES,
  IORING_OFF_SQ_RING,
  IORING_REGISTER_IOWQ_MAX_WORKERS,
  IORING_SETUP_DEFER_TASKRUN,
  IORING_SETUP_SINGLE_ISSUER,
  IORING_SETUP_SQE128,
  MAP_POPULATE,
  MAP_SHARED,
  PROT_READ,
  PROT_WRITE,
} from './linux-constants.js';

/** Words of `struct io_uring_params`, where the kernel says what it made and where things are. */
const PARAMETER = { words: 30, sqEntries: 0, cqEntries: 1, flags: 2, features: 5, sqOffsets: 10, cqOffsets: 20 } as const;
/** Words of `struct io_sqring_offsets` and `io_cqring_offsets`. */
const SQ = { head: 0, tail: 1, mask: 2, array: 6 } as const;
const CQ = { head: 0, tail: 1, mask: 2, entries: 5 } as const;
const SQE_WORDS = 32;
const SQE_BYTES = SQE_WORDS * 4;
const CQE_WORDS = 4;

export class IoUring {
  /** Words of the submission entries; an entry begins at what `prepare` returns. Fields by `struct io_uring_sqe`. */
  readonly sqes: Uint32Array;
  /** Of the completion that `next` came to: what its entry was given as user_data (32 bits), and the result or -errno. */
  completedData = 0;
  completedResult = 0;

  readonly #fd: number;
  readonly #ring: Int32Array;
  readonly #ringAddress: number;
  readonly #ringBytes: number;
  readonly #sqesAddress: number;
  readonly #sqesBytes: number;
  readonly #sqHead: number;
  readonly #sqTail: number;
  readonly #sqMask: number;
  readonly #sqArray: number;
  readonly #cqHead: number;
  readonly #cqTail: number;
  readonly #cqMask: number;
  readonly #cqEntries: number;
  #prepared = 0;
  #tail: number;

  /**
   * @param entries entries that can be prepared between two `submitAndWait`, 1 to 32768; the kernel rounds up to a power of two
   * Throws PcacheError with `errno`: ENOSYS (no io_uring in this kernel), EPERM (forbidden), EINVAL (before Linux 6.1).
   */
  constructor(entries: number) {
    const parameters = new Uint32Array(PARAMETER.words);
    parameters[PARAMETER.flags] = IORING_SETUP_SQE128 | IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN;
    this.#fd = ioUringSetup(entries, parameters);
    try {
      if ((parameters[PARAMETER.features]! & IORING_FEAT_SINGLE_MMAP) === 0)
        throw new PcacheError('unsupported', 'io_uring: kernel too old');
      const sq = parameters.subarray(PARAMETER.sqOffsets);
      const cq = parameters.subarray(PARAMETER.cqOffsets);
      const sqEntries = parameters[PARAMETER.sqEntries]!;
      const sqBytes = sq[SQ.array]! + sqEntries * 4;
      this.#ringBytes = Math.max(sqBytes, cq[CQ.entries]! + parameters[PARAMETER.cqEntries]! * CQE_WORDS * 4);
      this.#sqesBytes = sqEntries * SQE_BYTES;
      this.#ringAddress = mmap(this.#ringBytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, this.#fd, IORING_OFF_SQ_RING);
      this.#sqesAddress = mmap(this.#sqesBytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, this.#fd, IORING_OFF_SQES);
      this.#ring = new Int32Array(view(this.#ringAddress, this.#ringBytes));
      this.sqes = new Uint32Array(view(this.#sqesAddress, this.#sqesBytes));
      this.#sqHead = sq[SQ.head]! >> 2;
      this.#sqTail = sq[SQ.tail]! >> 2;
      this.#sqMask = this.#ring[sq[SQ.mask]! >> 2]!;
      this.#sqArray = sq[SQ.array]! >> 2;
      this.#cqHead = cq[CQ.head]! >> 2;
      this.#cqTail = cq[CQ.tail]! >> 2;
      this.#cqMask = this.#ring[cq[CQ.mask]! >> 2]!;
      this.#cqEntries = cq[CQ.entries]! >> 2;
      this.#tail = this.#ring[this.#sqTail]!;
    } catch (error) {
      close(this.#fd);
      throw error;
    }
  }

  /**
   * For entries that can only be carried out by a thread that waits: the kernel starts up to `count` such threads for files and block devices, for all
   * rings of the calling thread.
   */
  limitWorkers(count: number): void {
    // The second is for sockets and the like; 0 leaves it as it is.
    ioUringRegister(this.#fd, IORING_REGISTER_IOWQ_MAX_WORKERS, Uint32Array.of(count, 0));
  }

  /** Entries prepared and not yet submitted. */
  get prepared(): number {
    return this.#prepared;
  }

  /** Takes a submission entry, all zeros but for opcode and user_data (32 bits). @returns where its words begin in `sqes`; -1 if none is free */
  prepare(opcode: number, userData: number): number {
    if (((this.#tail - Atomics.load(this.#ring, this.#sqHead)) | 0) > this.#sqMask) return -1;
    const index = this.#tail & this.#sqMask;
    const at = index * SQE_WORDS;
    this.sqes.fill(0, at, at + SQE_WORDS);
    this.sqes[at] = opcode;
    this.sqes[at + 8] = userData;
    this.#ring[this.#sqArray + index] = index;
    this.#tail = (this.#tail + 1) | 0;
    this.#prepared++;
    return at;
  }

  /** Submits what was prepared, and sleeps until there are `wait` completions or more (0: doesn't sleep). @returns 0 or -errno (-EINTR: again) */
  submitAndWait(wait: number): number {
    Atomics.store(this.#ring, this.#sqTail, this.#tail);
    const result = ioUringEnter(this.#fd, this.#prepared, wait, IORING_ENTER_GETEVENTS);
    if (result < 0) {
      // Interrupted while waiting, the kernel has taken the entries all the same: what is left is what it has not taken.
      this.#prepared = (this.#tail - Atomics.load(this.#ring, this.#sqHead)) | 0;
      return result;
    }
    this.#prepared -= result;
    return 0;
  }

  /** Whether there is a completion that `next` would go on to. */
  hasNext(): boolean {
    return this.#ring[this.#cqHead]! !== Atomics.load(this.#ring, this.#cqTail);
  }

  /** Goes on to the next completion, and fills `completedData` and `completedResult`. @returns false if there is none */
  next(): boolean {
    const ring = this.#ring;
    const head = ring[this.#cqHead]!;
    if (head === Atomics.load(ring, this.#cqTail)) return false;
    const at = this.#cqEntries + (head & this.#cqMask) * CQE_WORDS;
    this.completedData = ring[at]!;
    this.completedResult = ring[at + 2]!;
    Atomics.store(ring, this.#cqHead, (head + 1) | 0);
    return true;
  }

  /** Ends the ring; what was submitted and not completed is cancelled. */
  close(): void {
    close(this.#fd);
    munmap(this.#ringAddress, this.#ringBytes);
    munmap(this.#sqesAddress, this.#sqesBytes);
  }
}

/** Why this process can't use io_uring; undefined if it can. */
export function whyNoIoUring(): PcacheError | undefined {
  try {
    new IoUring(1).close();
    return undefined;
  } catch (error) {
    if (error instanceof PcacheError) return error;
    throw error;
  }
}
