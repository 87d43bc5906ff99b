// The orderly ends of a mount: signals, Ctrl-C, umount; and what happens when somebody still uses it.

import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { ExecutionContext } from 'ava';
import { Client } from '../fuse/client.js';
import { pattern } from '../fuse/conformance.js';
import { waitUntil, type Job } from '../support/mounted-commands.js';
import { MIB, PCACHE, mountTest, mounted, unmounted, type TestGateway } from '../support/mounted.js';

const O_RDWR = 2;
const VOLUME_BYTES = 16 * MIB;

async function endedInOrder(t: ExecutionContext, gateway: TestGateway): Promise<void> {
  await waitUntil(() => gateway.leftovers().length === 0, 'mount, processes and runtime files are gone');
  t.like(JSON.parse(await gateway.ok('--json', 'status', gateway.cache)), { state: 'idle', closed_in_order: true });
}

async function holds(t: ExecutionContext, gateway: TestGateway, bytes: Buffer): Promise<void> {
  const user = new Client();
  try {
    const fd = await user.call('open', gateway.volume, 0);
    t.true(Buffer.from(await user.call('read', fd, 0, bytes.length)).equals(bytes));
  } finally {
    await user.close();
  }
}

async function write(gateway: TestGateway, bytes: Buffer): Promise<void> {
  const user = new Client();
  try {
    await user.call('write', await user.call('open', gateway.volume, O_RDWR), 0, bytes);
  } finally {
    await user.close();
  }
}

async function filesSayUnmountWanted(t: ExecutionContext, gateway: TestGateway): Promise<void> {
  const user = new Client();
  const read = async (name: string): Promise<string> => Buffer.from(await user.call('readFile', join(gateway.mountpoint, name))).toString();
  try {
    t.like(JSON.parse(await read('stats.json')), { unmount_wanted: true, state: 'serving' });
    t.regex(await read('metrics'), /^pcache_unmount_wanted\{[^}]*\} 1$/m);
  } finally {
    await user.close();
  }
}

for (const signal of ['SIGTERM', 'SIGINT'] as const) {
  mountTest(`${signal} to the supervisor unmounts in order, and what was written is there at the next mount`, undefined, async (t) => {
    const gateway = await mounted(t, { volumeBytes: VOLUME_BYTES });
    const bytes = pattern(100_000, 1);
    await write(gateway, bytes);
    process.kill(gateway.pids.supervisor, signal);
    await endedInOrder(t, gateway);
    await gateway.mount();
    await holds(t, gateway, bytes);
    await gateway.umount();
  });
}

async function foreground(t: ExecutionContext): Promise<{ gateway: TestGateway; job: Job }> {
  const gateway = await unmounted(t, { volumeBytes: VOLUME_BYTES });
  const job = gateway.start(...gateway.mountArguments, '--foreground');
  await waitUntil(() => job.ended || job.stdout.includes('\n'), 'the volume is ready');
  return { gateway, job };
}

mountTest(
  'with --json all that mount --foreground says is JSON, the log of supervisor and engine included, and what stderr had stays',
  undefined,
  async (t) => {
    const gateway = await unmounted(t, { volumeBytes: VOLUME_BYTES });
    const path = join(gateway.folder, 'stderr');
    writeFileSync(path, '{"earlier": true}\n');
    const command = ['-c', 'exec "$@" 2>> "$0"', path, process.execPath, PCACHE, '--json', ...gateway.mountArguments, '--foreground'];
    const job = gateway.startProgram('sh', command, { PCACHE_RUNTIME_DIR: gateway.runtimeDirectory });
    await waitUntil(() => job.ended || job.stdout.includes('\n'), 'the volume is ready');
    t.like(JSON.parse(job.stdout), { volume: gateway.volume });
    job.child.kill('SIGTERM');
    t.is((await job.finished()).status, 0);
    const records = readFileSync(path, 'utf8')
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as Record<string, unknown>);
    t.deepEqual(records[0], { earlier: true });
    t.deepEqual([...new Set(records.slice(1).flatMap(({ name }) => (typeof name === 'string' ? [name] : [])))].sort(), [
      'engine',
      'supervisor',
    ]);
    await endedInOrder(t, gateway);
  },
);

for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  mountTest(`${signal} to mount --foreground unmounts in order with status 0`, undefined, async (t) => {
    const { gateway, job } = await foreground(t);
    t.is(job.stdout, `${gateway.volume}: 16 MiB, ${gateway.cache} in front of ${gateway.backing}\n`);
    const bytes = pattern(50_000, 2);
    await write(gateway, bytes);
    job.child.kill(signal);
    t.is((await job.finished()).status, 0);
    await endedInOrder(t, gateway);
  });
}

mountTest('umount ends mount --foreground with status 0', undefined, async (t) => {
  const { gateway, job } = await foreground(t);
  await write(gateway, pattern(50_000, 3));
  t.regex(await gateway.ok('umount', gateway.mountpoint, '--flush'), /: unmounted; everything is on /);
  t.is((await job.finished()).status, 0);
  await endedInOrder(t, gateway);
});

mountTest('an interrupt that reaches the engine too, as from a terminal, ends mount --foreground in order', undefined, async (t) => {
  const { gateway, job } = await foreground(t);
  const bytes = pattern(200_000, 4);
  await write(gateway, bytes);
  process.kill((await gateway.status()).engine_pid, 'SIGINT');
  job.child.kill('SIGINT');
  t.is((await job.finished()).status, 0);
  await endedInOrder(t, gateway);
  await gateway.mount();
  await holds(t, gateway, bytes);
});

mountTest('a mount in use: umount names the user and fails; SIGTERM does too, and ends it when the user is gone', undefined, async (t) => {
  const gateway = await mounted(t, { volumeBytes: VOLUME_BYTES });
  const bytes = pattern(123_456, 5);
  await write(gateway, bytes);
  const job = gateway.startProgram('sh', ['-c', 'exec 3< "$0" && echo open && exec sleep 60', gateway.volume]);
  await waitUntil(() => job.ended || job.stdout.includes('open'), 'a process has the volume open');
  await waitUntil(() => readFileSync(`/proc/${job.child.pid!}/comm`, 'latin1') === 'sleep\n', 'it is sleep');
  const user = `sleep (${job.child.pid!})`;
  const { status, stdout, stderr } = await gateway.pcache('umount', gateway.mountpoint, '--flush');
  t.is(status, 1);
  t.is(stdout, '');
  t.is(
    stderr,
    `pcache: umount: ${gateway.mountpoint} is in use by ${user}\nhint: The volume is still served. End its users and try again.\n`,
  );
  process.kill(gateway.pids.supervisor, 'SIGTERM');
  await waitUntil(() => gateway.log().includes(`is in use by ${user}: still serving`), 'the log names the user');
  await holds(t, gateway, bytes);
  // The status follows the log.
  await waitUntil(async () => (await gateway.status()).unmount_wanted, 'the status says what was asked for');
  t.is((await gateway.status()).state, 'serving');
  t.regex(
    await gateway.ok('status', gateway.mountpoint),
    /^state +serving, for .*; told to end: is unmounted when its last user is gone$/m,
  );
  t.regex(await gateway.ok('status'), / serving until its last user is gone /);
  await filesSayUnmountWanted(t, gateway);
  // An engine that takes over knows it too.
  process.kill(gateway.pids.engine, 'SIGKILL');
  await waitUntil(
    async () => (await gateway.pcache('status', gateway.mountpoint)).status === 0 && (await gateway.status()).engine_restarts === 1,
    'another engine',
  );
  t.true((await gateway.status()).unmount_wanted);
  await job.end();
  await endedInOrder(t, gateway);
});

mountTest('a mount whose folder is a working directory is in use', undefined, async (t) => {
  const gateway = await mounted(t, { volumeBytes: VOLUME_BYTES });
  const job = gateway.startProgram('sh', ['-c', 'cd "$0" && echo there && exec sleep 60', gateway.mountpoint]);
  await waitUntil(() => job.ended || job.stdout.includes('there'), 'a process is in the folder');
  const { status, stderr } = await gateway.pcache('umount', gateway.mountpoint);
  t.is(status, 1);
  t.true(stderr.includes(`sleep (${job.child.pid!})`) || stderr.includes(`sh (${job.child.pid!})`), stderr);
  await job.end();
  await gateway.umount();
});
