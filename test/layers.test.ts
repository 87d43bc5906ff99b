// House rules that a reader should be able to rely on: imports point one way, no file is dead, none is too long, errors are worded alike.
// The sources are read as text.

import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';
import test from 'ava';
import { repositoryRoot } from './support/paths.js';

/** For each part of the program, the parts that it may import besides itself. `src/errors.ts` is for all. */
const LAYERS: Readonly<Record<string, readonly string[]>> = {
  'src/errors.ts': [],
  'src/media': [],
  'src/device': ['src/media'],
  'src/shared': ['src/device'],
  'src/cache': ['src/media', 'src/device', 'src/shared'],
  'src/fuse': ['src/shared', 'src/device'],
  'src/gateway': ['src/media', 'src/device', 'src/shared', 'src/cache', 'src/fuse'],
  'src/library': ['src/media', 'src/device', 'src/shared', 'src/cache', 'src/gateway'],
  'src/index.ts': ['src/shared', 'src/library'],
  'src/monitor': ['src/gateway'],
  'src/cli': ['src/media', 'src/device', 'src/shared', 'src/cache', 'src/fuse', 'src/gateway', 'src/monitor', 'src/index.ts'],
  bin: ['src/cli'],
};

/** The cache never touches a device itself, but for the cache device, whose memory it is given. */
const CACHE_MAY_IMPORT_OF_DEVICE = ['src/device/device.ts'];

/** Packages that only one part may import. */
const OWNERS: Readonly<Record<string, RegExp>> = {
  koffi: /^src\/device\/libc\.ts$/,
  blessed: /^src\/monitor\//,
  'fuse-native': /^src\/fuse\//,
  'fuse-shared-library': /^src\/fuse\//,
  pino: /^src\/gateway\/log\.ts$/,
  commander: /^src\/cli\//,
  'cli-progress': /^src\/cli\//,
  yaml: /^src\/cli\/config/,
  '@node-rs/crc32': /^src\/media\/crc32c\.ts$/,
};

/** Simulated devices are part of what embedders and tests are offered, and nothing in the program needs them. */
const NOT_IN_THE_PROGRAM = /^src\/device\/(simulated-|seeded-random)/;

const LINES_MAX = 480;

interface Source {
  readonly path: string;
  readonly text: string;
  /** Paths of the files it imports or names as the file of a thread or process. */
  readonly files: readonly string[];
  readonly packages: readonly string[];
}

function sourcesIn(folder: string): Source[] {
  return readdirSync(join(repositoryRoot, folder), { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.ts'))
    .map((name) => readSource(`${folder}/${name}`));
}

function readSource(path: string): Source {
  const text = readFileSync(join(repositoryRoot, path), 'utf8');
  const code = text.replaceAll(/^\s*(\/\/|\*|\/\*).*$/gm, '');
  const relative = [...code.matchAll(/'(\.{1,2}\/[\w./-]+)\.js'/g)].map((match) => `${normalize(join(dirname(path), match[1]!))}.ts`);
  const packages = [...code.matchAll(/(?:\bfrom|\bimport|\brequire)\s*\(?\s*'((?:@[\w-]+\/)?[a-z][\w.-]*)/g)].map((match) => match[1]!);
  return { path, text, files: relative, packages: packages.filter((name) => !name.startsWith('node')) };
}

const sources = [...sourcesIn('src'), ...sourcesIn('bin')];
const byPath = new Map(sources.map((source) => [source.path, source]));

function layerOf(path: string): string {
  const [top, second] = path.split('/') as [string, string];
  return top === 'bin' ? 'bin' : `src/${second}`;
}

test('there are sources to look at, and what they import is there', (t) => {
  t.true(sources.length > 50);
  for (const { path, files } of sources) for (const file of files) t.true(byPath.has(file), `${path} imports ${file}`);
});

test('every part of the program has its place in the order of layers', (t) => {
  const parts = new Set(sources.map(({ path }) => layerOf(path)));
  t.deepEqual(
    [...parts].filter((part) => LAYERS[part] === undefined),
    [],
  );
});

test('imports point one way', (t) => {
  const wrong: string[] = [];
  for (const { path, files } of sources) {
    const layer = layerOf(path);
    for (const file of files) {
      const target = layerOf(file);
      if (target === layer || target === 'src/errors.ts') continue;
      const isAllowed = LAYERS[layer]?.includes(target) === true || (layer === 'bin' && file === 'src/gateway/process-exit.ts');
      if (!isAllowed) wrong.push(`${path} imports ${file}`);
    }
  }
  t.deepEqual(wrong, []);
});

test('the layers themselves have no circle', (t) => {
  const rank = new Map<string, number>();
  const rankOf = (layer: string, above: readonly string[]): number => {
    if (above.includes(layer)) throw new Error(`a circle: ${[...above, layer].join(' -> ')}`);
    const known = rank.get(layer);
    if (known !== undefined) return known;
    const value = 1 + Math.max(-1, ...LAYERS[layer]!.map((below) => rankOf(below, [...above, layer])));
    rank.set(layer, value);
    return value;
  };
  t.notThrows(() => {
    for (const layer of Object.keys(LAYERS)) rankOf(layer, []);
  });
});

test('the cache knows of devices only what they are', (t) => {
  const wrong = sources
    .filter(({ path }) => path.startsWith('src/cache/'))
    .flatMap(({ path, files }) => files.filter((file) => layerOf(file) === 'src/device').map((file) => ({ path, file })))
    .filter(({ file }) => !CACHE_MAY_IMPORT_OF_DEVICE.includes(file));
  t.deepEqual(wrong, []);
});

test('the cache has no clock, no console and no system of its own', (t) => {
  for (const { path, text } of sources.filter((source) => source.path.startsWith('src/cache/'))) {
    t.notRegex(text, /\bDate\.now|\bperformance\.now|\bsetTimeout|\bconsole\.|from 'node:/, path);
  }
});

test('a package is imported only by the part that owns it', (t) => {
  const wrong: string[] = [];
  for (const { path, packages } of sources) {
    for (const name of packages) if (OWNERS[name]?.test(path) !== true) wrong.push(`${path} imports ${name}`);
  }
  t.deepEqual(wrong, []);
});

test('only bin and one file of the gateway end the process', (t) => {
  const ends = sources.filter(({ text }) => /\bprocess\.(?:exit|reallyExit|abort)\(/.test(text.replaceAll(/^\s*(\/\/|\*|\/\*).*$/gm, '')));
  const wrong = ends.map(({ path }) => path).filter((path) => !path.startsWith('bin/') && path !== 'src/gateway/process-exit.ts');
  t.deepEqual(wrong, []);
});

test('no file is dead: every one is reached from a command, the public interface, or a thread or process that these start', (t) => {
  const reached = new Set<string>();
  const queue = ['src/index.ts', ...sources.map(({ path }) => path).filter((path) => path.startsWith('bin/'))];
  for (let path = queue.pop(); path !== undefined; path = queue.pop()) {
    if (reached.has(path)) continue;
    reached.add(path);
    queue.push(...(byPath.get(path)?.files ?? []));
  }
  const dead = sources.map(({ path }) => path).filter((path) => !reached.has(path) && !NOT_IN_THE_PROGRAM.test(path));
  t.deepEqual(dead, []);
});

test('no file is too long to be read', (t) => {
  const long = sources.filter(({ text }) => text.split('\n').length > LINES_MAX).map(({ path }) => path);
  t.deepEqual(long, []);
});

test('every file says at its head what it is', (t) => {
  const bare = sources.filter(({ text }) => !/^(?:#!.*\n)?(?:\/\/|\/\*\*)/.test(text)).map(({ path }) => path);
  t.deepEqual(bare, []);
});

test('messages of errors are one line without a full stop', (t) => {
  const wrong: string[] = [];
  let count = 0;
  for (const { path, text } of sources) {
    for (const match of text.matchAll(/new PcacheError\(\s*'[a-z-]+',\s*(['`])((?:(?!\1).)*)\1/gs)) {
      count++;
      const message = match[2]!;
      if (message === '' || message.endsWith('.') || message.includes('\n') || message.includes(String.raw`\n`))
        wrong.push(`${path}: ${message}`);
    }
  }
  t.true(count > 50);
  t.deepEqual(wrong, []);
});
