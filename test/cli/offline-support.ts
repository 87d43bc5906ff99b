// What the tests of the commands on idle caches share: the command line as a process, small caches, and somebody who holds a cache.

import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { closeSync, openSync, readFileSync, readSync, truncateSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { ExecutionContext } from 'ava';
import { formatCache } from '../../src/cache/format.js';
import { openBackingDevice } from '../../src/device/file-backing-device.js';
import { createCacheFile, openCacheDevice } from '../../src/device/mapped-cache-device.js';
import { InlineVolume } from '../../src/gateway/inline-volume.js';
import { CACHE_BYTES_MIN } from '../../src/media/layout.js';
import { unpackGolden } from '../support/golden.js';
import { temporaryFolder } from '../support/tmp.js';

export const PCACHE = fileURLToPath(new URL('../../bin/pcache.js', import.meta.url));
const LOCK_HOLDER = fileURLToPath(new URL('./offline-lock-holder.js', import.meta.url));
/** More than any of these commands needs, even on a busy machine. */
const COMMAND_TIMEOUT_MS = 120_000;
export const VOLUME_BYTES = 8 * 1024 * 1024;

export interface CommandResult {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs `pcache ARGUMENTS`, with stdout and stderr as pipes. */
export function pcache(...args: string[]): Promise<CommandResult> {
  return run(process.execPath, [PCACHE, ...args]);
}

/** Runs `pcache ARGUMENTS | FILTER` in a shell; the status is that of pcache. */
export function pcachePiped(args: readonly string[], filter: string): Promise<CommandResult> {
  const script = `{ "$@"; echo "status $?" >&2; } | ${filter}`;
  return run('/bin/sh', ['-c', script, 'sh', process.execPath, PCACHE, ...args]);
}

function run(program: string, args: readonly string[]): Promise<CommandResult> {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'], timeout: COMMAND_TIMEOUT_MS, killSignal: 'SIGKILL' });
    const stdout: Buffer[] = [];
    const stderr: Buffer[] = [];
    child.stdout.on('data', (chunk: Buffer) => stdout.push(chunk));
    child.stderr.on('data', (chunk: Buffer) => stderr.push(chunk));
    child.on('error', reject);
    child.on('close', (status) => {
      resolve({ status, stdout: Buffer.concat(stdout).toString(), stderr: Buffer.concat(stderr).toString() });
    });
  });
}

/** Fails unless the command ended with `status`, said nothing on stdout and one line, perhaps with a hint, on stderr. */
export function isRefused(t: ExecutionContext, result: CommandResult, status: 1 | 2, line: RegExp): void {
  t.is(result.stdout, '');
  t.regex(result.stderr, /^pcache: [^\n]+\n(hint: [^\n]+\n)?$/);
  t.regex(result.stderr, line);
  t.is(result.status, status);
}

export function linesOf(result: CommandResult): Record<string, unknown>[] {
  return result.stdout
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as Record<string, unknown>);
}

/** Unpacked for this test only. */
export function golden(t: ExecutionContext, name: string): { cachePath: string; backingPath: string } {
  const unpacked = unpackGolden(name);
  t.teardown(() => {
    unpacked.remove();
  });
  return unpacked;
}

export interface SmallCache {
  readonly folder: string;
  readonly cachePath: string;
  readonly backingPath: string;
}

/** A formatted cache of the smallest size, and a backing file of VOLUME_BYTES zeros. */
export function smallCache(t: ExecutionContext, { dataCrc = true }: { dataCrc?: boolean } = {}): SmallCache {
  const folder = temporaryFolder(t);
  const cachePath = join(folder, 'cache.pmem');
  const backingPath = join(folder, 'backing.img');
  createCacheFile(cachePath, CACHE_BYTES_MIN);
  const device = openCacheDevice(cachePath);
  formatCache(device, { dataCrc, gcPercent: 70, uuid: new Uint8Array(16).fill(5), nowMs: Date.now() });
  device.close();
  writeFileSync(backingPath, '');
  truncateSync(backingPath, VOLUME_BYTES);
  return { folder, cachePath, backingPath };
}

/** Opens the volume of both, uses it, and closes it, in order or as if the process had died. */
export function useVolume(
  { cachePath, backingPath }: Pick<SmallCache, 'cachePath' | 'backingPath'>,
  action: (volume: InlineVolume) => void,
  { crash = false }: { crash?: boolean } = {},
): void {
  const device = openCacheDevice(cachePath);
  const backing = openBackingDevice(backingPath);
  try {
    const volume = new InlineVolume(device, backing, {
      adopt: false,
      bootId: readFileSync('/proc/sys/kernel/random/boot_id', 'latin1').trim(),
      writers: 1,
      readOnly: false,
      newUuid: new Uint8Array(16).fill(6),
      nowMs: Date.now(),
      clock: () => performance.now(),
    });
    action(volume);
    volume.close({ crash });
  } finally {
    backing.close();
    device.close();
  }
}

/** SHA-256 of a file, in hexadecimal. */
export function hashOf(path: string): string {
  const hash = createHash('sha256');
  const file = openSync(path, 'r');
  const buffer = Buffer.allocUnsafe(4 * 1024 * 1024);
  try {
    for (let length = readSync(file, buffer); length > 0; length = readSync(file, buffer)) hash.update(buffer.subarray(0, length));
  } finally {
    closeSync(file);
  }
  return hash.digest('hex');
}

/** Writes bytes into an existing file. */
export function overwrite(path: string, position: number, bytes: Uint8Array): void {
  const file = openSync(path, 'r+');
  try {
    writeSync(file, bytes, 0, bytes.length, position);
  } finally {
    closeSync(file);
  }
}

/** Inverts one byte of a file. */
export function flipByte(path: string, position: number): void {
  const file = openSync(path, 'r+');
  try {
    const byte = Buffer.alloc(1);
    readSync(file, byte, 0, 1, position);
    writeSync(file, Buffer.of(byte[0]! ^ 0xff), 0, 1, position);
  } finally {
    closeSync(file);
  }
}

/** Another process that has the cache open for writing until the test is over; resolves when it has. */
export async function holdInAnotherProcess(t: ExecutionContext, cachePath: string): Promise<number> {
  const child = spawn(process.execPath, [LOCK_HOLDER, cachePath], { stdio: ['pipe', 'pipe', 'inherit'] });
  t.teardown(async () => {
    const ended = new Promise((resolve) => child.once('exit', resolve));
    child.stdin.end();
    await ended;
  });
  await new Promise<void>((resolve, reject) => {
    child.stdout.once('data', () => {
      resolve();
    });
    child.once('error', reject);
    child.once('exit', (status) => {
      reject(new Error(`the holder ended with status ${status ?? 'none'}`));
    });
  });
  return child.pid!;
}
