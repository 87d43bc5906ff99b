// The open kset is staged in place: its keys already stand in the log, at the slots where they will stay, while the 24 bytes of its header are
// still zero. A staged key is whole once its `reserved` word holds `stagedKeyCheck`, which is stored last. After the death of the process (not
// of the machine) replay takes the staged keys of the kset at key_head, up to the first whose word does not match.
//
// The word is a mixing hash, not a CRC: it must be cheap, and must tell a key that was stored whole, for this kset at this place, from what an
// older kset or a half-finished store left there. The sequence and the place go into it, so what was once staged elsewhere does not match.
// The mixing steps are those of MurmurHash3 (Austin Appleby, public domain).

const MULTIPLIER_A = 0xcc9e2d51 | 0;
const MULTIPLIER_B = 0x1b873593;
const MULTIPLIER_C = 0x85ebca6b | 0;
const MULTIPLIER_D = 0xc2b2ae35 | 0;

function mix(hash: number, word: number): number {
  let k = Math.imul(word, MULTIPLIER_A);
  k = (k << 15) | (k >>> 17);
  const h = hash ^ Math.imul(k, MULTIPLIER_B);
  return (Math.imul((h << 13) | (h >>> 19), 5) + 0xe6546b64) | 0;
}

/**
 * The `reserved` word of a staged key: a nonzero u32 made from the first 36 bytes of the key at `keyOffset` and from the kset it belongs to:
 * its `ksetSequence` (0 to 2^48 - 1), its `cacheSegId` and `ksetOffset`, the offset of its header in the segment's data. Allocates nothing.
 */
export function stagedKeyCheck(view: DataView, keyOffset: number, ksetSequence: number, cacheSegId: number, ksetOffset: number): number {
  // Two lanes, so that the processor can work on both at once.
  let a = mix(0x50434b31, ksetSequence | 0);
  let b = mix(0x47570001, Math.floor(ksetSequence / 0x1_0000_0000));
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
  let hash = mix(a, b);
  hash = Math.imul(hash ^ (hash >>> 16), MULTIPLIER_C);
  hash = Math.imul(hash ^ (hash >>> 13), MULTIPLIER_D);
  hash = (hash ^ (hash >>> 16)) >>> 0;
  return hash === 0 ? 1 : hash;
}
