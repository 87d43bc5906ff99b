// A mount as the system's: as a service, by its configuration, with the log where it is wanted, and its end by whatever the system uses to end it.

import { fstatSync, openSync, closeSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { basename, join } from 'node:path';
import type { ExecutionContext } from 'ava';
import { pattern } from '../fuse/conformance.js';
import { Client } from '../fuse/client.js';
import { DatagramReceiver } from '../support/datagram-receiver.js';
import { isRoot } from '../support/tmp.js';
import { Job, lacking, run, waitUntil } from '../support/mounted-commands.js';
import { MIB, PCACHE, mountTest, unmounted, type TestGateway } from '../support/mounted.js';

const O_RDWR = 2;
const VOLUME_BYTES = 16 * MIB;

async function write(gateway: TestGateway, bytes: Buffer): Promise<void> {
  const user = new Client();
  try {
    await user.call('write', await user.call('open', gateway.volume, O_RDWR), 0, bytes);
  } finally {
    await user.close();
  }
}

/** What the backing file starts with. */
function backingHas(gateway: TestGateway, bytes: Buffer): boolean {
  return readFileSync(gateway.backing).subarray(0, bytes.length).equals(bytes);
}

async function endedInOrder(t: ExecutionContext, gateway: TestGateway): Promise<void> {
  await waitUntil(() => gateway.leftovers().length === 0, 'mount, processes and runtime files are gone');
  t.like(JSON.parse(await gateway.ok('--json', 'status', gateway.cache)), { state: 'idle', closed_in_order: true });
}

/** A folder with a configuration `vol` of this gateway. */
function configure(gateway: TestGateway, extra = ''): string {
  const folder = join(gateway.folder, 'etc');
  mkdirSync(folder, { recursive: true });
  const places = `cache: ${gateway.cache}\nbacking: ${gateway.backing}\nmountpoint: ${gateway.mountpoint}\n`;
  writeFileSync(join(folder, 'vol.yaml'), `${places}${extra}`);
  return folder;
}

/** `pcache ARGUMENTS` with more variables. */
function startWith(gateway: TestGateway, env: NodeJS.ProcessEnv, ...args: readonly string[]): Job {
  return gateway.startProgram(process.execPath, [PCACHE, ...args], { PCACHE_RUNTIME_DIR: gateway.runtimeDirectory, ...env });
}

mountTest('a configuration is mounted by its name, and the command line goes before it', undefined, async (t) => {
  const gateway = await unmounted(t, { volumeBytes: VOLUME_BYTES });
  const folder = configure(gateway, 'options:\n  workers: 3\n  gc_percent: 61\n');
  await gateway.ok('mount', 'vol', '--config-dir', folder, '-o', 'workers=1');
  t.like(await gateway.status(), { workers: 1, gc_percent: 61 });
  const { status, stderr } = await gateway.pcache('mount', 'vl', '--config-dir', folder);
  t.is(status, 1);
  t.regex(stderr, /^pcache: vl: no such configuration: looked for .*\/vl\.yaml\nhint: Did you mean vol\?\n$/);
  await gateway.umount();
});

mountTest('a configuration with a mistake mounts nothing, and names file, line and key', undefined, async (t) => {
  const gateway = await unmounted(t, { volumeBytes: VOLUME_BYTES });
  const folder = configure(gateway, 'options:\n  workers: 3\n  worker: 3\n');
  const { status, stdout, stderr } = await gateway.pcache('mount', 'vol', '--config-dir', folder);
  t.is(status, 2);
  t.is(stdout, '');
  t.is(stderr, `pcache: ${folder}/vol.yaml:6: options: worker: unknown option\nhint: Did you mean workers?\n`);
  t.deepEqual(gateway.leftovers(), []);
});

mountTest(
  'a service says when it is ready, how it is, and that it ends; it survives its engine, alive all the time',
  undefined,
  async (t) => {
    const gateway = await unmounted(t, { volumeBytes: VOLUME_BYTES });
    const receiver = new DatagramReceiver(t, join(gateway.folder, 'notify'));
    const folder = configure(gateway);
    const job = startWith(
      gateway,
      { NOTIFY_SOCKET: receiver.name, WATCHDOG_USEC: '4000000' },
      ...['mount', '--foreground', 'vol', '--config-dir', folder],
    );
    await waitUntil(() => job.ended || receiver.lines.includes('READY=1'), 'it is ready');
    t.true(receiver.lines.includes(`MAINPID=${job.child.pid!}`));
    await write(gateway, pattern(MIB, 1));
    await waitUntil(() => receiver.lines.some((line) => /^STATUS=serving, 1\.0 MiB dirty/.test(line)), 'what is dirty is told');
    const engine = gateway.enginePid;
    // Neither process may have been told of the manager.
    t.false(readFileSync(`/proc/${engine}/environ`, 'latin1').includes('NOTIFY_SOCKET'));
    process.kill(engine, 'SIGSTOP');
    await waitUntil(() => gateway.enginePid !== engine && gateway.enginePid !== 0, 'an engine that hangs is replaced');
    const before = receiver.lines.filter((line) => line === 'WATCHDOG=1').length;
    await waitUntil(() => receiver.lines.filter((line) => line === 'WATCHDOG=1').length > before, 'the service is alive');
    job.child.kill('SIGTERM');
    t.is((await job.finished()).status, 0);
    t.true(receiver.lines.includes('STOPPING=1'));
    await endedInOrder(t, gateway);
  },
);

mountTest('a mount in the background tells a service manager its own pid', undefined, async (t) => {
  const gateway = await unmounted(t, { volumeBytes: VOLUME_BYTES });
  const receiver = new DatagramReceiver(t, `@pcache-mount-test-${process.pid}`);
  const job = startWith(gateway, { NOTIFY_SOCKET: receiver.name }, '--json', ...gateway.mountArguments);
  const { stdout, status } = await job.finished();
  t.is(status, 0);
  const { supervisor_pid: pid } = JSON.parse(stdout) as { supervisor_pid: number };
  await waitUntil(() => receiver.lines.includes('READY=1'), 'it is ready');
  t.true(receiver.lines.includes(`MAINPID=${pid}`));
  await gateway.umount();
});

mountTest('with flush_on_stop an end, whatever asks for it, leaves everything on the backing device', undefined, async (t) => {
  const gateway = await unmounted(t, { volumeBytes: VOLUME_BYTES, mountOptions: 'flush_on_stop' });
  for (const [index, end] of (['SIGTERM', 'umount(2)', 'pcache umount'] as const).entries()) {
    await gateway.mount();
    const bytes = pattern(3 * MIB, 40 + index);
    await write(gateway, bytes);
    if (end === 'SIGTERM') process.kill(gateway.pids.supervisor, 'SIGTERM');
    else if (end === 'pcache umount') t.regex(await gateway.ok('umount', gateway.mountpoint), /: unmounted; everything is on /);
    else await unmountAsSystem(gateway);
    await endedInOrder(t, gateway);
    t.true(backingHas(gateway, bytes), end);
  }
});

/** As umount(8) without helper, and what it is for users. */
async function unmountAsSystem(gateway: TestGateway): Promise<void> {
  const { status, stderr } = await (isRoot ? run('umount', ['-i', gateway.mountpoint]) : run('fusermount3', ['-u', gateway.mountpoint]));
  if (status !== 0) throw new Error(stderr);
}

mountTest('umount of the system loses nothing, the daemon ends, and the log names what stays', undefined, async (t) => {
  const gateway = await unmounted(t, { volumeBytes: VOLUME_BYTES });
  const log = join(gateway.folder, 'vol.log');
  await gateway.ok(...gateway.mountArguments, '--log', log);
  const bytes = pattern(100_000, 7);
  await write(gateway, bytes);
  await unmountAsSystem(gateway);
  await endedInOrder(t, gateway);
  const text = readFileSync(log, 'utf8');
  t.regex(text, /^\d{4}-\d\d-\d\dT\S+ info engine: the log is closed; (\d+) bytes of dirty data stay in \S+ dirtyBytes=\1$/m);
  t.notRegex(text, / (warn|error) (?!supervisor: not protected)/);
  await gateway.mount();
  const user = new Client();
  const fd = await user.call('open', gateway.volume, 0);
  t.true(Buffer.from(await user.call('read', fd, 0, bytes.length)).equals(bytes));
  await user.close();
  await gateway.umount();
});

mountTest('status says why a mount ended whose log is elsewhere, and the next mount forgets it', undefined, async (t) => {
  const gateway = await unmounted(t, { volumeBytes: VOLUME_BYTES });
  const mount = [...gateway.mountArguments, '--log', join(gateway.folder, 'vol.log')];
  const { supervisor_pid: supervisor } = JSON.parse(await gateway.ok('--json', ...mount)) as { supervisor_pid: number };
  process.kill(supervisor, 'SIGKILL');
  await waitUntil(() => gateway.processes().length === 0 && !gateway.isMounted, 'the engine has taken the mount away');
  const { stderr } = await gateway.pcache('status', gateway.mountpoint);
  t.true(stderr.includes(': not a mounted pcache volume: the last one ended: the supervisor is gone: '), stderr);
  t.deepEqual(gateway.leftovers(), [basename(gateway.ownLog)]);
  await gateway.ok(...mount);
  await gateway.umount();
  t.notRegex((await gateway.pcache('status', gateway.mountpoint)).stderr, /ended/);
});

mountTest('a log file that was moved away is made again, by supervisor and engine, and stays when the mount ends', undefined, async (t) => {
  const gateway = await unmounted(t, { volumeBytes: VOLUME_BYTES });
  const log = join(gateway.folder, 'vol.log');
  writeFileSync(log, 'before\n');
  await gateway.ok(...gateway.mountArguments, '--log', log);
  t.regex(readFileSync(log, 'utf8'), /^before\n.* info supervisor: mounted at [\s\S]* info engine: serving /);
  renameSync(log, `${log}.1`);
  const job = gateway.startProgram('sh', ['-c', 'exec 3< "$0" && echo open && exec sleep 60', gateway.volume]);
  await waitUntil(() => job.ended || job.stdout.includes('open'), 'a process has the volume open');
  const { supervisor_pid: supervisor } = await gateway.status();
  process.kill(supervisor, 'SIGTERM');
  await waitUntil(
    () => gateway.leftovers().length > 0 && hasLine(log, /warn supervisor: .* is in use by .*sleep/),
    'the new file has the line',
  );
  await job.end();
  await endedInOrder(t, gateway);
  t.regex(readFileSync(log, 'utf8'), /info engine: the log is closed; /);
});

function hasLine(path: string, line: RegExp): boolean {
  try {
    return line.test(readFileSync(path, 'utf8'));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return false;
    throw error;
  }
}

mountTest('a log that can not be written is an error that names it, and nothing is mounted', undefined, async (t) => {
  const gateway = await unmounted(t, { volumeBytes: VOLUME_BYTES });
  for (const [target, status, why] of [
    [join(gateway.folder, 'no', 'vol.log'), 1, /: the log: no such file or directory \(ENOENT\)/],
    [gateway.folder, 1, /: the log: is a directory \(EISDIR\)/i],
    [join(gateway.mountpoint, 'vol.log'), 2, /the log can't be on the volume that it is about/],
  ] as const) {
    const result = await gateway.pcache(...gateway.mountArguments, '--log', target);
    t.is(result.status, status, result.stderr);
    t.true(result.stderr.startsWith(`pcache: ${target}: `), result.stderr);
    t.regex(result.stderr, why);
    t.deepEqual(gateway.leftovers(), []);
  }
});

mountTest('where stderr is the journal, every line of the log starts with its level', undefined, async (t) => {
  const gateway = await unmounted(t, { volumeBytes: VOLUME_BYTES });
  const path = join(gateway.folder, 'journal');
  const fd = openSync(path, 'a');
  const { dev, ino } = fstatSync(fd);
  closeSync(fd);
  const command = ['-c', 'exec "$@" 2>> "$0"', path, process.execPath, PCACHE, ...gateway.mountArguments, '--foreground'];
  const job = gateway.startProgram('sh', command, { PCACHE_RUNTIME_DIR: gateway.runtimeDirectory, JOURNAL_STREAM: `${dev}:${ino}` });
  await waitUntil(() => job.ended || job.stdout.includes('\n'), 'the volume is ready');
  process.kill(gateway.enginePid, 'SIGKILL');
  await waitUntil(() => hasLine(path, /^<3>supervisor: the engine died/m), 'an error has its level');
  job.child.kill('SIGTERM');
  t.is((await job.finished()).status, 0);
  const lines = readFileSync(path, 'utf8').trimEnd().split('\n');
  t.deepEqual(
    lines.filter((line) => !/^<[2-7]>(supervisor|engine): /.test(line)),
    [],
  );
  t.true(lines.some((line) => line.startsWith('<6>engine: serving')));
});

const noNamespaces = isRoot ? lacking('unshare', 'mount', 'umount') : 'needs root';

/** Runs a script in which the helpers are installed, in a mount namespace that ends with it, so that nothing of it is left. */
function withHelpers(gateway: TestGateway, script: string): Promise<{ status: number | null; stdout: string; stderr: string }> {
  const root = join(gateway.folder, 'root');
  const prepare = [
    'set -e',
    // /sbin may be a link to /usr/sbin; what is in it stays visible below.
    'mkdir -p "$ROOT/work" "$ROOT/upper"',
    'mount -t tmpfs none "$ROOT/upper"',
    'mkdir "$ROOT/upper/u" "$ROOT/upper/w"',
    'mount -t overlay overlay -o "lowerdir=$(realpath /sbin),upperdir=$ROOT/upper/u,workdir=$ROOT/upper/w" "$(realpath /sbin)"',
    'cp "$ROOT"/sbin/*.pcache /sbin/',
  ].join('\n');
  return run('unshare', ['-m', '--propagation', 'private', 'sh', '-c', `${prepare}\n${script}`], {
    env: {
      ROOT: root,
      CACHE: gateway.cache,
      BACKING: gateway.backing,
      MNT: gateway.mountpoint,
      PCACHE_RUNTIME_DIR: gateway.runtimeDirectory,
    },
    timeoutMs: 60_000,
  });
}

mountTest(
  'mount(8) and umount(8) mount and unmount by type, from fstab and by name, once the helpers are installed',
  noNamespaces,
  async (t) => {
    const gateway = await unmounted(t, { volumeBytes: VOLUME_BYTES });
    const folder = configure(gateway, 'options:\n  workers: 1\n');
    await gateway.ok('config', 'install', '--root', join(gateway.folder, 'root'));
    const fstab = join(gateway.folder, 'fstab');
    writeFileSync(
      fstab,
      `${gateway.cache}#${gateway.backing} ${gateway.mountpoint} fuse.pcache nofail,_netdev,x-systemd.requires=/,workers=2 0 0\n`,
    );
    const script = [
      'mount -t fuse.pcache "$CACHE#$BACKING" "$MNT" -o ro,noatime,nosuid',
      'grep -c " $MNT ro.* fuse.pcache " /proc/self/mountinfo',
      // As most call it, umount(8) looks for no helper of this type, and waits for nobody.
      'umount "$MNT"',
      `mount -T ${fstab} "$MNT"`,
      'printf hello | dd of="$MNT/volume.img" conv=notrunc status=none',
      `mount -a -T ${fstab} && echo again`,
      // Here it does, and so waits for the daemon.
      'cd / && umount "${MNT#/}"',
      'test -z "$(ls "$PCACHE_RUNTIME_DIR")" && echo gone',
      `mount -t fuse.pcache vol "$MNT" -o config_dir=${folder}`,
      'head -c 5 "$MNT/volume.img"; echo',
      'umount -l "$MNT"',
      'mount -t fuse.pcache "$CACHE#$BACKING" "$MNT" -o bogus=1 || echo "status $?"',
      'mount -t fuse.pcache "/nowhere#$BACKING" "$MNT" || echo "status $?"',
    ].join('\n');
    const { status, stdout, stderr } = await withHelpers(gateway, script);
    t.is(status, 0, `${stdout}${stderr}`);
    t.deepEqual(stdout.trim().split('\n'), [
      '1',
      'again',
      `${gateway.mountpoint}: unmounted; 512 B of dirty data stay in ${gateway.cache}`,
      'gone',
      'hello',
      'status 1',
      'status 32',
    ]);
    t.regex(stderr, /pcache: mount option bogus: unknown option/);
    t.regex(stderr, /pcache: \/nowhere: /);
    await endedInOrder(t, gateway);
  },
);

mountTest(
  'the journal gets what is logged through its stream, with levels',
  isRoot ? lacking('unshare', 'mount') : 'needs root',
  async (t) => {
    const gateway = await unmounted(t, { volumeBytes: VOLUME_BYTES });
    const socket = join(gateway.folder, 'stdout');
    let text = '';
    const server = createServer((client) => client.on('data', (chunk: Buffer) => (text += chunk.toString())));
    t.teardown(() => server.close());
    await new Promise<void>((resolve) => server.listen(socket, resolve));
    const script = [
      'set -e',
      'mount -t tmpfs none /run',
      'mkdir -p /run/systemd/journal',
      'ln -s "$SOCKET" /run/systemd/journal/stdout',
      '"$@" mount "$CACHE" "$BACKING" "$MNT" --log journal',
      '"$@" umount "$MNT"',
    ].join('\n');
    const { status, stderr } = await run(
      'unshare',
      ['-m', '--propagation', 'private', 'sh', '-c', script, 'sh', process.execPath, PCACHE],
      {
        env: {
          SOCKET: socket,
          CACHE: gateway.cache,
          BACKING: gateway.backing,
          MNT: gateway.mountpoint,
          PCACHE_RUNTIME_DIR: gateway.runtimeDirectory,
        },
        timeoutMs: 60_000,
      },
    );
    t.is(status, 0, stderr);
    await waitUntil(() => text.includes('the log is closed'), 'the journal has it all');
    t.regex(text, /^pcache\n\n6\n1\n0\n0\n0\n<\d>supervisor: /);
    await endedInOrder(t, gateway);
  },
);
