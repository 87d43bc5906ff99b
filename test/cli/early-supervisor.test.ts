// The supervisor that `pcache mount` starts before it knows whether it wants one: it goes with the command, whatever ends that.

import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import test, { type ExecutionContext } from 'ava';
import { temporaryFolder } from '../support/tmp.js';
import { waitUntil, within } from '../support/mounted-commands.js';
import { PCACHE } from './offline-support.js';

const KILLS = 12;
const KILL_STEP_MS = 25;
const GONE_MS = 10_000;
/**
 * Preloaded by every process of the command: notes which program it is. The command itself, if told to, waits at its end until a supervisor has got so far, or
 * for some seconds.
 */
const WITNESS = `
const { appendFileSync, readFileSync } = require('node:fs');
const { WITNESS, WAITS } = process.env;
appendFileSync(WITNESS, process.argv[1] + '\\n');
if (WAITS === '1' && !process.argv[1].includes('supervisor')) process.on('exit', () => {
  for (let i = 0; i < 500 && !readFileSync(WITNESS, 'utf8').includes('supervisor'); i++) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 10);
});
`;

interface Started {
  readonly ended: Promise<{ status: number | null; stderr: string }>;
  kill(): void;
  /** The programs that were started, by their main modules. */
  programs(): string[];
  /** Processes of this start that are there. */
  living(): string[];
}

function start(t: ExecutionContext, args: readonly string[], waits = false): Started {
  const folder = temporaryFolder(t);
  const witness = join(folder, 'witness');
  const preload = join(folder, 'preload.cjs');
  writeFileSync(preload, WITNESS);
  mkdirSync(join(folder, 'run'), { mode: 0o700 });
  const env = {
    ...process.env,
    WITNESS: witness,
    WAITS: waits ? '1' : '0',
    NODE_OPTIONS: `--require ${preload}`,
    PCACHE_RUNTIME_DIR: join(folder, 'run'),
  };
  const command = spawn(process.execPath, [PCACHE, ...args], { stdio: ['ignore', 'pipe', 'pipe'], env, cwd: folder });
  let stderr = '';
  command.stdout.resume();
  command.stderr.on('data', (chunk: Buffer) => (stderr += chunk.toString()));
  return {
    ended: new Promise((resolve) => command.once('close', (status) => resolve({ status, stderr }))),
    kill: () => void command.kill('SIGKILL'),
    programs: () => (existsSync(witness) ? readFileSync(witness, 'utf8').trimEnd().split('\n') : []),
    living: () => processesWith(`WITNESS=${witness}\0`),
  };
}

function processesWith(variable: string): string[] {
  return readdirSync('/proc').filter((pid) => {
    if (!/^\d+$/.test(pid)) return false;
    try {
      return readFileSync(`/proc/${pid}/environ`, 'latin1').includes(variable);
    } catch {
      // Gone, or another user's.
      return false;
    }
  });
}

const allGone = (started: Started): Promise<void> => waitUntil(() => started.living().length === 0, 'every process has gone', GONE_MS);

test.serial('a mount that is refused has a supervisor beside it, and ends it', async (t) => {
  const started = start(t, ['mount', 'no-cache', 'no-backing', 'nowhere'], true);
  const { status, stderr } = await within(started.ended, 'the command ends');
  t.is(status, 1);
  t.regex(stderr, /^pcache: no-cache: .*\nhint: .*\n$/);
  await allGone(started);
  t.true(started.programs().some((program) => program.endsWith('supervisor-main.js')));
});

test.serial('a command that is killed while it starts leaves no process, at whatever moment', async (t) => {
  for (let i = 1; i <= KILLS; i++) {
    const started = start(t, ['mount', 'no-cache', 'no-backing', 'nowhere']);
    await delay(i * KILL_STEP_MS);
    started.kill();
    await within(started.ended, 'the command ends');
    await allGone(started);
  }
  t.pass();
});

test.serial('help, the foreground and other commands start no supervisor', async (t) => {
  for (const args of [['mount', '--help'], ['mount', 'no-cache', 'b', 'm', '--foreground'], ['status', 'mount'], ['--version']]) {
    const started = start(t, args);
    await within(started.ended, 'the command ends');
    await allGone(started);
    t.deepEqual(
      started.programs().filter((program) => program.includes('supervisor')),
      [],
      args.join(' '),
    );
  }
});
