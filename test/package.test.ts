// The package as npm makes it of this build: what is in it, and that it runs when it is installed, with nothing of the clone in reach.
//
// npm runs in a copy of what a package may be made of, so that the build under test is not built again.

import { execFile } from 'node:child_process';
import { cpSync, existsSync, lstatSync, mkdirSync, readFileSync, readdirSync, realpathSync, statSync, writeFileSync } from 'node:fs';
import { delimiter, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import test, { type ExecutionContext } from 'ava';
import { lacking } from './support/mounted-commands.js';
import { repositoryRoot } from './support/paths.js';
import { temporaryFolder } from './support/tmp.js';

const NPM_MS = 240_000;
const COMMAND_MS = 60_000;
const MIB = 1 << 20;
const build = fileURLToPath(new URL('../', import.meta.url));
const lacks = lacking('npm') ?? (existsSync(join(build, 'bundle')) ? undefined : 'this build has no bundles');
const ifBundled = lacks === undefined ? test.serial : test.serial.skip;
const skipped = lacks === undefined ? '' : ` (skipped: ${lacks})`;

interface Manifest {
  readonly version: string;
  readonly scripts: Readonly<Record<string, string>>;
  readonly bin: Readonly<Record<string, string>>;
  readonly man: readonly string[];
  readonly files: readonly string[];
}

const manifest = JSON.parse(readFileSync(join(repositoryRoot, 'package.json'), 'utf8')) as Manifest;

/** A clone that was built, as far as npm looks at it. */
function makeClone(t: ExecutionContext): string {
  const clone = temporaryFolder(t);
  for (const name of [
    'package.json',
    'README.md',
    'CHANGELOG.md',
    'LICENSE',
    'docs',
    'examples',
    'man',
    'scripts',
    'bin',
    'test/layers.test.ts',
  ])
    cpSync(join(repositoryRoot, name), join(clone, name), { recursive: true });
  for (const part of ['bundle', 'bin', 'src', '.tsbuildinfo'])
    cpSync(join(build, part), join(clone, 'dist', part), { recursive: true, preserveTimestamps: true });
  return clone;
}

interface Ended {
  readonly status: number | string | null;
  readonly stdout: string;
  readonly stderr: string;
}

function run(
  program: string,
  args: readonly string[],
  cwd: string,
  env: NodeJS.ProcessEnv = process.env,
  timeoutMs = COMMAND_MS,
): Promise<Ended> {
  return new Promise((resolve) => {
    execFile(program, args, { cwd, env, timeout: timeoutMs, killSignal: 'SIGKILL' }, (error, stdout, stderr) => {
      resolve({ status: error === null ? 0 : (error.code ?? error.signal ?? null), stdout, stderr });
    });
  });
}

/** Without what the npm that may run these tests says to its scripts. */
function npm(args: readonly string[], cwd: string): Promise<Ended> {
  const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !/^npm_|^INIT_CWD$/i.test(name)));
  return run('npm', ['--no-audit', '--no-fund', '--no-update-notifier', ...args], cwd, env, NPM_MS);
}

ifBundled(`the package has what it needs to run and to be read, and nothing of the tests, in a few megabytes${skipped}`, async (t) => {
  t.timeout(NPM_MS);
  const clone = makeClone(t);
  const { status, stdout, stderr } = await npm(['pack', '--dry-run', '--json', '--ignore-scripts'], clone);
  t.is(status, 0, stderr);
  const [packed] = JSON.parse(stdout) as [{ size: number; files: { path: string; mode: number }[] }];
  const paths = packed.files.map(({ path }) => path);
  const needed = [
    ...Object.values(manifest.bin),
    ...manifest.man.map((path) => path.replace('./', '')),
    ...readdirSync(join(build, 'bundle'))
      .filter((name) => !name.endsWith('.map'))
      .map((name) => `dist/bundle/${name}`),
    ...['dist/src/index.js', 'dist/src/index.d.ts', 'README.md', 'LICENSE', 'CHANGELOG.md', 'docs/operations.md', 'examples/vm-image.sh'],
    'examples/systemd/pcache@.service',
  ];
  t.deepEqual(
    needed.filter((path) => !paths.includes(path)),
    [],
  );
  const known = /^(?:bin\/pcache\.cjs|dist\/(?:bundle|src)\/.+|man\/.+|docs\/.+|examples\/.+|[A-Z]+(?:\.md)?|package\.json)$/;
  t.deepEqual(
    paths.filter((path) => !known.test(path) || /\.map$|\.test\.|tsbuildinfo/.test(path)),
    [],
  );
  t.true((packed.files.find(({ path }) => path === manifest.bin.pcache)!.mode & 0o111) !== 0, 'the command can be run');
  t.true(packed.size < 4 * MIB, `${packed.size} bytes`);
});

/** Why npm could not get what the package needs; undefined if that is not what was wrong. */
function whyNoDependencies(stderr: string): string | undefined {
  return /\b(?:ENOTCACHED|ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ECONNRESET|ETIMEDOUT|ENETUNREACH|EHOSTUNREACH|ERR_SOCKET_TIMEOUT)\b/.exec(
    stderr,
  )?.[0];
}

ifBundled(`a package that was packed and installed runs by itself, with its manual and its dependencies${skipped}`, async (t) => {
  t.timeout(2 * NPM_MS);
  const clone = makeClone(t);
  const packed = await npm(['pack', '--silent', '--ignore-scripts'], clone);
  t.is(packed.status, 0, packed.stderr);
  const prefix = temporaryFolder(t);
  // Scripts of dependencies compile what this test has no use for; what it does use comes compiled.
  const install = ['install', '--global', '--prefix', prefix, '--prefer-offline', '--fetch-retries=0', '--ignore-scripts'];
  const installed = await npm([...install, join(clone, packed.stdout.trim())], prefix);
  const why = installed.status === 0 ? undefined : whyNoDependencies(installed.stderr);
  if (why !== undefined) {
    t.log(`skipped: dependencies are neither in npm's cache nor to be had: ${why}`);
    t.pass();
    return;
  }
  t.is(installed.status, 0, installed.stderr);
  const pcache = join(prefix, 'bin', 'pcache');
  t.true(realpathSync(pcache).startsWith(`${realpathSync(prefix)}/`));
  t.true(existsSync(join(prefix, 'share', 'man', 'man1', 'pcache.1')));
  t.true(existsSync(join(prefix, 'share', 'man', 'man5', 'pcache-format.5')));
  const env = { PATH: [dirname(process.execPath), '/usr/bin', '/bin'].join(delimiter) };
  const ok = async (...args: string[]): Promise<string> => {
    const { status, stdout, stderr } = await run(pcache, args, prefix, env);
    t.is(status, 0, `pcache ${args.join(' ')}: ${stderr}`);
    return stdout;
  };
  t.is((await ok('--version')).trim(), manifest.version);
  // With koffi and crc32, of which the binaries are packages of their own.
  await ok('--quiet', 'format', 'cache.pmem', '--size', '96M');
  t.regex(await ok('check', 'cache.pmem'), /no problems found/);
  t.regex(await ok('completion', 'bash'), /complete /);
});

test.serial('a command that npm has linked or copied without a build says what to do', async (t) => {
  for (const [isClone, says] of [
    [true, /^pcache: \S+: not built: run `npm run build` there\n$/],
    [false, /^pcache: \S+: a copy of what was not built: run `npm run build` in the clone, and install again\n$/],
  ] as const) {
    const folder = temporaryFolder(t);
    mkdirSync(join(folder, 'bin'));
    cpSync(join(repositoryRoot, 'bin', 'pcache.cjs'), join(folder, 'bin', 'pcache.cjs'));
    if (isClone) writeFileSync(join(folder, 'tsconfig.json'), '{}');
    const { status, stdout, stderr } = await run(process.execPath, [join(folder, 'bin', 'pcache.cjs'), '--version'], folder);
    t.is(status, 1);
    t.is(stdout, '');
    t.regex(stderr, says);
  }
});

ifBundled(`npm builds before it links or copies a clone, and only then, and fails if that fails${skipped}`, async (t) => {
  t.timeout(3 * NPM_MS);
  t.is(manifest.scripts.prepare, 'node scripts/prepare.mjs');
  t.true((statSync(join(repositoryRoot, 'bin', 'pcache.cjs')).mode & 0o111) !== 0);
  const clone = temporaryFolder(t);
  const write = (buildScript: string): void => {
    const scripts = { prepare: manifest.scripts.prepare, build: buildScript };
    writeFileSync(join(clone, 'package.json'), JSON.stringify({ name: 'pcache-gateway', version: '0.0.1', bin: manifest.bin, scripts }));
  };
  for (const name of ['bin/pcache.cjs', 'scripts/prepare.mjs', 'scripts/npm-environment.mjs'])
    cpSync(join(repositoryRoot, name), join(clone, name));
  writeFileSync(join(clone, 'tsconfig.json'), '{}');
  // In place of a build, which would take a minute: that npm can be asked for anything in it is what a build needs.
  write('mkdir -p dist/bundle && npm config get global > dist/bundle/global && echo "console.log(7)" > dist/bundle/pcache.js');

  t.is((await npm(['install', '--offline'], clone)).status, 0);
  t.false(existsSync(join(clone, 'dist')), 'to install dependencies is no reason to build');
  for (const [how, isLink] of [
    [[], true],
    [['--install-links'], false],
  ] as const) {
    const prefix = temporaryFolder(t);
    const { status, stderr } = await npm(['install', '--global', '--offline', '--prefix', prefix, ...how, '.'], clone);
    t.is(status, 0, stderr);
    t.is(lstatSync(join(prefix, 'lib', 'node_modules', 'pcache-gateway')).isSymbolicLink(), isLink);
    t.is(readFileSync(join(clone, 'dist', 'bundle', 'global'), 'utf8'), 'false\n');
    t.is((await run(join(prefix, 'bin', 'pcache'), [], prefix)).stdout, '7\n');
  }

  write('echo broken >&2; false');
  for (const how of [[], ['--install-links']]) {
    const { status, stderr } = await npm(['install', '--global', '--offline', '--prefix', temporaryFolder(t), ...how, '.'], clone);
    t.not(status, 0);
    t.regex(stderr, /broken[^]*could not be built, and is not installed/);
  }
});
