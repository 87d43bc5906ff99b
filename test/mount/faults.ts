// Faults that a test plants into a thread of a real engine: it writes a line `THREAD KIND` into the file that PCACHE_FAULT_FILE names, and sends the engine
// SIGUSR2. THREAD is `main` or the name of a data thread.

/** An exception that nobody catches; more memory than the thread may have. `rejects` is for the main thread: a promise that nobody handles. */
export type FaultKind = 'throws' | 'exhausts' | 'rejects';

export const FAULT_KINDS: readonly FaultKind[] = ['throws', 'exhausts', 'rejects'];
/** What a planted exception says. */
export const FAULT_MESSAGE = 'planted by a test';
/** Memory of a data thread, so that it is soon exhausted. */
export const THREAD_HEAP_MB = 64;

const kept: number[][] = [];

export function exhaustMemory(): never {
  for (;;) kept.push(new Array<number>(100_000).fill(1.5));
}
