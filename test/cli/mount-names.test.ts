// The name of a configuration in place of the mount point that it names.

import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import anyTest, { type ExecutionContext } from 'ava';
import { mountPointMeant } from '../../src/cli/gateway-of.js';
import { PcacheError } from '../../src/errors.js';
import { FakeGateway, runPcache } from '../gateway/fake-gateway.js';
import { whyNoFuse } from '../fuse/memory-mount.js';
import { temporaryFolder } from '../support/tmp.js';

const noFuse = whyNoFuse();
const withFuse = noFuse === undefined ? anyTest.serial : anyTest.skip;

/** A folder with the configuration `vol`. */
function configFolder(t: ExecutionContext, mountpoint: string): string {
  const folder = temporaryFolder(t);
  writeFileSync(join(folder, 'vol.yaml'), `cache: /fast/cache.pmem\nbacking: /dev/sdb\nmountpoint: ${mountpoint}\n`);
  writeFileSync(join(folder, 'broken.yaml'), 'cache: /fast/cache.pmem\nbackin: /dev/sdb\n');
  return folder;
}

withFuse(
  `a volume is flushed, tuned and unmounted by the name of its configuration${noFuse === undefined ? '' : ` (skipped: ${noFuse})`}`,
  async (t) => {
    const gateway = await FakeGateway.serving(t);
    const folder = configFolder(t, gateway.mountpoint);
    const env = { PCACHE_RUNTIME_DIR: gateway.plan.runtimeDirectory };
    const dir = ['--config-dir', folder];
    const flush = await runPcache(['flush', 'vol', ...dir], env);
    t.deepEqual([flush.status, flush.stderr], [0, '']);
    t.true(flush.stdout.startsWith(`${gateway.mountpoint}: 12 KiB written back`));
    const inEnvironment = { ...env, PCACHE_CONFIG_DIR: folder };
    t.is((await runPcache(['message', 'vol', 'gc_percent', '50'], inEnvironment)).status, 0);
    const loop = await runPcache(['loop', 'detach', 'vol', ...dir], env);
    t.deepEqual([loop.status, loop.stderr], [1, `pcache: ${gateway.mountpoint}: no loop device over it\n`]);
    const umount = await runPcache(['umount', 'vol'], inEnvironment);
    t.deepEqual([umount.status, umount.stderr], [0, '']);
    t.true(umount.stdout.startsWith(`${gateway.mountpoint}: unmounted`));
    const again = await runPcache(['umount', 'vol'], inEnvironment);
    t.deepEqual([again.status, again.stdout], [1, '']);
    t.regex(again.stderr, new RegExp(`^pcache: ${gateway.mountpoint}: not a mounted pcache volume\\n`));
  },
);

anyTest.serial('what is there as a file goes before a name, and a word that is neither is refused with a hint', async (t) => {
  const folder = configFolder(t, '/mnt/vol');
  const before = process.cwd();
  const here = temporaryFolder(t);
  process.chdir(here);
  try {
    t.is(await mountPointMeant('vol', folder), '/mnt/vol');
    t.is(await mountPointMeant('./vol', folder), './vol');
    t.is(await mountPointMeant('two words', folder), 'two words');
    mkdirSync(join(here, 'vol'));
    t.is(await mountPointMeant('vol', folder), 'vol');
    const unknown = await t.throwsAsync(mountPointMeant('vool', folder), { instanceOf: PcacheError });
    t.like(unknown, { code: 'not-found', message: 'vool: not a mounted pcache volume, and no such configuration' });
    await t.throwsAsync(mountPointMeant('broken', folder), { instanceOf: PcacheError, message: /broken\.yaml:2: backin: / });
  } finally {
    process.chdir(before);
  }
});
