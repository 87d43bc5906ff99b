// The monitor on a terminal that can't be drawn on (TERM=dumb, a teletype, some editors): one line every ten seconds, and one for whatever happens.

import { bytesPerSecondText, bytesText, clockText, percentText, rateText } from './figures.js';
import type { History } from './history.js';
import { UNMOUNT_WANTED_TEXT, verdictOf } from './verdict.js';

export const PLAIN_INTERVAL_MS = 10_000;

/** Undefined before anything has been heard of the gateway. */
export function plainLine(history: History, nowMs: number): string | undefined {
  const status = history.latest;
  if (status === undefined) return undefined;
  const hits = history.readHits(PLAIN_INTERVAL_MS);
  return [
    `${clockText(nowMs)} ${status.state}${status.unmount_wanted ? `, ${UNMOUNT_WANTED_TEXT}` : ''}: ${verdictOf(status).text}`,
    `dirty ${bytesText(status.dirty_bytes)}`,
    `reads ${rateText(history.rate('reads'))}/s${hits === undefined ? '' : ` (${percentText(hits)} hits)`}`,
    `writes ${rateText(history.rate('writes'))}/s`,
    `writeback ${bytesPerSecondText(history.rate('writeback_bytes'))}`,
    ...(status.last_error === null ? [] : [`${status.last_error.device}: ${status.last_error.message}`]),
  ].join('; ');
}
