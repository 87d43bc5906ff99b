// One request as the kernel wrote it, decoded into number fields. Invariants: the object and its views are made once for a buffer
// and reused; decoding allocates nothing, throws nothing, and reads no byte beyond the length it was given; fields that an operation does
// not have keep values of earlier requests, so a handler reads only its own. Which operation has which is in opcodes.ts.
//
// 64-bit fields become doubles. Values up to 2^53 are exact; larger ones are rounded, which no comparison with a size (at most 2^44) notices.

import { errno } from '../device/errno-codes.js';
import { IN_HEADER } from './structs.js';

const TWO_32 = 4294967296;
/** Places of the numbers. */
const FH = 0;
const OFFSET = 1;
const SIZE = 2;
const textDecoder = new TextDecoder();

export class FuseRequest {
  /** The whole buffer; indices into it are absolute, so a request may start anywhere that is a multiple of 4. */
  readonly bytes: Uint8Array;
  readonly words: Uint32Array;
  /** Where the in header begins, a multiple of 4 from the start of the buffer. The owner may move it before it decodes a request. */
  startBytes: number;
  /** Most bytes that one request may ask to read or bring to write. */
  readonly maxPayloadBytes: number;

  opcode = 0;
  uniqueLo = 0;
  uniqueHi = 0;
  nodeid = 0;
  uid = 0;
  gid = 0;
  pid = 0;
  /** Length of the request, header included. */
  lengthBytes = 0;
  /** Where the operation's own structure begins. */
  operationStart = 0;
  /** Where what follows the operation's structure begins: names, or the bytes to write. */
  payloadStart = 0;
  payloadBytes = 0;

  /** O_* of OPEN, READ, WRITE; FSYNC's flags; `valid` of SETATTR; whence of LSEEK. */
  flags = 0;
  /** FALLOCATE's mode; SETATTR's new st_mode. */
  mode = 0;

  /** Numbers of 64 bits. Elements, since V8 allocates a number that is stored to a field whenever it can't be sure of the field's type. */
  readonly #numbers = new Float64Array(3);

  /**
   * @param buffer memory that holds the request, from `startBytes` (a multiple of 4 from the start of the buffer)
   * @param maxPayloadBytes max_write as negotiated
   */
  constructor(buffer: ArrayBufferLike, startBytes: number, maxPayloadBytes: number) {
    this.bytes = new Uint8Array(buffer);
    this.words = new Uint32Array(buffer, 0, Math.floor(buffer.byteLength / 4));
    this.startBytes = startBytes;
    this.maxPayloadBytes = maxPayloadBytes;
  }

  /** File handle that the file system gave out on OPEN. */
  get fh(): number {
    return this.#numbers[FH]!;
  }
  set fh(value: number) {
    this.#numbers[FH] = value;
  }

  /** Offset in the file (READ, WRITE, FALLOCATE, LSEEK), or the cookie of READDIR. */
  get offsetBytes(): number {
    return this.#numbers[OFFSET]!;
  }
  set offsetBytes(value: number) {
    this.#numbers[OFFSET] = value;
  }

  /** Bytes asked for (READ, READDIR), brought (WRITE), concerned (FALLOCATE), or the new size (SETATTR). */
  get sizeBytes(): number {
    return this.#numbers[SIZE]!;
  }
  set sizeBytes(value: number) {
    this.#numbers[SIZE] = value;
  }

  /**
   * Reads the in header of a request of `lengthBytes` bytes.
   * @returns 0, or -errno; then `unique` is 0 if it could not be read, and such a request can't be answered.
   */
  decodeHeader(lengthBytes: number): number {
    this.uniqueLo = 0;
    this.uniqueHi = 0;
    this.opcode = 0;
    this.lengthBytes = lengthBytes;
    if (lengthBytes < IN_HEADER.bytes || this.startBytes + lengthBytes > this.bytes.length) return -errno.EIO;
    const words = this.words;
    const at = this.startBytes >>> 2;
    this.opcode = words[at + 1]!;
    this.uniqueLo = words[at + 2]!;
    this.uniqueHi = words[at + 3]!;
    this.nodeid = words[at + 4]! + words[at + 5]! * TWO_32;
    this.uid = words[at + 6]!;
    this.gid = words[at + 7]!;
    this.pid = words[at + 8]!;
    this.operationStart = this.startBytes + IN_HEADER.bytes;
    if (words[at] !== lengthBytes) return -errno.EINVAL;
    return 0;
  }

  /** Sets where the payload lies, given the size of the operation's structure. @returns 0 or -EINVAL if the request ends before it. */
  splitBody(structureBytes: number): number {
    this.payloadStart = this.operationStart + structureBytes;
    this.payloadBytes = this.startBytes + this.lengthBytes - this.payloadStart;
    return this.payloadBytes < 0 ? -errno.EINVAL : 0;
  }

  /** A u32 field of the operation's structure. */
  u32(offset: number): number {
    return this.words[(this.operationStart + offset) >>> 2]!;
  }

  /** A u64 field of the operation's structure, as a double. */
  u64(offset: number): number {
    const at = (this.operationStart + offset) >>> 2;
    return this.words[at]! + this.words[at + 1]! * TWO_32;
  }

  /** Whether the payload begins with `count` names, each at least one byte and closed by a NUL. */
  hasNames(count: number): boolean {
    const end = this.payloadStart + this.payloadBytes;
    let at = this.payloadStart;
    for (let i = 0; i < count; i++) {
      const begin = at;
      while (at < end && this.bytes[at] !== 0) at++;
      if (at === end || at === begin) return false;
      at++;
    }
    return true;
  }

  /** The first name of the payload; only after `hasNames(1)` said yes. Bytes that are not UTF-8 become U+FFFD, which names no file here. */
  name(): string {
    // TextDecoder refuses shared memory, so the name is copied first.
    return textDecoder.decode(this.bytes.slice(this.payloadStart, this.bytes.indexOf(0, this.payloadStart)));
  }
}
