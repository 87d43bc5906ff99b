// How the long walks of a cache say how far they are, for whoever asked to hear it.

import { logBytesFrom } from '../media/log-length.js';
import type { LogPosition } from '../media/log-position.js';
import type { LogSource, LogWalkOptions } from '../media/log-walk.js';

/** `phase`: what is being done, in words. Called often, from loops that take long: whoever does little with most calls is a good listener. */
export type TellProgress = (phase: string, doneBytes: number, totalBytes: number) => void;

/** The first that is told. To look ahead how long the log is takes a hundredth of the time of a walk; a walk that ends before this is not worth it. */
const FIRST_TOLD_BYTES = 64 * 1024;

/** Has a walk of the log tell how far it is. Without a listener nothing is added. */
export function tellingWalk(
  options: LogWalkOptions,
  tell: TellProgress | undefined,
  phase: string,
  source: LogSource,
  start: LogPosition,
): LogWalkOptions {
  if (tell === undefined) return options;
  let totalBytes: number | undefined;
  const onAdvance = (logBytes: number): void => {
    if (logBytes < FIRST_TOLD_BYTES) return;
    totalBytes ??= logBytesFrom(source, start);
    tell(phase, Math.min(logBytes, totalBytes), totalBytes);
  };
  return { ...options, onAdvance };
}
