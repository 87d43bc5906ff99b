import { chmodSync, chownSync, mkdirSync, readdirSync, readlinkSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import test from 'ava';
import { PcacheError } from '../../src/errors.js';
import { mountPointName } from '../../src/gateway/mount-point-name.js';
import { isSameProcess, startTicksOf } from '../../src/gateway/process-identity.js';
import {
  claimEntry,
  isRunning,
  makeRuntimeDirectory,
  pathsForSocket,
  readEntry,
  removeEntry,
  runtimeDirectoryName,
  runtimePaths,
  updateEntry,
  type RuntimeEntry,
} from '../../src/gateway/runtime-files.js';
import { isRoot, temporaryFolder } from '../support/tmp.js';

function entryFor(mountpoint: string, changes: Partial<RuntimeEntry> = {}): RuntimeEntry {
  return {
    mountpoint,
    mount_kind: 'directory',
    cache: '/c',
    backing: '/b',
    supervisor_pid: process.pid,
    supervisor_start_ticks: startTicksOf(process.pid) ?? 0,
    engine_pid: 0,
    socket: '/s',
    log: '/l',
    started_ms: 1,
    ...changes,
  };
}

function codeOf(action: () => unknown): string {
  try {
    action();
  } catch (error) {
    if (error instanceof PcacheError) return error.code;
    throw error;
  }
  return 'none';
}

test('each user has a folder: the environment names it, or root and others have their own', (t) => {
  t.is(runtimeDirectoryName({ PCACHE_RUNTIME_DIR: '/x' }, 5), '/x');
  t.is(runtimeDirectoryName({ XDG_RUNTIME_DIR: '/run/user/5' }, 0), '/run/pcache');
  t.is(runtimeDirectoryName({ XDG_RUNTIME_DIR: '/run/user/5' }, 5), '/run/user/5/pcache');
  t.is(runtimeDirectoryName({}, 5), '/tmp/pcache-5');
});

test('the folder is made for its owner alone, and used again', (t) => {
  const directory = join(temporaryFolder(t), 'pcache');
  t.is(makeRuntimeDirectory(directory), directory);
  t.is(statSync(directory).mode & 0o777, 0o700);
  t.is(makeRuntimeDirectory(directory), directory);
});

test('a folder that others may enter, a file and a link are refused', (t) => {
  const folder = temporaryFolder(t);
  const [open, file, link] = ['open', 'file', 'link'].map((name) => join(folder, name)) as [string, string, string];
  mkdirSync(open);
  chmodSync(open, 0o750);
  writeFileSync(file, '');
  mkdirSync(join(folder, 'good'), { mode: 0o700 });
  symlinkSync('good', link);
  for (const path of [open, file, link])
    t.is(
      codeOf(() => makeRuntimeDirectory(path)),
      'permission',
      path,
    );
});

if (isRoot) {
  test("another user's folder is refused", (t) => {
    const folder = temporaryFolder(t);
    const directory = makeRuntimeDirectory(join(folder, 'pcache'));
    chownSync(directory, 12345, 12345);
    t.is(
      codeOf(() => makeRuntimeDirectory(directory)),
      'permission',
    );
  });
} else {
  test.skip("another user's folder is refused (needs root)", (t) => t.pass());
}

test('a folder whose path is too long for a socket is refused', (t) => {
  t.is(
    codeOf(() => runtimePaths('/mnt', `/${'x'.repeat(100)}`)),
    'unsupported',
  );
});

test('a claim can be read, changed and given back, and leaves nothing', (t) => {
  const directory = temporaryFolder(t);
  const paths = runtimePaths('/mnt/a', directory);
  claimEntry(paths, entryFor('/mnt/a'));
  t.deepEqual(readEntry(paths.entry), { ...entryFor('/mnt/a'), socket: paths.socket, log: paths.log });
  t.is(statSync(paths.entry).mode & 0o777, 0o600);
  updateEntry(paths, entryFor('/mnt/a', { engine_pid: 7 }));
  t.is(readEntry(paths.entry)?.engine_pid, 7);
  writeFileSync(paths.log, 'x');
  t.deepEqual(pathsForSocket(paths.socket), paths);
  removeEntry(paths, { log: 'keep' });
  t.deepEqual(readdirSync(directory), [basename(paths.log)]);
  removeEntry(paths, { log: 'remove' });
  t.deepEqual(readdirSync(directory), []);
});

test('a mount point that a living supervisor has is not given to another', (t) => {
  const paths = runtimePaths('/mnt/a', temporaryFolder(t));
  claimEntry(paths, entryFor('/mnt/a'));
  t.is(
    codeOf(() => claimEntry(paths, entryFor('/mnt/a', { cache: '/other' }))),
    'in-use',
  );
  t.is(readEntry(paths.entry)?.cache, '/c');
});

test('the claim of a dead supervisor is void, even if its pid lives again', (t) => {
  const paths = runtimePaths('/mnt/a', temporaryFolder(t));
  claimEntry(paths, entryFor('/mnt/a', { supervisor_start_ticks: 1 }));
  t.false(isRunning(readEntry(paths.entry)!));
  claimEntry(paths, entryFor('/mnt/a', { cache: '/new' }));
  t.is(readEntry(paths.entry)?.cache, '/new');
  t.true(isRunning(readEntry(paths.entry)!));
});

test('what is no entry is none', (t) => {
  const path = join(temporaryFolder(t), 'x.json');
  t.is(readEntry(path), undefined);
  for (const text of ['', '{', '[]', 'null', '{"mountpoint":"/a"}', JSON.stringify({ ...entryFor('/a'), supervisor_pid: '1' })]) {
    writeFileSync(path, text);
    t.is(readEntry(path), undefined, text);
  }
});

test('a process is known by its start time', (t) => {
  const ticks = startTicksOf(process.pid);
  t.true(ticks !== undefined && ticks > 0);
  t.true(isSameProcess(process.pid, ticks ?? 0));
  t.false(isSameProcess(process.pid, 1));
  t.is(startTicksOf(2 ** 22 + 1), undefined);
});

test('a mount point has one name, however it is written', (t) => {
  const folder = temporaryFolder(t);
  mkdirSync(join(folder, 'real/mnt'), { recursive: true });
  symlinkSync('real', join(folder, 'link'));
  symlinkSync('real/mnt', join(folder, 'mount-link'));
  const name = mountPointName(join(folder, 'real/mnt'));
  for (const path of ['link/mnt', 'real/mnt/', 'real/../link/./mnt', 'mount-link']) t.is(mountPointName(join(folder, path)), name, path);
  t.is(basename(name), 'mnt');
  t.is(readlinkSync(join(folder, 'link')), 'real');
});

test('a mount point that is missing has a name, one below a missing folder or in a circle of links has none', (t) => {
  const folder = temporaryFolder(t);
  symlinkSync('b', join(folder, 'a'));
  symlinkSync('a', join(folder, 'b'));
  t.is(basename(mountPointName(join(folder, 'missing'))), 'missing');
  t.is(
    codeOf(() => mountPointName(join(folder, 'missing/mnt'))),
    'not-found',
  );
  t.is(
    codeOf(() => mountPointName(join(folder, 'a'))),
    'not-found',
  );
});
