// How the long walks of a cache say how far they are, for whoever asked to hear it.

import { logBytesFrom } from '../media/log-length.js';
import type { LogPosition } from '../media/log-position.js';
import type { LogSource, LogWalkOptions } from '../media/log-walk.js';

/** `phase`: what is being done, in words. Called often, from loops that take long: whoever does little with most calls is a good listener. */
export type TellProgress = (phase: string, doneBytes: number, totalBytes: number) => void;

/** Has a walk of the log tell how far it is. Without a listener nothing is added, and nothing costs anything. */
export function tellingWalk(
  options: LogWalkOptions,
  tell: TellProgress | undefined,
  phase: string,
  source: LogSource,
  start: LogPosition,
): LogWalkOptions {
  if (tell === undefined) return options;
  const totalBytes = logBytesFrom(source, start);
  return { ...options, onAdvance: (logBytes) => tell(phase, Math.min(logBytes, totalBytes), totalBytes) };
}
