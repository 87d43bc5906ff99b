// The screenshot in the README (docs/monitor.svg, by scripts/screenshot.mjs, of a real run) is of this version, and shows what its monitor shows.

import test from 'ava';
import { frame } from '../../src/monitor/frame.js';
import { VIEWS, type ViewName } from '../../src/monitor/picture.js';
import { plainText } from '../../src/monitor/text.js';
import { KEYS } from '../../src/monitor/view-help.js';
import { readDocument } from '../docs/shell-blocks.js';
import { picture } from '../monitor/pictures.js';

const svg = readDocument('docs/monitor.svg');
const AGAIN = 'take it again: node scripts/screenshot.mjs';

interface Taken {
  readonly version: string;
  readonly view: ViewName;
  readonly columns: number;
  readonly rows: number;
}

/** What the picture says of itself. */
function taken(): Taken {
  const match =
    /<desc>pcache-gateway (\S+), view (\d) of a real run in a terminal of (\d+) x (\d+), by scripts\/screenshot\.mjs<\/desc>/.exec(svg);
  if (match === null) throw new Error(`docs/monitor.svg does not say what it is of; ${AGAIN}`);
  return { version: match[1]!, view: VIEWS[Number(match[2]) - 1]!, columns: Number(match[3]), rows: Number(match[4]) };
}

const entities: Readonly<Record<string, string>> = { '&lt;': '<', '&gt;': '>', '&amp;': '&', '&quot;': '"', '&#39;': "'" };

/** The words on each line of the picture, from the top; the first line is the window's title. Blocks and graphs are shapes, and no words. */
function linesShown(): string[][] {
  const lines = new Map<number, { x: number; text: string }[]>();
  for (const [, x, y, text] of svg.matchAll(/<text x="([\d.]+)" y="([\d.]+)"[^>]*>([^<]*)<\/text>/g)) {
    const words = lines.get(Number(y)) ?? [];
    words.push({ x: Number(x), text: text!.replaceAll(/&#?\w+;/g, (entity) => entities[entity] ?? entity) });
    lines.set(Number(y), words);
  }
  return [...lines].sort(([a], [b]) => a - b).map(([, words]) => words.sort((a, b) => a.x - b.x).map(({ text }) => text));
}

/** What the monitor would show now, of a made-up volume. */
function linesNow({ view, columns, rows }: Taken): string[][] {
  return plainText(frame(picture({}, { view }), { columns, rows }, { unicode: true }))
    .split('\n')
    .map((line) => line.split(/\s+/).filter((word) => word !== ''));
}

/** Titles and names of rows: with what lines begin, other than the map of the segments. */
function beginnings(lines: readonly (readonly string[])[]): string[] {
  return lines.map((words) => words[0] ?? '').filter((word) => /^[A-Za-z][\w/,]*$/.test(word) && !/^[TDH]+$/.test(word));
}

test('the screenshot of the monitor is of this version, and says so where one sees it', (t) => {
  const { version } = JSON.parse(readDocument('package.json')) as { version: string };
  t.is(taken().version, version, AGAIN);
  t.true(linesShown()[0]!.join(' ').startsWith(`pcache ${version} `), AGAIN);
  t.true(readDocument('README.md').includes('](docs/monitor.svg)'));
});

/** The words of the line that explains the map of the segments. */
function legend(lines: readonly (readonly string[])[]): string[] {
  return lines.find((words) => words.includes('free') && words.includes('log'))?.filter((word) => /^[A-Za-z,]+$/.test(word)) ?? [];
}

test('the screenshot has the titles, rows, views and keys that the monitor has now', (t) => {
  const now = linesNow(taken());
  const shown = linesShown().slice(1);
  t.true(beginnings(shown).length > 8);
  t.deepEqual(beginnings(shown), beginnings(now), AGAIN);
  t.true(legend(now).length > 5);
  t.deepEqual(legend(shown), legend(now), AGAIN);
  t.deepEqual(shown.at(-1), now.at(-1), AGAIN);
});

test('the keys and views in the screenshot are those that the help of the monitor names', (t) => {
  const words = linesShown().at(-1)!;
  const pairs = words.flatMap((word, at) => (at % 2 === 0 ? [[word, words[at + 1] ?? ''] as const] : []));
  const keys: readonly string[] = KEYS.flatMap(([names]) => names.split(/,? +/));
  const help = KEYS.map(([, meaning]) => meaning).join('\n');
  t.true(pairs.length > 5);
  for (const [key, word] of pairs) {
    t.true(keys.includes(key), `${key}: no key that the help names; ${AGAIN}`);
    t.true(help.includes(word), `${word}: not in the help; ${AGAIN}`);
  }
});
