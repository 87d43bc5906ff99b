// The first session of the README, run line by line as it stands there, in a folder of its own. What needs a terminal is left out.

import { execFile } from 'node:child_process';
import { mkdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import type { ExecutionContext } from 'ava';
import { detachLoop, listLoops } from '../../src/device/loop-device.js';
import { takeMountAway } from '../../src/gateway/take-mount-away.js';
import { connectionNumber } from '../../src/fuse/connection.js';
import { fileSystemKinds, whyNoFileSystem } from '../support/mounted-loop.js';
import { PCACHE, RUN_PREFIX, mountTest } from '../support/mounted.js';
import { repositoryRoot } from '../support/paths.js';
import { temporaryFolder } from '../support/tmp.js';

const SESSION_MS = 80_000;
const CACHE = `/dev/shm/${RUN_PREFIX}readme.pmem`;

/** The shell code that makes a cache and puts a loop device over the volume, as commands of this build. */
function session(): string {
  const readme = readFileSync(join(repositoryRoot, 'README.md'), 'utf8');
  const blocks = [...readme.matchAll(/^```sh\n([\s\S]*?)^```/gm)].map((match) => match[1]!);
  const found = blocks.filter((block) => block.includes('pcache format') && block.includes('pcache loop attach'));
  if (found.length !== 1) throw new Error(`README.md: ${found.length} blocks are a first session`);
  return found[0]!
    .split('\n')
    .filter((line) => !/^pcache monitor\b/.test(line))
    .join('\n')
    .replaceAll('/dev/shm/cache.pmem', CACHE);
}

interface Ending {
  readonly status: number | string | null;
  readonly output: string;
}

function runSession(text: string, folder: string): Promise<Ending> {
  const program = `set -eux\npcache() { '${process.execPath}' '${PCACHE}' "$@"; }\n${text}`;
  const env = { ...process.env, PCACHE_RUNTIME_DIR: join(folder, 'run') };
  return new Promise((resolve) => {
    execFile('bash', ['-c', program], { cwd: folder, env, timeout: SESSION_MS, killSignal: 'SIGKILL' }, (error, stdout, stderr) => {
      resolve({ status: error === null ? 0 : (error.code ?? error.signal ?? null), output: `${stdout}\n${stderr}` });
    });
  });
}

/** Whatever a session that failed has left. */
async function cleanUp(folder: string): Promise<void> {
  const run = (command: string, ...args: string[]): Promise<void> =>
    new Promise((resolve) => void execFile(command, args, { timeout: 10_000 }, () => resolve()));
  await run('umount', '-l', join(folder, 'mnt'));
  for (const { device, backingFile } of listLoops()) if (backingFile.startsWith(folder)) detachLoop(device);
  const volume = join(folder, 'vol');
  const connection = connectionNumber(volume);
  if (connection !== undefined) takeMountAway(volume, connection);
  rmSync(CACHE, { force: true });
}

const ext4 = fileSystemKinds.find(({ name }) => name === 'ext4')!;

mountTest('the first session of the README does what it says', whyNoFileSystem(ext4), async (t: ExecutionContext) => {
  const folder = temporaryFolder(t);
  t.teardown(() => cleanUp(folder));
  mkdirSync(join(folder, 'run'), { mode: 0o700 });
  const text = session();
  t.true(text.includes('pcache umount vol --flush'));
  const { status, output } = await runSession(text, folder);
  t.is(status, 0, output);
  t.regex(output, /vol: unmounted; everything is on .*disk\.img/);
});
