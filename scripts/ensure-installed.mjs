// Installs the locked dependencies if they are not there yet, so that `npm test` and `npm run demo` work on a fresh clone. Nothing is reinstalled
// while the lock file is the one that was installed last: a copy of it is kept in node_modules, and made only when the installation is whole.
import { spawnSync } from 'node:child_process';
import { copyFileSync, existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { npmEnvironment } from './npm-environment.mjs';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const lock = join(root, 'package-lock.json');
const installed = join(root, 'node_modules', '.installed-lock.json');

if (!existsSync(installed) || !readFileSync(installed).equals(readFileSync(lock))) {
  process.stderr.write('installing dependencies (once, up to a minute)\n');
  const options = { cwd: root, stdio: ['ignore', 2, 2], env: npmEnvironment() };
  const result = spawnSync('npm', ['ci', '--no-audit', '--no-fund', '--loglevel=error'], options);
  if (result.error) process.stderr.write(`npm: ${result.error.message}\n`);
  if (result.status !== 0) process.exit(result.status ?? 1);
  copyFileSync(lock, installed);
}
