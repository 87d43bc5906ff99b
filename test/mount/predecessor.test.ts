// An engine that takes over from one that is not quite gone: it serves, and leaves the backing device alone until the other is gone, whose last writes may
// be under way. Here the other one is any process that lives as long as the test wants.

import { spawn } from 'node:child_process';
import { closeSync, constants, mkdirSync, openSync, readFileSync, truncateSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { createCache } from '../../src/index.js';
import { openBackingDevice } from '../../src/device/file-backing-device.js';
import { openCacheDevice } from '../../src/device/mapped-cache-device.js';
import { connectionNumber } from '../../src/fuse/connection.js';
import { mountFuse } from '../../src/fuse/mount.js';
import { negotiate, queueDescriptors } from '../../src/fuse/session.js';
import { EngineChild } from '../../src/gateway/engine-child.js';
import { ENGINE_BACKING_PLACE, ENGINE_CACHE_PLACE, ENGINE_FIRST_FUSE_PLACE } from '../../src/gateway/engine.js';
import { LOG_FD } from '../../src/gateway/log-sink.js';
import { engineMainDefault } from '../../src/gateway/first-engine.js';
import { defaultMountOptions } from '../../src/gateway/mount-options.js';
import { startTicksOf } from '../../src/gateway/process-identity.js';
import { takeMountAway } from '../../src/gateway/take-mount-away.js';
import { CACHE_BYTES_MIN } from '../../src/media/layout.js';
import { Client } from '../fuse/client.js';
import { pattern } from '../fuse/conformance.js';
import { MIB, mountTest, noFuse } from '../support/mounted.js';
import { waitUntil, within } from '../support/mounted-commands.js';
import { temporaryFolder } from '../support/tmp.js';

const VOLUME_BYTES = 8 * MIB;
/** Within so long a time it would have been written back: without a predecessor it is. */
const HELD_BACK_MS = 1500;

const TITLE = 'an engine serves, but writes nothing to the backing device before the engine that died is gone';

mountTest(TITLE, noFuse, async (t) => {
  const folder = temporaryFolder(t);
  const [cachePath, backingPath, mountpoint] = [join(folder, 'cache'), join(folder, 'backing'), join(folder, 'mnt')];
  createCache(cachePath, CACHE_BYTES_MIN);
  closeSync(openSync(backingPath, 'w'));
  truncateSync(backingPath, VOLUME_BYTES);
  mkdirSync(mountpoint);
  const options = { ...defaultMountOptions(), workers: 1 };
  const cache = openCacheDevice(cachePath);
  const backing = openBackingDevice(backingPath);
  const fd = mountFuse({ mountpoint, kind: 'directory', fsName: cachePath, readOnly: false, allowOther: false });
  const session = negotiate(fd, false);
  const fuseFds = queueDescriptors(fd, 1);
  const client = new Client();
  const predecessor = spawn('sleep', ['60'], { stdio: 'ignore' });
  const engine = new EngineChild(engineMainDefault, { ...options, isAwaited: true });
  t.teardown(async () => {
    predecessor.kill('SIGKILL');
    takeMountAway(mountpoint, connectionNumber(mountpoint)!);
    engine.kill();
    await engine.ended;
    await client.close();
    for (const fuseFd of fuseFds) closeSync(fuseFd);
    backing.close();
    cache.close();
  });
  const ready = new Promise<void>((resolve) => (engine.onMessage = ({ type }) => (type === 'ready' ? resolve() : undefined)));
  const { path, sizeBytes, readOnly, identity, alignment } = backing.handle;
  engine.start(
    {
      type: 'start',
      start: {
        cache: {
          path: cachePath,
          fd: ENGINE_CACHE_PLACE,
          sizeBytes: cache.sizeBytes,
          persistence: cache.handle.persistence,
          readOnly: false,
        },
        backing: { path, fd: ENGINE_BACKING_PLACE, sizeBytes, readOnly, identity, alignment },
        mountpoint,
        mountKind: 'directory',
        fuseFds: fuseFds.map((_, index) => ENGINE_FIRST_FUSE_PLACE + index),
        session,
        resume: true,
        predecessors: [{ pid: predecessor.pid!, startTicks: startTicksOf(predecessor.pid!)! }],
        options,
        supervisorPid: process.pid,
        startedMs: Date.now(),
        engineRestarts: 1,
      },
      socket: join(folder, 'socket'),
      logLevel: 'warn',
      logFormat: 'text',
    },
    [LOG_FD, cache.handle.fd, backing.handle.fd, ...fuseFds],
  );
  await within(ready, 'the engine serves');
  const volume = join(mountpoint, 'volume.img');
  const bytes = pattern(MIB, 1);
  const file = await client.call('open', volume, constants.O_RDWR);
  t.is(await client.call('write', file, 0, bytes), bytes.length);
  await client.call('fsync', file);
  t.true(bytes.equals(await client.call('read', file, 0, bytes.length)));
  await delay(HELD_BACK_MS);
  t.true(readFileSync(backingPath).every((byte) => byte === 0));
  predecessor.kill('SIGKILL');
  await waitUntil(() => readFileSync(backingPath).subarray(0, MIB).equals(bytes), 'it is written back');
});
