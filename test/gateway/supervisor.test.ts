// The supervisor with real mounts, real processes and real signals; only the engine is a fake. What `pcache` says is the real command line's.

import { basename } from 'node:path';
import { open, readFile, readdir, writeFile } from 'node:fs/promises';
import { spawn } from 'node:child_process';
import anyTest, { type ExecutionContext } from 'ava';
import { unmountFuse } from '../../src/fuse/mount.js';
import { whyNoFuse } from '../fuse/memory-mount.js';
import {
  DIES_UNCAUGHT_PERCENT,
  DIRTY_BYTES,
  FakeGateway,
  THREAD_FAILS_PERCENT,
  VOLUME_BYTES,
  pcacheMain,
  waitFor,
  within,
} from './fake-gateway.js';

const noFuse = whyNoFuse();

function test(title: string, body: (t: ExecutionContext) => Promise<void>): void {
  if (noFuse === undefined) anyTest.serial(title, body);
  else anyTest.skip(`${title} (${noFuse})`, body);
}

/** Writes all of the volume and checks that it reads back, whatever happens to the engine meanwhile. */
async function writeAndRead(gateway: FakeGateway, byte: number): Promise<boolean> {
  const bytes = Buffer.alloc(VOLUME_BYTES, byte);
  const file = await open(gateway.volume, 'r+');
  try {
    for (let at = 0; at < bytes.length; at += 65_536) await within(file.write(bytes, at, 65_536, at), 'a write is answered');
    await within(file.sync(), 'a flush is answered');
    const read = Buffer.alloc(bytes.length);
    for (let at = 0; at < bytes.length; at += 65_536) await within(file.read(read, at, 65_536, at), 'a read is answered');
    return read.equals(bytes);
  } finally {
    await file.close();
  }
}

test('a mount serves, and umount ends it, tells what is dirty and leaves nothing', async (t) => {
  const gateway = await FakeGateway.serving(t);
  t.true(await writeAndRead(gateway, 1));
  const pids = [gateway.supervisor.pid!, gateway.entry!.engine_pid];
  const result = await gateway.pcache('umount', gateway.mountpoint);
  t.deepEqual(result, {
    status: 0,
    stdout: `${gateway.mountpoint}: unmounted; 12 KiB of dirty data stay in ${gateway.plan.cachePath}\n`,
    stderr: '',
  });
  t.is(await gateway.exit(), 0);
  t.deepEqual(gateway.leftovers(pids), []);
});

test('where io_uring can not be used, the volume is served without it, and the user is told why', async (t) => {
  const gateway = await FakeGateway.serving(t, { whyNoRings: 'io_uring is forbidden' });
  const note = 'transport dev-fuse instead of io-uring: io_uring is forbidden';
  t.like(await gateway.outcome, { type: 'ready', note });
  t.true(gateway.log().includes(note));
  t.true(await writeAndRead(gateway, 3));
  // As with dev-fuse from the start, its users do not notice the death of the engine.
  const before = gateway.entry!.engine_pid;
  process.kill(before, 'SIGKILL');
  await gateway.engineAfter(before);
  t.true(await writeAndRead(gateway, 4));
});

test('umount --flush writes back first, as JSON too', async (t) => {
  const gateway = await FakeGateway.serving(t);
  const result = await gateway.pcache('umount', gateway.mountpoint, '--flush', '--json');
  t.is(result.stderr, '');
  t.deepEqual(JSON.parse(result.stdout), {
    mountpoint: gateway.mountpoint,
    flushed_bytes: DIRTY_BYTES,
    dirty_bytes: 0,
    cache: gateway.plan.cachePath,
    backing: gateway.plan.backingPath,
  });
  t.is(await gateway.exit(), 0);
});

test('status, flush and message reach the engine', async (t) => {
  const gateway = await FakeGateway.serving(t);
  const { mountpoint } = gateway;
  const status = JSON.parse((await gateway.pcache('--json', 'status', mountpoint)).stdout) as Record<string, unknown>;
  t.is(status.engine_pid, gateway.entry?.engine_pid);
  t.is(status.volume_bytes, VOLUME_BYTES);
  t.regex((await gateway.pcache('status', '--dm', mountpoint)).stdout, /^0 8192 pcache 0 31 30 12 70 1183 4:12816 3:9848 2:24\n$/);
  t.regex((await gateway.pcache('status', gateway.plan.cachePath)).stdout, /^volume +\/.*mnt, 4 MiB\n/);
  const all = await gateway.pcache('status');
  t.regex(
    all.stdout,
    new RegExp(`^MOUNTPOINT .*\n${mountpoint} +serving +4 MiB +12 KiB +${gateway.plan.cachePath} +${gateway.backing}\n$`),
  );
  t.deepEqual(await gateway.pcache('message', mountpoint, 'gc_percent', '60'), {
    status: 0,
    stdout: `${mountpoint}: gc_percent is 60\n`,
    stderr: '',
  });
  t.regex((await gateway.pcache('flush', mountpoint)).stdout, /: 12 KiB written back in (?:less than a second|\d+ s)\n$/);
  t.is((await gateway.pcache('flush', mountpoint)).stdout, `${mountpoint}: nothing was dirty\n`);
  t.is((await gateway.pcache('--quiet', 'flush', mountpoint)).stdout, '');
});

test('a file becomes the volume', async (t) => {
  const gateway = await FakeGateway.serving(t, { mountKind: 'file' });
  t.true(await writeAndRead(gateway, 2));
  t.is((await gateway.pcache('umount', gateway.mountpoint)).status, 0);
  t.is((await readFile(gateway.mountpoint)).length, 0);
});

test('a mount in use names its user and is served on', async (t) => {
  const gateway = await FakeGateway.serving(t);
  const file = await open(gateway.volume, 'r');
  const result = await gateway.pcache('umount', gateway.mountpoint);
  t.is(result.status, 1);
  t.is(result.stdout, '');
  t.regex(result.stderr, new RegExp(`^pcache: umount: ${gateway.mountpoint} is in use by .* \\(${process.pid}\\)\nhint: .*\n$`));
  gateway.supervisor.kill('SIGTERM');
  await waitFor(() => gateway.log().includes('still serving'), 'the log says who uses it');
  t.true(gateway.log().includes(`(${process.pid})`));
  t.is((await within(file.read(Buffer.alloc(10)), 'a read')).bytesRead, 10);
  await file.close();
  // Asked for once, the end comes when the last user has gone.
  t.is(await gateway.exit(), 0);
  t.deepEqual(gateway.leftovers([]), []);
});

test('SIGINT ends it in order, SIGHUP does nothing', async (t) => {
  const gateway = await FakeGateway.serving(t);
  const pids = [gateway.supervisor.pid!, gateway.entry!.engine_pid];
  gateway.supervisor.kill('SIGHUP');
  t.is((await gateway.pcache('status', gateway.mountpoint)).status, 0);
  gateway.supervisor.kill('SIGINT');
  t.is(await gateway.exit(), 0);
  t.deepEqual(gateway.leftovers(pids), []);
});

test('signals to the engine are left to the supervisor', async (t) => {
  const gateway = await FakeGateway.serving(t);
  const enginePid = gateway.entry!.engine_pid;
  process.kill(enginePid, 'SIGTERM');
  process.kill(enginePid, 'SIGINT');
  await waitFor(() => gateway.log().split('signal left').length === 3, 'the engine saw both');
  t.true(await writeAndRead(gateway, 3));
  t.is(gateway.entry?.engine_pid, enginePid);
});

test('unmounting from outside ends it in order', async (t) => {
  const gateway = await FakeGateway.serving(t);
  const pids = [gateway.supervisor.pid!, gateway.entry!.engine_pid];
  t.is(unmountFuse(gateway.mountpoint), 'done');
  t.is(await gateway.exit(), 0);
  t.deepEqual(gateway.leftovers(pids), []);
});

test('an engine that is killed under work is replaced, and its users see nothing of it', async (t) => {
  const gateway = await FakeGateway.serving(t);
  let killing = true;
  const work = (async () => {
    let rounds = 0;
    while (killing) if (!(await writeAndRead(gateway, ++rounds % 256))) return 'wrong data';
    return 'right data';
  })();
  let pid = gateway.entry!.engine_pid;
  // Three deaths: two fewer than it takes to give up.
  for (let kills = 0; kills < 3; kills++) {
    process.kill(pid, 'SIGKILL');
    pid = await gateway.engineAfter(pid);
  }
  killing = false;
  t.is(await work, 'right data');
  const status = JSON.parse((await gateway.pcache('--json', 'status', gateway.mountpoint)).stdout) as Record<string, unknown>;
  t.is(status.engine_restarts, 3);
  t.is((await gateway.pcache('umount', gateway.mountpoint)).status, 0);
});

test('an engine in which something breaks is replaced', async (t) => {
  const gateway = await FakeGateway.serving(t);
  let pid = gateway.entry!.engine_pid;
  for (const percent of [DIES_UNCAUGHT_PERCENT, THREAD_FAILS_PERCENT]) {
    await gateway.pcache('message', gateway.mountpoint, 'gc_percent', String(percent));
    pid = await gateway.engineAfter(pid);
    t.true(await writeAndRead(gateway, percent));
  }
  t.regex(gateway.log(), /told to die/);
  t.regex(gateway.log(), /a thread was told to fail/);
});

test('an engine that dies five times within a minute is given up: unmounted, the reason in the log', async (t) => {
  const gateway = await FakeGateway.serving(t);
  const file = await open(gateway.volume, 'r');
  let pid = gateway.entry!.engine_pid;
  for (let death = 1; death <= 5; death++) {
    process.kill(pid, 'SIGKILL');
    if (death < 5) pid = await gateway.engineAfter(pid);
  }
  t.is(await gateway.exit(), 1);
  t.regex(gateway.log(), /engine: died too often: killed by SIGKILL/);
  await t.throwsAsync(within(file.read(Buffer.alloc(10), 0, 10, 0), 'a read fails'));
  await t.throwsAsync(file.close(), { code: 'ENOTCONN' });
  t.deepEqual(gateway.leftovers([pid]).length, 1, 'only the log');
  t.deepEqual(await gateway.pcache('status', gateway.mountpoint), {
    status: 1,
    stdout: '',
    stderr:
      `pcache: ${gateway.mountpoint}: not a mounted pcache volume: the last one ended: engine: died too often: killed by SIGKILL\n` +
      `hint: Its log is ${gateway.paths.log}; pcache check says what state the cache is in.\n`,
  });
});

test('when the supervisor is killed the engine takes the mount away and ends, even if the volume is open', async (t) => {
  const gateway = await FakeGateway.serving(t);
  const enginePid = gateway.entry!.engine_pid;
  const file = await open(gateway.volume, 'r');
  gateway.supervisor.kill('SIGKILL');
  await waitFor(() => gateway.leftovers([enginePid]).length === 1, 'everything but the log is gone');
  t.regex(gateway.log(), /the supervisor is gone/);
  t.regex(gateway.log(), /the log is closed/);
  t.regex(
    (await gateway.pcache('status', gateway.mountpoint)).stderr,
    /: the last one ended: the supervisor is gone: unmounting and closing the log\nhint: Its log is /,
  );
  await t.throwsAsync(file.close(), { code: 'ENOTCONN' });
});

test('after both were killed, status says so and umount cleans up', async (t) => {
  const gateway = await FakeGateway.serving(t);
  const { mountpoint } = gateway;
  const enginePid = gateway.entry!.engine_pid;
  // Stopped first, the engine cannot notice the supervisor's end.
  process.kill(enginePid, 'SIGSTOP');
  gateway.supervisor.kill('SIGKILL');
  await gateway.exit();
  process.kill(enginePid, 'SIGKILL');
  const status = await gateway.pcache('status', mountpoint);
  t.deepEqual(status, {
    status: 1,
    stdout: '',
    stderr: `pcache: ${mountpoint}: its gateway is dead\nhint: pcache umount ${mountpoint} cleans up; the data is safe in the cache.\n`,
  });
  t.regex((await gateway.pcache('status')).stdout, /dead: pcache umount cleans up/);
  const mountAgain = await gateway.pcache('mount', gateway.plan.cachePath, gateway.backing, mountpoint);
  t.is(mountAgain.status, 1);
  const result = await gateway.pcache('umount', mountpoint);
  const { log } = gateway.paths;
  const stdout = `${mountpoint}: the daemon was dead already; its mount is cleaned up\nits log is ${log}\n`;
  t.deepEqual(result, { status: 0, stdout, stderr: '' });
  t.deepEqual(gateway.leftovers([enginePid]), [basename(log)]);
  // What the dead daemon logged, and that it was killed.
  t.regex(gateway.log(), /serving/);
  const after = await gateway.pcache('status', mountpoint);
  t.is(after.status, 1);
  t.true(
    after.stderr.startsWith(`pcache: ${mountpoint}: not a mounted pcache volume: the last one ended: supervisor and engine were killed`),
    after.stderr,
  );
  t.true(after.stderr.includes(`hint: Its log is ${log}; `), after.stderr);
  t.deepEqual(await readdir(mountpoint), []);
});

test('an engine that refuses the media is reported with code and hint, and leaves nothing', async (t) => {
  const gateway = new FakeGateway(t, { mode: 'refuse' });
  t.deepEqual(await within(gateway.outcome, 'the refusal'), {
    type: 'failed',
    error: {
      code: 'mismatch',
      message: `${gateway.plan.cachePath}: the cache belongs to another backing device`,
      hint: 'Adopt it.',
    },
  });
  t.is(await gateway.exit(), 1);
  t.deepEqual(gateway.leftovers([]), []);
});

test('an engine that dies before it is ready is reported, and only the log stays', async (t) => {
  const gateway = new FakeGateway(t, { mode: 'die' });
  t.like(await within(gateway.outcome, 'the failure'), { type: 'failed', error: { message: 'engine: killed by SIGKILL' } });
  t.is(await gateway.exit(), 1);
  t.is(gateway.leftovers([]).length, 1);
});

test('a command line that goes away before the volume is ready takes the mount with it', async (t) => {
  const gateway = new FakeGateway(t, { mode: 'slow' });
  await waitFor(() => (gateway.entry?.engine_pid ?? 0) > 0, 'the engine starts');
  const enginePid = gateway.entry!.engine_pid;
  gateway.supervisor.disconnect();
  t.is(await gateway.exit(), 1);
  t.deepEqual(gateway.leftovers([enginePid]), []);
});

test('a mount that is refused leaves no engine behind, though one was started for it', async (t) => {
  const served = await FakeGateway.serving(t);
  const refused = new FakeGateway(t, { backing: served.backing });
  t.like(await within(refused.outcome, 'the refusal'), { type: 'failed', error: { code: 'in-use' } });
  t.is(await refused.exit(), 1);
  t.deepEqual(refused.processes, []);
  t.deepEqual(refused.leftovers([]), []);
  t.true(await writeAndRead(served, 6));
});

test('a wish to end is kept from the moment there is an engine, mounted or not', async (t) => {
  const gateway = new FakeGateway(t, { mode: 'slow' });
  await waitFor(() => gateway.processes.length > 1, 'the engine starts');
  gateway.supervisor.kill('SIGTERM');
  t.like(await within(gateway.outcome, 'the failure'), { type: 'failed', error: { code: 'closed' } });
  t.is(await gateway.exit(), 1);
  t.deepEqual(gateway.processes, []);
  t.deepEqual(gateway.leftovers([]), []);
});

test('a log that cannot be closed is an error of umount and of the supervisor', async (t) => {
  const gateway = await FakeGateway.serving(t, { mode: 'stop-fails' });
  const result = await gateway.pcache('umount', gateway.mountpoint);
  t.deepEqual([result.status, result.stdout], [1, '']);
  t.is(result.stderr, `pcache: umount: ${gateway.mountpoint}: unmounted, but the log could not be closed: cache: sync: EIO\n`);
  t.is(await gateway.exit(), 1);
  t.is(gateway.leftovers([]).length, 1);
});

test('an interrupt ends the flush command, not the daemon', async (t) => {
  const gateway = await FakeGateway.serving(t, { mode: 'slow-flush' });
  const env = { ...process.env, PCACHE_RUNTIME_DIR: gateway.plan.runtimeDirectory };
  const flush = spawn(process.execPath, [pcacheMain, 'flush', gateway.mountpoint], { stdio: 'ignore', env });
  const ended = new Promise((resolve) => flush.once('exit', (_, signal) => resolve(signal)));
  await waitFor(() => gateway.log().includes('flush asked for'), 'the flush is under way');
  flush.kill('SIGINT');
  t.is(await within(ended, 'the command ends'), 'SIGINT');
  t.true(await writeAndRead(gateway, 5));
  t.is((await gateway.pcache('umount', gateway.mountpoint)).status, 0);
});

test('cache and backing device are locked against a second mount', async (t) => {
  const gateway = await FakeGateway.serving(t);
  const other = `${gateway.folder}/other`;
  await writeFile(other, '');
  const { openCacheDevice } = await import('../../src/device/mapped-cache-device.js');
  const { openBackingDevice } = await import('../../src/device/file-backing-device.js');
  t.throws(() => openCacheDevice(gateway.plan.cachePath), { code: 'in-use' });
  t.throws(() => openBackingDevice(gateway.backing), { code: 'in-use' });
  t.is((await gateway.pcache('umount', gateway.mountpoint)).status, 0);
  openCacheDevice(gateway.plan.cachePath).close();
  openBackingDevice(gateway.backing).close();
});
