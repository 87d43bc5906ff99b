// `npm run torture`: the long forms of the tests that try to break the promises (docs/crash-consistency.md). Each part gets its share of the time;
// the end is a table of what was tried and what was lost. Exit status 0 if nothing was wrong, 1 if anything was (with what repeats it), 2 for wrong
// usage, 130 after an interrupt. Leaves nothing behind, whatever ends it.

import { randomInt } from 'node:crypto';
import { parseArgs } from 'node:util';
import { killPart } from './kill-part.js';
import { runPart, type Part, type PartResult } from './part.js';
import { crashPart, damagePart, modelPart } from './simulated-parts.js';
import { tortureTable } from './torture-table.js';

const USAGE = `usage: npm run torture -- [--minutes N] [--seed S] [--json]
  --minutes N   how long it takes, about; default 10
  --seed S      0 to 999999; default: another one each time, which is printed
  --json        the result as JSON`;
const SEED_MAX = 999_999;
const parts: readonly Part[] = [crashPart, modelPart, damagePart, killPart];

interface Options {
  readonly minutes: number;
  readonly seed: number;
  readonly json: boolean;
}

/** Undefined if they make no sense. */
function parseOptions(args: readonly string[]): Options | undefined {
  try {
    const { values } = parseArgs({
      args: [...args],
      options: { minutes: { type: 'string' }, seed: { type: 'string' }, json: { type: 'boolean' } },
    });
    const minutes = Number(values.minutes ?? 10);
    const seed = Number(values.seed ?? randomInt(SEED_MAX));
    if (!(minutes > 0) || !Number.isInteger(seed) || seed < 0 || seed > SEED_MAX) return undefined;
    return { minutes, seed, json: values.json === true };
  } catch (error) {
    process.stderr.write(`torture: ${(error as Error).message}\n`);
    return undefined;
  }
}

async function main(): Promise<number> {
  const options = parseOptions(process.argv.slice(2));
  if (options === undefined) {
    process.stderr.write(`${USAGE}\n`);
    return 2;
  }
  const interrupt = new AbortController();
  const onSignal = (): void => {
    process.stderr.write('\ntorture: interrupted, cleaning up\n');
    interrupt.abort();
  };
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, onSignal);
  const { minutes, seed, json } = options;
  process.stderr.write(`torture: seed ${seed}, about ${minutes} minute${minutes === 1 ? '' : 's'}\n`);
  const shares = parts.reduce((sum, part) => sum + (part.lacks === undefined ? part.share : 0), 0);
  const startMs = performance.now();
  const results: PartResult[] = [];
  for (const part of parts) {
    if (interrupt.signal.aborted) break;
    results.push(await runPart(part, seed, (minutes * 60_000 * part.share) / shares, interrupt.signal));
  }
  const seconds = Math.round((performance.now() - startMs) / 1000);
  const problems = results.flatMap(({ problem }) => problem ?? []);
  const summary = { seed, seconds, interrupted: interrupt.signal.aborted, problems, parts: results };
  process.stdout.write(json ? `${JSON.stringify(summary, undefined, 2)}\n` : tortureTable(summary));
  return problems.length > 0 ? 1 : summary.interrupted ? 130 : 0;
}

process.exitCode = await main();
