// 64-bit integers without BigInt. Numbers hold integers up to 2^53 - 1 exactly; nothing legitimate on the media is larger, except magics, which
// are compared as two halves.

const HALF = 0x1_0000_0000;

/** The u64 at `at`. Values above 2^53 - 1 come out rounded: check with `Number.isSafeInteger` (a rounded one is never a safe integer). */
export function readU64(view: DataView, at: number): number {
  return view.getUint32(at + 4, true) * HALF + view.getUint32(at, true);
}

/** Stores a non-negative safe integer. */
export function writeU64(view: DataView, at: number, value: number): void {
  view.setUint32(at, value % HALF, true);
  view.setUint32(at + 4, Math.floor(value / HALF), true);
}

/** A view of the same bytes; for control structures, not for hot paths. */
export function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** Whether `sizeBytes` bytes at `offset` lie within `bytes`. */
export function holds(bytes: Uint8Array, offset: number, sizeBytes: number): boolean {
  return Number.isInteger(offset) && offset >= 0 && offset + sizeBytes <= bytes.byteLength;
}

export function allZero(bytes: Uint8Array, offset: number, sizeBytes: number): boolean {
  for (let at = offset; at < offset + sizeBytes; at++) {
    if (bytes[at] !== 0) return false;
  }
  return true;
}
