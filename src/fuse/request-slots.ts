// Where requests lie between their arrival and their answer: one anonymous shared mapping, cut into slots, seen by all threads of the
// process. Invariants:
// - A slot belongs to one thread at a time: to the queue worker that took it, until its file system hands it on (PENDING); then to the thread
//   it was handed to, until that has answered and given it back. Whatever hands a slot on does so through an atomic operation or a lock, so
//   the new owner sees everything the old one stored.
// - The operation's structure and header of a request (at most 80 bytes) end where the payload area begins. So a WRITE's payload is
//   page-aligned, and the answer to a READ may be put together in the payload area without damaging the request.
// - A slot's memory is touched only when it is used (by a queue worker all of it, see `touch`), and the slot given back last is taken first: slots that were
//   never used cost nothing.
//
// One slot:   0            16             1024          1536         3928         4096               +maxWrite      +4096         +16 KiB
//             | out header | small answer | ring header | ring iovec | in headers | payload ....... | names' slack | reply iovec |
//
// A slot may be an entry of a ring (io-uring-transport.ts). Then it is the ring's for good: its requests arrive in the ring header and the payload,
// and whoever answers one puts the answer there (`sealForRing`) and gives the slot back to the ring, whose thread commits it.

import { PcacheError } from '../errors.js';
import { errno } from '../device/errno-codes.js';
import { copyToRead, mmap, munmap, view } from '../device/libc.js';
import { lockRange } from '../device/memory-protection.js';
import { MAP_ANONYMOUS, MAP_NORESERVE, MAP_SHARED, PROT_READ, PROT_WRITE } from '../device/linux-constants.js';
import { lock, unlock } from '../shared/mutex.js';
import type { OpcodeRow } from './opcodes.js';
import { decodeRequest } from './opcodes.js';
import { IOVEC_BYTES, ReplyIovec } from './reply-iovec.js';
import { ReplyBuilder, REPLY_BYTES_MAX } from './reply.js';
import { FuseRequest } from './request.js';
import { RingReturn, createRingReturn, destroyRingReturn } from './ring-return.js';
import type { RingReturnState } from './ring-return.js';
import { IN_HEADER, OUT_HEADER, RING_HEADER, WRITE_HEAD_BYTES } from './structs.js';

const PAGE_BYTES = 4096;
const PAYLOAD_START = PAGE_BYTES;
const REQUEST_START = PAYLOAD_START - WRITE_HEAD_BYTES;
/** The kernel wants room for max_write and the headers; a SETXATTR may bring up to 64 KiB, which max_write covers. */
const SLACK_BYTES = PAGE_BYTES;

/** `view` ends at 4 GiB; the whole region is one view. */
const REGION_BYTES_MAX = 4 * 1024 ** 3 - PAGE_BYTES;
export const SLOT_COUNT_DEFAULT = 256;

/** Words of the shared pool: its mutex, the number of free slots, the stack of free slots, then the records of the slots. */
const WORD_MUTEX = 0;
const WORD_FREE_COUNT = 1;
const WORD_STACK = 2;
const RECORD_WORDS = 6;
const RECORD_FD = 0;
const RECORD_LENGTH = 1;
/** For requests without a descriptor: 1 when the answer is there, and the answer. */
const RECORD_ANSWERED = 2;
const RECORD_RESULT = 3;
const RECORD_TOUCHED = 4;
/** Where the request begins in the slot. */
const RECORD_START = 5;

const RING_HEADER_START = 1024;
const RING_IOVEC_START = 1536;
const RING_IOVEC_WORDS = 8;
const WORD_BYTES = 4;
const TWO_32 = 4294967296;

/** In place of a descriptor: the request came from within the process (see libfuse-transport.ts) and its answer goes there. */
export const LOCAL_FD = -1;
/** In place of a descriptor, and below: the request came from ring 0, 1, ... */
const FIRST_RING_FD = -2;

/** Structured-cloneable; valid in every thread of the process that created it. */
export interface RequestSlotsHandle {
  readonly address: number;
  readonly count: number;
  readonly maxWriteBytes: number;
  readonly words: Int32Array<SharedArrayBuffer>;
  /** One for each ring; none on other transports. */
  readonly rings: readonly RingReturnState[];
}

const strideOf = (maxWriteBytes: number): number => PAYLOAD_START + maxWriteBytes + SLACK_BYTES + IOVEC_BYTES;

/**
 * Maps the slots of a process, once.
 * @param maxWriteBytes max_write as negotiated; a multiple of the page size
 * @param count slots, that is, requests that can be in hand at a time; at least one more than there are queue workers
 * @param ringCount rings that slots will be entries of
 * Throws PcacheError `usage` if that is more than 4 GiB, `io` if there is no address space.
 */
export function createRequestSlots(maxWriteBytes: number, count: number = SLOT_COUNT_DEFAULT, ringCount = 0): RequestSlotsHandle {
  const regionBytes = strideOf(maxWriteBytes) * count;
  if (!(maxWriteBytes > 0 && maxWriteBytes % PAGE_BYTES === 0 && count > 0 && regionBytes <= REGION_BYTES_MAX)) {
    throw new PcacheError('usage', `request slots: ${count} of ${maxWriteBytes} bytes: must be whole pages and fit in 4 GiB`);
  }
  const address = mmap(regionBytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  const words = new Int32Array(new SharedArrayBuffer((WORD_STACK + count + count * RECORD_WORDS) * 4));
  words[WORD_FREE_COUNT] = count;
  for (let i = 0; i < count; i++) words[WORD_STACK + i] = count - 1 - i;
  const rings = Array.from({ length: ringCount }, () => createRingReturn(count));
  return { address, count, maxWriteBytes, words, rings };
}

/** Keeps the slots that are used in memory. @returns false if the system refuses (CAP_IPC_LOCK, or a limit on locked memory that is large enough) */
export function lockRequestSlots({ address, maxWriteBytes, count }: RequestSlotsHandle): boolean {
  return lockRange(address, strideOf(maxWriteBytes) * count);
}

/** Unmaps the slots; no thread may use them or views of them any more. */
export function destroyRequestSlots(handle: RequestSlotsHandle): void {
  for (const ring of handle.rings) destroyRingReturn(ring);
  munmap(handle.address, strideOf(handle.maxWriteBytes) * handle.count);
}

/** The slots as one thread sees them. */
export class RequestSlots {
  readonly handle: RequestSlotsHandle;
  readonly #memory: ArrayBuffer;
  readonly #slots: (RequestSlot | undefined)[];
  readonly #rings: readonly RingReturn[];

  constructor(handle: RequestSlotsHandle) {
    this.handle = handle;
    this.#rings = handle.rings.map((state) => new RingReturn(state));
    this.#memory = view(handle.address, strideOf(handle.maxWriteBytes) * handle.count);
    this.#slots = new Array<RequestSlot | undefined>(handle.count);
  }

  /**
   * Takes a free slot, waiting up to `timeoutMs` for one.
   * No wake-up is missed: the free count is a futex word that `give` raises before it notifies, so a wait on 0 that begins later returns at once.
   * @returns undefined if there was none
   */
  take(timeoutMs: number): RequestSlot | undefined {
    const index = this.#pop();
    if (index >= 0) return this.slot(index);
    Atomics.wait(this.handle.words, WORD_FREE_COUNT, 0, timeoutMs);
    const second = this.#pop();
    return second < 0 ? undefined : this.slot(second);
  }

  /** Gives a slot back, by its owner, once: to the ring whose entry it is, or to all. */
  give(slot: RequestSlot): void {
    if (slot.ring >= 0) this.#rings[slot.ring]!.give(slot.index);
    else this.#giveToAll(slot);
  }

  /** The way back to a ring, for its thread. */
  ringReturn(ring: number): RingReturn {
    const found = this.#rings[ring];
    if (found === undefined) throw new RangeError(`ring ${ring}: no such ring`);
    return found;
  }

  #giveToAll(slot: RequestSlot): void {
    const { words, count } = this.handle;
    lock(words, WORD_MUTEX);
    const free = words[WORD_FREE_COUNT]!;
    if (free < count) {
      words[WORD_STACK + free] = slot.index;
      Atomics.store(words, WORD_FREE_COUNT, free + 1);
    }
    unlock(words, WORD_MUTEX);
    if (free >= count) throw new PcacheError('internal', `request slot ${slot.index}: given back twice`);
    // Several may have come free before the first sleeper ran, so it is not enough to notify when the count was 0.
    Atomics.notify(words, WORD_FREE_COUNT, 1);
  }

  /** Number of free slots just now. */
  get freeCount(): number {
    return Atomics.load(this.handle.words, WORD_FREE_COUNT);
  }

  /** A slot by its number, which is how threads name it to each other; made when first asked for. */
  slot(index: number): RequestSlot {
    return (this.#slots[index] ??= new RequestSlot(this.handle, this.#memory, index));
  }

  #pop(): number {
    const words = this.handle.words;
    lock(words, WORD_MUTEX);
    const free = words[WORD_FREE_COUNT]! - 1;
    const index = free < 0 ? -1 : words[WORD_STACK + free]!;
    if (free >= 0) Atomics.store(words, WORD_FREE_COUNT, free);
    unlock(words, WORD_MUTEX);
    return index;
  }
}

/** One slot as one thread sees it: the request, and what its answer is made of. */
export class RequestSlot {
  readonly index: number;
  readonly request: FuseRequest;
  readonly reply: ReplyBuilder;
  readonly iovec: ReplyIovec;
  /** max_write bytes; holds a WRITE's payload, and is free for the answer to a READ. */
  readonly payload: Uint8Array;
  readonly payloadAddress: number;
  /** Memory to read the request into. */
  readonly requestAddress: number;
  readonly requestCapacityBytes: number;
  /** Set by the file system: call `afterReply` when the answer has been sent. */
  wantsAfterReply = false;
  /** The operation of the request; undefined if it is unknown or the request is malformed. */
  row: OpcodeRow | undefined;

  readonly #words: Int32Array<SharedArrayBuffer>;
  readonly #record: number;
  readonly #outHeader: Uint32Array;
  readonly #smallAnswer: Uint32Array;
  readonly #payloadWords: Uint32Array;
  readonly #payloadLow: number;
  readonly #payloadHigh: number;
  readonly #ringHeader: Uint32Array;
  readonly #ringIovec: Uint32Array;
  readonly #address: number;
  readonly #start: number;
  readonly #slack: Uint8Array;

  constructor(handle: RequestSlotsHandle, memory: ArrayBuffer, index: number) {
    if (!(Number.isInteger(index) && index >= 0 && index < handle.count)) throw new RangeError(`request slot ${index}: no such slot`);
    const start = strideOf(handle.maxWriteBytes) * index;
    const address = handle.address + start;
    const iovecStart = PAYLOAD_START + handle.maxWriteBytes + SLACK_BYTES;
    this.index = index;
    this.#words = handle.words;
    this.#record = WORD_STACK + handle.count + index * RECORD_WORDS;
    this.#address = address;
    this.#start = start;
    this.#outHeader = new Uint32Array(memory, start, OUT_HEADER.bytes / 4);
    this.#smallAnswer = new Uint32Array(memory, start + OUT_HEADER.bytes, REPLY_BYTES_MAX / WORD_BYTES);
    this.#payloadWords = new Uint32Array(memory, start + PAYLOAD_START, REPLY_BYTES_MAX / WORD_BYTES);
    this.#ringHeader = new Uint32Array(memory, start + RING_HEADER_START, RING_HEADER.bytes / WORD_BYTES);
    this.#ringIovec = new Uint32Array(memory, start + RING_IOVEC_START, RING_IOVEC_WORDS);
    this.#slack = new Uint8Array(memory, start + PAYLOAD_START + handle.maxWriteBytes, SLACK_BYTES);
    this.requestAddress = address + REQUEST_START;
    this.requestCapacityBytes = WRITE_HEAD_BYTES + handle.maxWriteBytes + SLACK_BYTES;
    this.payload = new Uint8Array(memory, start + PAYLOAD_START, handle.maxWriteBytes);
    this.payloadAddress = address + PAYLOAD_START;
    this.#payloadLow = this.payloadAddress % TWO_32;
    this.#payloadHigh = Math.floor(this.payloadAddress / TWO_32);
    this.request = new FuseRequest(memory, start + REQUEST_START, handle.maxWriteBytes);
    this.reply = new ReplyBuilder(new Uint8Array(memory, start + OUT_HEADER.bytes, REPLY_BYTES_MAX), this.payload);
    this.iovec = new ReplyIovec(new Uint32Array(memory, start + iovecStart, IOVEC_BYTES / 4), address + iovecStart, address);
  }

  /**
   * Makes sure, when the slot is first used in this process, that its memory is there before the kernel copies a request into it. By the slot's owner.
   *
   * Why: a page fault fails in a process that is being killed, and then it matters where the kernel was (fs/fuse/dev.c). In fuse_dev_do_read a failed copy ends
   * the request with EIO, so all that read(2) may fill is touched here: headers, payload, names' slack. Pages of this mapping stay, as it is locked where that
   * is permitted (`lockRequestSlots`), and without swap in any case. In writev(2) the list and the out header are copied before the request is looked up: a
   * failure there leaves it unanswered, to be sent again. Only the data behind the header are copied after that: the small answer and the payload lie in
   * the slot; bytes of the cache are touched right before (VolumeFiles). What remains is a page of a cache on disk that is reclaimed in the microseconds
   * between that touch and the copy, in a process that is killed in the same microseconds.
   */
  touch(): this {
    const word = this.#record + RECORD_TOUCHED;
    if (this.#words[word] === 0) {
      this.#words[word] = 1;
      for (let at = 0; at < this.payload.length; at += PAGE_BYTES) this.payload[at] = 0;
      this.#slack[0] = 0;
      this.#outHeader[0] = 0;
    }
    return this;
  }

  /** The descriptor the request came from, and must be answered on. */
  get fd(): number {
    return this.#words[this.#record + RECORD_FD]!;
  }

  /** The ring whose entry this slot is; below 0 if it is none. */
  get ring(): number {
    return FIRST_RING_FD - this.fd;
  }

  /**
   * Takes note of a request of `lengthBytes` that was read into the slot from `fd`, and decodes it. @returns 0 or -errno
   */
  receive(fd: number, lengthBytes: number): number {
    this.#words[this.#record + RECORD_FD] = fd;
    return this.#receiveAt(REQUEST_START, lengthBytes);
  }

  #receiveAt(start: number, lengthBytes: number): number {
    this.#words[this.#record + RECORD_START] = start;
    this.#words[this.#record + RECORD_LENGTH] = lengthBytes;
    return this.reopen();
  }

  /**
   * Makes the slot an entry of a ring, for good; by the ring's thread, which took it.
   * @returns the address of the two iovecs, ring header and payload, to register it with
   */
  joinRing(ring: number): number {
    this.#words[this.#record + RECORD_FD] = FIRST_RING_FD - ring;
    setAddress(this.#ringIovec, 0, this.#address + RING_HEADER_START);
    setAddress(this.#ringIovec, 2, RING_HEADER.bytes);
    setAddress(this.#ringIovec, 4, this.payloadAddress);
    setAddress(this.#ringIovec, 6, this.payload.length);
    return this.#address + RING_IOVEC_START;
  }

  /**
   * Decodes the request that the kernel put into the ring header and the payload. The two headers move up to the payload, where they stand as if
   * the request had been read from a descriptor. @returns 0 or -errno
   */
  receiveFromRing(): number {
    const header = this.#ringHeader;
    const length = header[0]!;
    const structure = length - IN_HEADER.bytes - header[RING_HEADER.payloadSize / WORD_BYTES]!;
    // Neither happens; a header alone, whose length is then wrong, is answered with EINVAL.
    const isSound = structure >= 0 && structure <= RING_HEADER.operationBytes && structure % WORD_BYTES === 0;
    const start = PAYLOAD_START - IN_HEADER.bytes - (isSound ? structure : 0);
    const { words } = this.request;
    let to = (this.#start + start) >>> 2;
    for (let i = 0; i < IN_HEADER.bytes / WORD_BYTES; i++) words[to++] = header[i]!;
    if (!isSound) return this.#receiveAt(start, IN_HEADER.bytes);
    const from = RING_HEADER.operation / WORD_BYTES;
    for (let i = 0; i < structure / WORD_BYTES; i++) words[to++] = header[from + i]!;
    return this.#receiveAt(start, length);
  }

  /** Puts the answer where the ring's entry has it, data included. By whoever answers, before the slot goes back. Arguments as for `seal`. */
  sealForRing(error: number, smallBytes: number): void {
    let payloadBytes = 0;
    if (error === 0 && smallBytes === 0) {
      payloadBytes = this.iovec.dataBytes;
      // From the last to the first: what lies in the payload already, in order and without gaps, only moves up, or is the only piece.
      let end = this.payloadAddress + payloadBytes;
      for (let i = this.iovec.count - 2; i > 0; i--) {
        const length = this.iovec.dataLength(i);
        end -= length;
        const source = this.iovec.dataAddress(i);
        if (source !== end) copyToRead(end, source, length);
      }
      // Mostly the only one: its target is a number that V8 has already, and need not allocate to pass it.
      if (this.iovec.count > 1 && !this.iovec.dataBeginsAt(this.#payloadLow, this.#payloadHigh)) {
        copyToRead(this.payloadAddress, this.iovec.dataAddress(0), this.iovec.dataLength(0));
      }
    } else if (error === 0) {
      // A call to copy these few words would cost more, and its computed addresses be allocated.
      for (let i = 0; i < smallBytes / WORD_BYTES; i++) this.#payloadWords[i] = this.#smallAnswer[i]!;
      payloadBytes = smallBytes;
    }
    const header = this.#ringHeader;
    header[0] = OUT_HEADER.bytes + payloadBytes;
    header[1] = error;
    header[2] = this.request.uniqueLo;
    header[3] = this.request.uniqueHi;
    header[RING_HEADER.payloadSize / WORD_BYTES] = payloadBytes;
  }

  /** The number under which the ring's next answer is committed, as two words. */
  get commitIdLow(): number {
    return this.#ringHeader[RING_HEADER.commitId / WORD_BYTES]!;
  }
  get commitIdHigh(): number {
    return this.#ringHeader[RING_HEADER.commitId / WORD_BYTES + 1]!;
  }

  /**
   * Leaves the answer to a request from LOCAL_FD with the thread that waits for it: for a READ, the bytes are put together in `payload`.
   * @param result a byte count, 0 or -errno
   */
  leaveAnswer(result: number): void {
    const concluded = result < 0 ? result : (this.row?.conclude(this, result) ?? -errno.EIO);
    if (concluded >= 0 && this.iovec.dataBytes > 0) this.payload.set(this.gather());
    this.#words[this.#record + RECORD_RESULT] = concluded < 0 ? concluded : result;
    Atomics.store(this.#words, this.#record + RECORD_ANSWERED, 1);
    Atomics.notify(this.#words, this.#record + RECORD_ANSWERED);
  }

  /** A copy of the data in `iovec`, for transports that can't send it from where it lies. */
  gather(): Uint8Array {
    const bytes = new Uint8Array(this.iovec.dataBytes);
    let at = 0;
    for (let i = 0; i < this.iovec.count - 1; i++) {
      const length = this.iovec.dataLength(i);
      bytes.set(new Uint8Array(view(this.iovec.dataAddress(i), length)), at);
      at += length;
    }
    return bytes;
  }

  /** Says, before a request from LOCAL_FD is handed on, that its answer is not there yet. */
  expectAnswer(): void {
    Atomics.store(this.#words, this.#record + RECORD_ANSWERED, 0);
  }

  /** Resolves to what `leaveAnswer` was given. The thread that waits is not blocked; no wake-up is missed, as the wait is on the word that is stored. */
  async answerLeft(): Promise<number> {
    const waiting = Atomics.waitAsync(this.#words, this.#record + RECORD_ANSWERED, 0);
    if (waiting.async) await waiting.value;
    return this.#words[this.#record + RECORD_RESULT]!;
  }

  /** What `leaveAnswer` was given, if it was. */
  get answerIfLeft(): number | undefined {
    const words = this.#words;
    return Atomics.load(words, this.#record + RECORD_ANSWERED) === 1 ? words[this.#record + RECORD_RESULT]! : undefined;
  }

  /** Decodes the request in a thread the slot was handed to. @returns 0 or -errno, the same as `receive` did */
  reopen(): number {
    this.wantsAfterReply = false;
    this.iovec.clear();
    this.request.startBytes = this.#start + this.#words[this.#record + RECORD_START]!;
    return decodeRequest(this, this.#words[this.#record + RECORD_LENGTH]!);
  }

  /**
   * Writes the out header. @returns the number of iovec entries to send from `iovec.address`
   * @param error 0 or -errno
   * @param smallBytes bytes of the small answer behind the header; 0 if the answer is data in `iovec`
   */
  seal(error: number, smallBytes: number): number {
    const withData = error === 0 && smallBytes === 0;
    this.iovec.setHeaderBytes(OUT_HEADER.bytes + smallBytes);
    this.#outHeader[0] = OUT_HEADER.bytes + smallBytes + (withData ? this.iovec.dataBytes : 0);
    this.#outHeader[1] = error;
    this.#outHeader[2] = this.request.uniqueLo;
    this.#outHeader[3] = this.request.uniqueHi;
    return withData ? this.iovec.count : 1;
  }
}

function setAddress(words: Uint32Array, at: number, value: number): void {
  words[at] = value;
  words[at + 1] = Math.floor(value / TWO_32);
}
