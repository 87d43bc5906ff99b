// The bundled programs of the build under test: made from its modules, used only then, and whole.

import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { constants, cpSync, existsSync, mkdirSync, readFileSync, readdirSync, statSync, utimesSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import test from 'ava';
import { waitUntil } from './support/mounted-commands.js';
import { mountTest, mounted } from './support/mounted.js';
import { temporaryFolder } from './support/tmp.js';

const build = fileURLToPath(new URL('../', import.meta.url));
const bundle = join(build, 'bundle');
const areRequired = process.env.PCACHE_BUNDLES === 'required';

/** What `made-from` says of tsc's record. */
function recordOf(folder: string): string {
  const { size, mtimeMs } = statSync(join(folder, '.tsbuildinfo'));
  return `${size} ${mtimeMs}`;
}

function whyNoBundles(): string | undefined {
  if (!existsSync(bundle)) return 'this build has no bundles';
  return readFileSync(join(bundle, 'made-from'), 'utf8') === recordOf(build)
    ? undefined
    : 'the bundles are of another run of tsc, and not used';
}

const lacks = areRequired ? undefined : whyNoBundles();
const ifBundled = lacks === undefined ? test : test.skip;
const skipped = lacks === undefined ? '' : ` (skipped: ${lacks})`;

test('a build that is tested as users run it has bundles of its own modules', (t) => {
  if (!areRequired) t.log('skipped: it is not said that there must be bundles');
  t.is(areRequired ? whyNoBundles() : undefined, undefined);
});

ifBundled(`bundles are made from the modules beside them, and from all programs${skipped}`, (t) => {
  const lines = readFileSync(join(bundle, 'modules.sha256'), 'utf8').trimEnd().split('\n');
  for (const line of lines) {
    const [digest, path] = line.split('  ') as [string, string];
    t.is(
      createHash('sha256')
        .update(readFileSync(join(build, path)))
        .digest('hex'),
      digest,
      path,
    );
  }
  const programs = readdirSync(join(build, 'src', 'gateway')).filter((name) => /-(main|worker)\.js$/.test(name));
  for (const name of ['pcache.js', 'command-line.js', ...programs]) t.true(existsSync(join(bundle, name)), name);
});

ifBundled(`the licence of every package in a bundle goes with it${skipped}`, (t) => {
  const licences = readFileSync(join(bundle, 'LICENSES'), 'utf8');
  const names = new Set<string>();
  for (const name of readdirSync(bundle).filter((each) => each.endsWith('.map'))) {
    const { sources } = JSON.parse(readFileSync(join(bundle, name), 'utf8')) as { sources: string[] };
    for (const source of sources) {
      const found = /node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(source);
      if (found !== null) names.add(found[1]!);
    }
  }
  t.true(names.has('commander') && names.has('pino'));
  for (const name of names) t.regex(licences, new RegExp(`^${name} [0-9.]+ \\(`, 'm'));
});

ifBundled(`the command runs its bundle if that was made from the modules beside it, and otherwise these${skipped}`, (t) => {
  const folder = temporaryFolder(t, build);
  for (const [path, says] of [
    ['bin/command-line.js', 'modules'],
    ['bundle/command-line.js', 'bundle'],
  ] as const) {
    mkdirSync(dirname(join(folder, path)), { recursive: true });
    writeFileSync(join(folder, path), `console.log('${says}');`);
  }
  for (const path of ['bin/pcache.js', 'bundle/pcache.js', 'bundle/package.json']) cpSync(join(build, path), join(folder, path));
  const record = join(folder, '.tsbuildinfo');
  const run = (): string[] =>
    ['bin', 'bundle'].map((part) =>
      execFileSync(process.execPath, [join(folder, part, 'pcache.js')], { encoding: 'utf8', timeout: 20_000 }).trim(),
    );
  const note = (): void => writeFileSync(join(folder, 'bundle', 'made-from'), recordOf(folder));

  writeFileSync(record, 'one');
  note();
  t.deepEqual(run(), ['bundle', 'bundle']);
  const { atime, mtimeMs } = statSync(record);
  utimesSync(record, atime, mtimeMs / 1000 + 2);
  t.deepEqual(run(), ['modules', 'modules'], 'tsc has run again');
  note();
  t.deepEqual(run(), ['bundle', 'bundle']);
  writeFileSync(record, 'another');
  t.deepEqual(run(), ['modules', 'modules'], 'tsc has written something else');
});

mountTest(`the bundles serve a volume without the modules they were made from, through the death of an engine`, lacks, async (t) => {
  // As in a package, which has no record of tsc's. Within the build, since packages are searched from there.
  const folder = temporaryFolder(t, build);
  cpSync(bundle, join(folder, 'bundle'), { recursive: true });
  const gateway = await mounted(t, { program: join(folder, 'bundle', 'pcache.js') });
  const client = gateway.client();
  const bytes = Buffer.alloc(8192, 'bundle');
  const fd = await client.call('open', gateway.volume, constants.O_RDWR);
  await client.call('write', fd, 4096, bytes);
  await client.call('fsync', fd);
  process.kill(gateway.pids.engine, 'SIGKILL');
  await waitUntil(() => gateway.enginePid !== gateway.pids.engine, 'another engine is started');
  t.deepEqual(await client.call('read', fd, 4096, bytes.length), bytes);
  await client.close();
  await gateway.umount('--flush');
  t.deepEqual(readFileSync(gateway.backing).subarray(4096, 4096 + bytes.length), bytes);
});

mountTest(
  `an engine of another version is not started under an older supervisor, and the log says what to do${skipped}`,
  lacks,
  async (t) => {
    const folder = temporaryFolder(t, build);
    const installed = join(folder, 'bundle');
    cpSync(bundle, installed, { recursive: true });
    const gateway = await mounted(t, { program: join(installed, 'pcache.js') });
    await waitUntil(() => hasLoadedSpare(gateway.pids.supervisor), 'there is a spare');
    // Another version is installed over the one that serves.
    const files = readdirSync(installed).filter((name) => /^engine-main.*\.js$/.test(name));
    const others = files.map((name) =>
      readFileSync(join(installed, name), 'utf8').replace(/(programBuild = .*?")[0-9a-f]{64}"/, `$1${'0'.repeat(64)}"`),
    );
    t.is(others.filter((text) => /programBuild = .*"0{64}"/.test(text)).length, 1);
    for (const [at, name] of files.entries()) writeFileSync(join(installed, name), others[at]!);

    const bytes = Buffer.alloc(8192, 'older');
    const client = gateway.client();
    const fd = await client.call('open', gateway.volume, constants.O_RDWR);
    await client.call('write', fd, 4096, bytes);
    process.kill(gateway.pids.engine, 'SIGKILL');
    await waitUntil(() => gateway.enginePid !== gateway.pids.engine, 'the spare takes over, which is of the older version');
    t.deepEqual(await client.call('read', fd, 4096, bytes.length), bytes);
    const says = /the files of the program were replaced by another version since the volume was mounted: unmount it, and mount it again/;
    await waitUntil(() => says.test(gateway.log()), 'the log says that there will be no other spare');
    await client.close();
    await gateway.umount('--flush');
    t.deepEqual(readFileSync(gateway.backing).subarray(4096, 4096 + bytes.length), bytes);
  },
);

/** It has loaded its program when it has its name. */
function hasLoadedSpare(supervisorPid: number): boolean {
  const children = readFileSync(`/proc/${supervisorPid}/task/${supervisorPid}/children`, 'utf8').trim().split(' ');
  return children.some((pid) => existsSync(`/proc/${pid}`) && readFileSync(`/proc/${pid}/cmdline`, 'latin1').startsWith('pcache-spare'));
}
