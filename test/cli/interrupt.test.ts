// An interrupt of the commands on idle caches while they are busy: it is heard, says where things stand, and nothing is left half done.

import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, readdirSync, statSync, unlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { whereItIsLeft } from '../../src/cli/format.js';
import { FormatStage, makeCache } from '../../src/cli/format-cache.js';
import { CACHE_BYTES_MIN, KEY_TAIL_OFFSETS } from '../../src/media/layout.js';
import { whyNoFuse } from '../fuse/memory-mount.js';
import { memoryFolder, temporaryFolder } from '../support/tmp.js';
import { waitFor, within } from '../gateway/fake-gateway.js';
import { PCACHE, hashOf, isRefused, overwrite, pcache, smallCache } from './offline-support.js';
import { LOG_BYTES, slowCache } from './slow-cache.js';

interface Ended {
  readonly signal: NodeJS.Signals | null;
  readonly stderr: string;
}

/** Runs `pcache ARGUMENTS` until it is busy, and interrupts it. Its output is not read before, so a command that prints much waits. */
async function interrupt(args: readonly string[], isBusy: (stderr: string) => boolean, env: NodeJS.ProcessEnv = {}): Promise<Ended> {
  const command = spawn(process.execPath, [PCACHE, ...args], { stdio: ['ignore', 'pipe', 'pipe'], env: { ...process.env, ...env } });
  const ended = new Promise<NodeJS.Signals | null>((resolve) => command.once('close', (_, signal) => resolve(signal)));
  let stderr = '';
  command.stderr.on('data', (chunk: Buffer) => (stderr += chunk.toString()));
  try {
    await waitFor(() => isBusy(stderr), `${args[0]!} is busy`);
    command.kill('SIGINT');
    command.stdout.resume();
    const signal = await within(ended, 'the command ends');
    return { signal, stderr };
  } finally {
    command.kill('SIGKILL');
  }
}

const saysProgress = (stderr: string): boolean => stderr.includes('progress');

/** Ended by the signal, after lines of progress, perhaps, and one that says where things stand. */
function saysWhere(t: ExecutionContext, { signal, stderr }: Ended, where: string): void {
  t.is(signal, 'SIGINT', stderr);
  const lines = stderr.trimEnd().split('\n');
  t.is(lines.pop(), `pcache: warning: interrupted: ${where}`);
  for (const line of lines)
    t.regex(line, /^pcache: progress: progress="[a-z ]+" done_bytes=\d+ total_bytes=\d+ bytes_per_s=\d+ left_s=(\d+|null)$/);
}

test.serial('a check says how far it is, and after an interrupt that the cache is as it was', async (t) => {
  const { cachePath } = slowCache(t);
  const before = hashOf(cachePath);
  const text = await interrupt(['check', cachePath], saysProgress);
  t.regex(text.stderr, new RegExp(`progress="checking" done_bytes=\\d+ total_bytes=${LOG_BYTES} `));
  saysWhere(t, text, `${cachePath} is as it was, and not checked to its end`);
  const json = await interrupt(['--json', 'check', cachePath], saysProgress);
  t.like(JSON.parse(json.stderr.split('\n')[0]!), { progress: 'checking', total_bytes: LOG_BYTES });
  t.is(hashOf(cachePath), before);
});

test.serial('a repair that is interrupted while it is planned has changed nothing', async (t) => {
  const { cachePath } = slowCache(t);
  // One bad copy of a tail is repaired; trying it out reads all data.
  overwrite(cachePath, KEY_TAIL_OFFSETS[1], new Uint8Array(16).fill(0xee));
  const before = hashOf(cachePath);
  saysWhere(t, await interrupt(['check', '--repair', '--yes', cachePath], saysProgress), `${cachePath} is as it was`);
  t.is(hashOf(cachePath), before);
});

test.serial('a recovery that is interrupted while the cache is read in has written nothing, with --dry-run or not', async (t) => {
  const { cachePath, backingPath } = slowCache(t);
  const before = [hashOf(cachePath), hashOf(backingPath)];
  for (const options of [[], ['--dry-run']]) {
    const isReplaying = (stderr: string): boolean => stderr.includes('progress="replaying the log"');
    const ended = await interrupt(['recover', cachePath, backingPath, ...options], isReplaying);
    saysWhere(t, ended, `nothing was written to ${backingPath}, and ${cachePath} still has all that it had`);
    t.deepEqual([hashOf(cachePath), hashOf(backingPath)], before);
  }
});

test.serial('a dump that is interrupted while it prints says that there is more', async (t) => {
  const { cachePath } = slowCache(t);
  const before = hashOf(cachePath);
  const command = spawn(process.execPath, [PCACHE, 'dump', '--keys', cachePath], { stdio: ['ignore', 'pipe', 'pipe'] });
  const ended = new Promise<NodeJS.Signals | null>((resolve) => command.once('close', (_, signal) => resolve(signal)));
  let stderr = '';
  command.stderr.on('data', (chunk: Buffer) => (stderr += chunk.toString()));
  try {
    await within(new Promise((resolve) => command.stdout.once('readable', resolve)), 'the first lines come');
    command.kill('SIGINT');
    await waitFor(() => stderr.includes('\n'), 'it says where things stand');
    command.stdout.resume();
    saysWhere(
      t,
      { signal: await within(ended, 'the command ends'), stderr },
      `${cachePath} is as it was; what was printed of it is not all`,
    );
  } finally {
    command.kill('SIGKILL');
  }
  t.is(hashOf(cachePath), before);
});

test.serial('a format that is interrupted takes the file that it made away, or says that the cache is there', async (t) => {
  // Gathering huge pages takes long enough there.
  const folder = memoryFolder(t);
  if (folder === undefined) {
    t.log('skipped: no memory file system');
    t.pass();
    return;
  }
  const path = join(folder, 'cache.pmem');
  const sizeBytes = 1024 ** 3;
  const hasSize = (): boolean => existsSync(path) && statSync(path).size === sizeBytes;
  const ended = await interrupt(['format', path, '--size', '1G'], hasSize);
  t.is(ended.signal, 'SIGINT', ended.stderr);
  // On a machine that has more to do the signal comes later.
  if (ended.stderr.includes('ready to be used')) {
    t.is((await pcache('check', path)).status, 0);
  } else {
    saysWhere(t, ended, `${path} was not finished and is removed`);
    t.false(existsSync(path));
  }
});

test('where the device does not answer, a format that is interrupted says what it leaves', (t) => {
  const path = join(temporaryFolder(t), 'cache.pmem');
  const sayAt = (stage: number): string => {
    writeFileSync(path, 'x');
    return whereItIsLeft(path, stage);
  };
  t.is(sayAt(0), `${path} is as it was`);
  t.regex(sayAt(FormatStage.growing), /was not finished, and its device does not answer; pcache format \S+ --force makes it a cache$/);
  t.regex(sayAt(FormatStage.overwriting), /is no cache yet, and what it held is lost; pcache format \S+ --force makes it one$/);
  t.regex(sayAt(FormatStage.formatted), /is an empty cache, ready to be used/);
  t.is(readFileSync(path, 'utf8'), 'x');
  t.is(sayAt(FormatStage.making), `${path} was not finished and is removed`);
  t.false(existsSync(path));
});

test('a format that is interrupted undoes what it has begun, but no cache that is complete', (t) => {
  const path = join(temporaryFolder(t), 'cache.pmem');
  const plan = { path, sizeBytes: CACHE_BYTES_MIN, dataCrc: false, gcPercent: 70, force: false };
  /** Interrupts when `stage` is reached and `phase` is told. */
  const interruptAt = (stage: number, phase: string): void => {
    let reached = 0;
    const tell = (told: string): void => {
      if (reached === stage && told === phase) throw new Error('interrupted');
    };
    t.throws(() => makeCache(plan, { tell, reached: (next) => (reached = next) }), { message: /interrupted/ });
  };
  for (const phase of ['allocating', 'formatting']) {
    interruptAt(FormatStage.making, phase);
    t.false(existsSync(path));
    writeFileSync(path, '');
    interruptAt(FormatStage.growing, phase);
    t.is(statSync(path).size, 0);
    unlinkSync(path);
  }
});

test('a format that is cut short while it overwrites leaves no cache, and is done again with --force', async (t) => {
  const { cachePath } = smallCache(t);
  const before = hashOf(cachePath);
  const plan = { path: cachePath, sizeBytes: undefined, dataCrc: false, gcPercent: 70, force: false };
  const stages: number[] = [];
  const cutShort = (phase: string): void => {
    if (phase === 'formatting') throw new Error('cut short');
    t.is(hashOf(cachePath), before);
  };
  t.throws(() => makeCache(plan, { tell: cutShort, reached: (stage) => stages.push(stage) }), { message: 'cut short' });
  t.deepEqual(stages, [FormatStage.overwriting]);
  isRefused(t, await pcache('check', cachePath), 1, /not a cache/);
  isRefused(t, await pcache('format', cachePath), 1, /holds data that is not a cache \(at byte \d+\), which would be lost\nhint: --force/);
  t.is((await pcache('format', cachePath, '--force')).status, 0);
  t.is((await pcache('check', cachePath)).status, 0);
});

test('a format says when the cache is there', (t) => {
  const { cachePath } = smallCache(t);
  const stages: number[] = [];
  const plan = { path: cachePath, sizeBytes: undefined, dataCrc: false, gcPercent: 70, force: false };
  makeCache(plan, { tell: () => undefined, reached: (stage) => stages.push(stage) });
  t.deepEqual(stages, [FormatStage.overwriting, FormatStage.formatted]);
});

const hasScript = existsSync('/usr/bin/script');

(hasScript ? test.serial : test.skip)(
  `at a terminal there is a bar with the time left${hasScript ? '' : ' (skipped: no script command)'}`,
  async (t) => {
    const { cachePath } = slowCache(t);
    const shown = join(temporaryFolder(t), 'shown');
    const command = `'${process.execPath}' '${PCACHE}' check '${cachePath}'`;
    const terminal = spawn('/usr/bin/script', ['-qefc', command, shown], { stdio: ['pipe', 'ignore', 'ignore'] });
    const ended = new Promise((resolve) => terminal.once('close', resolve));
    const text = (): string => (existsSync(shown) ? readFileSync(shown, 'utf8') : '');
    try {
      await waitFor(() => /checking \[#*\.+\] \d+% \| \d\S* \S+ left \| .*\/s \| .* to go/.test(text()), 'there is a bar');
      // As the key is pressed.
      terminal.stdin.write('\x03');
      await within(ended, 'the command ends');
      t.regex(text(), /interrupted: \S+ is as it was, and not checked to its end/);
    } finally {
      terminal.kill('SIGKILL');
    }
  },
);

const noFuse = whyNoFuse();
for (const where of ['background', 'foreground']) {
  (noFuse === undefined ? test.serial : test.skip)(
    `a mount in the ${where} that replays for long says how far it is, and leaves nothing when it is interrupted${noFuse === undefined ? '' : ` (${noFuse})`}`,
    async (t) => {
      const { cachePath, backingPath } = slowCache(t);
      const before = hashOf(cachePath);
      const folder = temporaryFolder(t);
      const mountpoint = join(folder, 'mnt');
      const runtime = join(folder, 'run');
      mkdirSync(mountpoint);
      mkdirSync(runtime, { mode: 0o700 });
      const args = ['mount', cachePath, backingPath, mountpoint, ...(where === 'foreground' ? ['--foreground'] : [])];
      const { signal, stderr } = await interrupt(args, saysProgress, { PCACHE_RUNTIME_DIR: runtime });
      t.is(signal, 'SIGINT', stderr);
      t.regex(stderr, /^pcache: progress: progress="replaying the log" done_bytes=\d+ total_bytes=\d+ bytes_per_s=\d+ left_s=(\d+|null)$/m);
      t.regex(stderr, /^pcache: warning: interrupted: \S+\/mnt is not mounted, and nothing is left of it\n$/m);
      t.deepEqual(readdirSync(runtime), []);
      t.deepEqual(readdirSync(mountpoint), []);
      t.is(hashOf(cachePath), before);
    },
  );
}

(noFuse === undefined ? test.serial : test.skip)(
  `a demo that is interrupted is cleaned up, and ends by the signal${noFuse === undefined ? '' : ` (${noFuse})`}`,
  async (t) => {
    const folder = temporaryFolder(t);
    const runtime = join(folder, 'run');
    mkdirSync(runtime, { mode: 0o700 });
    const isRunning = (): boolean => readdirSync(folder).some((name) => name.startsWith('pcache-demo-'));
    const { signal, stderr } = await interrupt(['demo'], isRunning, { PCACHE_RUNTIME_DIR: runtime, TMPDIR: folder });
    t.is(signal, 'SIGINT', stderr);
    t.regex(stderr, /^pcache: warning: interrupted: the demo is cleaned up\n$/m);
    t.deepEqual([readdirSync(folder), readdirSync(runtime)], [['run'], []]);
  },
);
