// The unit of systemd: that of examples/ is the one that `pcache config install` writes, and systemd has nothing to say against it.

import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import { PROGRAM_DEFAULT, unitText } from '../src/cli/system-files.js';
import { lacking, run } from './support/mounted-commands.js';
import { repositoryRoot } from './support/paths.js';
import { temporaryFolder } from './support/tmp.js';

test('the unit in examples/ is what pcache config install writes for a package', (t) => {
  t.is(readFileSync(join(repositoryRoot, 'examples/systemd/pcache@.service'), 'utf8'), unitText(PROGRAM_DEFAULT));
});

test('nothing in the unit gives the service mounts of its own', (t) => {
  const own =
    /^(?:Protect(?:System|Home|KernelTunables|ControlGroups|KernelModules|KernelLogs|Proc)|Private(?:Tmp|Devices|Mounts)|Read\w+Paths|InaccessiblePaths|TemporaryFileSystem|Bind\w*Paths|RootDirectory|RootImage|MountFlags|DynamicUser)=/m;
  t.notRegex(unitText(PROGRAM_DEFAULT), own);
});

const lacks = lacking('systemd-analyze');

(lacks === undefined ? test : test.skip)(
  `systemd takes the unit as it is${lacks === undefined ? '' : ` (skipped: ${lacks})`}`,
  async (t) => {
    const path = join(temporaryFolder(t), 'pcache@.service');
    // With paths that need care, of programs that are there.
    const node = join(temporaryFolder(t), 'no de');
    writeFileSync(node, '#!/bin/sh\n', { mode: 0o755 });
    writeFileSync(path, unitText({ node, pcache: '/100%/$pcache.js' }));
    const { status, stdout, stderr } = await run('systemd-analyze', ['verify', '--man=no', path]);
    t.is(`${stdout}${stderr}`, '');
    t.is(status, 0);
  },
);
