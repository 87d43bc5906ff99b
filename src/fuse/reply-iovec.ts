// The scatter list of one answer: `struct iovec` entries in reusable memory. Invariants: entry 0 is the out header (and small answers, which
// follow it in memory); later entries are data, taken by the kernel straight from where they lie, so that memory must stay as it is until
// the answer has been sent; addresses are below 2^53 and written as two 32-bit halves, so that nothing is allocated.

const TWO_32 = 4294967296;
/** The kernel's UIO_MAXIOV. */
export const IOVEC_ENTRIES_MAX = 1024;
export const IOVEC_BYTES = IOVEC_ENTRIES_MAX * 16;

export class ReplyIovec {
  /** Address of the list, for writev. */
  readonly address: number;
  readonly #words: Uint32Array;
  #count = 1;
  #dataBytes = 0;
  #lastEnd = 0;

  /**
   * @param words IOVEC_BYTES of memory at `address`
   * @param headerAddress where the out header lies
   */
  constructor(words: Uint32Array, address: number, headerAddress: number) {
    this.#words = words;
    this.address = address;
    this.#set(0, headerAddress, 0);
  }

  /** Entries in use, the header's included. */
  get count(): number {
    return this.#count;
  }

  /** Bytes of data added. */
  get dataBytes(): number {
    return this.#dataBytes;
  }

  /** Forgets the data entries. */
  clear(): void {
    this.#count = 1;
    this.#dataBytes = 0;
    this.#lastEnd = 0;
  }

  /**
   * Appends memory to the answer; what continues the entry before is merged with it.
   * @returns false if the list is full; then nothing was added, and the caller copies its data together instead
   */
  add(address: number, lengthBytes: number): boolean {
    if (lengthBytes === 0) return true;
    if (address === this.#lastEnd) {
      this.#words[(this.#count - 1) * 4 + 2]! += lengthBytes;
    } else {
      if (this.#count === IOVEC_ENTRIES_MAX) return false;
      this.#set(this.#count, address, lengthBytes);
      this.#count++;
    }
    this.#lastEnd = address + lengthBytes;
    this.#dataBytes += lengthBytes;
    return true;
  }

  /** Sets how many bytes are taken from the header's address: the header alone or with a small answer behind it. */
  setHeaderBytes(bytes: number): void {
    this.#words[2] = bytes;
  }

  /** Address and length of a data entry, from 0; for transports that copy. */
  dataAddress(index: number): number {
    const at = (index + 1) * 4;
    return this.#words[at]! + this.#words[at + 1]! * TWO_32;
  }
  dataLength(index: number): number {
    return this.#words[(index + 1) * 4 + 2]!;
  }

  #set(index: number, address: number, lengthBytes: number): void {
    const at = index * 4;
    this.#words[at] = address;
    this.#words[at + 1] = address / TWO_32;
    this.#words[at + 2] = lengthBytes;
    this.#words[at + 3] = 0;
  }
}
