// What a user can do wrong with a mount: one line that says what and why, the promised exit status, and neither cache nor backing file changed.

import { closeSync, ftruncateSync, mkdirSync, openSync, readdirSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { ExecutionContext } from 'ava';
import { pattern } from '../fuse/conformance.js';
import { run, runOk } from '../support/mounted-commands.js';
import { MIB, TestGateway, mountTest, mounted, unmounted } from '../support/mounted.js';
import { isRoot, smallTmpfs } from '../support/tmp.js';

const VOLUME_BYTES = 16 * MIB;

interface Mistake {
  readonly what: string;
  /** Arguments of pcache. */
  readonly args: (gateway: TestGateway) => string[];
  readonly status: 1 | 2;
  /** All of the error line after `pcache: `; FOLDER, CACHE, BACKING and MOUNTPOINT stand for the paths. */
  readonly says: RegExp;
}

/** A file of so many bytes, all zeros, beside the others. */
function file(gateway: TestGateway, name: string, sizeBytes: number): string {
  const path = join(gateway.folder, name);
  const fd = openSync(path, 'w');
  ftruncateSync(fd, sizeBytes);
  closeSync(fd);
  return path;
}

const mistakes: readonly Mistake[] = [
  {
    what: 'another backing device of the same size',
    args: (g) => ['mount', g.cache, file(g, 'other.img', VOLUME_BYTES), g.mountpoint],
    status: 1,
    says: /^CACHE: .*belongs to another backing device/,
  },
  {
    what: 'a backing device of another size',
    args: (g) => ['mount', g.cache, file(g, 'larger.img', VOLUME_BYTES + 512), g.mountpoint],
    status: 1,
    says: /^CACHE: .*16777216.*16777728|^CACHE: .*16777728.*16777216/,
  },
  {
    what: 'adopting a backing device of another size',
    args: (g) => ['mount', g.cache, file(g, 'larger.img', VOLUME_BYTES + 512), g.mountpoint, '-o', 'adopt'],
    status: 1,
    says: /^CACHE: .*16777216.*16777728|^CACHE: .*16777728.*16777216/,
  },
  {
    what: 'a cache that is none',
    args: (g) => ['mount', file(g, 'zeros', 96 * MIB), g.backing, g.mountpoint],
    status: 1,
    says: /^FOLDER\/zeros: not a cache: /,
  },
  {
    what: 'a cache that is too short',
    args: (g) => ['mount', file(g, 'short', 4096), g.backing, g.mountpoint],
    status: 1,
    says: /^FOLDER\/short: not a cache: 4 KiB are too few$/,
  },
  {
    what: 'cache and backing device in the wrong order',
    args: (g) => ['mount', g.backing, g.cache, g.mountpoint],
    status: 1,
    says: /^BACKING: not a cache, but CACHE is one: wrong order$/,
  },
  {
    what: 'the cache as its own backing device',
    args: (g) => ['mount', g.cache, g.cache, g.mountpoint],
    status: 2,
    says: /^CACHE: cache and backing device are the same$/,
  },
  {
    what: 'a cache that does not exist',
    args: (g) => ['mount', join(g.folder, 'none'), g.backing, g.mountpoint],
    status: 1,
    says: /^FOLDER\/none: no such file or directory/i,
  },
  {
    what: 'a backing device that does not exist',
    args: (g) => ['mount', g.cache, join(g.folder, 'none'), g.mountpoint],
    status: 1,
    says: /^FOLDER\/none: no such file or directory/i,
  },
  {
    what: 'a backing device that is a directory',
    args: (g) => ['mount', g.cache, g.folder, g.mountpoint],
    status: 1,
    says: /^FOLDER: neither a regular file nor a block device/,
  },
  {
    what: 'a backing file whose size is not a multiple of 512',
    args: (g) => ['mount', g.cache, file(g, 'odd.img', VOLUME_BYTES + 100), g.mountpoint],
    status: 1,
    says: /^FOLDER\/odd.img: .*512/,
  },
  {
    what: 'an empty backing file',
    args: (g) => ['mount', g.cache, file(g, 'empty.img', 0), g.mountpoint],
    status: 1,
    says: /^FOLDER\/empty.img: .*(empty|0 bytes)/,
  },
  {
    what: 'a mount point that does not exist',
    args: (g) => ['mount', g.cache, g.backing, join(g.folder, 'none')],
    status: 1,
    says: /^FOLDER\/none: no such file or directory/i,
  },
  {
    what: 'a mount point that is not empty',
    args: (g) => ['mount', g.cache, g.backing, g.folder],
    status: 1,
    says: /^FOLDER: .*not empty$/,
  },
  {
    what: 'a mount point that is a file with content',
    args: (g) => {
      const path = join(g.folder, 'content');
      writeFileSync(path, 'precious');
      return ['mount', g.cache, g.backing, path];
    },
    status: 1,
    says: /^FOLDER\/content: the file is not empty$/,
  },
  {
    what: 'a mount point that is the backing file',
    args: (g) => ['mount', g.cache, g.backing, g.backing],
    status: 2,
    says: /^BACKING: is BACKING itself, not a mount point$/,
  },
  {
    what: 'an unknown mount option',
    args: (g) => ['mount', g.cache, g.backing, g.mountpoint, '-o', 'worker=3'],
    status: 2,
    says: /^mount option worker: unknown option$/,
  },
  {
    what: 'too many workers',
    args: (g) => ['mount', g.cache, g.backing, g.mountpoint, '-o', 'workers=65'],
    status: 2,
    says: /^mount option workers=65: not a number from 1 to 64$/,
  },
  {
    what: 'a missing argument',
    args: (g) => ['mount', g.cache, g.backing],
    status: 2,
    says: /^mount: MOUNTPOINT is missing$/,
  },
  {
    what: 'umount of what is not mounted',
    args: (g) => ['umount', g.mountpoint],
    status: 1,
    says: /^MOUNTPOINT: not a mounted pcache volume$/,
  },
  {
    what: 'flush of what is not mounted',
    args: (g) => ['flush', g.mountpoint],
    status: 1,
    says: /^MOUNTPOINT: not a mounted pcache volume$/,
  },
  {
    what: 'format of a cache with dirty data',
    args: (g) => ['format', g.cache],
    status: 1,
    says: /^CACHE: holds a cache with .* of dirty data, which would be lost$/,
  },
  {
    what: 'format of another size',
    args: (g) => ['format', g.cache, '--size', '128M', '--force'],
    status: 2,
    says: /^CACHE: exists with 96 MiB; --size is for new files$/,
  },
];

/** A cache with dirty data that belongs to its backing file, not mounted. */
async function dirtyCache(t: ExecutionContext): Promise<TestGateway> {
  const gateway = await mounted(t, { volumeBytes: VOLUME_BYTES });
  const client = gateway.client();
  const fd = await client.call('open', gateway.volume, 2);
  await client.call('write', fd, 12_288, pattern(1_000_000, 1));
  await client.call('close', fd);
  t.regex(await gateway.umount(), /of dirty data stay in/);
  return gateway;
}

/** Copies cache and backing file. @returns a function that says which of them differ from their copies */
async function keepCopies(gateway: TestGateway): Promise<() => Promise<string[]>> {
  const copies = [gateway.cache, gateway.backing].map((path, index) => ({ path, copy: join(gateway.folder, `copy-${index}`) }));
  for (const { path, copy } of copies) await runOk('cp', [path, copy]);
  return async () => {
    const results = await Promise.all(copies.map(({ path, copy }) => run('cmp', ['-s', path, copy])));
    return copies.filter((_, index) => results[index]!.status !== 0).map(({ path }) => path);
  };
}

function withNames(text: string, gateway: TestGateway): string {
  return text
    .replaceAll(gateway.mountpoint, 'MOUNTPOINT')
    .replaceAll(gateway.cache, 'CACHE')
    .replaceAll(gateway.backing, 'BACKING')
    .replaceAll(gateway.folder, 'FOLDER');
}

mountTest('each mistake is one clear line, the promised status, and changes nothing', undefined, async (t) => {
  const gateway = await dirtyCache(t);
  const changed = await keepCopies(gateway);
  for (const { what, args, status, says } of mistakes) {
    const result = await gateway.pcache(...args(gateway));
    const [line, hint, ...rest] = withNames(result.stderr, gateway).trimEnd().split('\n');
    t.is(result.status, status, what);
    t.is(result.stdout, '', what);
    t.true(line!.startsWith('pcache: '), `${what}: ${result.stderr}`);
    t.regex(line!.slice('pcache: '.length), says, what);
    if (hint !== undefined) t.regex(hint, /^hint: \S/, what);
    t.deepEqual(rest, [], what);
    t.deepEqual(await changed(), [], what);
    t.deepEqual(gateway.leftovers(), [], what);
  }
  await gateway.mount();
  await gateway.umount('--flush');
});

mountTest('a cache in use, a backing device in use and a mount point in use are refused, and the mount goes on', undefined, async (t) => {
  const gateway = await mounted(t, { volumeBytes: VOLUME_BYTES });
  const second = await unmounted(t, { volumeBytes: VOLUME_BYTES });
  for (const [args, says] of [
    [[gateway.cache, second.backing, second.mountpoint], /^pcache: \S+cache.pmem: .*(in use|served).*\n/],
    [[second.cache, gateway.backing, second.mountpoint], /^pcache: \S+backing.img: .*in use.*\n/],
    [[second.cache, second.backing, gateway.mountpoint], /^pcache: \S+mnt: .*(served|already a mount point).*\n/],
  ] as const) {
    const result = await gateway.pcache('mount', ...args);
    t.is(result.status, 1);
    t.regex(result.stderr, says);
    t.true(result.stderr.trimEnd().split('\n').length <= 2);
  }
  const format = await gateway.pcache('format', gateway.cache, '--force');
  t.is(format.status, 1);
  t.regex(format.stderr, /^pcache: \S+cache.pmem: .*in use.*\nhint: It is mounted at .*\n$/);
  t.is((await gateway.status()).state, 'serving');
  await gateway.umount('--flush');
  // Nothing of the refused mounts stuck to the second cache.
  await second.mount();
  await second.umount();
});

mountTest('of two mounts of one cache at the same moment one is served and the other refused', undefined, async (t) => {
  const gateway = await unmounted(t, { volumeBytes: VOLUME_BYTES });
  const second = join(gateway.folder, 'second');
  mkdirSync(second);
  const results = await Promise.all(
    [gateway.mountpoint, second].map((mountpoint) => gateway.pcache('mount', gateway.cache, gateway.backing, mountpoint)),
  );
  t.deepEqual(results.map((result) => result.status).sort(), [0, 1]);
  t.regex(results.find((result) => result.status === 1)!.stderr, /^pcache: \S+cache.pmem: .*in use.*\n/);
  await gateway.ok('umount', results[0]!.status === 0 ? gateway.mountpoint : second);
  t.deepEqual(gateway.leftovers(), []);
});

mountTest('a cache can adopt another backing device of the same size when told to, and then belongs to that', undefined, async (t) => {
  const gateway = await dirtyCache(t);
  const other = file(gateway, 'other.img', VOLUME_BYTES);
  await gateway.ok('mount', gateway.cache, other, gateway.mountpoint, '-o', 'adopt');
  await gateway.ok('umount', gateway.mountpoint, '--flush');
  t.is((await gateway.pcache('mount', gateway.cache, gateway.backing, gateway.mountpoint)).status, 1);
  await gateway.ok('mount', gateway.cache, other, gateway.mountpoint);
  await gateway.umount();
});

mountTest('a backing file that shrank is refused', undefined, async (t) => {
  const gateway = await dirtyCache(t);
  truncateSync(gateway.backing, VOLUME_BYTES / 2);
  const result = await gateway.pcache(...gateway.mountArguments);
  t.is(result.status, 1);
  t.regex(result.stderr, /^pcache: .*16777216.*8388608|^pcache: .*8388608.*16777216/);
});

mountTest('a full disk is an error of format, and leaves no file', isRoot ? undefined : 'needs root', async (t) => {
  const gateway = await unmounted(t, { volumeBytes: VOLUME_BYTES });
  const small = smallTmpfs(t, 64 * MIB);
  const result = await gateway.pcache('format', join(small, 'cache.pmem'), '--size', '96M');
  t.is(result.status, 1);
  t.regex(result.stderr, /^pcache: \S+cache.pmem: .*no space.*\n/i);
  t.deepEqual(readdirSync(small), []);
});
