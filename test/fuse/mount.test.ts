// Mounting and unmounting, and everything that can be wrong with a mount point.

import { execFileSync } from 'node:child_process';
import * as fs from 'node:fs';
import * as path from 'node:path';
import { fileURLToPath } from 'node:url';
import test, { type ExecutionContext } from 'ava';
import { errno } from '../../src/device/errno-codes.js';
import { systemError } from '../../src/device/system-error.js';
import { PcacheError } from '../../src/errors.js';
import { abortAfter, abortConnection, connectionNamed, connectionNumber } from '../../src/fuse/connection.js';
import { devFuseError } from '../../src/fuse/dev-fuse.js';
import { checkMountpoint, mountFuse, unmountFuse } from '../../src/fuse/mount.js';
import { canonicalPath, mountAt, mountNamed, parseMountinfo } from '../../src/fuse/mountinfo.js';
import { openDevFuse, negotiate, queueDescriptors } from '../../src/fuse/session.js';
import { whoUses } from '../../src/fuse/who-uses.js';
import { isRoot, temporaryFolder } from '../support/tmp.js';
import { whyNoFuse } from './memory-mount.js';

const noFuse = whyNoFuse();

/** Mounts, hands the descriptor to the test, and takes everything away again. */
function withMount(t: ExecutionContext, kind: 'directory' | 'file', readOnly: boolean): { mountpoint: string; fd: number } {
  const mountpoint = path.join(temporaryFolder(t), 'mnt with space');
  if (kind === 'file') fs.writeFileSync(mountpoint, '');
  else fs.mkdirSync(mountpoint);
  const fd = mountFuse({ mountpoint, kind, fsName: 'source', readOnly });
  t.teardown(() => {
    fs.closeSync(fd);
    if (mountAt(mountpoint) !== undefined) unmountFuse(mountpoint, { lazy: true });
  });
  return { mountpoint, fd };
}

const mountTest = (title: string, body: (t: ExecutionContext) => void): void => {
  if (noFuse === undefined) test.serial(title, body);
  else test.skip(`${title} (${noFuse})`, body);
};

mountTest('a mount has the type fuse.pcache, its source, and a connection number', (t) => {
  const { mountpoint, fd } = withMount(t, 'directory', false);
  const entry = mountAt(mountpoint)!;
  t.is(entry.type, 'fuse.pcache');
  t.is(entry.source, 'source');
  t.false(entry.readOnly);
  t.is(connectionNumber(mountpoint), entry.deviceMinor);
  const session = negotiate(fd);
  t.is(session.major, 7);
  t.true(session.maxWriteBytes >= 128 * 1024);
  t.is(unmountFuse(mountpoint), 'done');
  t.is(connectionNumber(mountpoint), undefined);
});

mountTest('a regular file can be the mount point, and a mount can be read-only', (t) => {
  const { mountpoint } = withMount(t, 'file', true);
  t.true(mountAt(mountpoint)!.readOnly);
  t.is(unmountFuse(mountpoint), 'done');
  t.true(fs.lstatSync(mountpoint).isFile());
});

mountTest('a connection that ends before it is aborted takes no other one with it that has its number by then', (t) => {
  const first = withMount(t, 'directory', false);
  const number = connectionNumber(first.mountpoint)!;
  let second: { mountpoint: string; fd: number } | undefined;
  abortAfter(number, () => {
    t.is(unmountFuse(first.mountpoint), 'done');
    second = withMount(t, 'directory', false);
  });
  if (connectionNumber(second!.mountpoint) !== number) t.log('the number was not given again');
  // An aborted one has no request to begin with.
  t.is(negotiate(second!.fd).major, 7);
  t.throws(() => abortConnection(999_999_999), { code: 'not-found' });
});

mountTest('queue descriptors are different open files of one session', (t) => {
  const { fd } = withMount(t, 'directory', false);
  negotiate(fd);
  const fds = queueDescriptors(fd, 3);
  t.is(fds.length, 3);
  t.is(fds[0], fd);
  t.is(new Set(fds).size, 3);
  for (const clone of fds.slice(1)) fs.closeSync(clone);
});

mountTest('a mount point that is a mount already is refused, by any name, without looking at it', (t) => {
  const { mountpoint } = withMount(t, 'directory', false);
  const link = path.join(path.dirname(mountpoint), 'link');
  fs.symlinkSync('mnt with space', link);
  // Nobody answers this mount: a look at it would hang.
  t.throws(() => mountFuse({ mountpoint, kind: 'directory', fsName: 'source' }), {
    code: 'busy',
    message: /already a mount point \(fuse.pcache\)/,
  });
  t.throws(() => checkMountpoint(link, 'directory'), { code: 'busy', message: /already a mount point/ });
  t.is(canonicalPath(link), mountpoint);
  // By its name a mount is found without a look at any path, so not by another.
  t.deepEqual([mountNamed(mountpoint)?.type, mountNamed(link)], ['fuse.pcache', undefined]);
  t.is(connectionNamed(mountpoint), connectionNumber(link));
  t.is(connectionNamed(link), undefined);
  t.deepEqual(whoUses(link), []);
  t.is(unmountFuse(link), 'done');
});

test('a mount point must exist and be of the right kind, and a directory empty', (t) => {
  const folder = temporaryFolder(t);
  const file = path.join(folder, 'file');
  fs.writeFileSync(file, 'x');
  t.throws(() => checkMountpoint(path.join(folder, 'none'), 'directory'), {
    code: 'not-found',
    message: /none: no such file or directory/,
  });
  t.throws(() => checkMountpoint(path.join(folder, 'no', 'parent'), 'directory'), { code: 'not-found' });
  t.throws(() => checkMountpoint(path.join(file, 'below'), 'directory'), { code: 'not-found' });
  t.throws(() => checkMountpoint(file, 'directory'), { code: 'usage', message: /not a directory/ });
  t.throws(() => checkMountpoint(folder, 'file'), { code: 'usage', message: /not a regular file/ });
  t.throws(() => checkMountpoint(folder, 'directory'), { code: 'busy', message: /not empty/ });
  t.throws(() => unmountFuse(folder), { code: 'not-found', message: /not a mount point/ });
  t.is(checkMountpoint(file, 'file'), file);
  fs.symlinkSync(folder, path.join(folder, 'loop'));
  t.throws(() => checkMountpoint(path.join(folder, 'loop'), 'directory'), { code: 'busy' });
});

const whyNotAsUser = !isRoot
  ? 'this is a user already'
  : (noFuse ?? (['unshare', 'fusermount3'].find((tool) => !hasTool(tool)) === undefined ? undefined : 'unshare or fusermount3 is missing'));

(whyNotAsUser === undefined ? test.serial : test.skip)(
  `a user mounts with fusermount3, and is told what stands in the way${whyNotAsUser === undefined ? '' : ` (${whyNotAsUser})`}`,
  (t) => {
    const folder = temporaryFolder(t);
    fs.chmodSync(folder, 0o755);
    fs.mkdirSync(path.join(folder, 'own'));
    fs.chownSync(path.join(folder, 'own'), 65534, 65534);
    fs.mkdirSync(path.join(folder, 'foreign'), { mode: 0o755 });
    // In a mount namespace of its own, /dev/fuse is open to everyone, as on most systems; here it may not be.
    const script = 'mknod "$1/fuse" c 10 229 && chmod 666 "$1/fuse" && mount --bind "$1/fuse" /dev/fuse && exec "$2" "$3" "$1"';
    const child = fileURLToPath(new URL('./mount-as-user.js', import.meta.url));
    const text = execFileSync('unshare', ['--mount', 'sh', '-c', script, 'sh', folder, process.execPath, child], {
      encoding: 'utf8',
      timeout: 30_000,
    });
    const [mounted, allowOther, foreign, noHelper] = JSON.parse(text) as string[];
    t.is(mounted, '7 3 fuse.pcache a,b done');
    if (fs.existsSync('/etc/fuse.conf') && /^\s*user_allow_other/m.test(fs.readFileSync('/etc/fuse.conf', 'utf8'))) {
      t.log('user_allow_other is set here, so its absence is not tested');
    } else {
      t.regex(allowOther!, /^permission: .*allow_other is not allowed to users \| Put the line user_allow_other/);
    }
    t.regex(foreign!, /^permission: .*foreign: permission denied/);
    t.regex(noHelper!, /^unsupported: .*no root and no fusermount3 \| Install the package fuse3/);
  },
);

(!isRoot && !canOpenDevFuse() ? test : test.skip)(
  'a /dev/fuse that may not be opened is an error with a hint (needs a user and a closed /dev/fuse)',
  (t) => {
    t.throws(openDevFuse, { code: 'permission', message: '/dev/fuse: permission denied' });
  },
);

test('what to do about a /dev/fuse that is missing, or that this user may not open, is in the error', (t) => {
  const told = (number: number): string[] => {
    const error = devFuseError(systemError('/dev/fuse', number));
    return error instanceof PcacheError ? [error.code, error.message, error.hint ?? ''] : [];
  };
  const [code, message, hint] = told(errno.EACCES);
  t.deepEqual([code, message], ['permission', '/dev/fuse: permission denied']);
  t.regex(hint!, /^Run as root, or let this user read and write it /);
  t.is(told(errno.ENOENT)[0], 'not-found');
  t.regex(told(errno.ENOENT)[2]!, /modprobe fuse/);
});

test('mountinfo lines are read with their escapes, and other lines are left out', (t) => {
  const text = [
    '22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw',
    String.raw`40 22 0:39 / /mnt/a\040b\134c ro,nosuid,nodev,relatime - fuse.pcache two\040words rw,user_id=0`,
    '41 22 0:300 / /x rw master:1 propagate_from:2 - tmpfs  rw',
    'nonsense',
    '',
  ].join('\n');
  t.deepEqual(
    parseMountinfo(text).map(({ mountpoint, type, source, readOnly, deviceMajor, deviceMinor }) => [
      mountpoint,
      type,
      source,
      readOnly,
      deviceMajor,
      deviceMinor,
    ]),
    [
      ['/', 'ext4', '/dev/vda', false, 254, 0],
      ['/mnt/a b\\c', 'fuse.pcache', 'two words', true, 0, 39],
      ['/x', 'tmpfs', '', false, 0, 300],
    ],
  );
});

function hasTool(name: string): boolean {
  return (process.env.PATH ?? '').split(':').some((directory) => fs.existsSync(path.join(directory, name)));
}

function canOpenDevFuse(): boolean {
  try {
    fs.accessSync('/dev/fuse', fs.constants.R_OK | fs.constants.W_OK);
    return true;
  } catch {
    return false;
  }
}
