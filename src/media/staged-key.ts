// The open kset is staged in place: its keys already stand in the log, at the slots where they will stay, while its header is zero but for
// the sequence in its flags. A staged key is whole once its `reserved` word holds `stagedKeyCheck`, which is stored last. After the death of the process (not
// of the machine) replay takes the staged keys of the kset at key_head, up to the first whose word does not match.
//
// The word is a mixing hash, not a CRC: it must be cheap, and must tell a key that was stored whole, for this kset at this place, from what an
// older kset or a half-finished store left there. The sequence and the place go into it, so what was once staged elsewhere does not match.
//
// A word is taken in by xor, multiplication by an odd number and a shifted xor: each step can be undone, so two keys that differ in one word never
// get the same lane. The finish is that of MurmurHash3 (Austin Appleby, public domain).

const MULTIPLIER_A = 0xcc9e2d51 | 0;
const MULTIPLIER_B = 0x85ebca6b | 0;
const MULTIPLIER_C = 0xc2b2ae35 | 0;

function mix(hash: number, word: number): number {
  const product = Math.imul(hash ^ word, MULTIPLIER_A);
  return product ^ (product >>> 15);
}

/**
 * The `reserved` word of a staged key: a nonzero u32 made from the first 36 bytes of the key at `keyOffset` and from the kset it belongs to:
 * its `ksetSequence` (0 to 2^48 - 1), its `cacheSegId` and `ksetOffset`, the offset of its header in the segment's data. Allocates nothing.
 */
export function stagedKeyCheck(view: DataView, keyOffset: number, ksetSequence: number, cacheSegId: number, ksetOffset: number): number {
  return stagedKeyWord(view, keyOffset, ksetSequence | 0, (ksetSequence * 2 ** -32) | 0, cacheSegId, ksetOffset) >>> 0;
}

/** The same with 32-bit integers in and out, which V8 passes on without allocating them. */
export function stagedKeyWord(
  view: DataView,
  keyOffset: number,
  sequenceLow: number,
  sequenceHigh: number,
  cacheSegId: number,
  ksetOffset: number,
): number {
  // Two lanes, so that the processor can work on both at once.
  let a = mix(0x50434b31, sequenceLow);
  let b = mix(0x47570001, sequenceHigh);
  a = mix(a, cacheSegId);
  b = mix(b, ksetOffset);
  a = mix(a, view.getInt32(keyOffset, true));
  b = mix(b, view.getInt32(keyOffset + 4, true));
  a = mix(a, view.getInt32(keyOffset + 8, true));
  b = mix(b, view.getInt32(keyOffset + 12, true));
  a = mix(a, view.getInt32(keyOffset + 16, true));
  b = mix(b, view.getInt32(keyOffset + 20, true));
  a = mix(a, view.getInt32(keyOffset + 24, true));
  b = mix(b, view.getInt32(keyOffset + 28, true));
  a = mix(a, view.getInt32(keyOffset + 32, true));
  let hash = mix((a << 16) | (a >>> 16), b);
  hash = Math.imul(hash ^ (hash >>> 16), MULTIPLIER_B);
  hash = Math.imul(hash ^ (hash >>> 13), MULTIPLIER_C);
  hash ^= hash >>> 16;
  return hash === 0 ? 1 : hash;
}
