// The commands on idle caches, interrupted at any moment: they end by the signal and in time, say where things stand in the words that are meant for it, and
// leave what can be done again. Without their words they may end only before they have begun.

import { spawn } from 'node:child_process';
import { existsSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import test, { type ExecutionContext } from 'ava';
import { formatCache } from '../../src/cache/format.js';
import { createCacheFile, openCacheDevice } from '../../src/device/mapped-cache-device.js';
import { CACHE_BYTES_MIN } from '../../src/media/layout.js';
import { within } from '../gateway/fake-gateway.js';
import { memoryFolder, temporaryFolder } from '../support/tmp.js';
import { PCACHE, hashOf, pcache, useVolume } from './offline-support.js';
import { slowCache } from './slow-cache.js';

const TIMES = 20;
const MIB = 1024 * 1024;

/** Undefined: it was done before. */
type Where = string | undefined;

interface Command {
  readonly args: readonly string[];
  /** All that may be said. */
  readonly words: readonly RegExp[];
  /** Before each time. */
  readonly prepare?: () => void | Promise<void>;
  /** After each time. `where`: what was said, empty if nothing. */
  readonly look: (where: Where) => void | Promise<void>;
}

/** Ends of its own accord, and how long that takes; or is interrupted after that time. */
async function run(t: ExecutionContext, { args, words }: Command, interruptAfterMs?: number): Promise<{ where: Where; tookMs: number }> {
  const startMs = performance.now();
  const command = spawn(process.execPath, [PCACHE, ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
  const ended = new Promise<[number | null, NodeJS.Signals | null]>((resolve) => command.once('close', (...end) => resolve(end)));
  let stderr = '';
  command.stderr.on('data', (chunk: Buffer) => (stderr += chunk.toString()));
  command.stdout.resume();
  try {
    if (interruptAfterMs !== undefined) {
      await Promise.race([delay(interruptAfterMs), ended]);
      command.kill('SIGINT');
    }
    const [status, signal] = await within(ended, `${args.join(' ')} ends`);
    const tookMs = performance.now() - startMs;
    const lines = stderr.split('\n').filter((line) => line !== '' && !line.startsWith('pcache: progress: '));
    if (status !== null) {
      t.deepEqual([status, lines], [0, []]);
      return { where: undefined, tookMs };
    }
    t.is(signal, 'SIGINT', stderr);
    t.true(lines.length <= 1, stderr);
    const where = /^pcache: warning: interrupted: (.*)$/.exec(lines[0] ?? '')?.[1] ?? '';
    if (lines.length > 0)
      t.true(
        words.some((each) => each.test(where)),
        stderr,
      );
    return { where, tookMs };
  } finally {
    command.kill('SIGKILL');
  }
}

/** As often as it takes to believe it, at moments spread over the whole time that the command takes. */
async function interruptOften(t: ExecutionContext, command: Command): Promise<void> {
  await command.prepare?.();
  const whole = await run(t, command);
  t.is(whole.where, undefined);
  await command.look(undefined);
  const said = new Map<string, number>();
  const tell = async (afterMs: number): Promise<Where> => {
    await command.prepare?.();
    const { where } = await run(t, command, afterMs);
    await command.look(where);
    const key = where === undefined ? 'done before' : where === '' ? 'not begun' : String(command.words.find((each) => each.test(where)));
    said.set(key, (said.get(key) ?? 0) + 1);
    return where;
  };
  for (let time = 0; time < TIMES; time++) await tell((whole.tookMs * (time + Math.random())) / TIMES);
  const someSay = (): boolean => [...said.keys()].some((key) => key.startsWith('/'));
  // What takes few milliseconds of the time of a process is easily missed: homes in on it.
  let [earlyMs, lateMs] = [0, whole.tookMs];
  for (let time = 0; time < TIMES && !someSay(); time++) {
    const middleMs = (earlyMs + lateMs) / 2;
    if ((await tell(middleMs)) === undefined) lateMs = middleMs;
    else earlyMs = middleMs;
    // No two runs take equally long: what was too late once may not be another time.
    if (lateMs - earlyMs < 4) [earlyMs, lateMs] = [earlyMs * 0.9, lateMs * 1.1];
  }
  t.log([...said].map(([key, times]) => `${times} ${key}`).join(', '));
  // Otherwise none of it was about an interrupt.
  t.true(someSay(), 'some of them say where things stand');
}

test.serial('a check that is interrupted at any moment', async (t) => {
  const { cachePath } = slowCache(t, 12);
  const before = hashOf(cachePath);
  await interruptOften(t, {
    args: ['check', cachePath],
    words: [/is as it was, and not checked to its end$/, /is as it was$/],
    look: () => void t.is(hashOf(cachePath), before),
  });
});

test.serial('a dump that is interrupted at any moment', async (t) => {
  const { cachePath } = slowCache(t, 400);
  const before = hashOf(cachePath);
  await interruptOften(t, {
    args: ['dump', '--keys', cachePath],
    words: [/is as it was; what was printed of it is not all$/, /is as it was$/],
    look: () => void t.is(hashOf(cachePath), before),
  });
});

test.serial('a format of a new file that is interrupted at any moment leaves a whole cache, or nothing', async (t) => {
  const path = join(memoryFolder(t) ?? temporaryFolder(t), 'cache.pmem');
  await interruptOften(t, {
    args: ['format', path, '--size', '256M'],
    words: [/was not finished and is removed$/, /is an empty cache, ready to be used/, /is as it was$/],
    prepare: () => rmSync(path, { force: true }),
    look: async (where) => {
      const isCache = where === undefined || where.includes('ready to be used');
      t.is(existsSync(path), isCache, where);
      if (isCache) t.is((await pcache('check', path)).status, 0);
    },
  });
});

test.serial('a format that takes the place of a cache and is interrupted at any moment leaves a whole cache, or none', async (t) => {
  const folder = memoryFolder(t) ?? temporaryFolder(t);
  const path = join(folder, 'cache.pmem');
  createCacheFile(path, 256 * MIB);
  await interruptOften(t, {
    args: ['format', path, '--force'],
    words: [
      /is no cache yet, and what it held is lost; pcache format \S+ --force makes it one$/,
      /is an empty cache, ready/,
      /is as it was$/,
    ],
    prepare: () => {
      const device = openCacheDevice(path);
      formatCache(device, { dataCrc: true, gcPercent: 10, uuid: new Uint8Array(16).fill(5), nowMs: 1000 });
      device.close();
    },
    look: async (where) => {
      const { status, stderr } = await pcache('check', path);
      t.is(status, where?.includes('no cache yet') === true ? 1 : 0, `${where ?? 'done'}: ${stderr}`);
      if (status !== 0) t.regex(stderr, /not a cache/);
    },
  });
});

test.serial('a recovery that is interrupted at any moment goes on when it is called again', async (t) => {
  const folder = temporaryFolder(t);
  const paths = { cachePath: join(folder, 'cache.pmem'), backingPath: join(folder, 'backing.img') };
  const { cachePath, backingPath } = paths;
  const volumeBytes = 48 * MIB;
  const bytes = Buffer.alloc(volumeBytes);
  for (let at = 0; at < volumeBytes; at += 4) bytes.writeUInt32LE((at * 2654435761) % 2 ** 32, at);
  let isWhole = false;
  const prepare = (): void => {
    if (!isWhole && existsSync(cachePath)) return;
    isWhole = false;
    rmSync(cachePath, { force: true });
    createCacheFile(cachePath, CACHE_BYTES_MIN);
    const device = openCacheDevice(cachePath);
    formatCache(device, { dataCrc: true, gcPercent: 70, uuid: new Uint8Array(16).fill(5), nowMs: Date.now() });
    device.close();
    writeFileSync(backingPath, '');
    truncateSync(backingPath, volumeBytes);
    useVolume(
      paths,
      (volume) => {
        for (let at = 0; at < volumeBytes; at += 16384) volume.write(at, bytes.subarray(at, at + 16384));
      },
      { crash: true },
    );
  };
  await interruptOften(t, {
    args: ['recover', cachePath, backingPath],
    words: [
      /^nothing was written to \S+, and \S+ still has all/,
      /are still to be written and stay in \S+; run the same command again to go on$/,
    ],
    prepare,
    look: async (where) => {
      t.is((await pcache('check', cachePath)).status, 0);
      if (where === undefined) {
        isWhole = true;
        useVolume(paths, (volume) => t.is(volume.dirtyBytes, 0));
        writeFileSync(join(folder, 'expected'), bytes);
        t.is(hashOf(backingPath), hashOf(join(folder, 'expected')));
      }
    },
  });
  t.is((await pcache('recover', cachePath, backingPath)).status, 0);
  t.is(hashOf(backingPath), hashOf(join(folder, 'expected')));
});
