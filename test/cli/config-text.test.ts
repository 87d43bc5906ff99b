// What a configuration file may say, and how its mistakes are named.

import test from 'ava';
import { configKeys, parseConfig } from '../../src/cli/config-text.js';
import { configText } from '../../src/cli/config-writer.js';
import { parseMountOptions, mountOptionRows } from '../../src/gateway/mount-options.js';

const PLACES = 'cache: /fast/c.pmem\nbacking: /dev/sdb\nmountpoint: /mnt/vol\n';

function problemsOf(text: string): string[] {
  const { config, problems } = parseConfig(text);
  if (problems.length > 0 && config !== undefined) throw new Error('settings in spite of problems');
  return problems.map(({ line, message, hint }) => `${line}: ${message}${hint === undefined ? '' : ` (${hint})`}`);
}

test('three places are enough', (t) => {
  t.deepEqual(parseConfig(PLACES), {
    config: {
      cache: '/fast/c.pmem',
      backing: '/dev/sdb',
      mountpoint: '/mnt/vol',
      options: [],
      metricsListen: undefined,
      log: undefined,
      logLevel: undefined,
    },
    problems: [],
  });
});

test('everything there is, as YAML and as JSON', (t) => {
  const yaml = `${PLACES}options:\n  workers: 4\n  umask: 027\n  ro: false\n  allow_other: true\n  transport: io-uring\nmetrics_listen: "[::1]:9464"\nlog: journal\nlog_level: warn\n`;
  const expected = {
    cache: '/fast/c.pmem',
    backing: '/dev/sdb',
    mountpoint: '/mnt/vol',
    options: ['workers=4', 'umask=027', 'allow_other', 'transport=io-uring'],
    metricsListen: '[::1]:9464',
    log: 'journal',
    logLevel: 'warn',
  };
  t.deepEqual(parseConfig(yaml).config, expected as never);
  t.is(parseMountOptions(parseConfig(yaml).config!.options).umask, 0o27);
  const json = JSON.stringify({
    cache: '/fast/c.pmem',
    backing: '/dev/sdb',
    mountpoint: '/mnt/vol',
    options: { workers: 4, umask: '027', ro: false, allow_other: true, transport: 'io-uring' },
    metrics_listen: '[::1]:9464',
    log: 'journal',
    log_level: 'warn',
  });
  t.deepEqual(parseConfig(json).config, expected as never);
});

test('options can be a list, or the text of an -o', (t) => {
  t.deepEqual(parseConfig(`${PLACES}options: "workers=4, ro"\n`).config?.options, ['workers=4', 'ro']);
  t.deepEqual(parseConfig(`${PLACES}options:\n  - workers=4\n  - ro\n`).config?.options, ['workers=4', 'ro']);
  t.deepEqual(parseConfig(`${PLACES}options:\n`).config?.options, []);
});

for (const [title, text, expected] of [
  ['an unknown key, with the nearest', `${PLACES}mount_point: /x\n`, ['4: mount_point: unknown key (Did you mean mountpoint?)']],
  ['two letters exchanged', `${PLACES}lgo: journal\n`, ['4: lgo: unknown key (Did you mean log?)']],
  [
    'an unknown key that nothing is near to',
    `${PLACES}colour: red\n`,
    [`4: colour: unknown key (There are ${configKeys.map(({ name }) => name).join(', ')}.)`],
  ],
  [
    'a mount option out of its place',
    `${PLACES}workers: 4\n`,
    ['4: workers: unknown key (It is a mount option: write it below options, as `options: { workers: ... }`.)'],
  ],
  ['an unknown option', `${PLACES}options:\n  worker: 4\n`, ['5: options: worker: unknown option (Did you mean workers?)']],
  ['a value out of range', `${PLACES}options:\n  ro: true\n  workers: 99\n`, ['6: options: workers=99: not a number from 1 to 64']],
  ['a flag that is no truth', `${PLACES}options:\n  ro: yes\n`, ['5: options.ro: true or false is wanted']],
  ['a list where one value is wanted', `${PLACES}options:\n  workers: [1, 2]\n`, ['5: options.workers: one value is wanted']],
  ['what is missing', 'cache: /c\n', ['2: backing: missing', '2: mountpoint: missing']],
  ['a value that is missing', 'cache:\nbacking: /b\nmountpoint: /m\n', ['1: cache: needs a value']],
  [
    'a relative path',
    'cache: c.pmem\nbacking: /b\nmountpoint: /m\n',
    ['1: cache: c.pmem: not an absolute path (It must start with /, for it is used from any folder.)'],
  ],
  ['a key that is given twice', `${PLACES}cache: /other\n`, ['4: this key is given twice']],
  ['a level that is none', `${PLACES}log_level: warm\n`, ['4: log_level: warm: unknown level (Did you mean warn?)']],
  [
    'an address without port',
    `${PLACES}metrics_listen: localhost\n`,
    ['4: metrics_listen: localhost: not HOST:PORT (Such as 127.0.0.1:9464, or [::1]:9464.)'],
  ],
  ['a log that is no place', `${PLACES}log: syslog\n`, ['4: log: syslog: neither stderr, nor journal, nor an absolute path']],
  ['a text', 'hello\n', ['1: no keys with values: it must say `cache: ...`, `backing: ...`, `mountpoint: ...`']],
  ['an empty file', '# nothing\n', ['1: the file is empty']],
  ['a boolean for a path', 'cache: true\nbacking: /b\nmountpoint: /m\n', ['1: cache: not a text']],
] as const) {
  test(`a mistake is named with its line and key: ${title}`, (t) => {
    t.deepEqual(problemsOf(text), [...expected]);
  });
}

test('a syntax error is named with its line', (t) => {
  const [problem] = problemsOf(`${PLACES}options: [1, 2\n`);
  t.regex(problem ?? '', /^[45]: /);
});

test('several mistakes are all named, in the order of their lines', (t) => {
  t.deepEqual(
    problemsOf('cahce: /c\nbacking: b\nmountpoint: /m\nlog_level: 7\n').map((line) => line.replace(/ \(.*/, '')),
    ['1: cahce: unknown key', '2: backing: b: not an absolute path', '4: log_level: 7: unknown level', '5: cache: missing'],
  );
});

test('what is written is read as it was meant, and names every option and key there is', (t) => {
  const config = { cache: '/fast/a b: c.pmem', backing: '/dev/sdb', mountpoint: '/mnt/#vol', options: ['ro', 'umask=027', 'workers=3'] };
  const text = configText(config);
  const parsed = parseConfig(text);
  t.deepEqual(parsed.problems, []);
  t.like(parsed.config, { cache: config.cache, backing: config.backing, mountpoint: config.mountpoint });
  t.deepEqual([...parsed.config!.options].sort(), [...config.options].sort());
  for (const { name } of mountOptionRows) t.true(text.includes(`${name}: `), name);
  for (const { name } of configKeys) t.true(text.includes(`${name}:`), name);
});
