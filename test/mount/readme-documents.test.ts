// The commands that README, CONTRIBUTING and docs/ show are such as the programs take: found by the parsers of the programs themselves.

import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import test from 'ava';
import { parseOptions } from '../../bench/options.js';
import { pcacheFault } from '../docs/pcache-fault.js';
import { inlineCode, readDocument, shellBlocks, simpleCommands } from '../docs/shell-blocks.js';
import { repositoryRoot } from '../support/paths.js';

const TORTURE = fileURLToPath(new URL('../torture/main.js', import.meta.url));
const documents = [
  ...['README.md', 'CONTRIBUTING.md', 'CHANGELOG.md'],
  ...readdirSync(join(repositoryRoot, 'docs'))
    .filter((name) => name.endsWith('.md'))
    .map((name) => `docs/${name}`),
];

interface Shown {
  /** `docs/guide.md:68` */
  readonly where: string;
  readonly words: readonly string[];
}

/** Every simple command in the blocks of all documents. */
const shown: readonly Shown[] = documents.flatMap((path) =>
  shellBlocks(readDocument(path)).flatMap(({ commands }) =>
    commands.flatMap(({ line, text }) => simpleCommands(text).map((words) => ({ where: `${path}:${line}`, words }))),
  ),
);

const isPcache = (word: string | undefined): boolean => word !== undefined && /^(?:\S*\/)?pcache$/.test(word);

test('every command line of pcache in a document is one that pcache takes', async (t) => {
  const lines = shown.filter(({ words }) => isPcache(words[0]));
  t.true(lines.length > 45);
  for (const path of ['README.md', 'docs/guide.md', 'docs/operations.md'])
    t.true(
      lines.some(({ where }) => where.startsWith(`${path}:`)),
      path,
    );
  const wrong: string[] = [];
  for (const { where, words } of lines) {
    const fault = await pcacheFault(words.slice(1));
    if (fault !== undefined) wrong.push(`${where}: ${words.join(' ')}: ${fault}`);
  }
  t.deepEqual(wrong, []);
});

test('what running text says of pcache in code is a command with its options; only its arguments may be left out', async (t) => {
  const wrong: string[] = [];
  let count = 0;
  for (const path of documents) {
    for (const code of inlineCode(readDocument(path)).filter((text) => text.startsWith('pcache '))) {
      count++;
      const fault = await pcacheFault(simpleCommands(code)[0]!.slice(1));
      if (fault !== undefined && !fault.startsWith('error: missing required argument')) wrong.push(`${path}: ${code}: ${fault}`);
    }
  }
  t.true(count > 40);
  t.deepEqual(wrong, []);
});

test('misspelt commands, options, mount options, messages and values are found', async (t) => {
  const faulty = [
    'monut cache disk vol',
    'loop atach vol',
    'format cache --sise 8G',
    'format cache --size 8Q',
    'mount cache disk vol -o worker=2',
    'mount cache disk vol -o transport=uring',
    'mount cache disk vol --metrics-listen 9464',
    'umount vol --fush',
    'umount',
    'status vol disk cache',
    'message vol gc_precent 60',
    'message vol gc_percent 95',
    'message vol writeback stop',
    'recover cache disk --dryrun',
    'config instal',
  ];
  for (const line of faulty) t.not(await pcacheFault(line.split(' ')), undefined, line);
  const right = [
    'mount vol',
    'mount cache disk vol -o transport=io-uring,workers=2,poll_us=50',
    '--json status',
    'message vol gc_percent N',
    '--version',
  ];
  for (const line of right) t.is(await pcacheFault(line.split(' ')), undefined, line);
});

test('shell code is taken apart as a shell would', (t) => {
  t.deepEqual(simpleCommands('loop=$(pcache loop attach /mnt/vol)'), [['pcache', 'loop', 'attach', '/mnt/vol']]);
  t.deepEqual(simpleCommands('sudo A=1 pcache status "a b" >file 2>&1 | grep -q x && echo y; z'), [
    ['pcache', 'status', 'a b'],
    ['grep', '-q', 'x'],
    ['echo', 'y'],
    ['z'],
  ]);
  const text = "```sh\na 'b # c' # d\n\n# e\nf \\\n  g\n```\n   ```\n   $ h\n   i\n   ```\n```ts\nconst j = 1;\n```\n";
  t.deepEqual(
    shellBlocks(text).map(({ commands }) => commands),
    [
      [
        { line: 2, text: "a 'b # c'" },
        { line: 5, text: 'f g' },
      ],
      [{ line: 9, text: 'h' }],
    ],
  );
});

/** Why a command of npm, npx, node or a path could not be run here; undefined if it could, or is another program. */
function faultOfTool([program, ...args]: readonly string[], scripts: Readonly<Record<string, string>>): string | undefined {
  const exists = (path: string | undefined): boolean => path !== undefined && existsSync(join(repositoryRoot, path));
  if (program === 'npm' && args[0] === 'run') {
    if (scripts[args[1] ?? ''] === undefined) return 'no such script';
    return faultOfScript(args[1]!, args[2] === '--' ? args.slice(3) : args.slice(2));
  }
  if (program === 'npm') return ['test', 'install', 'ci'].includes(args[0] ?? '') ? undefined : 'no such command of npm';
  if (program === 'node') return exists(args[0]) ? undefined : `no ${args[0] ?? 'file'}`;
  if (program?.startsWith('.ci/') === true) return exists(program) ? undefined : `no ${program}`;
  // A compiled test, named by its file or by a pattern.
  const compiled = program === 'npx' && args[0] === 'ava' ? args[1]!.replace(/^dist[^/]*\//, '') : undefined;
  return compiled === undefined || exists(compiled.replace(/\/\*\*$/, '').replace(/\.js$/, '.ts')) ? undefined : `no ${compiled}`;
}

const tortureUsage = execFileSync(process.execPath, [TORTURE, '--help'], { encoding: 'utf8', timeout: 30_000 });

function faultOfScript(name: string, args: readonly string[]): string | undefined {
  if (name === 'bench') {
    const options = parseOptions(args);
    return options !== 'help' && 'wrong' in options ? options.wrong : undefined;
  }
  if (name !== 'torture') return args.length === 0 ? undefined : `${name} takes nothing`;
  const named = args.filter((_, at) => args[at - 1] === '--only');
  const unknown =
    args.find((word) => word.startsWith('-') && !tortureUsage.includes(`[${word} `)) ??
    named.find((part) => !tortureUsage.includes(`\n  ${part}`));
  return unknown === undefined ? undefined : `torture ${unknown}: unknown`;
}

test('the commands of npm, npx and node in the documents are there, with their options', (t) => {
  const { scripts } = JSON.parse(readDocument('package.json')) as { scripts: Readonly<Record<string, string>> };
  const inText = documents.flatMap((path) =>
    inlineCode(readDocument(path))
      .filter((code) => /^(?:npm (?:run|test)|npx ava|node scripts)\b/.test(code))
      .flatMap((code) => simpleCommands(code).map((words) => ({ where: path, words }))),
  );
  const all = [...shown, ...inText].filter(({ words }) => /^(?:npm|npx|node|\.ci\/\w+)$/.test(words[0]!));
  t.true(all.length > 20);
  const wrong = all.flatMap(({ where, words }) => {
    const fault = faultOfTool(words, scripts);
    return fault === undefined ? [] : [`${where}: ${words.join(' ')}: ${fault}`];
  });
  t.deepEqual(wrong, []);
  for (const line of [
    'npm run tortoise',
    'npm run bench -- --quik',
    'npm run torture -- --minute 3',
    'npm run torture -- --only kill-8',
    'npx ava dist/test/none.test.js',
  ]) {
    t.not(faultOfTool(line.split(' '), scripts), undefined, line);
  }
});
