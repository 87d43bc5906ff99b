// What a torture run says about itself: the sums of its table, what was wrong and how to do it again, and what it is told to run.

import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import test from 'ava';
import { temporaryFolder } from '../support/tmp.js';
import { runPart, type Part } from './part.js';
import { chooseRows, partRows, slugOf } from './parts.js';
import { tortureTable } from './torture-table.js';

const MAIN = fileURLToPath(new URL('main.js', import.meta.url));
const never = new AbortController().signal;

function part(name: string, run: Part['run'], lacks?: string): Part {
  return { name, unit: 'things', triesMax: 5, lacks, run };
}

interface Ended {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

function torture(args: readonly string[], interruptAt?: RegExp): Promise<Ended> {
  return new Promise((resolve) => {
    const child = execFile(process.execPath, [MAIN, ...args], { timeout: 60_000 }, (_, stdout, stderr) => {
      resolve({ status: child.exitCode, stdout, stderr });
    });
    let said = '';
    child.stderr!.on('data', (text: string) => {
      said += text;
      if (interruptAt?.test(said) !== true) return;
      child.kill('SIGINT');
      // Once: a second interrupt ends it at once.
      said = '';
    });
  });
}

test('the table adds up what was tried, says what was not run and why, and that nothing was lost', async (t) => {
  const good = part('good', async (limits, tally) => {
    tally.also = { crashes: 7 };
    while (await limits.goesOn()) tally.tried++;
    tally.details = { 'of them': 5000 };
  });
  const elsewhere = part('elsewhere', () => Promise.reject(new Error('not to be run')), 'needs root');
  const parts = [await runPart(good, 'faults', 1, 10_000, never), await runPart(elsewhere, 'crashes', 1, 10_000, never)];
  t.is(
    tortureTable({ seed: 4, seconds: 2, interrupted: false, again: 'x', parts }),
    `
seed 4, 2 s
  crashes tried                    7
  faults tried                     5
  bad inputs tried                 0
  what was lost              nothing

  good                             5 things
                               5,000 of them
  elsewhere               not run: needs root
`,
  );
});

test('what a part finds, or throws, ends the part, and the table says what it was and what does it again', async (t) => {
  const finds = part('finds', async (limits, tally) => {
    while (await limits.goesOn()) if (++tally.tried === 2) tally.problem = 'a byte is wrong';
  });
  const throws = part('throws', () => Promise.reject(new TypeError('x is not y')));
  const parts = [await runPart(finds, 'crashes', 1, 10_000, never), await runPart(throws, undefined, 1, 10_000, never)];
  t.is(parts[0]!.tried, 2);
  const table = tortureTable({ seed: 4, seconds: 2, interrupted: true, again: 'npm run torture -- --seed 4 --only finds', parts });
  t.regex(table, /^\nseed 4, 2 s, interrupted\n/);
  t.regex(table, /what was lost +WRONG, see below\n/);
  t.regex(
    table,
    /\nWRONG:\n {2}finds: a byte is wrong\n {2}throws: TypeError: x is not y\n {2}again: npm run torture -- --seed 4 --only finds\n$/,
  );
});

test('parts are chosen by how their names begin', (t) => {
  const slugs = partRows.map((row) => slugOf(row.part));
  t.is(new Set(slugs).size, slugs.length);
  t.true(slugs.every((slug) => /^[a-z0-9]+(-[a-z0-9]+)*$/.test(slug)));
  t.is(chooseRows(partRows, []), partRows);
  for (const slug of slugs) t.true(chooseRows(partRows, [slug])!.some((row) => slugOf(row.part) === slug));
  t.is(chooseRows(partRows, ['nothing-of-that-name']), undefined);
  t.is(chooseRows(partRows, ['']), undefined);
});

test('wrong options are said to be wrong, and --help names the parts', async (t) => {
  for (const args of [
    ['--minutes', '0'],
    ['--minutes', 'x'],
    ['--seed', '-1'],
    ['--seed', '1000000'],
    ['--only', 'nope'],
    ['--nope'],
    ['x'],
  ]) {
    const { status, stdout, stderr } = await torture(args);
    t.deepEqual([status, stdout], [2, ''], args.join(' '));
    t.regex(stderr, /^torture: .+\nusage: /);
  }
  const { status, stdout } = await torture(['--help']);
  t.is(status, 0);
  for (const row of partRows) t.true(stdout.includes(`  ${slugOf(row.part)} `));
});

test('a short run of one part ends with the table, status 0, and the result as JSON', async (t) => {
  const file = join(temporaryFolder(t), 'result.json');
  const { status, stdout } = await torture(['--minutes', '0.02', '--seed', '9', '--only', 'model', '--json', file]);
  t.is(status, 0);
  t.regex(stdout, /\nseed 9, \d+ s\n[^]*what was lost +nothing\n[^]*model runs +[\d,]+ commands\n/);
  const result = JSON.parse(readFileSync(file, 'utf8')) as { seed: number; problems: string[]; parts: { tried: number }[] };
  t.like(result, { seed: 9, problems: [], interrupted: false });
  t.true(result.parts[0]!.tried > 0);
});

test('an interrupt ends with the table of what was tried until then', async (t) => {
  const { status, stdout, stderr } = await torture(['--minutes', '5', '--seed', '9', '--only', 'model'], /torture: model runs, .*\n/);
  t.is(status, 130);
  t.regex(stderr, /torture: interrupted, cleaning up\n/);
  t.regex(stdout, /^\nseed 9, \d+ s, interrupted\n[^]*what was lost +nothing\n/);
});
