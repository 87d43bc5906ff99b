// The README's shell code as sessions that a test can run: which block is which, what is changed in a command so that it concerns this run and this build
// alone, and a shell that runs the lines one after another, in a folder of their own.

import { execFile } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { ExecutionContext } from 'ava';
import { listLoops } from '../../src/device/loop-device.js';
import { connectionNumber } from '../../src/fuse/connection.js';
import { takeMountAway } from '../../src/gateway/take-mount-away.js';
import { readDocument, shellBlocks, type ShellBlock } from '../docs/shell-blocks.js';
import { detachOwn } from '../support/loop.js';
import { lacking } from '../support/mounted-commands.js';
import { PCACHE, RUN_PREFIX } from '../support/mounted.js';
import { repositoryRoot } from '../support/paths.js';
import { temporaryFolder } from '../support/tmp.js';

const SESSION_MS = 80_000;
const TOOL_MS = 10_000;
/** Of this build, whatever its folder is called. */
const BUILD = dirname(dirname(fileURLToPath(import.meta.url))).replace(/\/test$/, '');
export const BUNDLED_COMMAND = join(BUILD, 'bundle', 'pcache.js');
export const CACHE = `/dev/shm/${RUN_PREFIX}readme.pmem`;

const INSTALL = 'npm install --global --install-links .';

/** Every block of shell code in the README, by a line that it alone has. Each is run by a test in readme.test.ts. */
export const BLOCKS = {
  install: INSTALL,
  start: 'mkdir vol mnt',
  end: 'pcache umount vol --flush',
  crash: 'pcache umount vol',
  recover: 'pcache recover /dev/shm/cache.pmem disk.img',
} as const;
export type BlockName = keyof typeof BLOCKS;

/** Blocks of the README that no test knows, or that there should be and are not, one line each. */
export function strangeBlocks(readme: string): string[] {
  const blocks = shellBlocks(readme);
  const names = Object.keys(BLOCKS) as BlockName[];
  const counts = names.map((name) => ({ name, count: blocks.filter((block) => hasLine(block, BLOCKS[name])).length }));
  return [
    ...counts.filter(({ count }) => count !== 1).map(({ name, count }) => `${name}: ${count} blocks`),
    ...blocks
      .filter((block) => !names.some((name) => hasLine(block, BLOCKS[name])))
      .map(({ commands }) => `line ${commands[0]!.line}: no test runs this block`),
  ];
}

function hasLine({ commands }: ShellBlock, text: string): boolean {
  return commands.some((command) => command.text === text);
}

/** The lines of a block, as they stand in the README. */
export function linesOf(name: BlockName): string[] {
  const block = shellBlocks(readDocument('README.md')).find((each) => hasLine(each, BLOCKS[name]));
  if (block === undefined) throw new Error(`README.md: no block with the line ${BLOCKS[name]}`);
  return block.commands.map(({ text }) => text);
}

interface Adaptation {
  readonly from: string;
  readonly to: string;
}

/** Everything in which a line that is run differs from what stands in the README, and why. */
const ADAPTATIONS: readonly Adaptation[] = [
  // Another run of the tests, or a user, may have one of that name.
  { from: '/dev/shm/cache.pmem', to: CACHE },
  // Needs a terminal: gets one (`watch` below), in which `q` is typed when it shows the volume.
  { from: 'pcache monitor vol', to: 'watch monitor vol' },
  // What the script runs when all is built. That it builds first is held against package.json and .ci/run by readme-commands.test.ts.
  { from: 'npm run demo', to: 'pcache demo' },
  // Into a folder of the test's own; `package` is a copy of a clone that was built, so that nothing of this build is touched.
  { from: INSTALL, to: 'npm install --offline --no-audit --no-fund --global --prefix prefix --install-links ./package' },
];

/** Absolute paths that a line may name when it is adapted: whatever the README will say some day, a test must not do it to a disk. */
const HARMLESS = new Set([CACHE, '/etc']);

/** Lines as they are run. Throws if one of them names something that is not the test's. */
export function adapted(lines: readonly string[]): string[] {
  return lines.map((line) => {
    const changed = ADAPTATIONS.reduce((text, { from, to }) => text.replaceAll(from, to), line);
    for (const [, path] of changed.matchAll(/(?:^|[\s"'=<>(;])(\/[^\s"';)]*)/g)) {
      if (!HARMLESS.has(path!)) throw new Error(`README.md: ${line}: ${path!} is no path for a test; adapt it`);
    }
    return changed;
  });
}

export const noTerminal = lacking('tmux');

const sq = (text: string): string => `'${text.replaceAll("'", "'\\''")}'`;

/** `pcache` is that of this build; `watch` runs it on a terminal until it shows a volume that is served, prints that screen, and types `q`. */
function prelude(folder: string): string {
  const terminal = `tmux -L readme -f /dev/null`;
  return [
    'set -eu',
    `pcache() { ${sq(process.execPath)} ${sq(PCACHE)} "$@"; }`,
    'watch() {',
    `  ${terminal} new-session -d -x 100 -y 30 "${process.execPath} ${PCACHE} $* 2>watch.err; echo \\$? >watch.status"`,
    `  for _ in $(seq 200); do ${terminal} capture-pane -p >screen; grep -q 'serving .* up' screen && break; sleep 0.1; done`,
    `  cat screen; grep -q 'serving .* up' screen`,
    `  ${terminal} send-keys q`,
    '  for _ in $(seq 100); do [ -s watch.status ] && break; sleep 0.1; done',
    '  [ "$(cat watch.status)" = 0 ]',
    '}',
    `cd ${sq(folder)}`,
  ].join('\n');
}

export interface Ending {
  readonly status: number | string | null;
  readonly output: string;
  /** Those of the lines that ended with status 0. */
  readonly done: readonly string[];
}

/** A folder for sessions, the same for one after another; whatever they leave is taken away at the end of the test. */
export class Sessions {
  readonly folder: string;
  readonly #env: NodeJS.ProcessEnv;

  constructor(t: ExecutionContext) {
    this.folder = temporaryFolder(t);
    this.#env = {
      ...process.env,
      PCACHE_RUNTIME_DIR: join(this.folder, 'run'),
      TMUX_TMPDIR: this.folder,
      TMUX: '',
      LC_ALL: 'C.UTF-8',
      TMPDIR: this.folder,
    };
    mkdirSync(join(this.folder, 'run'), { mode: 0o700 });
    t.teardown(() => this.#cleanUp());
  }

  /** Runs lines of shell code in one shell, to the first that fails. */
  run(lines: readonly string[], timeoutMs = SESSION_MS): Promise<Ending> {
    const record = join(this.folder, 'done');
    const marked = lines.flatMap((line) => [`echo ${sq(`$ ${line}`)}`, line, `echo ${sq(line)} >>${sq(record)}`]);
    const options = { cwd: this.folder, env: this.#env, timeout: timeoutMs, killSignal: 'SIGKILL' } as const;
    return new Promise((resolve) => {
      execFile('bash', ['-c', `${prelude(this.folder)}\n${marked.join('\n')}`], options, (error, stdout, stderr) => {
        const done = existsSync(record) ? readFileSync(record, 'utf8').trimEnd().split('\n') : [];
        rmSync(record, { force: true });
        resolve({ status: error === null ? 0 : (error.code ?? error.signal ?? null), output: `${stdout}\n${stderr}`, done });
      });
    });
  }

  /**
   * What npm finds in a clone that was built, as a copy in `package`; but for the dependencies, which may not be had here, and which no bundle needs to start
   * (package.test.ts has them), and for the scripts, which would build again.
   */
  makePackage(): void {
    const folder = join(this.folder, 'package');
    mkdirSync(join(folder, 'dist'), { recursive: true });
    for (const name of ['bin/pcache.cjs', 'man']) cpSync(join(repositoryRoot, name), join(folder, name), { recursive: true });
    const manifest = JSON.parse(readFileSync(join(repositoryRoot, 'package.json'), 'utf8')) as Record<string, unknown>;
    const without = { scripts: {}, dependencies: {}, optionalDependencies: {}, devDependencies: {} };
    writeFileSync(join(folder, 'package.json'), JSON.stringify({ ...manifest, ...without }));
    cpSync(join(BUILD, 'bundle'), join(folder, 'dist', 'bundle'), { recursive: true });
  }

  async #cleanUp(): Promise<void> {
    const tool = (command: string, ...args: string[]): Promise<void> =>
      new Promise((resolve) => void execFile(command, args, { timeout: TOOL_MS, env: this.#env }, () => resolve()));
    if (noTerminal === undefined) await tool('tmux', '-L', 'readme', 'kill-server');
    await tool('umount', '-l', join(this.folder, 'mnt'));
    for (const loop of listLoops()) if (loop.backingFile.startsWith(this.folder)) detachOwn(loop);
    const volume = join(this.folder, 'vol');
    const connection = connectionNumber(volume);
    if (connection !== undefined) takeMountAway(volume, connection);
    rmSync(CACHE, { force: true });
  }
}
