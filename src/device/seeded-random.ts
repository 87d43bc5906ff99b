// Random numbers for simulations: the same seed gives the same numbers on every machine. Not for secrets.

/** Numbers from 0 to below 1, by the xorshift32 generator on a scrambled seed (any 32-bit number). */
export function seededRandom(seed: number): () => number {
  // The generator has a fixed point at 0, and similar small seeds begin alike: scramble first.
  let state = Math.imul(seed ^ 0x9e3779b9, 0x85ebca6b);
  state = Math.imul(state ^ (state >>> 13), 0xc2b2ae35) | 1;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) / 2 ** 32;
  };
}
