// A clock that is the same in every process of a machine, to measure from a signal in one to an answer in another.

/** Milliseconds of CLOCK_MONOTONIC, with fractions; only differences mean anything. */
export function machineMs(): number {
  return Number(process.hrtime.bigint() / 1000n) / 1000;
}
