// Garbage in the runtime folder, and at the other end of a control socket, as the commands meet it: they end with status 0 or 1, in one line and perhaps
// a hint, wait for nobody, and touch nothing beside the files of the mount point in question. PCACHE_SEED chooses other runs.

import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import fc from 'fast-check';
import { startTicksOf } from '../../src/gateway/process-identity.js';
import { findEntry, listEntries, readEntry, runtimePaths, type RuntimeEntry, type RuntimePaths } from '../../src/gateway/runtime-files.js';
import { runMain, type Ended } from '../cli/run-main.js';
import { temporaryFolder } from '../support/tmp.js';
import { sampleStatus } from './sample-status.js';

const seed = Number(process.env.PCACHE_SEED ?? 1);
/** As text, or as the JSON of `--json`. */
const ERROR_LINES = /^(?:pcache: [^\n]+\n(?:hint: [^\n]+\n)?|\{"error":[^\n]+\}\n)$/;
const NOT_FOR_USERS = /\n\s+at |TypeError|RangeError|undefined|\[object|Cannot read/;

interface Place {
  readonly folder: string;
  readonly directory: string;
  readonly mountpoint: string;
  readonly paths: RuntimePaths;
}

/** A runtime folder, used by this process until the test is over, and a mount point that is not mounted. */
function place(t: ExecutionContext): Place {
  const folder = temporaryFolder(t);
  const [directory, mountpoint] = [join(folder, 'run'), join(folder, 'mnt')];
  mkdirSync(directory, { mode: 0o700 });
  mkdirSync(mountpoint);
  const before = process.env.PCACHE_RUNTIME_DIR;
  process.env.PCACHE_RUNTIME_DIR = directory;
  t.teardown(() => {
    if (before === undefined) delete process.env.PCACHE_RUNTIME_DIR;
    else process.env.PCACHE_RUNTIME_DIR = before;
  });
  return { folder, directory, mountpoint, paths: runtimePaths(mountpoint, directory) };
}

/** As if this process were the mount point's supervisor. */
function entryOf({ mountpoint, paths }: Place, changes: Partial<RuntimeEntry> = {}): RuntimeEntry {
  return {
    mountpoint,
    mount_kind: 'directory',
    cache: '/c',
    backing: '/b',
    supervisor_pid: process.pid,
    supervisor_start_ticks: startTicksOf(process.pid)!,
    engine_pid: process.pid,
    socket: paths.socket,
    log: paths.log,
    started_ms: 1,
    ...changes,
  };
}

function requireGood({ status, stdout, stderr }: Ended, what: string): void {
  if (status !== 0 && status !== 1) throw new Error(`${what}: status ${status}: ${stderr}`);
  if (status === 1 && !ERROR_LINES.test(stderr)) throw new Error(`${what}: ${stderr}`);
  if (NOT_FOR_USERS.test(stdout + stderr)) throw new Error(`${what}: ${stdout}${stderr}`);
  // eslint-disable-next-line no-control-regex -- what a terminal takes for an order is what is looked for
  if (/[\u0000-\u0009\u000b-\u001f\u007f-\u009f]/.test(stdout + stderr))
    throw new Error(`${what}: control characters: ${JSON.stringify(stdout + stderr)}`);
}

const anyText = fc.oneof(
  fc.string({ unit: 'binary', maxLength: 30 }),
  fc.constantFrom('', '/', '/etc/passwd.sock', '\u001b[31m/x', 'a\nb', '../..'),
);
const anyNumber = fc.oneof(fc.constantFrom(0, 1, -1, 2 ** 31, 2 ** 53 - 1, 2 ** 53, 1e308, -0, 4_000_000_000), fc.integer());

const anyEntry = fc.record(
  {
    mountpoint: anyText,
    mount_kind: fc.constantFrom('directory', 'file', 'x', 1),
    cache: anyText,
    backing: anyText,
    supervisor_pid: anyNumber,
    supervisor_start_ticks: anyNumber,
    engine_pid: anyNumber,
    socket: anyText,
    log: anyText,
    started_ms: fc.oneof(anyNumber, fc.jsonValue()),
  },
  { noNullPrototype: true },
);

test.serial('whatever an entry says, status and umount end, and remove nothing but the files beside it', async (t) => {
  t.log(`seed ${seed}`);
  const at = place(t);
  const precious = ['precious.json', 'precious.sock', 'precious.log'].map((name) => join(at.folder, name));
  for (const path of precious) writeFileSync(path, 'x');
  const text = fc.oneof(
    // The mount point's own, with anything in place of what matters less.
    anyEntry.map((changes) => JSON.stringify({ ...changes, mountpoint: at.mountpoint, mount_kind: 'directory' })),
    anyEntry.map((changes) =>
      JSON.stringify({ ...entryOf(at, { supervisor_start_ticks: 1 }), cache: changes.cache, socket: join(at.folder, 'precious.sock') }),
    ),
    anyEntry.map((changes) => JSON.stringify(changes)),
    fc.json(),
    fc.string({ unit: 'binary', maxLength: 200 }),
    fc.nat(900).map((length) => JSON.stringify(entryOf(at)).slice(0, length)),
  );
  const property = fc.asyncProperty(
    text,
    fc.constantFrom('status', 'status MOUNTPOINT', 'umount MOUNTPOINT', '--json status'),
    async (content, command) => {
      for (const name of readdirSync(at.directory)) rmSync(join(at.directory, name), { recursive: true });
      writeFileSync(at.paths.entry, content);
      const entry = readEntry(at.paths.entry);
      // This process lives, and would be waited for.
      if (entry?.supervisor_pid === process.pid && entry.supervisor_start_ticks !== 1) return;
      requireGood(await runMain(command.replace('MOUNTPOINT', at.mountpoint).split(' ')), command);
      for (const path of precious)
        if (!readdirSync(at.folder).includes(path.slice(at.folder.length + 1))) throw new Error(`${path} is gone`);
    },
  );
  await t.notThrowsAsync(fc.assert(property, { seed, numRuns: 400, interruptAfterTimeLimit: 10_000 }));
});

test.serial('an entry is found under the name of its mount point only, and its socket and log are those beside it', (t) => {
  const at = place(t);
  writeFileSync(at.paths.entry, JSON.stringify(entryOf(at, { socket: '/etc/passwd.sock', log: '/etc/passwd' })));
  t.like(findEntry(at.mountpoint), { socket: at.paths.socket, log: at.paths.log });
  t.like(listEntries(), [{ socket: at.paths.socket, log: at.paths.log }]);
  writeFileSync(at.paths.entry, JSON.stringify(entryOf(at, { mountpoint: '/elsewhere' })));
  t.is(findEntry(at.mountpoint), undefined);
  t.is(findEntry('/elsewhere'), undefined);
  t.deepEqual(listEntries(), []);
});

test.serial(
  'a fifo, a socket, a folder, a link or a file without end in the place of an entry is none, and nobody waits for it',
  async (t) => {
    const at = place(t);
    const real = join(at.folder, 'real.json');
    writeFileSync(real, JSON.stringify(entryOf(at)));
    const server = createServer();
    const inPlace: Record<string, () => unknown> = {
      fifo: () => execFileSync('mkfifo', [at.paths.entry], { timeout: 10_000 }),
      folder: () => mkdirSync(at.paths.entry),
      link: () => symlinkSync(real, at.paths.entry),
      'link to itself': () => symlinkSync(at.paths.entry, at.paths.entry),
      huge: () => {
        writeFileSync(at.paths.entry, JSON.stringify(entryOf(at)));
        truncateSync(at.paths.entry, 2 ** 40);
      },
      socket: () => once(server.listen(at.paths.entry), 'listening'),
    };
    for (const [what, put] of Object.entries(inPlace)) {
      await put();
      t.is(readEntry(at.paths.entry), undefined, what);
      t.deepEqual(listEntries(), [], what);
      const { status, stdout } = await runMain(['status']);
      t.deepEqual([status, stdout], [0, 'nothing is mounted\n'], what);
      const ended = await runMain(['umount', at.mountpoint]);
      requireGood(ended, what);
      t.regex(ended.stderr, /: not a mounted pcache volume\n/, what);
      if (what !== 'socket') rmSync(at.paths.entry, { recursive: true });
    }
    await new Promise((resolve) => server.close(resolve));
  },
);

test.serial('a runtime folder that is open to others, a file, a link or missing is none: nothing is seen through it', async (t) => {
  const at = place(t);
  writeFileSync(at.paths.entry, JSON.stringify(entryOf(at)));
  t.is(listEntries().length, 1);
  for (const mode of [0o770, 0o707, 0o701, 0o777, 0o1777]) {
    chmodSync(at.directory, mode);
    t.deepEqual(listEntries(), [], mode.toString(8));
  }
  chmodSync(at.directory, 0o700);
  const link = join(at.folder, 'link');
  symlinkSync(at.directory, link);
  for (const directory of [link, join(at.folder, 'none'), at.paths.entry]) {
    process.env.PCACHE_RUNTIME_DIR = directory;
    t.deepEqual(listEntries(), [], directory);
    requireGood(await runMain(['status']), directory);
    requireGood(await runMain(['umount', at.mountpoint]), directory);
  }
});

const anyJson = fc.oneof(fc.jsonValue({ maxDepth: 2 }), fc.constantFrom(null, -1, 1e308, '', '\u001b[2J', [], {}));

/** A status of which some fields are anything, or missing. */
const brokenStatus = fc
  .tuple(
    fc.array(fc.tuple(fc.constantFrom(...Object.keys(sampleStatus())), fc.option(anyJson, { nil: undefined })), { maxLength: 3 }),
    fc.boolean(),
  )
  .map(([changes, isWhole]) => (isWhole ? { ...sampleStatus(), ...Object.fromEntries(changes) } : Object.fromEntries(changes)));

test.serial('whatever a gateway answers, the commands end in one line', async (t) => {
  t.log(`seed ${seed}`);
  const at = place(t);
  writeFileSync(at.paths.entry, JSON.stringify(entryOf(at)));
  let result: unknown;
  let wraps = true;
  const server = createServer((socket) => {
    socket.on('error', () => undefined);
    socket.on('data', (chunk) => {
      // Several requests may come at once.
      for (const [, id] of chunk.toString().matchAll(/"id":(\d+)/g)) {
        socket.write(`${JSON.stringify(wraps ? { id: Number(id), ok: true, result } : result)}\n`);
      }
      if (!wraps) socket.end();
    });
  });
  await once(server.listen(at.paths.socket), 'listening');
  t.teardown(() => server.close());
  // Not umount, which would wait until this process, the supervisor, is gone.
  const commands = [
    'status MOUNTPOINT',
    'status MOUNTPOINT --dm',
    '--json status MOUNTPOINT',
    'status',
    'flush MOUNTPOINT',
    'message MOUNTPOINT gc_percent 50',
  ];
  const property = fc.asyncProperty(
    fc.oneof(brokenStatus, anyJson),
    fc.boolean(),
    fc.constantFrom(...commands),
    async (answer, wrap, command) => {
      [result, wraps] = [answer, wrap];
      const ended = await runMain(command.replace('MOUNTPOINT', at.mountpoint).split(' '));
      // JSON escapes what a terminal would take for an order.
      requireGood(ended, `${command} answered ${JSON.stringify(answer)}`);
    },
  );
  await t.notThrowsAsync(fc.assert(property, { seed, numRuns: 300, interruptAfterTimeLimit: 10_000 }));
  [result, wraps] = [{ ...sampleStatus(), dirty_bytes: 'none' }, true];
  const ended = await runMain(['umount', at.mountpoint]);
  t.is(ended.status, 1);
  t.is(
    ended.stderr,
    "pcache: the gateway's answer: dirty_bytes is not what it should be\nhint: Is the gateway of another version? umount(8) ends it in order; then mount again.\n",
  );
});

test.serial('what is in the way of the runtime files of a mount is named', async (t) => {
  const at = place(t);
  const cache = join(mkdtempSync(join(at.folder, 'x-')), 'cache.pmem');
  const backing = join(at.folder, 'backing.img');
  writeFileSync(backing, '');
  truncateSync(backing, 1 << 20);
  t.is((await runMain(['format', cache, '--size', '96M', '--quiet'])).status, 0);
  for (const put of [
    () => execFileSync('mkfifo', [at.paths.log], { timeout: 10_000 }),
    () => mkdirSync(at.paths.log),
    () => symlinkSync(backing, at.paths.log),
  ]) {
    put();
    const ended = await runMain(['mount', cache, backing, at.mountpoint]);
    t.is(ended.status, 1);
    t.regex(ended.stderr, /^pcache: [^\n]+\n(hint: [^\n]+\n)?$/);
    t.true(ended.stderr.startsWith(`pcache: ${at.paths.log}: `) || /fuse|root/i.test(ended.stderr), ended.stderr);
    rmSync(at.paths.log, { recursive: true });
  }
});
