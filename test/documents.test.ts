// The documents: links lead somewhere, commands and options that they show exist, pictures are whole and readable in the dark.

import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';
import test from 'ava';
import { allNodes } from '../src/cli/completion-values.js';
import { readCommandTree, type CommandNode } from '../src/cli/command-tree.js';
import { METRIC_NAMES } from '../src/gateway/metrics.js';
import { mountOptionRows } from '../src/gateway/mount-options.js';
import { sampleStatus } from './gateway/sample-status.js';
import { repositoryRoot } from './support/paths.js';

interface Document {
  /** From the root of the repository. */
  readonly path: string;
  readonly text: string;
}

const documents: readonly Document[] = [
  ...namesIn('.', '.md'),
  ...namesIn('docs', '.md').map((name) => `docs/${name}`),
  ...namesIn('examples', '.md').map((name) => `examples/${name}`),
].map((path) => ({ path, text: readFileSync(join(repositoryRoot, path), 'utf8') }));

function namesIn(folder: string, ending: string): string[] {
  return readdirSync(join(repositoryRoot, folder)).filter((name) => name.endsWith(ending));
}

/** Without code, which may have brackets of its own. */
function proseOf(text: string): string {
  return text.replaceAll(/^( *)```[\s\S]*?^\1```/gm, '').replaceAll(/`[^`\n]*`/g, 'code');
}

/** What GitHub makes of a heading. */
function anchorOf(heading: string): string {
  return heading
    .toLowerCase()
    .replaceAll(/[^\p{L}\p{N} _-]/gu, '')
    .replaceAll(' ', '-');
}

function anchorsOf(text: string): Set<string> {
  const withoutCode = text.replaceAll(/^( *)```[\s\S]*?^\1```/gm, '');
  return new Set([...withoutCode.matchAll(/^#{1,6} (.*)$/gm)].map((match) => anchorOf(match[1]!)));
}

test('links between the documents lead to a file that is there, and to a heading of it', (t) => {
  const wrong: string[] = [];
  let count = 0;
  for (const { path, text } of documents) {
    for (const match of proseOf(text).matchAll(/\]\(([^)\s]+)\)/g)) {
      const target = match[1]!;
      if (/^https?:/.test(target)) continue;
      count++;
      const [file, anchor] = target.split('#') as [string, string | undefined];
      const to = file === '' ? path : normalize(join(dirname(path), file));
      if (!existsSync(join(repositoryRoot, to))) wrong.push(`${path}: ${target}: no such file`);
      else if (anchor !== undefined && to.endsWith('.md') && !anchorsOf(readFileSync(join(repositoryRoot, to), 'utf8')).has(anchor)) {
        wrong.push(`${path}: ${target}: no such heading`);
      }
    }
  }
  t.true(count > 50);
  t.deepEqual(wrong, []);
});

/** The command lines of pcache in shell code: what stands behind `pcache`, without comments and what follows a pipe. */
function commandLines(text: string): string[] {
  const blocks = [...text.matchAll(/^ *```(?:sh|ini)?\n([\s\S]*?)^ *```/gm)].map((match) => match[1]!);
  return blocks.flatMap((block) =>
    block.split('\n').flatMap((line) => {
      const match = /^(?:\s*(?:\$ )?|Exec\w+=-?\S*\/|.*\$\((?:\S*\/)?)pcache ((?:--json )?[a-z][^#|<>)]*)/.exec(line);
      return match === null ? [] : [match[1]!.trim()];
    }),
  );
}

/** What is wrong with a command line, as far as names of commands and options go. */
function faultOf(line: string, tree: CommandNode): string | undefined {
  const words = line.split(/\s+/).filter((word) => !/^--(?:json|quiet)$/.test(word));
  const path: string[] = [];
  let node = tree;
  for (const word of words) {
    const next = node.commands.find((command) => command.path.at(-1) === word);
    if (next === undefined) break;
    [node] = [next];
    path.push(word);
  }
  if (node === tree) return `no command ${words[0] ?? ''}`;
  const known = [...node.options, ...tree.options].flatMap(({ long, short }) => [long, short]);
  const unknown = words.filter((word) => /^--?[a-z]/.test(word)).find((word) => !known.includes(word.split('=')[0]));
  if (unknown !== undefined) return `no option ${unknown} of ${path.join(' ')}`;
  const at = words.indexOf('-o');
  const names = at < 0 ? [] : (words[at + 1] ?? '').split(',').map((option) => option.split('=')[0]!);
  const stranger = names.find((name) => name !== 'rw' && name !== '' && !mountOptionRows.some((row) => row.name === name));
  return stranger === undefined ? undefined : `no mount option ${stranger}`;
}

test('commands and options that the documents show exist', async (t) => {
  const tree = await readCommandTree();
  const wrong: string[] = [];
  let count = 0;
  for (const { path, text } of documents) {
    for (const line of commandLines(text)) {
      count++;
      const fault = faultOf(line, tree);
      if (fault !== undefined) wrong.push(`${path}: pcache ${line}: ${fault}`);
    }
  }
  t.true(count > 40);
  t.deepEqual(wrong, []);
  t.is(faultOf('monut /mnt/vol', tree), 'no command monut');
  t.is(faultOf('loop attach --fush /mnt/vol', tree), 'no option --fush of loop attach');
  t.is(faultOf('mount a b c -o ro,worker=3', tree), 'no mount option worker');
});

test('the reference has every command with its options, every mount option, and every figure of a status', async (t) => {
  const text = readFileSync(join(repositoryRoot, 'docs', 'reference.md'), 'utf8');
  const missing: string[] = [];
  for (const { path, options, commands } of allNodes(await readCommandTree())) {
    if (path.length === 0) continue;
    const name = path.join(' ');
    if (commands.length === 0 && !text.includes(`\`${name}`)) missing.push(name);
    for (const { long, short } of options.filter((option) => option.long !== '--help')) {
      if (!text.includes(long) && (short === undefined || !text.includes(`[${short} `))) missing.push(`${name} ${long}`);
    }
  }
  for (const { name } of mountOptionRows) if (!new RegExp(`\`${name}[\`=]`).test(text)) missing.push(`-o ${name}`);
  for (const name of Object.keys(sampleStatus())) if (!text.includes(`\`${name}\``)) missing.push(name);
  t.deepEqual(missing, []);
});

test('the table of the metrics has every metric', (t) => {
  const text = readFileSync(join(repositoryRoot, 'docs', 'operations.md'), 'utf8');
  t.deepEqual(
    METRIC_NAMES.filter((name) => !new RegExp(`\`${name}[\`{]`).test(text)),
    [],
  );
});

test('options that running text names in code are options of some command', async (t) => {
  const known = new Set(allNodes(await readCommandTree()).flatMap(({ options }) => options.map(({ long }) => long)));
  const wrong: string[] = [];
  for (const { path, text } of documents) {
    for (const match of text.matchAll(/`pcache ([a-z]+)(?: [^`]*?)?(--[a-z-]+)[^`]*`/g)) {
      if (!known.has(match[2]!)) wrong.push(`${path}: ${match[0]}`);
    }
  }
  t.deepEqual(wrong, []);
});

test('pictures say what they are, can be read in the dark, and fetch nothing', (t) => {
  const pictures = namesIn('docs', '.svg');
  t.true(pictures.length >= 4);
  for (const name of pictures) {
    const text = readFileSync(join(repositoryRoot, 'docs', name), 'utf8');
    t.true(text.includes('xmlns="http://www.w3.org/2000/svg"'), name);
    t.regex(text, /<title\b|aria-label=/, name);
    t.notRegex(text, /<(?:script|image|foreignObject)\b|href="http|@import|url\(http/, name);
    t.true(
      documents.some((document) => document.text.includes(`${name})`)),
      `${name} is shown nowhere`,
    );
    if (name !== 'monitor.svg') t.regex(text, /prefers-color-scheme: dark/, name);
  }
});
