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
  /** Where the last entry ends. An element, since V8 would allocate each number that is stored to a field. */
  readonly #lastEnd = new Float64Array(1);

  /**
   * @param words IOVEC_BYTES of memory at `address`
   * @param headerAddress where the out header lies
   */
  constructor(words: Uint32Array, address: number, headerAddress: number) {
    this.#words = words;
    this.address = address;
    words[0] = headerAddress;
    words[1] = headerAddress / TWO_32;
    words[2] = 0;
    words[3] = 0;
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
    this.#lastEnd[0] = 0;
  }

  /**
   * Appends memory to the answer; what continues the entry before is merged with it.
   * @returns false if the list is full; then nothing was added, and the caller copies its data together instead
   */
  add(address: number, lengthBytes: number): boolean {
    return this.addHalves(address | 0, Math.floor(address / TWO_32), lengthBytes);
  }

  /** As `add`, with the address in two 32-bit integers: as one number it might be allocated to pass it. */
  addHalves(low: number, high: number, lengthBytes: number): boolean {
    if (lengthBytes === 0) return true;
    const address = high * TWO_32 + (low >>> 0);
    if (address === this.#lastEnd[0]) {
      this.#words[(this.#count - 1) * 4 + 2]! += lengthBytes;
    } else {
      if (this.#count === IOVEC_ENTRIES_MAX) return false;
      const at = this.#count * 4;
      this.#words[at] = low;
      this.#words[at + 1] = high;
      this.#words[at + 2] = lengthBytes;
      this.#words[at + 3] = 0;
      this.#count++;
    }
    this.#lastEnd[0] = address + lengthBytes;
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

  /** Whether the first data entry lies at an address, given as two u32. */
  dataBeginsAt(low: number, high: number): boolean {
    return this.#words[4] === low && this.#words[5] === high;
  }
}
