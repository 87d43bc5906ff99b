// What npm runs before it links or copies this folder into another place: `npm install --global .`, with or without --install-links, and the same from a git
// repository. Without a build the command would be missing there, which npm does not say. npm shows none of the output, unless this fails.
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { npmEnvironment } from './npm-environment.mjs';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const { npm_config_global: isGlobal, INIT_CWD: calledIn } = process.env;

// npm was called in this folder for this folder alone: to install its dependencies, which is no reason to build, or to pack, where `prepack` builds.
const isForAnotherPlace = isGlobal === 'true' || (calledIn !== undefined && calledIn !== root);

// A package that was unpacked has no sources.
if (isForAnotherPlace && existsSync(join(root, 'tsconfig.json'))) {
  const { status, error } = spawnSync('npm', ['run', '--silent', 'build'], { cwd: root, stdio: ['ignore', 2, 2], env: npmEnvironment() });
  if (error !== undefined) process.stderr.write(`npm: ${error.message}\n`);
  if (status !== 0) {
    process.stderr.write('pcache-gateway: it could not be built, and is not installed\n');
    process.exit(1);
  }
}
