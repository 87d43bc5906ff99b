// Runs the tests in two goes: those that only compute two files at a time, then those that use mounts, loop devices and processes one after another.
// PCACHE_BUILD names another build folder; without it, it is what `npm run build` makes, bundles included. Exit status 1 if either go fails.
// AVA bounds every test by itself (ava.config.js); a go that does not end although, as when a file's process hangs, is killed.
import { spawnSync } from 'node:child_process';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const ava = join(root, 'node_modules', 'ava', 'entrypoints', 'cli.mjs');
const tests = join(process.env.PCACHE_BUILD ?? 'dist', 'test');

const computing = ['bench', 'cache', 'media', 'shared'].map((folder) => `${tests}/${folder}/**`);
const machine = ['cli', 'device', 'fuse', 'gateway', 'library', 'monitor', 'mount', 'torture'].map((folder) => `${tests}/${folder}/**`);

const env = process.env.PCACHE_BUILD === undefined ? { ...process.env, PCACHE_BUNDLES: 'required' } : process.env;

/** Three times what the longer go takes on a machine with two slow cores. */
const GO_MS = 75 * 60_000;

function run(concurrency, patterns) {
  const options = { cwd: root, stdio: 'inherit', env, timeout: GO_MS, killSignal: 'SIGKILL' };
  const result = spawnSync(process.execPath, [ava, `--concurrency=${concurrency}`, ...patterns], options);
  if (result.error)
    process.stderr.write(
      `ava: ${result.error.code === 'ETIMEDOUT' ? `not at its end after ${GO_MS / 60_000} minutes` : result.error.message}\n`,
    );
  return result.status === 0;
}

const computed = run(2, computing);
const used = run(1, [`${tests}/*.test.js`, ...machine]);
process.exit(computed && used ? 0 : 1);
