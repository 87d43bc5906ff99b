// An interrupt of the commands on idle caches while they are busy: it is heard, says where things stand, and nothing is left half done. What takes so long
// here is a small log whose keys all refer to the same 4 MiB, so that checking the data means reading them a hundred thousand times.

import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, readdirSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { formatCache } from '../../src/cache/format.js';
import { undoWhatCanBe } from '../../src/cli/format.js';
import { FormatStage, makeCache } from '../../src/cli/format-cache.js';
import { createCacheFile, openCacheDevice } from '../../src/device/mapped-cache-device.js';
import { pcacheCrcOfRange } from '../../src/media/crc32c.js';
import { newGatewayHeader } from '../../src/media/gateway-header.js';
import { encodeKset } from '../../src/media/kset.js';
import type { CacheSegId, SegmentOffset, VolumeOffset } from '../../src/media/layout.js';
import {
  CACHE_BYTES_MIN,
  KEY_TAIL_OFFSETS,
  KSET_BYTES_MAX,
  KSET_KEYS_MAX,
  SEGMENT_DATA_OFFSET,
  SUBTREE_BYTES,
  segmentDeviceOffset,
} from '../../src/media/layout.js';
import type { PhysicalSegmentId } from '../../src/media/layout.js';
import { whyNoFuse } from '../fuse/memory-mount.js';
import { memoryFolder, temporaryFolder } from '../support/tmp.js';
import { waitFor, within } from '../gateway/fake-gateway.js';
import { PCACHE, VOLUME_BYTES, hashOf, isRefused, overwrite, pcache, smallCache } from './offline-support.js';

/** Of 128 keys each: reading what they refer to takes minutes. */
const KSETS = 2000;
const LOG_BYTES = KSETS * KSET_BYTES_MAX;

/** A sound cache that takes minutes to check, and its backing device. */
function slowCache(t: ExecutionContext): { cachePath: string; backingPath: string } {
  const folder = temporaryFolder(t);
  const cachePath = join(folder, 'cache.pmem');
  const backingPath = join(folder, 'backing.img');
  writeFileSync(backingPath, '');
  truncateSync(backingPath, VOLUME_BYTES);
  createCacheFile(cachePath, CACHE_BYTES_MIN);
  const device = openCacheDevice(cachePath);
  formatCache(device, { dataCrc: true, gcPercent: 70, uuid: new Uint8Array(16).fill(5), nowMs: 1000 });
  device.close();
  const key = {
    off: 0 as VolumeOffset,
    len: SUBTREE_BYTES,
    flags: 0,
    cacheSegId: 1 as CacheSegId,
    cacheSegOff: 0 as SegmentOffset,
    segGen: 0,
    reserved: 0,
    dataCrc: pcacheCrcOfRange(new Uint8Array(SUBTREE_BYTES), 0, SUBTREE_BYTES),
  };
  const keys = Array.from({ length: KSET_KEYS_MAX }, () => key);
  const { sequenceLimit } = newGatewayHeader(new Uint8Array(16), 1000);
  const ksets = Array.from({ length: KSETS }, (_, index) => encodeKset(keys, { sequence: sequenceLimit + index }));
  overwrite(cachePath, segmentDeviceOffset(0 as PhysicalSegmentId) + SEGMENT_DATA_OFFSET, Buffer.concat(ksets));
  return { cachePath, backingPath };
}

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
    const ended = await interrupt(['recover', cachePath, backingPath, ...options], saysProgress);
    t.regex(ended.stderr, /progress="replaying the log"/);
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

test('what a format has begun is undone as far as it can be', (t) => {
  const path = join(temporaryFolder(t), 'cache.pmem');
  const sayAt = (stage: number): string => {
    writeFileSync(path, 'x');
    return undoWhatCanBe(path, stage);
  };
  t.is(sayAt(0), `${path} is as it was`);
  t.is(readFileSync(path, 'utf8'), 'x');
  t.is(sayAt(FormatStage.growing), `${path} was not finished and is empty again`);
  t.is(readFileSync(path, 'utf8'), '');
  t.regex(sayAt(FormatStage.overwriting), /is no cache yet, and what it held is lost; pcache format \S+ --force makes it one$/);
  t.regex(sayAt(FormatStage.formatted), /is an empty cache, ready to be used/);
  t.is(readFileSync(path, 'utf8'), 'x');
  t.is(sayAt(FormatStage.making), `${path} was not finished and is removed`);
  t.false(existsSync(path));
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
  isRefused(t, await pcache('format', cachePath), 1, /holds data that is not a cache, which would be lost\nhint: --force/);
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
      t.is(signal, null);
      t.regex(stderr, /^pcache: progress: progress="replaying the log" done_bytes=\d+ total_bytes=\d+ bytes_per_s=\d+ left_s=(\d+|null)$/m);
      t.regex(stderr, /pcache: \S+\/mnt: interrupted before it was ready\n/);
      t.deepEqual(readdirSync(runtime), []);
      t.deepEqual(readdirSync(mountpoint), []);
      t.is(hashOf(cachePath), before);
    },
  );
}
