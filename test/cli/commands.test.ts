// The command line as a process: help, versions, and everything a user can do wrong before a mount exists.

import { copyFileSync, mkdirSync, readFileSync, readdirSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { commandRows } from '../../src/cli/commands.js';
import { formatCache } from '../../src/cache/format.js';
import { createCacheFile, openCacheDevice } from '../../src/device/mapped-cache-device.js';
import { CACHE_BYTES_MIN } from '../../src/media/layout.js';
import { runPcache, type CommandResult } from '../gateway/fake-gateway.js';
import { overwrite } from './offline-support.js';
import { repositoryRoot } from '../support/paths.js';
import { temporaryFolder } from '../support/tmp.js';
import { runMain } from './run-main.js';

interface Files {
  folder: string;
  cache: string;
  backing: string;
  mountpoint: string;
  env: NodeJS.ProcessEnv;
}

function makeFiles(t: ExecutionContext): Files {
  const folder = temporaryFolder(t);
  const [cache, backing, mountpoint] = ['cache.pmem', 'backing.img', 'mnt'].map((name) => join(folder, name)) as [string, string, string];
  createCacheFile(cache, CACHE_BYTES_MIN);
  const device = openCacheDevice(cache);
  formatCache(device, { dataCrc: false, gcPercent: 70, uuid: new Uint8Array(16).fill(7), nowMs: 1 });
  device.close();
  writeFileSync(backing, '');
  truncateSync(backing, 1024 * 1024);
  mkdirSync(mountpoint);
  return { folder, cache, backing, mountpoint, env: { PCACHE_RUNTIME_DIR: join(folder, 'run') } };
}

/** Fails unless the command ended with `status` and said exactly one line, and perhaps a hint, on stderr. */
function isRefused(t: ExecutionContext, result: CommandResult, status: 1 | 2, line: RegExp): void {
  t.is(result.stdout, '');
  t.regex(result.stderr, /^pcache: [^\n]+\n(hint: [^\n]+\n)?$/);
  t.regex(result.stderr, line);
  t.is(result.status, status);
}

for (const { name, summary } of commandRows) {
  test(`${name} --help explains the command and ends with an example`, async (t) => {
    const { status, stdout, stderr } = await runPcache([name, '--help']);
    t.is(stderr, '');
    t.is(status, 0);
    t.true(stdout.startsWith(`Usage: pcache ${name} `), stdout);
    t.true(stdout.includes('--json'), 'global options are listed');
    const example = /\nExample:\n((?: {2}pcache [^\n]+\n)+)$/.exec(stdout)?.[1];
    t.true(
      example?.split('\n').every((line) => line === '' || line.includes(name)),
      stdout,
    );
    t.true(summary.length > 10);
  });
}

test('--help lists every command, help COMMAND is the same as COMMAND --help', async (t) => {
  const { stdout, status } = await runPcache(['--help']);
  t.is(status, 0);
  for (const { name, summary, hidden } of commandRows) {
    const isListed = stdout.replaceAll(/\s+/g, ' ').includes(` ${name} ${summary.trim()} `);
    t.is(isListed, hidden !== true, name);
  }
  for (const path of [['flush'], ['loop', 'attach'], ['mount-helper'], ['help'], []]) {
    const asked = await runPcache(['help', ...path]);
    t.deepEqual(asked, await runPcache([...path, '--help']), path.join(' '));
    t.deepEqual([asked.status, asked.stderr], [0, '']);
  }
});

test('no help is wider than 80 columns where there is no terminal', async (t) => {
  const paths = commandRows.flatMap(({ name }) => [
    [name],
    ...(name === 'loop'
      ? [
          [name, 'attach'],
          [name, 'detach'],
        ]
      : []),
  ]);
  for (const path of [[], ...paths, ...['init', 'check', 'show', 'install'].map((part) => ['config', part])]) {
    const { stdout } = await runMain([...path, '--help']);
    t.regex(stdout, /^Usage: /, path.join(' '));
    t.deepEqual(
      stdout.split('\n').filter((line) => line.length > 80),
      [],
      path.join(' '),
    );
  }
});

test('--help says what the exit statuses mean, and where logs are', async (t) => {
  const { stdout } = await runPcache(['--help']);
  const table = /\nExit status:\n((?: {2}\d+ +\S[^\n]*\n)+)\n/.exec(stdout)?.[1] ?? '';
  t.deepEqual(table.match(/^ {2}\d+/gm)?.map(Number), [0, 1, 2, 130]);
  t.regex(stdout, /logs to a file in\s+\/run\/pcache \(root\), .* --log /s);
});

test('the help of mount, recover and check says what takes a backing device that was refused', async (t) => {
  const what = /another backing device of the same size\b.*, or one that was written to after the cache was closed/;
  for (const [name, option, says] of [
    ['mount', 'adopt', what],
    ['recover', '--adopt', what],
    ['check', '--backing', /mount with -o adopt, .*recover with --adopt/],
  ] as const) {
    const stdout = (await runPcache([name, '--help'])).stdout.replaceAll(/\s+/g, ' ');
    t.regex(stdout, new RegExp(` ${option} `), name);
    t.regex(stdout, says, name);
  }
});

test('help for a command that there is not is refused like the command, not answered with the general help', async (t) => {
  for (const args of [
    ['help', 'nonsense'],
    ['nonsense', '--help'],
  ]) {
    isRefused(t, await runPcache(args), 2, /^pcache: nonsense: unknown command\nhint: pcache --help lists the commands\.\n$/);
  }
  isRefused(t, await runPcache(['help', 'statsu']), 2, /^pcache: statsu: unknown command\nhint: Did you mean status\?\n$/);
  isRefused(t, await runPcache(['--quiet', 'monut', '--help']), 2, /^pcache: monut: unknown command\nhint: Did you mean mount\?\n$/);
  isRefused(t, await runPcache(['help', 'loop', 'atach']), 2, /^pcache: loop atach: unknown command\nhint: Did you mean loop attach\?\n$/);
  isRefused(
    t,
    await runPcache(['help', 'loop', 'x']),
    2,
    /^pcache: loop x: unknown command\nhint: pcache loop --help lists the commands\.\n$/,
  );
  isRefused(t, await runPcache(['help', 'flush', '/x']), 2, /^pcache: flush \/x: unknown command\nhint: pcache flush --help shows how /);
  isRefused(t, await runPcache(['help', '']), 2, /^pcache: help: an argument is empty\n/);
});

test('--version prints the version of package.json, before and after a command', async (t) => {
  const { version } = JSON.parse(readFileSync(join(repositoryRoot, 'package.json'), 'utf8')) as { version: string };
  for (const args of [['--version'], ['status', '--version']]) {
    t.deepEqual(await runPcache(args), { status: 0, stdout: `${version}\n`, stderr: '' });
  }
});

test('without a command the help is on stderr and the status 2', async (t) => {
  const { status, stdout, stderr } = await runPcache([]);
  t.deepEqual([status, stdout], [2, '']);
  t.regex(stderr, /^Usage: pcache /);
});

test('with --json alone it is an error as JSON that there is no command; help and version stay text', async (t) => {
  const ended = await runPcache(['--json']);
  t.deepEqual([ended.status, ended.stdout], [2, '']);
  t.deepEqual(JSON.parse(ended.stderr), {
    error: { code: 'usage', message: 'no command is given', hint: 'pcache --help lists the commands.' },
  });
  t.regex((await runPcache(['--json', '--help'])).stdout, /^Usage: pcache /);
  t.regex((await runPcache(['--json', '--version'])).stdout, /^\d+\.\d+\.\d+/);
});

test('with --json an error is a JSON document on stderr, whoever finds it and wherever --json stands', async (t) => {
  const errors = [
    [['--json', 'monut'], 2, { code: 'usage', message: 'monut: unknown command', hint: 'Did you mean mount?' }],
    [['umount', '--flsh', '/x', '--json'], 2, { code: 'usage', message: 'umount: --flsh: unknown option', hint: 'Did you mean --flush?' }],
    [['umount', '', '--json'], 2, { code: 'usage', message: 'umount: an argument is empty', hint: 'Is a variable unset?' }],
    [['check', '/no/such', '--json'], 1, { code: 'not-found', message: '/no/such: no such file or directory (ENOENT)' }],
  ] as const;
  for (const [args, status, error] of errors) {
    const result = await runPcache(args);
    t.deepEqual([result.status, result.stdout], [status, ''], args.join(' '));
    t.deepEqual(JSON.parse(result.stderr), { error }, args.join(' '));
  }
  const plain = await runPcache(['status', '--', '--json']);
  t.regex(plain.stderr, /^pcache: --json: /);
});

test('global options work before and after the command', async (t) => {
  const env = { PCACHE_RUNTIME_DIR: join(temporaryFolder(t), 'run') };
  t.deepEqual(await runPcache(['--json', 'status'], env), { status: 0, stdout: '[]\n', stderr: '' });
  t.deepEqual(await runPcache(['status', '--json'], env), { status: 0, stdout: '[]\n', stderr: '' });
  t.deepEqual(await runPcache(['status'], env), { status: 0, stdout: 'nothing is mounted\n', stderr: '' });
  t.deepEqual(await runPcache(['status', '--quiet', '--log-level', 'debug'], env), { status: 0, stdout: '', stderr: '' });
});

test('wrong usage is one line, a hint and status 2', async (t) => {
  isRefused(t, await runPcache(['monut']), 2, /^pcache: monut: unknown command\n/);
  isRefused(t, await runPcache(['statsu', '/x']), 2, /unknown command\nhint: Did you mean status\?\n$/);
  isRefused(t, await runPcache(['umount', '--flsh', '/x']), 2, /^pcache: umount: --flsh: unknown option\nhint: Did you mean --flush\?\n$/);
  isRefused(t, await runPcache(['--bogus']), 2, /^pcache: --bogus: unknown option\n/);
  isRefused(
    t,
    await runPcache(['mount', '--transprt=x']),
    2,
    /: --transprt=x: unknown option\nhint: Did you mean -o transport=\.\.\.\?\n$/,
  );
  isRefused(t, await runPcache(['mount', '--allow-other', 'a', 'b', 'c']), 2, /\nhint: Did you mean -o allow_other\?\n$/);
  isRefused(t, await runPcache(['config', 'init', '--workers', '4']), 2, /\nhint: Did you mean -o workers=\.\.\.\?\n$/);
  isRefused(t, await runPcache(['mount', '--forground', 'a', 'b', 'c']), 2, /\nhint: Did you mean --foreground\?\n$/);
  isRefused(t, await runPcache(['mount', 'a', 'b']), 2, /^pcache: mount: MOUNTPOINT is missing\nhint: pcache mount --help /);
  isRefused(t, await runPcache(['flush', 'a', 'b']), 2, /^pcache: flush: too many arguments: 2, 1 at most\n/);
  isRefused(t, await runPcache(['status', '--log-level', 'loud']), 2, /^pcache: --log-level loud: must be one of trace, debug, /);
  isRefused(t, await runPcache(['message', '/x', 'gc_percent', '91']), 2, /^pcache: message: gc_percent 91: not a number from 0 to 90\n/);
  isRefused(t, await runPcache(['message', '/x', 'speed', '9']), 2, /^pcache: message: speed: unknown\n/);
  isRefused(t, await runPcache(['loop', 'attach']), 2, /^pcache: loop attach: MOUNTPOINT is missing\nhint: pcache loop attach --help /);
  isRefused(t, await runPcache(['loop', 'attatch', '/x']), 2, /^pcache: loop attatch: unknown command\nhint: Did you mean attach\?\n/);
  isRefused(t, await runPcache(['completion', 'tcsh']), 2, /^pcache: completion: shell tcsh: must be one of bash, zsh, fish\nhint: /);
  isRefused(t, await runPcache(['mount', 'a', 'b', 'c', '-o']), 2, /^pcache: mount: --options: its value is missing\nhint: /);
  isRefused(t, await runPcache(['status', '--dm']), 2, /^pcache: status --dm: needs a mount point or a cache\n/);
});

test('wrong mount options are usage errors before any file is looked at', async (t) => {
  isRefused(
    t,
    await runPcache(['mount', 'a', 'b', 'c', '-o', 'worker=3']),
    2,
    /^pcache: mount option worker: unknown option\nhint: Did you mean workers\?/,
  );
  isRefused(t, await runPcache(['mount', 'a', 'b', 'c', '-o', 'transport=tcp']), 2, /not one of dev-fuse, io-uring, libfuse/);
  isRefused(t, await runPcache(['mount', 'a', 'b', 'c', '-o', 'ro', '-o', 'workers=0']), 2, /workers=0: not a number from 1 to 64/);
});

for (const command of ['umount', 'status', 'flush', 'loop attach', 'loop detach', 'message']) {
  test(`${command} of something that is not mounted says so`, async (t) => {
    const { folder, env } = makeFiles(t);
    const args = [...command.split(' '), join(folder, 'mnt'), ...(command === 'message' ? ['gc_percent', '50'] : [])];
    const result = await runPcache(args, env);
    isRefused(t, result, 1, /: not a mounted pcache volume\nhint: pcache status lists/);
    isRefused(
      t,
      await runPcache([...command.split(' '), join(folder, 'no/where'), ...args.slice(command.split(' ').length + 1)], env),
      1,
      /no such file/,
    );
  });
}

test('what is wrong with the files of a mount is one line and changes nothing', async (t) => {
  const files = makeFiles(t);
  const { folder, cache, backing, mountpoint, env } = files;
  const make = (name: string, bytes: number): string => {
    writeFileSync(join(folder, name), '');
    truncateSync(join(folder, name), bytes);
    return join(folder, name);
  };
  const blank = make('blank', CACHE_BYTES_MIN);
  const empty = make('empty', 0);
  const odd = make('odd', 1000);
  const missing = join(folder, 'missing');
  const full = join(folder, 'full');
  mkdirSync(full);
  writeFileSync(join(full, 'x'), '');
  symlinkSync(cache, join(folder, 'cache-link'));
  const before = readFileSync(cache);
  const mount = (...args: [string, string, string]): Promise<CommandResult> => runPcache(['mount', ...args], env);

  isRefused(
    t,
    await mount(missing, backing, mountpoint),
    1,
    /^pcache: .*missing: no such .*\nhint: pcache format .*missing --size 8G creates one\./,
  );
  isRefused(t, await mount(cache, missing, mountpoint), 1, /^pcache: .*missing: /);
  isRefused(
    t,
    await mount(backing, cache, mountpoint),
    1,
    /backing\.img: not a cache, but .*cache\.pmem is one: wrong order\nhint: The order is/,
  );
  isRefused(t, await mount(blank, backing, mountpoint), 1, /blank: not a cache: no superblock\nhint: pcache format/);
  const startLost = join(folder, 'start-lost');
  copyFileSync(cache, startLost);
  overwrite(startLost, 0, new Uint8Array(8192));
  const checkFirst = /start-lost: not a cache: no superblock\nhint: It is not empty: pcache check \S+start-lost says what is there\./;
  isRefused(t, await mount(startLost, backing, mountpoint), 1, checkFirst);
  isRefused(t, await mount(backing, blank, mountpoint), 1, /backing\.img: not a cache: 1 MiB are too few\n/);
  isRefused(t, await mount(cache, cache, mountpoint), 2, /cache and backing device are the same\n/);
  isRefused(t, await mount(cache, join(folder, 'cache-link'), mountpoint), 2, /cache and backing device are the same\n/);
  isRefused(t, await mount(folder, backing, mountpoint), 1, /neither a regular file nor a block device, as the cache must be/);
  isRefused(t, await mount(cache, '/dev/null', mountpoint), 1, /neither a regular file nor a block device, as the backing device must be/);
  isRefused(t, await mount(cache, backing, missing), 1, /^pcache: .*missing: no such .*\nhint: mkdir -p .*missing makes a folder for it\./);
  isRefused(t, await mount(cache, backing, join(missing, 'mnt')), 1, /no such file/);
  isRefused(t, await mount(cache, backing, full), 1, /full: the directory is not empty\n/);
  isRefused(t, await mount(cache, backing, '/proc'), 1, /\/proc: already a mount point/);
  isRefused(t, await mount(cache, backing, '/dev/null'), 2, /neither a directory nor a regular file, as a mount point must be/);
  isRefused(t, await mount(cache, backing, backing), 2, /backing\.img: is .* itself, not a mount point/);
  isRefused(t, await mount(cache, backing, odd), 1, /odd: the file is not empty\n/);

  t.true(readFileSync(cache).equals(before));
  t.deepEqual(readdirSync(mountpoint), []);
  t.is(readFileSync(empty).length, 0);
});

test('status of a cache that nobody serves is read from its media', async (t) => {
  const { cache, env } = makeFiles(t);
  const status = JSON.parse((await runPcache(['status', cache, '--json'], env)).stdout) as Record<string, unknown>;
  t.like(status, {
    state: 'idle',
    cache,
    seg_total: 5,
    cache_segs: 5,
    gc_percent: 70,
    dirty_bytes: 0,
    volume_bytes: 0,
    closed_in_order: true,
    uuid: '07070707-0707-0707-0707-070707070707',
    key_head: { seg: 0, off: 0 },
  });
  t.deepEqual(await runPcache(['status', '--dm', cache], env), {
    status: 0,
    stdout: '0 0 pcache 0 5 5 1 70 1182 0:0 0:0 0:0\n',
    stderr: '',
  });
});

test('status of a file that is no cache says why', async (t) => {
  const { backing, env } = makeFiles(t);
  isRefused(t, await runPcache(['status', backing], env), 1, /^pcache: .*backing\.img: /);
});
