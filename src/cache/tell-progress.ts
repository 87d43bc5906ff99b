// How the long walks of a cache say how far they are, for whoever asked to hear it.

import { logBytesFrom } from '../media/log-length.js';
import type { LogPosition } from '../media/log-position.js';
import type { LogSource, LogWalkOptions } from '../media/log-walk.js';

/** `phase`: what is being done, in words. Called often, from loops that take long: whoever does little with most calls is a good listener. */
export type TellProgress = (phase: string, doneBytes: number, totalBytes: number) => void;

/** A walk that is over sooner says nothing, and so costs nothing more: it is not worth to look how long it will be. */
const QUIET_MS = 200;

/** Has a walk of the log tell how far it is. Without a listener nothing is added. */
export function tellingWalk(
  options: LogWalkOptions,
  tell: TellProgress | undefined,
  phase: string,
  source: LogSource,
  start: LogPosition,
): LogWalkOptions {
  if (tell === undefined) return options;
  const startMs = performance.now();
  let totalBytes: number | undefined;
  const onAdvance = (logBytes: number): void => {
    if (totalBytes === undefined && performance.now() - startMs < QUIET_MS) return;
    totalBytes ??= logBytesFrom(source, start);
    tell(phase, Math.min(logBytes, totalBytes), totalBytes);
  };
  return { ...options, onAdvance };
}
