// What the commands that write back show and say, of a gateway that is made up: bytes of writes are the work, bytes of the volume are what is told of it.

import { setTimeout as delay } from 'node:timers/promises';
import test, { type ExecutionContext } from 'ava';
import type { CommandContext } from '../../src/cli/command.js';
import { flushWithProgress } from '../../src/cli/flush.js';
import { Output } from '../../src/cli/output.js';
import { WaitForEnd, type Pending } from '../../src/cli/wait-for-end.js';
import type { ControlQuestion, RequestBounds } from '../../src/gateway/control-client.js';

const MIB = 1 << 20;
const PATIENCE_MS = 30_000;
const silent = { write: () => undefined };
const noEntry = { mountpoint: '/mnt/vol', supervisor_pid: 1 };

function contextOf(said: string[]): CommandContext {
  const globals = { json: false, quiet: false, logLevel: 'info' } as const;
  return { globals, output: new Output(globals, { stdout: silent, stderr: { write: (text) => said.push(text) } }), exitStatus: 0 };
}

/** Answers `status` with each of these in turn, and stays with the last. */
function gatewayThatSays(statuses: readonly Partial<Pending & { corrupt_keys: number }>[]) {
  let asked = 0;
  return {
    asked: () => asked,
    request: (question: ControlQuestion, { onProgress }: RequestBounds = {}): Promise<unknown> => {
      if (question.op === 'status') return Promise.resolve(statuses[Math.min(asked++, statuses.length - 1)]);
      for (const bytes_left of [16 * MIB, 5 * MIB, 0]) onProgress?.({ bytes_total: 16 * MIB, bytes_left });
      return Promise.resolve(null);
    },
  };
}

test('a flush has written back what was dirty when it began, not each write to the same place', async (t) => {
  const client = gatewayThatSays([
    { dirty_bytes: MIB, corrupt_keys: 0 },
    { dirty_bytes: 0, corrupt_keys: 0 },
  ]);
  t.is(await flushWithProgress(client, contextOf([])), MIB);
});

test('what others write during a flush is not its business', async (t) => {
  const context = contextOf([]);
  const client = gatewayThatSays([
    { dirty_bytes: MIB, corrupt_keys: 0 },
    { dirty_bytes: 3 * MIB, corrupt_keys: 0 },
  ]);
  t.is(await flushWithProgress(client, context), MIB);
  t.is(context.exitStatus, 0);
});

test('damaged data that stays is not written back, and is told', async (t) => {
  const said: string[] = [];
  const context = contextOf(said);
  const client = gatewayThatSays([
    { dirty_bytes: MIB, corrupt_keys: 0 },
    { dirty_bytes: 4096, corrupt_keys: 1 },
  ]);
  t.is(await flushWithProgress(client, context), MIB - 4096);
  t.regex(said.join(''), /^pcache: warning: damaged data can't be written back and stays in the cache \(1 keys\)/);
  t.is(context.exitStatus, 1);
});

/** Whether the end of a gateway is seen to go on, once it has been asked twice. */
async function advances(t: ExecutionContext, before: Pending, later: Pending): Promise<boolean> {
  const client = gatewayThatSays([later]);
  const wait = new WaitForEnd(noEntry, before, client, contextOf([]).output);
  t.teardown(() => wait.stop());
  let has = false;
  const endMs = performance.now() + PATIENCE_MS;
  while (client.asked() < 2 && performance.now() < endMs) {
    has = wait.hasAdvanced() || has;
    await delay(20);
  }
  t.is(client.asked(), 2);
  return has || wait.hasAdvanced();
}

const serving = { state: 'serving', dirty_bytes: MIB, writeback_pending_bytes: 16 * MIB, writeback_bytes_per_s: 0 } as const;

test('the end of a gateway goes on while there is less to pass, though no less is dirty', async (t) => {
  t.true(await advances(t, serving, { ...serving, writeback_pending_bytes: 15 * MIB }));
  t.false(await advances(t, serving, serving));
});

test('it goes on while the backing device takes something, until the threads stop', async (t) => {
  t.true(await advances(t, serving, { ...serving, writeback_bytes_per_s: 1000 }));
  t.false(await advances(t, serving, { ...serving, state: 'stopping', writeback_bytes_per_s: 1000 }));
  t.false(await advances(t, serving, { ...serving, dirty_bytes: 0, writeback_pending_bytes: 16 * MIB }));
});

test('of a gateway that says only what is dirty, that is the work', async (t) => {
  t.true(await advances(t, { dirty_bytes: MIB }, { dirty_bytes: 4096 }));
  t.false(await advances(t, { dirty_bytes: MIB }, { dirty_bytes: MIB }));
});
