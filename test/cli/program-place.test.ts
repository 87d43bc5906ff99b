// Programs that may not be there tomorrow are told from those that will.

import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import { whatMayGo } from '../../src/cli/program-place.js';
import { runMain } from './run-main.js';
import { temporaryFolder } from '../support/tmp.js';

const NODE = '/usr/bin/node';

test('a program that was installed for the system stays', (t) => {
  for (const prefix of ['/usr', '/usr/local', '/opt/node']) {
    t.deepEqual(whatMayGo({ node: NODE, pcache: `${prefix}/lib/node_modules/pcache-gateway/bin/pcache.cjs` }), []);
  }
  t.deepEqual(whatMayGo({ node: undefined, pcache: '/usr/bin/pcache' }), []);
  t.deepEqual(whatMayGo({ node: NODE, pcache: '/homework/pcache' }), [], 'no home folder');
});

test('a program in a clone, in a folder that is emptied or in a home may go, and it is said how to install one that stays', (t) => {
  const clone = temporaryFolder(t);
  mkdirSync(join(clone, '.git'));
  const places = [
    [join(clone, 'dist', 'bundle', 'pcache.js'), `in a git clone (${clone})`],
    ['/tmp/prefix/bin/pcache.cjs', 'below /tmp'],
    ['/home/me/.npm-global/lib/pcache.cjs', 'in a home folder (below /home)'],
    ['/root/pcache.cjs', 'in a home folder (below /root)'],
  ] as const;
  for (const [pcache, why] of places) {
    const [warning, ...more] = whatMayGo({ node: NODE, pcache });
    t.true(warning?.includes(`${pcache}, which is ${why}, and fails`), warning);
    t.true(warning?.includes('`npm install --global --install-links .`'));
    t.deepEqual(more, []);
  }
});

test("a Node.js in a user's home may go too", (t) => {
  const [warning, ...more] = whatMayGo({ node: '/home/me/.nvm/versions/node/v20.19.0/bin/node', pcache: '/usr/bin/pcache' });
  t.regex(warning ?? '', /^the service will run \/home\/me\/\S+node, which is in a home folder/);
  t.deepEqual(more, []);
});

test('pcache config install warns when the program that runs it may go, and writes its files all the same', async (t) => {
  const root = temporaryFolder(t);
  const { status, stdout, stderr } = await runMain(['config', 'install', '--root', root]);
  // These tests run in a clone.
  t.regex(stderr, /^pcache: warning: the service will run \S+, which is (?:in|below) /m);
  t.regex(stdout, /pcache@\.service/);
  t.is(status, 0);
  const json = await runMain(['--json', 'config', 'install', '--root', root]);
  t.is((JSON.parse(json.stdout) as { warnings: string[] }).warnings.length, 1);
  t.is(json.stderr, '');
});
