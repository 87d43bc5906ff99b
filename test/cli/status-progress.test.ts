// The status of an idle cache whose log takes long to read.

import { spawn } from 'node:child_process';
import test from 'ava';
import { waitFor, within } from '../gateway/fake-gateway.js';
import { PCACHE, hashOf } from './offline-support.js';
import { LOG_BYTES, slowCache } from './slow-cache.js';

test('a status that takes long says how far it is, and after an interrupt that the cache is as it was', async (t) => {
  const { cachePath } = slowCache(t);
  const before = hashOf(cachePath);
  const command = spawn(process.execPath, [PCACHE, 'status', cachePath], { stdio: ['ignore', 'pipe', 'pipe'] });
  t.teardown(() => command.kill('SIGKILL'));
  const ended = new Promise<NodeJS.Signals | null>((resolve) => command.once('close', (_, signal) => resolve(signal)));
  const said = { stdout: '', stderr: '' };
  command.stdout.on('data', (chunk: Buffer) => (said.stdout += chunk.toString()));
  command.stderr.on('data', (chunk: Buffer) => (said.stderr += chunk.toString()));
  await waitFor(() => said.stderr.includes('progress'), 'the status is under way');
  command.kill('SIGINT');
  t.is(await within(ended, 'the command ends'), 'SIGINT');
  const [progress = '', ...more] = said.stderr.trimEnd().split('\n');
  t.regex(progress, new RegExp(`^pcache: progress: progress="[a-z ]+" done_bytes=\\d+ total_bytes=${LOG_BYTES} `));
  t.is(more.pop(), `pcache: warning: interrupted: ${cachePath} is as it was`);
  t.is(said.stdout, '');
  t.is(hashOf(cachePath), before);
});
