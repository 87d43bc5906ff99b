import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import { Daemon, waitUntil } from '../../bench/command.js';
import { isAlive } from '../../bench/processes.js';
import { Workspace, noMemoryFolder } from '../../bench/workspace.js';

const lacks = noMemoryFolder();
const never = new AbortController().signal;

test('what is left of a workspace after its end is nothing: no process, no file, and what was to be undone is', async (t) => {
  if (lacks !== undefined) {
    t.log(`skipped: ${lacks}`);
    t.pass();
    return;
  }
  const workspace = new Workspace(never);
  const undone: string[] = [];
  workspace.atEnd(() => undone.push('first'));
  workspace.atEnd(() => undone.push('second'));
  writeFileSync(join(workspace.memory, 'file'), 'bytes');
  writeFileSync(join(workspace.folder('folder'), 'file'), 'bytes');
  // Each in a session of its own, as daemons are.
  new Daemon('sh', ['-c', 'setsid sleep 60 & sleep 60'], workspace.env('one'));
  new Daemon('sleep', ['60'], workspace.env('one-more'));
  await waitUntil(() => workspace.processesOf('one').length === 3, 'all processes run', 20_000, never);
  t.is(workspace.processesOf('one-more').length, 1);
  const pids = [...workspace.processesOf('one'), ...workspace.processesOf('one-more')];
  t.deepEqual(await workspace.dispose(), []);
  t.false(pids.some(isAlive));
  t.false(existsSync(workspace.disk) || existsSync(workspace.memory));
  t.deepEqual(undone, ['second', 'first']);
});

test('an end that fails in one thing goes on with the others and tells', async (t) => {
  if (lacks !== undefined) {
    t.log(`skipped: ${lacks}`);
    t.pass();
    return;
  }
  const workspace = new Workspace(never);
  workspace.atEnd(() => {
    throw new Error('it is stuck');
  });
  t.deepEqual(await workspace.dispose(), ['undo: it is stuck']);
  t.false(existsSync(workspace.disk) || existsSync(workspace.memory));
});
