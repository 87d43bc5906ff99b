// The sessions of the README, run line by line as they stand there, but for what `ADAPTATIONS` says, in a folder of their own.

import { existsSync, lstatSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import test, { type ExecutionContext } from 'ava';
import { lacksForBench } from '../../bench/bench-run.js';
import { subjects } from '../../bench/subjects.js';
import { fileSystemKinds, whyNoFileSystem } from '../support/mounted-loop.js';
import { lacking, run } from '../support/mounted-commands.js';
import { mountTest } from '../support/mounted.js';
import { repositoryRoot } from '../support/paths.js';
import { temporaryFolder } from '../support/tmp.js';
import { BUNDLED_COMMAND, CACHE, Sessions, adapted, linesOf, noTerminal } from './readme-session.js';

/** The demo writes and compares some gigabyte; a machine with much else to do takes its time for that. */
const INSTALL_MS = 240_000;
const BENCH_MS = 120_000;
const BENCH = fileURLToPath(new URL('../../bench/main.js', import.meta.url));
const lacks = whyNoFileSystem(fileSystemKinds.find(({ name }) => name === 'ext4')!);

/** Runs lines, every one of which must end well. @returns what they said */
async function runs(t: ExecutionContext, sessions: Sessions, lines: readonly string[], timeoutMs?: number): Promise<string> {
  const { status, output, done } = await sessions.run(lines, timeoutMs);
  t.deepEqual({ status, done }, { status: 0, done: lines }, output);
  return output;
}

/** Without the line that needs a terminal, where there is none. */
function watchable(t: ExecutionContext, lines: readonly string[]): string[] {
  if (noTerminal !== undefined) t.log(`skipped: pcache monitor: ${noTerminal}`);
  return lines.filter((line) => noTerminal === undefined || !line.startsWith('watch '));
}

mountTest('the quick start of the README does what it says, from a new cache to the slow device alone', lacks, async (t) => {
  const sessions = new Sessions(t);
  const started = await runs(t, sessions, watchable(t, adapted(linesOf('start'))));
  t.regex(started, /^volume +\S+\/vol, 10 GiB\n[^]*^state +serving/m);
  if (noTerminal === undefined) t.regex(started, /SAFETY[^]*CACHE[^]*LOG[^]*\? help {2}q quit/);
  const ended = await runs(t, sessions, adapted(linesOf('end')));
  t.regex(ended, /vol: unmounted; everything is on \S*disk\.img\n[^]*disk\.img: \d+\/\d+ files/);
});

/** A small volume with a file system on a loop device, as in the quick start, and something durable in it. */
const PREPARE = [
  'truncate -s 256M disk.img',
  `pcache format ${CACHE} --size 96M`,
  'mkdir vol mnt',
  `pcache mount ${CACHE} disk.img vol`,
  'loop=$(pcache loop attach vol)',
  'mkfs.ext4 -q -E nodiscard "$loop"',
  'mount "$loop" mnt',
];
/** Writeback is held back, so that there is something that only the cache has. */
const WRITE = ['pcache message vol writeback pause', 'seq 200000 >numbers', 'cp numbers mnt/numbers', 'sync -f mnt'];
/** Supervisor, engine and spare; what was a mount is dead then. They are stopped first: whichever of them lived longer would still act on the other's death. */
const KILL = [
  `pids=$(pcache --json status vol | grep -oE '"(supervisor|engine)_pid": *[0-9]+' | grep -oE '[0-9]+$')`,
  '[ "$(echo $pids | wc -w)" = 2 ]',
  'kill -STOP $pids',
  'kill -9 $pids',
  'for _ in $(seq 100); do pcache status | grep -q "/vol .*dead" && break; sleep 0.1; done',
  'if timeout 10 ls vol; then false; fi',
];
/** Until its engine has noticed: `vol` does not answer then. The engine may still be closing the log. */
const KILL_SUPERVISOR = [
  `kill -9 $(pcache --json status vol | grep -oE '"supervisor_pid": *[0-9]+' | grep -oE '[0-9]+$')`,
  'for _ in $(seq 300); do timeout 10 ls vol || break; sleep 0.1; done',
  'if timeout 10 ls vol; then false; fi',
];
const COMPARE = ['loop=$(pcache loop attach vol)', 'mount "$loop" mnt', 'cmp numbers mnt/numbers'];

mountTest('what the README says to do after everything was killed brings the volume back, with all that was written', lacks, async (t) => {
  const sessions = new Sessions(t);
  await runs(t, sessions, [...PREPARE, ...WRITE, ...KILL]);
  const output = await runs(t, sessions, adapted(linesOf('crash')));
  t.regex(output, /^\/dev\/loop\d+ detached$/m);
  t.regex(output, /^vol: the daemon was dead already; its mount is cleaned up$/m);
  await runs(t, sessions, [...COMPARE, 'umount mnt', 'pcache loop detach vol', 'pcache umount vol']);
});

mountTest(
  'what the README says to do brings the volume back at once, too, when the supervisor alone was killed under a loop device',
  lacks,
  async (t) => {
    const sessions = new Sessions(t);
    await runs(t, sessions, [...PREPARE, ...WRITE, ...KILL_SUPERVISOR]);
    const output = await runs(t, sessions, adapted(linesOf('crash')));
    t.regex(output, /^\/dev\/loop\d+ detached$/m);
    t.regex(output, /^vol: the daemon was dead already; its mount is cleaned up$/m);
    await runs(t, sessions, [...COMPARE, 'umount mnt', 'pcache loop detach vol', 'pcache umount vol']);
  },
);

mountTest('what the README says of a cache whose host is dead writes all that is missing to the slow device', lacks, async (t) => {
  const sessions = new Sessions(t);
  await runs(t, sessions, [...PREPARE, ...WRITE, ...KILL, 'umount mnt', 'pcache loop detach vol', 'pcache umount vol']);
  const lines = adapted(linesOf('recover'));
  t.regex(
    await runs(t, sessions, [...lines.map((line) => `${line} --dry-run`), ...lines]),
    /would write [^]* written to disk\.img; it has everything now/,
  );
  // Its journal has to be replayed, as after a loss of power.
  await runs(t, sessions, ['mount -o loop disk.img mnt', 'cmp numbers mnt/numbers', 'umount mnt', 'e2fsck -fn disk.img']);
});

const noPackage = lacking('npm') ?? (existsSync(BUNDLED_COMMAND) ? undefined : 'this build has no bundles');

(noPackage === undefined ? test.serial : test.skip)(
  `the demo of the README proves what it says, and the command that is installed is that of this version${noPackage === undefined ? '' : ` (skipped: ${noPackage})`}`,
  async (t) => {
    t.timeout(INSTALL_MS + 20_000);
    const sessions = new Sessions(t);
    sessions.makePackage();
    const output = await runs(t, sessions, adapted(linesOf('install')), INSTALL_MS);
    t.regex(output, /^Every byte was compared, and every one was right\.$/m);
    const { version } = JSON.parse(readFileSync(join(repositoryRoot, 'package.json'), 'utf8')) as { version: string };
    t.regex(await runs(t, sessions, ['prefix/bin/pcache --version']), new RegExp(`^${version.replaceAll('.', '\\.')}$`, 'm'));
    t.true(existsSync(join(sessions.folder, 'prefix', 'share', 'man', 'man1', 'pcache.1')));
    t.true(
      lstatSync(join(sessions.folder, 'prefix', 'lib', 'node_modules', 'pcache-gateway')).isDirectory(),
      'a copy, not a link to the clone',
    );
  },
);

const noBench = lacksForBench() ?? subjects.find(({ id }) => id === 'dev-fuse')!.lacks;

mountTest('the benchmark of the README measures the gateway', noBench, async (t) => {
  t.timeout(BENCH_MS + 20_000);
  const file = join(temporaryFolder(t), 'bench.json');
  const args = ['--quick', '--rounds', '1', '--seconds', '0.02', '--only', 'dev-fuse', '--json', file];
  const { status, stdout, stderr } = await run(process.execPath, [BENCH, ...args], { timeoutMs: BENCH_MS });
  t.is(status, 0, stderr);
  t.regex(stdout, /^4 KiB random write, depth 16, 4 jobs\n[^]*pcache dev-fuse +\d/m);
  const { results } = JSON.parse(readFileSync(file, 'utf8')) as { results: { subject: string }[] };
  t.true(results.length > 4);
});
