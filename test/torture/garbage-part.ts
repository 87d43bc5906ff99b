// Bad inputs for whatever reads bytes or words that others made, with ever new seeds: control areas of caches, FUSE requests, messages of the control
// socket at both ends, entries of the runtime folder, and, in a process of their own, command lines.

import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import fc from 'fast-check';
import { PcacheError } from '../../src/errors.js';
import { destroyRequestSlots } from '../../src/fuse/request-slots.js';
import { CONTROL_LINE_BYTES_MAX, LineReader, parseControlRequest, parseControlResponse } from '../../src/gateway/control-protocol.js';
import { readEntry } from '../../src/gateway/runtime-files.js';
import { statusOfAnswer } from '../../src/gateway/status-answer.js';
import { CheckingFileSystem, GuardedSlots, requestNoise, serveChecked } from '../fuse/request-noise.js';
import { controlNoise, isAnswer, readControl } from '../media/garbage-control.js';
import type { Part } from './part.js';

const SEEDS_PER_RUN = 1_000_000;
/** Each kind in turn: some tenths of a second. */
const RUNS = { media: 400, requests: 2000, messages: 1000, entries: 200, arguments: 150 } as const;
const ARGUMENTS_MS = 120_000;
const ARGUMENTS_MAIN = fileURLToPath(new URL('garbage-arguments-main.js', import.meta.url));

type Kind = keyof typeof RUNS;

const mediaProperty = fc.property(controlNoise, (control) => {
  if (!readControl(control).every(isAnswer)) throw new Error('a record is neither read nor refused with a reason');
});

/** Runs `read`, which may throw a PcacheError of kind `usage` or `unsupported`, and nothing else. */
function readOrRefused(read: () => unknown): void {
  try {
    read();
  } catch (error) {
    if (!(error instanceof PcacheError) || (error.code !== 'usage' && error.code !== 'unsupported') || /\n/.test(error.message))
      throw error;
  }
}

const messages = fc.oneof(
  fc.string({ unit: 'binary', maxLength: 300 }),
  fc.json({ maxDepth: 4 }),
  fc
    .record(
      {
        id: fc.jsonValue(),
        op: fc.jsonValue(),
        ok: fc.jsonValue(),
        error: fc.jsonValue(),
        progress: fc.jsonValue(),
        gc_percent: fc.jsonValue(),
      },
      { requiredKeys: [] },
    )
    .map((value) => JSON.stringify(value)),
);
const messageProperty = fc.property(messages, fc.jsonValue(), fc.integer({ min: 1, max: 100 }), (text, answer, cut) => {
  readOrRefused(() => parseControlRequest(text));
  readOrRefused(() => parseControlResponse(text));
  readOrRefused(() => statusOfAnswer(answer));
  const reader = new LineReader();
  const bytes = Buffer.from(`${text}\n`);
  const lines: string[] = [];
  for (let at = 0; at < bytes.length; at += cut) lines.push(...reader.feed(bytes.subarray(at, at + cut)));
  if (lines.join('\n') !== bytes.toString().slice(0, -1) || bytes.length > CONTROL_LINE_BYTES_MAX)
    throw new Error('lines were cut wrongly');
});

function check<Input>(property: fc.IProperty<Input>, seed: number, numRuns: number): string | undefined {
  const result = fc.check(property, { seed, numRuns });
  return result.failed
    ? `seed ${seed}: ${JSON.stringify(result.counterexample).slice(0, 500)}: ${String(result.errorInstance)}`
    : undefined;
}

/** Slots and a folder for the time of the part. */
class Garbage {
  readonly #guarded = new GuardedSlots();
  readonly #files = new CheckingFileSystem();
  readonly #folder = mkdtempSync(join(tmpdir(), 'pcache-torture-garbage-'));

  /** Tries so many of a kind. @returns what was wrong */
  async run(kind: Kind, seed: number, interrupted: AbortSignal): Promise<string | undefined> {
    switch (kind) {
      case 'media':
        return check(mediaProperty, seed, RUNS.media);
      case 'messages':
        return check(messageProperty, seed, RUNS.messages);
      case 'requests':
        return this.#requests(seed);
      case 'entries':
        return check(
          fc.property(fc.oneof(fc.json(), fc.string({ unit: 'binary', maxLength: 300 })), (text) => {
            const path = join(this.#folder, 'x.json');
            writeFileSync(path, text);
            readEntry(path);
          }),
          seed,
          RUNS.entries,
        );
      case 'arguments':
        return runArguments(seed, interrupted);
    }
  }

  #requests(seed: number): string | undefined {
    const property = fc.property(requestNoise, (bytes) => {
      serveChecked(this.#guarded, this.#files, bytes);
    });
    const problem = check(property, seed, RUNS.requests);
    this.#guarded.requireGuards();
    return problem;
  }

  end(): void {
    destroyRequestSlots(this.#guarded.slots.handle);
    rmSync(this.#folder, { recursive: true, force: true });
  }
}

/** In another process, for what a command line says goes to the standard output and errors of its process. */
function runArguments(seed: number, signal: AbortSignal): Promise<string | undefined> {
  return new Promise((resolve) => {
    const args = [ARGUMENTS_MAIN, String(seed), String(RUNS.arguments)];
    execFile(process.execPath, args, { timeout: ARGUMENTS_MS, signal }, (error, _, stderr) => {
      resolve(error === null || signal.aborted ? undefined : `arguments, seed ${seed}: ${stderr.trim() || error.message}`);
    });
  });
}

export const garbagePart: Part = {
  name: 'garbage',
  unit: 'inputs',
  triesMax: 100_000_000,
  lacks: undefined,
  async run(limits, tally) {
    const kinds = Object.keys(RUNS) as Kind[];
    const names = {
      media: 'control areas of caches',
      requests: 'FUSE requests',
      messages: 'control messages',
      entries: 'runtime entries',
      arguments: 'command lines',
    } as const satisfies Record<Kind, string>;
    const total: Record<string, number> = Object.fromEntries(kinds.map((kind) => [names[kind], 0]));
    tally.details = total;
    const interrupt = new AbortController();
    const garbage = new Garbage();
    const watch = setInterval(() => limits.interrupted && interrupt.abort(), 100);
    try {
      for (let step = 0; await limits.goesOn(); step++) {
        const kind = kinds[step % kinds.length]!;
        tally.problem = await garbage.run(kind, limits.seed * SEEDS_PER_RUN + step, interrupt.signal);
        total[names[kind]]! += RUNS[kind];
        tally.tried += RUNS[kind];
      }
    } finally {
      clearInterval(watch);
      garbage.end();
    }
  },
};
