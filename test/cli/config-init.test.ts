// What `pcache config init` says of a configuration that is right in itself: what is not there yet, and what a cache in memory loses.

import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statfsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { TMPFS_MAGIC } from '../../src/device/linux-constants.js';
import { temporaryFolder } from '../support/tmp.js';
import { runMain } from './run-main.js';

const SHM = '/dev/shm';
const noShm = !existsSync(SHM) || statfsSync(SHM).type !== TMPFS_MAGIC;
const shmTest = noShm ? test.serial.skip : test.serial;
const lacks = noShm ? ' (skipped: /dev/shm is no tmpfs)' : '';

function memoryFolder(t: ExecutionContext): string {
  const folder = mkdtempSync(join(SHM, 'pcache-config-'));
  t.teardown(() => rmSync(folder, { recursive: true }));
  return folder;
}

test.serial('config init says what is not there yet and what makes it, and how to mount it from where it is', async (t) => {
  const folder = temporaryFolder(t);
  // Not on a file system in memory, wherever the test runs.
  const [cache, backing, mountpoint] = ['/sys/none.pmem', join(folder, 'disk.img'), join(folder, 'vol')] as const;
  writeFileSync(backing, '');
  const args = ['config', 'init', 'st2', cache, backing, mountpoint, '--config-dir', folder];
  const path = join(folder, 'st2.yaml');
  const { status, stdout, stderr } = await runMain(args);
  t.is(status, 0);
  t.is(
    stderr,
    `pcache: warning: ${path}: cache: ${cache} does not exist (pcache format ${cache} --size 8G creates it)\n` +
      `pcache: warning: ${path}: mountpoint: ${mountpoint} does not exist (mkdir -p ${mountpoint} does)\n`,
  );
  t.is(stdout, `${path}: written; pcache mount st2 --config-dir ${folder} mounts it when all of it is there\n`);
  const json = await runMain([...args, '--force', '--json']);
  const { warnings } = JSON.parse(json.stdout) as { warnings: string[] };
  t.is(warnings.length, 2);
  t.is(json.stderr, '');
});

test.serial('config init of what is all there says nothing but how to mount it', async (t) => {
  const folder = temporaryFolder(t);
  mkdirSync(join(folder, 'vol'));
  // Not a cache, which is for the mount to find out; nor is it a file in memory.
  const args = ['config', 'init', 'st2', '/dev/null', '/dev/null', join(folder, 'vol'), '--config-dir', folder];
  const { status, stdout, stderr } = await runMain(args);
  t.deepEqual([status, stderr], [0, '']);
  t.is(stdout, `${join(folder, 'st2.yaml')}: written; pcache mount st2 --config-dir ${folder} mounts it\n`);
  t.regex(readFileSync(join(folder, 'st2.yaml'), 'utf8'), /\n {2}#flush_on_stop: true /);
});

shmTest(`config init sets flush_on_stop for a cache in memory, also for one that is not there yet, and says so${lacks}`, async (t) => {
  const [folder, memory] = [temporaryFolder(t), memoryFolder(t)];
  for (const name of ['there', 'not']) {
    const cache = join(memory, name);
    if (name === 'there') writeFileSync(cache, '');
    const { stderr } = await runMain(['config', 'init', name, cache, '/dev/null', folder, '--config-dir', folder]);
    t.true(stderr.includes(`cache: ${cache} is in memory: flush_on_stop is set, `), stderr);
    t.regex(readFileSync(join(folder, `${name}.yaml`), 'utf8'), /\n {2}flush_on_stop: true\n/);
    const checked = await runMain(['config', 'check', name, '--config-dir', folder]);
    t.notRegex(checked.stderr, /in memory/);
  }
});

shmTest(`config check warns of a cache in memory without flush_on_stop, and finds no fault with it${lacks}`, async (t) => {
  const [folder, memory] = [temporaryFolder(t), memoryFolder(t)];
  const cache = join(memory, 'cache.pmem');
  writeFileSync(cache, '');
  writeFileSync(join(folder, 'vol.yaml'), `cache: ${cache}\nbacking: /dev/null\nmountpoint: ${folder}\n`);
  const { status, stdout, stderr } = await runMain(['config', 'check', '--config-dir', folder]);
  t.is(status, 0);
  t.regex(stdout, /^vol: fine: /);
  t.true(
    stderr.includes(
      `vol.yaml: cache: ${cache} is in memory: a restart of the machine loses what is not written back; flush_on_stop: true `,
    ),
  );
});

shmTest(`config init leaves a read-only mount of a cache in memory as it was asked for${lacks}`, async (t) => {
  const [folder, memory] = [temporaryFolder(t), memoryFolder(t)];
  await runMain(['config', 'init', 'vol', join(memory, 'c'), '/dev/null', folder, '-o', 'ro', '--config-dir', folder]);
  t.regex(readFileSync(join(folder, 'vol.yaml'), 'utf8'), /\n {2}#flush_on_stop: true /);
});
