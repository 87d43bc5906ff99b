// The first engine of a mount: its process is started before anything is opened or mounted, in the background even before it is known what, so that it loads its
// program while that goes on.
//
// Invariants: it inherits the protection against shortage of memory, so that comes first; it holds nothing of the volume until it is started (see EngineChild),
// so whoever made it may kill it at any time before.

import { protectProcess } from '../device/memory-protection.js';
import { EngineChild } from './engine-child.js';

export const engineMainDefault = new URL('./engine-main.js', import.meta.url);

export interface FirstEngine {
  readonly child: EngineChild;
  /** What protection the system refused; undefined if it is all in force. */
  readonly unprotected: string | undefined;
}

/** Protects this process, and starts an engine in it, which is to be prepared. `engineMain` is the main module of its process. Throws PcacheError if anything is short. */
export function startFirstEngine(engineMain: URL = engineMainDefault): FirstEngine {
  const unprotected = protectProcess();
  return { child: new EngineChild(engineMain), unprotected };
}
