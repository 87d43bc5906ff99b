// The two steps in which a process dies, seen from outside. The processes are like an engine: Node's, with threads of their own.

import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import test, { type ExecutionContext } from 'ava';
import { processGone, programEnd } from '../../src/gateway/process-death.js';
import { STAT_FLAGS, isLeft, startTicksOf, statFields } from '../../src/gateway/process-identity.js';
import { within } from '../support/mounted-commands.js';

/** Three threads that compute, and memory that takes a moment to be given back. */
const BUSY = `
  const { Worker } = require('node:worker_threads');
  globalThis.kept = Buffer.alloc(200e6, 1);
  let started = 0;
  for (let i = 0; i < 3; i++) {
    new Worker('require("node:worker_threads").parentPort.postMessage(0); for (;;);', { eval: true }).once('message', () => {
      if (++started === 3) process.stdout.write('busy');
    });
  }`;
const PF_EXITING = 4;

function node(t: ExecutionContext, program: string): ChildProcess {
  const child = spawn(process.execPath, ['-e', program], { stdio: ['ignore', 'pipe', 'inherit'] });
  t.teardown(() => child.kill('SIGKILL'));
  return child;
}

function runningThreads(pid: number): string[] {
  let threads: string[];
  try {
    threads = readdirSync(`/proc/${pid}/task`);
  } catch {
    // The process is gone.
    return [];
  }
  return threads.filter((thread) => {
    const flags = statFields(`/proc/${pid}/task/${thread}/stat`)?.[STAT_FLAGS];
    return flags !== undefined && (Number(flags) & PF_EXITING) === 0;
  });
}

test('of a process that is killed no thread runs when its program is said to have ended; later nothing of it is left', async (t) => {
  const child = node(t, BUSY);
  const pid = child.pid!;
  await within(once(child.stdout!, 'data'), 'its threads run');
  const identity = { pid, startTicks: startTicksOf(pid)! };
  const end = programEnd(pid);
  t.is(await Promise.race([end.then(() => 'ended'), delay(300, 'lives')]), 'lives');
  t.true(runningThreads(pid).length > 3);
  child.kill('SIGKILL');
  await within(end, 'its program ends');
  t.deepEqual(runningThreads(pid), []);
  await within(processGone(identity), 'it is gone');
  t.false(isLeft(identity));
});

test('a process that exits by itself has said its last word when its program has ended', async (t) => {
  const child = node(t, `setTimeout(() => { require('node:fs').writeSync(1, 'last'); process.exit(3); }, 300)`);
  let said = '';
  child.stdout!.on('data', (chunk: Buffer) => (said += chunk.toString()));
  const exited = once(child, 'exit');
  await within(programEnd(child.pid!), 'its program ends');
  t.is(said, 'last');
  t.is((await within(exited, 'it exits'))[0], 3);
});

test('a process that is not there has ended, and is gone', async (t) => {
  const child = node(t, '');
  const identity = { pid: child.pid!, startTicks: startTicksOf(child.pid!)! };
  await within(once(child, 'exit'), 'it exits');
  await within(programEnd(identity.pid), 'its program has ended');
  await within(processGone(identity), 'it is gone');
  t.false(isLeft(identity));
});

test('another process with the number of one that was is not that one', (t) => {
  t.true(isLeft({ pid: process.pid, startTicks: startTicksOf(process.pid)! }));
  t.false(isLeft({ pid: process.pid, startTicks: startTicksOf(process.pid)! - 1 }));
});
