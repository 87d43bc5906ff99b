// The last file of the tests of mounts, by its name among those that AVA runs in order: nothing of this run is left on the machine.

import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { listLoops } from '../../src/device/loop-device.js';
import { readMounts } from '../../src/fuse/mountinfo.js';
import { RUN_PREFIX, processesWith } from '../support/mounted.js';

test('the tests of mounts leave no mount, process, loop device or file', (t) => {
  t.deepEqual(
    readMounts().filter((mount) => mount.mountpoint.includes(RUN_PREFIX)),
    [],
  );
  const processes = processesWith(`PCACHE_RUNTIME_DIR=${join(tmpdir(), RUN_PREFIX)}`);
  t.deepEqual(
    processes.map((pid) => readFileSync(`/proc/${pid}/cmdline`, 'latin1')),
    [],
  );
  t.deepEqual(
    listLoops().filter((loop) => loop.backingFile.includes(RUN_PREFIX)),
    [],
  );
  for (const folder of [tmpdir(), '/dev/shm']) {
    if (existsSync(folder))
      t.deepEqual(
        readdirSync(folder).filter((name) => name.startsWith(RUN_PREFIX)),
        [],
      );
  }
});
