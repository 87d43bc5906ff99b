// What is said of something that takes its time where nobody watches, and at an interrupt.

import { spawn } from 'node:child_process';
import test from 'ava';
import { Output } from '../../src/cli/output.js';
import { PhaseProgress, interruptsHeard, onInterrupt, startProgress } from '../../src/cli/progress.js';
import { FakeGateway, pcacheMain, waitFor, within } from '../gateway/fake-gateway.js';
import { whyNoFuse } from '../fuse/memory-mount.js';

function said(options: { json?: boolean; quiet?: boolean }, tell: (output: Output) => void): string {
  let text = '';
  const stream = { write: (part: string) => (text += part) };
  tell(new Output({ json: options.json === true, quiet: options.quiet === true }, { stdout: { write: () => undefined }, stderr: stream }));
  return text;
}

function halfDone(output: Output): void {
  const progress = startProgress(output, 'writing back', 1000, { lines: true, lineIntervalMs: 0 });
  progress.update(500);
  progress.update(400);
  progress.stop();
}

const FIELDS = /^pcache: progress: progress="writing back" done_bytes=500 total_bytes=1000 bytes_per_s=\d+ left_s=(\d+|null)$/;

test('without a terminal there are lines that a program can read, and none goes back', (t) => {
  const lines = said({}, halfDone).trimEnd().split('\n');
  t.is(lines.length, 3);
  t.regex(lines[1]!, FIELDS);
  t.regex(lines[2]!, FIELDS);
});

test('with --json they are JSON, with --quiet there are none', (t) => {
  const lines = said({ json: true }, halfDone).trimEnd().split('\n');
  t.like(JSON.parse(lines[1]!), { progress: 'writing back', done_bytes: 500, total_bytes: 1000 });
  t.is(said({ quiet: true }, halfDone), '');
});

test('what is done before the first line is due says nothing', (t) => {
  const quick = (output: Output): void => {
    const progress = startProgress(output, 'writing back', 1000, { lines: true });
    progress.update(1000);
    progress.stop();
  };
  t.is(said({}, quick), '');
});

test('an interrupt leaves no handler behind when it is over', (t) => {
  const before = process.listenerCount('SIGINT');
  said({}, halfDone);
  t.is(process.listenerCount('SIGINT'), before);
});

test('work in phases says nothing in its first second', (t) => {
  const quick = (output: Output): void => {
    const progress = new PhaseProgress(output);
    progress.update('reading', 10, 1000);
    progress.update('writing', 10, 1000);
    progress.stop({ isDone: true });
  };
  t.is(said({}, quick), '');
});

test.serial('an interrupt while the main thread is busy is heard when it is done', async (t) => {
  // This process is to live on, so somebody else hears the signal too; and nobody, at first.
  const others = new Set<string>();
  const other = (): void => void others.add('heard');
  process.on('SIGINT', other);
  try {
    let text = '';
    const stream = { write: (part: string) => (text += part) };
    const output = new Output({ json: false, quiet: false }, { stdout: stream, stderr: stream });
    const ignore = onInterrupt(output, () => 'all is done');
    process.kill(process.pid, 'SIGINT');
    t.is(text, '');
    await interruptsHeard();
    ignore();
    t.is(text, 'pcache: warning: interrupted: all is done\n');
    t.true(others.has('heard'));
    // The one that it sends itself, to end by it.
    await interruptsHeard();
  } finally {
    process.off('SIGINT', other);
  }
});

const noFuse = whyNoFuse();

(noFuse === undefined ? test.serial : test.skip)(
  `an interrupt of a flush, and of umount --flush, says that the gateway goes on${noFuse === undefined ? '' : ` (${noFuse})`}`,
  async (t) => {
    const gateway = await FakeGateway.serving(t, { mode: 'slow-flush' });
    const env = { ...process.env, PCACHE_RUNTIME_DIR: gateway.plan.runtimeDirectory };
    for (const args of [['flush'], ['umount', '--flush']]) {
      const before = gateway.log().split('flush asked for').length;
      const command = spawn(process.execPath, [pcacheMain, ...args, gateway.mountpoint], { stdio: ['ignore', 'pipe', 'pipe'], env });
      let stderr = '';
      command.stderr.on('data', (chunk: Buffer) => (stderr += chunk.toString()));
      const ended = new Promise((resolve) => command.once('close', (_, signal) => resolve(signal)));
      await waitFor(() => gateway.log().split('flush asked for').length > before, 'the flush is under way');
      command.kill('SIGINT');
      t.is(await within(ended, 'the command ends'), 'SIGINT');
      const { mountpoint } = gateway;
      const where =
        args[0] === 'flush'
          ? 'the gateway goes on writing back; pcache status shows what is still dirty'
          : `${mountpoint} is still mounted, and the gateway goes on writing back; pcache umount ${mountpoint} --flush unmounts it`;
      t.is(stderr, `pcache: warning: interrupted: ${where}\n`);
      t.true(gateway.isMounted);
    }
    t.is((await gateway.pcache('umount', gateway.mountpoint)).status, 0);
  },
);
