// What the parts of a torture run have in common: how long each may take, what it counted, and the bar that shows how far it is.
//
// Invariant: a part ends at its deadline, at its count, at the first thing that is wrong, or when the run is interrupted, whichever comes first;
// it looks at `RunLimits.isOver` between two steps, and no step is longer than some seconds.

import { setImmediate } from 'node:timers/promises';
import { SingleBar } from 'cli-progress';

/** What the summary adds up over all parts. */
export const headlines = ['crashes', 'faults', 'bad inputs'] as const;
export type Headline = (typeof headlines)[number];
export type HeadlineCounts = Readonly<Partial<Record<Headline, number>>>;

/** One row of the summary: what was tried, how often, and details in the order in which they are shown. */
export interface PartResult {
  readonly name: string;
  /** Crashes, commands, damages or kills. */
  readonly tried: number;
  readonly unit: string;
  readonly details: Readonly<Record<string, number | string>>;
  /** What of it goes into the sums of the summary. */
  readonly counts: HeadlineCounts;
  /** What was wrong, with what repeats it; undefined if nothing was. */
  readonly problem?: string;
  /** Why nothing was tried. */
  readonly skipped?: string;
}

/** A part counts in this while it runs. */
export interface Tally {
  tried: number;
  details: Record<string, number | string>;
  problem: string | undefined;
  /** What a part tries besides what `tried` counts, e.g. crashes of a part that tries faults. */
  also?: HeadlineCounts;
}

export interface Part {
  readonly name: string;
  readonly unit: string;
  /** Share of the time of the whole run, relative to the other parts. The list in parts.ts has the last word. */
  readonly share?: number;
  /** It ends when it has tried so many, even if there is time left. */
  readonly triesMax: number;
  /** Why it can't run here. */
  readonly lacks: string | undefined;
  run(limits: RunLimits, tally: Tally): Promise<void>;
}

/** When a part has to end. */
export class RunLimits {
  readonly seed: number;
  readonly #deadlineMs: number;
  readonly #triesMax: number;
  readonly #tally: Tally;
  readonly #interrupt: AbortSignal;

  constructor(seed: number, deadlineMs: number, triesMax: number, tally: Tally, interrupt: AbortSignal) {
    this.seed = seed;
    this.#deadlineMs = deadlineMs;
    this.#triesMax = triesMax;
    this.#tally = tally;
    this.#interrupt = interrupt;
  }

  get interrupted(): boolean {
    return this.#interrupt.aborted;
  }

  get isOver(): boolean {
    const { tried, problem } = this.#tally;
    return this.interrupted || problem !== undefined || tried >= this.#triesMax || performance.now() >= this.#deadlineMs;
  }

  /** Lets signals and the bar have their turn, then says whether to go on. */
  async goesOn(): Promise<boolean> {
    await setImmediate();
    return !this.isOver;
  }
}

/** Runs a part for `durationMs` at most, under a progress bar on stderr if that is a terminal; else a line says when it begins. */
export async function runPart(
  part: Part,
  countsAs: Headline | undefined,
  seed: number,
  durationMs: number,
  interrupt: AbortSignal,
): Promise<PartResult> {
  const { name, unit } = part;
  const tally: Tally = { tried: 0, details: {}, problem: undefined };
  if (part.lacks !== undefined) return { name, unit, tried: 0, details: {}, counts: {}, skipped: part.lacks };
  const startMs = performance.now();
  const limits = new RunLimits(seed, startMs + durationMs, part.triesMax, tally, interrupt);
  const stopBar = startBar(part, tally, startMs, durationMs);
  try {
    await part.run(limits, tally);
  } catch (error) {
    // What an interrupt tears apart is no finding.
    if (!limits.interrupted) tally.problem = error instanceof Error ? `${error.name}: ${error.message}` : String(error);
  } finally {
    stopBar();
  }
  const { tried, details, problem, also = {} } = tally;
  const counts = countsAs === undefined ? also : { ...also, [countsAs]: tried + (also[countsAs] ?? 0) };
  return { name, unit, tried, details, counts, ...(problem === undefined ? {} : { problem }) };
}

function startBar({ name, unit }: Part, tally: Tally, startMs: number, durationMs: number): () => void {
  if (!process.stderr.isTTY) {
    process.stderr.write(`torture: ${name}, ${Math.ceil(durationMs / 1000)} s\n`);
    return () => undefined;
  }
  const bar = new SingleBar({
    format: `${name.padEnd(18)} [{bar}] {percentage}% | {tried} ${unit} | {seconds} s left`,
    stream: process.stderr,
    gracefulExit: false,
    barsize: 24,
    barCompleteChar: '#',
    barIncompleteChar: '.',
  });
  const show = (): void => {
    const doneMs = Math.min(durationMs, performance.now() - startMs);
    bar.update(Math.round(doneMs), { tried: tally.tried, seconds: Math.ceil((durationMs - doneMs) / 1000) });
  };
  bar.start(Math.round(durationMs), 0, { tried: 0, seconds: Math.ceil(durationMs / 1000) });
  const timer = setInterval(show, 200);
  return () => {
    clearInterval(timer);
    show();
    bar.stop();
  };
}
