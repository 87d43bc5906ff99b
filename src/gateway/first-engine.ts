// The first engine of a mount: its process is started before anything is opened or mounted, so that it loads its program while that goes on.
//
// Invariants: it inherits the protection against shortage of memory, so that comes first; it holds nothing of the volume until it is started (see EngineChild),
// so whoever made it may kill it at any time before.

import { protectProcess } from '../device/memory-protection.js';
import { EngineChild } from './engine-child.js';
import type { MountOptions } from './mount-options.js';

export const engineMainDefault = new URL('./engine-main.js', import.meta.url);

export interface FirstEngine {
  readonly child: EngineChild;
  /** What protection the system refused; undefined if it is all in force. */
  readonly unprotected: string | undefined;
}

/** Protects this process, and starts an engine in it. `engineMain` is the main module of its process. */
export function startFirstEngine(options: MountOptions, engineMain: URL = engineMainDefault): FirstEngine {
  const unprotected = protectProcess();
  return { child: new EngineChild(engineMain, { ...options, isAwaited: true }), unprotected };
}
