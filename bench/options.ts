// The command line of the benchmark.

import { parseArgs } from 'node:util';
import { gridTests, type GridTest } from './fio.js';
import { measureRows, type MeasureRow } from './measures.js';
import type { Subject } from './subject.js';
import { subjects } from './subjects.js';

export interface BenchOptions {
  readonly isQuick: boolean;
  readonly rounds: number;
  readonly seconds: number;
  readonly subjects: readonly Subject[];
  readonly tests: readonly GridTest[];
  readonly measures: readonly MeasureRow[];
  readonly json: string | undefined;
  readonly svg: string | undefined;
}

const ROUNDS = { full: 5, quick: 2 };
const SECONDS = { full: 2, quick: 0.25 };
const ROUNDS_MAX = 1000;
const SECONDS_MAX = 600;

const line = ({ id, title, lacks }: { id: string; title: string; lacks: string | undefined }): string =>
  `  ${id.padEnd(16)} ${title}${lacks === undefined ? '' : ` (not here: ${lacks})`}`;

export const USAGE = `usage: npm run bench -- [--quick] [--rounds N] [--seconds S] [--only NAME,...] [--json FILE] [--svg FILE]
  --quick        two minutes: what the targets are about, shorter and less exact
  --rounds N     how often everything is measured; default ${ROUNDS.full}, with --quick ${ROUNDS.quick}
  --seconds S    how long each test runs; default ${SECONDS.full}, with --quick ${SECONDS.quick}
  --only NAME    these alone, separated by commas
  --json FILE    everything that was measured; - for the standard output, instead of the tables
  --svg FILE     a picture
Subjects:
${subjects.map(line).join('\n')}
Beside the grid:
${measureRows.map(line).join('\n')}`;

/** `help` if that is what was asked for; a text that says what is wrong with them if they make no sense. */
export function parseOptions(args: readonly string[]): BenchOptions | 'help' | { wrong: string } {
  try {
    const text = { type: 'string' } as const;
    const flag = { type: 'boolean' } as const;
    const { values } = parseArgs({
      args: [...args],
      options: {
        quick: flag,
        rounds: text,
        seconds: text,
        json: text,
        svg: text,
        only: { ...text, multiple: true },
        help: { ...flag, short: 'h' },
      },
    });
    if (values.help === true) return 'help';
    const isQuick = values.quick === true;
    const rounds = Number(values.rounds ?? (isQuick ? ROUNDS.quick : ROUNDS.full));
    const seconds = Number(values.seconds ?? (isQuick ? SECONDS.quick : SECONDS.full));
    if (!Number.isInteger(rounds) || rounds < 1 || rounds > ROUNDS_MAX) {
      return { wrong: `--rounds ${values.rounds ?? ''}: not a number from 1 to ${ROUNDS_MAX}` };
    }
    if (!(seconds >= 0.01 && seconds <= SECONDS_MAX))
      return { wrong: `--seconds ${values.seconds ?? ''}: not a number from 0.01 to ${SECONDS_MAX}` };
    const only = values.only?.flatMap((names) => names.split(',')).filter((name) => name !== '');
    const known = [...subjects, ...measureRows].map(({ id }) => id);
    const unknown = only?.find((name) => !known.includes(name));
    if (unknown !== undefined) return { wrong: `--only ${unknown}: not one of ${known.join(', ')}` };
    const isWanted = ({ id }: { id: string }): boolean => only?.includes(id) ?? true;
    return {
      isQuick,
      rounds,
      seconds,
      subjects: only === undefined && isQuick ? subjects.filter(({ quick }) => quick !== 'none') : subjects.filter(isWanted),
      tests: isQuick ? gridTests.filter((test) => test.isQuick) : gridTests,
      measures: only === undefined && isQuick ? measureRows.filter((row) => row.isQuick) : measureRows.filter(isWanted),
      json: values.json,
      svg: values.svg,
    };
  } catch (error) {
    return { wrong: (error as Error).message };
  }
}
