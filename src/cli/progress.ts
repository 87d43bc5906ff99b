// A progress bar on stderr, for a terminal only. An interrupt leaves the terminal's line finished and then ends the process as it would have
// ended without a bar.

import { SingleBar } from 'cli-progress';
import type { Output } from './output.js';
import { formatDuration, formatSize } from './size.js';

export interface Progress {
  /** How many bytes of the total are done; never shown as going back. */
  update(doneBytes: number): void;
  /** Takes the bar away from the terminal's last line; idempotent. */
  stop(): void;
}

const RATE_WINDOW_MS = 5000;

/** Starts a bar that shows bytes left, rate and time left; does nothing where nobody watches. */
export function startProgress(output: Output, label: string, totalBytes: number): Progress {
  if (!output.showsProgress || totalBytes <= 0) return { update: () => undefined, stop: () => undefined };
  const rate = new Rate();
  const bar = new SingleBar({
    format: `${label} [{bar}] {percentage}% | {left} left | {rate}/s | {time}`,
    stream: process.stderr,
    gracefulExit: false,
    barsize: 24,
    fps: 5,
    barCompleteChar: '#',
    barIncompleteChar: '.',
  });
  const payload = (doneBytes: number): Record<string, string> => {
    const bytesPerSecond = rate.bytesPerSecond(doneBytes, performance.now());
    const leftBytes = totalBytes - doneBytes;
    const time = leftBytes === 0 ? 'done' : bytesPerSecond > 0 ? `${formatDuration(leftBytes / bytesPerSecond)} to go` : 'waiting';
    return { left: formatSize(leftBytes), rate: formatSize(Math.round(bytesPerSecond)), time };
  };
  let shown = 0;
  let stopped = false;
  const stop = (): void => {
    if (stopped) return;
    stopped = true;
    bar.stop();
    process.off('SIGINT', interrupted);
  };
  const interrupted = (): void => {
    stop();
    process.kill(process.pid, 'SIGINT');
  };
  process.on('SIGINT', interrupted);
  bar.start(totalBytes, 0, payload(0));
  return {
    update: (doneBytes) => {
      shown = Math.min(totalBytes, Math.max(shown, doneBytes));
      bar.update(shown, payload(shown));
    },
    stop,
  };
}

/** Rate over the last few seconds, from readings of a growing number. */
export class Rate {
  readonly #readings: { bytes: number; ms: number }[] = [];

  /** Takes a reading and says what the rate is, 0 while there is one reading only. */
  bytesPerSecond(bytes: number, nowMs: number): number {
    this.#readings.push({ bytes, ms: nowMs });
    while (this.#readings.length > 2 && this.#readings[1]!.ms < nowMs - RATE_WINDOW_MS) this.#readings.shift();
    const oldest = this.#readings[0]!;
    return nowMs > oldest.ms ? ((bytes - oldest.bytes) * 1000) / (nowMs - oldest.ms) : 0;
  }
}
