// The engines that wait beside the one that works. First with real processes, in which the engines are fakes; then how many there are, without processes.

import { readFileSync, readdirSync, readlinkSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';
import anyTest, { type ExecutionContext } from 'ava';
import { startTicksOf } from '../../src/gateway/process-identity.js';
import { createLog } from '../../src/gateway/log.js';
import { SpareEngines, type Spare } from '../../src/gateway/spare-engines.js';
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

test('a spare holds nothing of the volume, goes on where the engine died, and is followed by others', async (t) => {
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
  // It may not have been the last to die.
  await waitFor(() => sparesOf(gateway.supervisor.pid!).length === 2, 'there are two others');
  t.false(sparesOf(gateway.supervisor.pid!).includes(spare));
});

test('a spare that dies is replaced, and the engine does not notice', async (t) => {
  const gateway = await FakeGateway.serving(t);
  const spare = await spareOf(gateway);
  const engine = gateway.entry?.engine_pid;
  process.kill(spare, 'SIGKILL');
  await waitFor(() => sparesOf(gateway.supervisor.pid!).some((pid) => pid !== spare), 'there is another');
  t.is(gateway.entry?.engine_pid, engine);
  t.regex(gateway.log(), /a spare engine died/);
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

class FakeSpare implements Spare {
  readonly pid = 1;
  hasEnded = false;
  readonly ended: Promise<string>;
  #end: (how: string) => void = () => undefined;

  constructor() {
    this.ended = new Promise((resolve) => (this.#end = resolve));
  }

  kill(): void {
    this.hasEnded = true;
    this.#end('killed');
  }
}

function fakeSpares(times: { calmMs: number; nextMs: number; afterDeathMs: number }): {
  made: FakeSpare[];
  spares: SpareEngines<FakeSpare>;
} {
  const made: FakeSpare[] = [];
  const make = (): FakeSpare => {
    const spare = new FakeSpare();
    made.push(spare);
    return spare;
  };
  return { made, spares: new SpareEngines(make, createLog({ name: 'test', level: 'silent', format: 'json' }), times) };
}

const living = (made: readonly FakeSpare[]): number => made.filter(({ hasEnded }) => !hasEnded).length;

anyTest('there is one spare; after a death two, one after the other, and after a while one again', async (t) => {
  const { made, spares } = fakeSpares({ calmMs: 1, nextMs: 1, afterDeathMs: 400 });
  spares.want();
  await delay(50);
  t.is(made.length, 1);
  t.is(spares.take(), made[0]);
  t.is(spares.take(), undefined);
  spares.want();
  await waitFor(() => made.length === 3, 'there are two');
  await delay(50);
  t.is(made.length, 3);
  await waitFor(() => made[2]!.hasEnded, 'one is let go');
  t.is(spares.take(), made[1]);
  t.false(made[1]!.hasEnded);
  await spares.end();
});

anyTest('a spare that died is not taken, the next one is; none is made, and none lives, after the end', async (t) => {
  const { made, spares } = fakeSpares({ calmMs: 1, nextMs: 1, afterDeathMs: 60_000 });
  t.is(spares.take(), undefined);
  spares.want();
  await waitFor(() => made.length === 2, 'there are two');
  made[0]!.kill();
  t.is(spares.take(), made[1]);
  made[1]!.kill();
  spares.want();
  await waitFor(() => living(made) === 2, 'there are two again');
  await spares.end();
  t.is(living(made), 0);
  const { length } = made;
  spares.want();
  await delay(50);
  t.is(made.length, length);
});
