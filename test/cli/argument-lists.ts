// Argument lists that nobody would type, a folder that has everything such a list may name, and what is wrong with how `main` took one. No list
// here can succeed in changing the folder: the cache in it is dirty, its backing device is another, no size is one for a cache, and nothing is
// ever mounted.

import { execFileSync } from 'node:child_process';
import { lstatSync, mkdirSync, readdirSync, renameSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { ExecutionContext } from 'ava';
import fc from 'fast-check';
import { commandRows } from '../../src/cli/commands.js';
import { temporaryFolder } from '../support/tmp.js';
import { VOLUME_BYTES, smallCache, useVolume } from './offline-support.js';
import type { Ended } from './run-main.js';

export const CACHE = 'cache.pmem';

/** The folder that the lists are about; it becomes the working directory of this process. */
export function enterFolder(t: ExecutionContext): string {
  const { folder, cachePath, backingPath } = smallCache(t);
  useVolume({ cachePath, backingPath }, (volume) => volume.write(4096, new Uint8Array(5000).fill(7)), { crash: true });
  const run = process.env.PCACHE_RUNTIME_DIR;
  const before = process.cwd();
  t.teardown(() => {
    process.chdir(before);
    if (run === undefined) delete process.env.PCACHE_RUNTIME_DIR;
    else process.env.PCACHE_RUNTIME_DIR = run;
  });
  // The one that the cache belongs to is out of reach.
  renameSync(backingPath, join(temporaryFolder(t), 'backing.img'));
  process.chdir(folder);
  process.env.PCACHE_RUNTIME_DIR = join(folder, 'run');
  writeFileSync('disk.img', '');
  truncateSync('disk.img', VOLUME_BYTES);
  writeFileSync('empty', '');
  writeFileSync('odd', 'odd');
  mkdirSync('folder');
  mkdirSync('full');
  writeFileSync('full/file', 'x');
  symlinkSync('itself', 'itself');
  symlinkSync(CACHE, 'link');
  symlinkSync('nowhere', 'dangling');
  execFileSync('mkfifo', ['fifo'], { timeout: 10_000 });
  return folder;
}

/** What a command that changes a file can't help changing. */
export function stateOf(folder: string): string {
  const names = readdirSync(folder, { recursive: true, encoding: 'utf8' }).sort();
  return names
    .map((name) => {
      const { ino, mode, size, blocks, mtimeMs } = lstatSync(join(folder, name));
      return [name, ino, mode, size, blocks, mtimeMs].join(' ');
    })
    .join('\n');
}

const paths = [
  ...[CACHE, `./${CACHE}`, 'link', 'disk.img', 'empty', 'odd', 'folder', 'full', 'full/file', 'itself', 'dangling', 'fifo', 'odd/below'],
  ...[
    'missing',
    'no/where',
    '/dev/null',
    '',
    ' ',
    '.',
    '-',
    '~',
    'two\nlines',
    '\u001b[31mred',
    'caf\u00e9',
    'x'.repeat(300),
    'y/'.repeat(3000),
  ],
];
const texts = [
  ...[
    '0',
    '1',
    '-1',
    '91',
    '70',
    '1e9',
    '0x10',
    '95M',
    '513',
    '2T',
    '99999999999999999999',
    'NaN',
    '',
    '%s',
    '$HOME',
    '__proto__',
    'constructor',
  ],
  ...['gc_percent', 'attach', 'detach', 'attatch', 'debug', 'loud', 'silent', 'help', 'status', 'monut', 'two\nlines', '\u0007'],
];
const mountOptions = [
  '',
  ',',
  'ro',
  'ro=1',
  'workers=0',
  'workers=1e1',
  'uid=-1',
  'gid=4294967295',
  'umask=888',
  'transport=x',
  'nonsense',
  '=',
  '__proto__=1',
];
const options = [
  ...[
    '--size',
    '--data-crc',
    '--gc-percent',
    '--force',
    '--adopt',
    '--dry-run',
    '--backing',
    '--segments',
    '--ksets',
    '--keys',
    '--live',
    '--dm',
  ],
  ...[
    '--flush',
    '-o',
    '--options',
    '--foreground',
    '--json',
    '--quiet',
    '--log-level',
    '--version',
    '--help',
    '-h',
    '-V',
    '--',
    '-',
    '---',
    '-zz',
  ],
  ...[
    '--nonsense',
    '--no-json',
    '--sizee',
    '--size=',
    '--size=95M',
    '--gc-percent=91',
    '--json=1',
    '--log-level=loud',
    '-o=ro',
    '--constructor',
  ],
];
const commands = [...commandRows.map(({ name }) => name), 'help', 'nonsense', ''];

const word = fc.oneof(
  { weight: 6, arbitrary: fc.constantFrom(...paths) },
  { weight: 2, arbitrary: fc.constantFrom(...texts) },
  { weight: 4, arbitrary: fc.constantFrom(...options) },
  { weight: 1, arbitrary: fc.constantFrom(...mountOptions).map((list) => `-o${list}`) },
  { weight: 1, arbitrary: fc.string({ unit: 'grapheme', maxLength: 12 }).filter((text) => !text.includes('\0') && !text.includes('/')) },
);
const globals = fc.array(fc.constantFrom('--json', '--quiet', '--log-level', 'debug', '--', '--nonsense'), { maxLength: 2 });
const rest = fc.array(word, { maxLength: 7 });

/** Lists that would do what they say. */
function isHarmful(args: readonly string[]): boolean {
  const namesCache = args.some((arg) => arg.endsWith(CACHE) || arg === 'link');
  return namesCache && (args.includes('mount') || args.includes('--force') || args.includes('--adopt'));
}

/** How each command is called, so that it gets beyond its own checking of arguments: P is a path, words in brackets may be missing. */
export const forms = [
  ...['format P [--data-crc] [--gc-percent] [60] [--force]', 'format P --size T', 'mount P P P [-o] [ro,workers=2]', 'umount P [--flush]'],
  ...['status [P] [--dm]', 'flush P', 'message P gc_percent T', 'loop attach P', 'loop detach P', 'check P', 'check P --backing P'],
  ...['dump P [--segments] [--ksets] [--keys] [--live]', 'recover P P [--dry-run] [--adopt]', 'recover P P --dry-run', 'help T'],
  ...['config check [P] --config-dir P', 'config show T --config-dir P', 'help config', 'mount P --config-dir P'],
];

const formed = fc.constantFrom(...forms).chain((form) =>
  fc.tuple(
    ...form.split(' ').map((part): fc.Arbitrary<string[]> => {
      const name = part.replace(/^\[(.*)\]$/, '$1');
      const value = name === 'P' ? fc.constantFrom(...paths) : name === 'T' ? fc.constantFrom(...texts) : fc.constant(name);
      return name === part
        ? value.map((each) => [each])
        : fc.option(value, { nil: undefined }).map((each) => (each === undefined ? [] : [each]));
    }),
    fc.constantFrom([], [], ['--json'], ['--quiet']),
  ),
);

const noise = fc.tuple(globals, fc.constantFrom(...commands), rest).map(([before, command, after]) => {
  // The demo makes files of its own and takes a minute. Two, for one might be taken for a value.
  const brake = command === 'demo' ? ['--nonsense', '--nonsense'] : [];
  return [...before, command, ...after, ...brake];
});

export const argumentLists = fc
  .oneof({ weight: 2, arbitrary: formed.map((parts) => parts.flat()) }, { weight: 1, arbitrary: noise })
  .filter((args) => !isHarmful(args));

const ERROR_LINES = /^(?:pcache: warning: [^\n]+\n)*pcache: [^\n]+\n(?:hint: [^\n]+\n)?$/;
const WARNINGS = /^(?:pcache: warning: [^\n]+\n)*$/;
/** The same with `--json`. */
const JSON_ERROR_LINES = /^(?:\{"warning":"[^\n]+"\}\n)*\{"error":\{"code":"[a-z-]+","message":"[^\n]+"\}\}\n$/;
const JSON_WARNINGS = /^(?:\{"warning":"[^\n]+"\}\n)*$/;
const FINDERS = ['check', 'dump'];
const HELP = /^Usage: pcache /;
/** What a bug says, and what a terminal takes for an order. */
const NOT_FOR_USERS = /\n\s+at |TypeError|RangeError|undefined|NaN bytes|\[object|Cannot read|null/;

export function faultOf({ status, stdout, stderr }: Ended, args: readonly string[]): string | undefined {
  if (status !== 0 && status !== 1 && status !== 2) return 'status';
  if (HELP.test(stderr)) return status === 2 && stdout === '' ? undefined : 'help as an error';
  const own = args.reduce((text, arg) => (arg === '' ? text : text.replaceAll(arg, '')), stderr);
  if (NOT_FOR_USERS.test(own)) return 'says what is not for users';
  if (/\p{Cc}/u.test(stderr.replaceAll('\n', ''))) return 'control characters';
  // It may also be the value of an option, or the name of a file.
  const isJson = args.includes('--json') && stderr.startsWith('{');
  if (isJson && !stderr.trimEnd().split('\n').every(isJsonText)) return 'not JSON';
  const [warnings, errorLines] = isJson ? [JSON_WARNINGS, JSON_ERROR_LINES] : [WARNINGS, ERROR_LINES];
  if (status === 0) return warnings.test(stderr) ? undefined : 'an error with status 0';
  // `check` and `dump` have found something, and said so, unless they were asked to be quiet.
  if (status === 1 && stderr === '' && args.includes('--quiet') && FINDERS.some((name) => args.includes(name))) return undefined;
  if (status === 1 && stdout !== '') return warnings.test(stderr) || errorLines.test(stderr) ? undefined : 'lines';
  if (stdout !== '') return 'a result with status 2';
  return errorLines.test(stderr) ? undefined : 'not one line and a hint';
}

function isJsonText(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch (error) {
    if (error instanceof SyntaxError) return false;
    throw error;
  }
}
