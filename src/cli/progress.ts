// How far something is that takes its time: a bar on a terminal, and where nobody watches, now and then a line that a program can read. Both on stderr.
// An interrupt leaves the terminal's line finished, says where things stand, and then ends the process as it would have ended without all this.

import { createRequire } from 'node:module';
import { setImmediate as turn } from 'node:timers/promises';
import type * as CliProgress from 'cli-progress';
import type { Output } from './output.js';
import { formatDuration, formatSize } from './size.js';

export interface Progress {
  /** How many bytes of the total are done; never shown as going back. */
  update(doneBytes: number): void;
  /** Takes the bar away from the terminal's last line; idempotent. */
  stop(): void;
}

export interface ProgressOptions {
  /** Whether there are lines where there is no terminal. */
  readonly lines?: boolean;
  /** What to say of the state of things at an interrupt: one line. */
  readonly interrupted?: () => string;
  /** Time between two lines, and before the first: what is done by then needs none. Default 5 s. */
  readonly lineIntervalMs?: number;
}

const RATE_WINDOW_MS = 5000;
const LINE_INTERVAL_MS = 5000;
/** What is over sooner needs no bar. */
const SHOW_AFTER_MS = 1000;

/** Somebody who wants to hear of an interrupt. */
interface Watcher {
  readonly output: Output;
  /** Leaves the terminal's line finished. */
  readonly stop?: (() => void) | undefined;
  readonly whereThingsStand?: WhereThingsStand | undefined;
}

export type WhereThingsStand = () => string | Promise<string>;

/** The last one knows best what is under way. */
const watchers: Watcher[] = [];

/**
 * Until the function that is returned is called, an interrupt says where things stand, in one line, and then ends the process by the signal. A second one
 * ends it at once. `whereThingsStand` may stop what is under way first. Of several only the last is asked.
 */
export function onInterrupt(output: Output, whereThingsStand: WhereThingsStand): () => void {
  return watch({ output, whereThingsStand });
}

/** Runs what has steps that watch interrupts themselves; `whereThingsStand` is for what lies between them. */
export async function whileInterruptible<T>(output: Output, whereThingsStand: () => string, action: () => Promise<T>): Promise<T> {
  const ignoreInterrupts = onInterrupt(output, whereThingsStand);
  try {
    return await action();
  } finally {
    ignoreInterrupts();
  }
}

/** For a command that ends what it began itself when it is interrupted, and that is done: nothing here, and no handler of SIGINT, may be left. */
export function endByInterrupt(output: Output, whereThingsStand: string): void {
  output.warn(`interrupted: ${whereThingsStand}`);
  process.kill(process.pid, 'SIGINT');
}

function watch(watcher: Watcher): () => void {
  // After an interrupt the first are still there, and the next one has to end the process.
  if (watchers.length === 0) process.on('SIGINT', interrupted);
  watchers.push(watcher);
  return () => {
    const at = watchers.indexOf(watcher);
    if (at >= 0) watchers.splice(at, 1);
    if (watchers.length === 0) process.off('SIGINT', interrupted);
  };
}

function interrupted(): void {
  process.off('SIGINT', interrupted);
  for (const { stop } of watchers) stop?.();
  const asked = watchers.findLast(({ whereThingsStand }) => whereThingsStand !== undefined);
  void sayAndEnd(asked);
}

/** Resolves when an interrupt that came while the main thread was busy has been heard. */
export async function interruptsHeard(): Promise<void> {
  // The first turn may be the rest of one that began before the signal came.
  await turn();
  await turn();
}

async function sayAndEnd(watcher: Watcher | undefined): Promise<void> {
  try {
    const where = await watcher?.whereThingsStand?.();
    if (where !== undefined) watcher?.output.warn(`interrupted: ${where}`);
  } finally {
    process.kill(process.pid, 'SIGINT');
  }
}

/** Starts a bar that shows bytes left, rate and time left, or the lines; does nothing with --quiet but at an interrupt. */
export function startProgress(output: Output, label: string, totalBytes: number, options: ProgressOptions = {}): Progress {
  const view = viewOf(output, label, totalBytes, options);
  if (view === undefined && options.interrupted === undefined) return { update: () => undefined, stop: () => undefined };
  let shown = 0;
  const ignoreInterrupts = watch({ output, stop: () => view?.stop(), whereThingsStand: options.interrupted });
  let stopped = false;
  const stop = (): void => {
    if (stopped) return;
    stopped = true;
    view?.stop();
    ignoreInterrupts();
  };
  view?.show(0);
  return {
    update: (doneBytes) => {
      shown = Math.min(totalBytes, Math.max(shown, doneBytes));
      view?.show(shown);
    },
    stop,
  };
}

/** The same for work in phases, each of which has a total of its own; shown when it has lasted for a second. Leaves interrupts to others. */
export class PhaseProgress {
  readonly #output: Output;
  readonly #startMs = performance.now();
  #phase: { readonly name: string; readonly totalBytes: number; readonly view: View | undefined } | undefined;
  #doneBytes = 0;
  #saidMs = performance.now();

  constructor(output: Output) {
    this.#output = output;
  }

  /** A new name is a new phase. */
  update(name: string, doneBytes: number, totalBytes: number): void {
    if (performance.now() - this.#startMs < SHOW_AFTER_MS) return;
    if (this.#phase?.name !== name || this.#phase.totalBytes !== totalBytes) {
      this.#end(true);
      this.#phase = { name, totalBytes, view: viewOf(this.#output, name, totalBytes, { lines: true, saidMs: this.#saidMs }) };
      this.#doneBytes = 0;
    }
    this.#doneBytes = Math.min(totalBytes, Math.max(this.#doneBytes, doneBytes));
    this.#phase.view?.show(this.#doneBytes);
  }

  /** Everything is done, or nothing more will be. Idempotent. */
  stop({ isDone = false }: { isDone?: boolean } = {}): void {
    this.#end(isDone);
  }

  #end(isDone: boolean): void {
    const { view, totalBytes } = this.#phase ?? {};
    if (view === undefined || totalBytes === undefined) return;
    if (isDone) view.show(totalBytes);
    view.stop();
    this.#saidMs = view.saidMs ?? this.#saidMs;
    this.#phase = undefined;
  }
}

interface View {
  /** When its last line was said, where there are lines. */
  readonly saidMs?: number;
  show(doneBytes: number): void;
  stop(): void;
}

function viewOf(
  output: Output,
  label: string,
  totalBytes: number,
  { lines, lineIntervalMs = LINE_INTERVAL_MS, saidMs }: ProgressOptions & { readonly saidMs?: number },
): View | undefined {
  if (output.quiet || totalBytes <= 0) return undefined;
  if (output.showsProgress) return new BarView(label, totalBytes);
  return lines === true ? new LineView(output, label, totalBytes, lineIntervalMs, saidMs) : undefined;
}

class BarView implements View {
  readonly #bar: CliProgress.SingleBar;
  readonly #totalBytes: number;
  readonly #rate = new Rate();
  #isStarted = false;

  constructor(label: string, totalBytes: number) {
    this.#totalBytes = totalBytes;
    // Loaded when there is something to show: it takes 10 ms, and most commands are done without.
    const { SingleBar } = createRequire(import.meta.url)('cli-progress') as typeof CliProgress;
    this.#bar = new SingleBar({
      format: `${label} [{bar}] {percentage}% | {left} left | {rate}/s | {time}`,
      stream: process.stderr,
      gracefulExit: false,
      barsize: 24,
      fps: 5,
      barCompleteChar: '#',
      barIncompleteChar: '.',
    });
  }

  show(doneBytes: number): void {
    const bytesPerSecond = this.#rate.bytesPerSecond(doneBytes, performance.now());
    const leftBytes = this.#totalBytes - doneBytes;
    const time = leftBytes === 0 ? 'done' : bytesPerSecond > 0 ? `${formatDuration(leftBytes / bytesPerSecond)} to go` : 'waiting';
    const payload = { left: formatSize(leftBytes), rate: formatSize(Math.round(bytesPerSecond)), time };
    if (this.#isStarted) this.#bar.update(doneBytes, payload);
    else this.#bar.start(this.#totalBytes, doneBytes, payload);
    this.#isStarted = true;
  }

  stop(): void {
    this.#bar.stop();
  }
}

class LineView implements View {
  readonly #output: Output;
  readonly #label: string;
  readonly #totalBytes: number;
  readonly #intervalMs: number;
  readonly #rate = new Rate();
  saidMs: number;

  constructor(output: Output, label: string, totalBytes: number, intervalMs: number, saidMs = performance.now()) {
    this.saidMs = saidMs;
    this.#intervalMs = intervalMs;
    this.#output = output;
    this.#label = label;
    this.#totalBytes = totalBytes;
  }

  show(doneBytes: number): void {
    const nowMs = performance.now();
    const bytesPerSecond = Math.round(this.#rate.bytesPerSecond(doneBytes, nowMs));
    if (nowMs - this.saidMs < this.#intervalMs) return;
    this.saidMs = nowMs;
    this.#output.progress({
      progress: this.#label,
      done_bytes: doneBytes,
      total_bytes: this.#totalBytes,
      bytes_per_s: bytesPerSecond,
      left_s: bytesPerSecond === 0 ? null : Math.ceil((this.#totalBytes - doneBytes) / bytesPerSecond),
    });
  }

  stop(): void {
    // Its lines are whole as they are.
  }
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
