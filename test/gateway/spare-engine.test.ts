// The engine that waits beside the one that works, with real processes; the engines are fakes.

import { readFileSync, readdirSync, readlinkSync } from 'node:fs';
import { open } from 'node:fs/promises';
import anyTest, { type ExecutionContext } from 'ava';
import { startTicksOf } from '../../src/gateway/process-identity.js';
import { whyNoFuse } from '../fuse/memory-mount.js';
import { FakeGateway, waitFor, within } from './fake-gateway.js';

const noFuse = whyNoFuse();

function test(title: string, body: (t: ExecutionContext) => Promise<void>): void {
  if (noFuse === undefined) anyTest.serial(title, body);
  else anyTest.skip(`${title} (${noFuse})`, body);
}

/** Children of a process that show themselves as spares. */
function sparesOf(parent: number): number[] {
  return readdirSync('/proc')
    .map(Number)
    .filter((pid) => Number.isInteger(pid) && textOf(`/proc/${pid}/stat`).split(') ')[1]?.split(' ')[1] === String(parent))
    .filter((pid) => textOf(`/proc/${pid}/cmdline`).startsWith('pcache-spare'));
}

function textOf(path: string): string {
  try {
    return readFileSync(path, 'latin1');
  } catch {
    // Ended meanwhile.
    return '';
  }
}

async function spareOf(gateway: FakeGateway): Promise<number> {
  let spare: number | undefined;
  await waitFor(() => (spare = sparesOf(gateway.supervisor.pid!)[0]) !== undefined, 'there is a spare');
  return spare!;
}

test('a spare holds nothing of the volume, goes on where the engine died, and is followed by another', async (t) => {
  const gateway = await FakeGateway.serving(t);
  const spare = await spareOf(gateway);
  t.not(spare, gateway.entry?.engine_pid);
  const files = readdirSync(`/proc/${spare}/fd`).map((fd) => readlinkSync(`/proc/${spare}/fd/${fd}`));
  for (const path of [gateway.plan.cachePath, gateway.backing, '/dev/fuse']) t.false(files.includes(path), path);
  t.false(textOf(`/proc/${spare}/maps`).includes(gateway.folder));

  const file = await open(gateway.volume, 'r');
  const before = gateway.entry!.engine_pid;
  process.kill(before, 'SIGKILL');
  t.is((await within(file.read(Buffer.alloc(10), 0, 10, 0), 'a read is answered')).bytesRead, 10);
  await file.close();
  t.is(gateway.entry?.engine_pid, spare);
  t.regex(textOf(`/proc/${spare}/cmdline`), /^pcache-engine/);
  t.not(await spareOf(gateway), spare);
  t.is(sparesOf(gateway.supervisor.pid!).length, 1);
});

test('a spare that dies is replaced, and the engine does not notice', async (t) => {
  const gateway = await FakeGateway.serving(t);
  const spare = await spareOf(gateway);
  const engine = gateway.entry?.engine_pid;
  process.kill(spare, 'SIGKILL');
  await waitFor(() => sparesOf(gateway.supervisor.pid!).some((pid) => pid !== spare), 'there is another');
  t.is(gateway.entry?.engine_pid, engine);
  t.regex(gateway.log(), /the spare engine died/);
});

test('signals leave a spare alone', async (t) => {
  const gateway = await FakeGateway.serving(t);
  const spare = await spareOf(gateway);
  for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) process.kill(spare, signal);
  const engine = gateway.entry!.engine_pid;
  process.kill(engine, 'SIGKILL');
  await waitFor(() => gateway.entry?.engine_pid !== engine, 'there is another engine');
  t.is(gateway.entry?.engine_pid, spare);
});

test('a spare ends with the mount, before its supervisor does', async (t) => {
  const gateway = await FakeGateway.serving(t);
  const spare = await spareOf(gateway);
  t.is((await gateway.pcache('umount', gateway.mountpoint)).status, 0);
  t.is(await gateway.exit(), 0);
  t.is(startTicksOf(spare), undefined);
  t.deepEqual(gateway.leftovers([]), []);
});

test('a spare ends when its supervisor is killed', async (t) => {
  const gateway = await FakeGateway.serving(t);
  const spare = await spareOf(gateway);
  gateway.supervisor.kill('SIGKILL');
  await t.notThrowsAsync(waitFor(() => startTicksOf(spare) === undefined, 'the spare ends'));
});
