// `npm run torture`: the long forms of the tests that try to break the promises (docs/crash-consistency.md). Each part gets its share of the time;
// the end is a table of what was tried and what was lost. Exit status 0 if nothing was wrong, 1 if anything was (with what repeats it), 2 for wrong
// usage, 130 after an interrupt. Leaves nothing behind, whatever ends it.

import { randomInt } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { messageOf } from '../../src/errors.js';
import { runPart, headlines, type PartResult } from './part.js';
import { chooseRows, partRows, slugOf, type PartRow } from './parts.js';
import { problemsOf, sumOf, tortureTable, type TortureSummary } from './torture-table.js';

const SEED_MAX = 999_999;
const NAMES = partRows.map(
  ({ part }) => `  ${slugOf(part).padEnd(22)} ${part.lacks === undefined ? part.unit : `not here: ${part.lacks}`}`,
);
const USAGE = `usage: npm run torture -- [--minutes N] [--seed S] [--only PART]... [--json FILE]
  --minutes N   how long it takes, about; default 10
  --seed S      0 to ${SEED_MAX}; default: another one each time, which is printed
  --only PART   this part alone, or the parts whose names begin so; can be given several times
  --json FILE   the result as JSON, too; - for the standard output, instead of the table
Parts:
${NAMES.join('\n')}`;

interface Options {
  readonly minutes: number;
  readonly seed: number;
  readonly only: readonly string[];
  readonly rows: readonly PartRow[];
  readonly json: string | undefined;
}

/** `help` if that is what was asked for; a text that says what is wrong with them if they make no sense. */
function parseOptions(args: readonly string[]): Options | 'help' | { wrong: string } {
  try {
    const text = { type: 'string' } as const;
    const { values } = parseArgs({
      args: [...args],
      options: { minutes: text, seed: text, json: text, only: { ...text, multiple: true }, help: { type: 'boolean', short: 'h' } },
    });
    if (values.help === true) return 'help';
    const minutes = Number(values.minutes ?? 10);
    const seed = Number(values.seed ?? randomInt(SEED_MAX));
    if (!(minutes > 0 && minutes < Infinity)) return { wrong: `--minutes ${values.minutes ?? ''}: not a number above 0` };
    if (!Number.isInteger(seed) || seed < 0 || seed > SEED_MAX || values.seed === '') {
      return { wrong: `--seed ${values.seed ?? ''}: not a number from 0 to ${SEED_MAX}` };
    }
    const only = values.only ?? [];
    const rows = chooseRows(partRows, only);
    if (rows === undefined) return { wrong: `--only ${only.join(' ')}: no such part` };
    return { minutes, seed, only, rows, json: values.json };
  } catch (error) {
    return { wrong: messageOf(error) };
  }
}

async function main(): Promise<number> {
  const options = parseOptions(process.argv.slice(2));
  if (options === 'help') {
    process.stdout.write(`${USAGE}\n`);
    return 0;
  }
  if ('wrong' in options) {
    process.stderr.write(`torture: ${options.wrong}\n${USAGE}\n`);
    return 2;
  }
  const interrupt = new AbortController();
  const onSignal = (): void => {
    process.stderr.write('\ntorture: interrupted, cleaning up\n');
    interrupt.abort();
  };
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, onSignal);
  const summary = await run(options, interrupt.signal);
  report(summary, options.json);
  return problemsOf(summary.parts).length > 0 ? 1 : summary.interrupted ? 130 : 0;
}

async function run({ minutes, seed, only, rows }: Options, interrupt: AbortSignal): Promise<TortureSummary> {
  process.stderr.write(`torture: seed ${seed}, about ${minutes} minute${minutes === 1 ? '' : 's'}\n`);
  const shares = rows.reduce((sum, { part, share }) => sum + (part.lacks === undefined ? share : 0), 0);
  const startMs = performance.now();
  const parts: PartResult[] = [];
  for (const { part, share, countsAs } of rows) {
    if (interrupt.aborted) break;
    parts.push(await runPart(part, countsAs, seed, (minutes * 60_000 * share) / shares, interrupt));
  }
  const seconds = Math.round((performance.now() - startMs) / 1000);
  const failed = rows.filter((_, index) => parts[index]?.problem !== undefined).map(({ part }) => slugOf(part));
  const names = failed.length > 0 ? failed : only;
  const again = [`npm run torture -- --minutes ${minutes} --seed ${seed}`, ...names.map((name) => `--only ${name}`)].join(' ');
  return { seed, seconds, interrupted: interrupt.aborted, again, parts };
}

function report(summary: TortureSummary, json: string | undefined): void {
  const table = tortureTable(summary);
  if (json === undefined) {
    process.stdout.write(table);
    return;
  }
  const { parts } = summary;
  const tried = Object.fromEntries(headlines.map((headline) => [headline.replace(' ', '_'), sumOf(parts, headline)]));
  const text = `${JSON.stringify({ ...summary, tried, problems: problemsOf(parts) }, undefined, 2)}\n`;
  if (json === '-') process.stdout.write(text);
  else {
    process.stdout.write(table);
    writeFileSync(json, text);
  }
}

process.exitCode = await main();
