// The parked threads of an engine, with the programs that they really have, helping to replay a log of a mapped cache.

import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import test from 'ava';
import type { OpenedCache } from '../../src/cache/open.js';
import { helpersInside, piecesReached } from '../../src/cache/replay-crew.js';
import type { ReplayHelpers, ReplayJob } from '../../src/cache/replay-helper.js';
import { CacheTree } from '../../src/cache/cache-tree.js';
import type { CacheDevice } from '../../src/device/device.js';
import { openCacheDevice } from '../../src/device/mapped-cache-device.js';
import { seededRandom } from '../../src/device/seeded-random.js';
import { SimulatedBackingDevice } from '../../src/device/simulated-backing-device.js';
import { InlineVolume } from '../../src/gateway/inline-volume.js';
import { ParkedThreads } from '../../src/gateway/parked-threads.js';
import { replayHelpers } from '../../src/gateway/replay-helpers.js';
import { threadKinds } from '../../src/gateway/thread-kinds.js';
import { createCache } from '../../src/index.js';
import { bootIdOf, layerOver } from '../support/model-rig.js';
import { temporaryFolder } from '../support/tmp.js';

const MIB = 1 << 20;
const VOLUME_BYTES = 24 * MIB;
const KINDS = threadKinds({ queues: 1, queuesFirst: 1, readOnly: false });

function open(device: CacheDevice, readOnly: boolean, helpers?: ReplayHelpers): InlineVolume {
  return new InlineVolume(device, new SimulatedBackingDevice({ sizeBytes: VOLUME_BYTES }), {
    adopt: false,
    bootId: bootIdOf(1),
    writers: 1,
    readOnly,
    newUuid: new Uint8Array(16).fill(9),
    nowMs: 1,
    clock: () => 0,
    helpers,
  });
}

function whatCameOf({ shared, replay }: OpenedCache): unknown {
  const { state, refs, liveSectors, numbers, words } = shared;
  const stats = CacheTree.attach(shared.tree, shared.generationLow).stats();
  return { replay, stats, arrays: [state, refs, liveSectors, numbers, words].map((array) => [...array]) };
}

/** So that there is time for helpers to do something. */
function slowly(device: CacheDevice): CacheDevice {
  const word = new Int32Array(new SharedArrayBuffer(4));
  let calls = 0;
  return layerOver(device, {
    segment(id) {
      if (++calls % 100 === 0) Atomics.wait(word, 0, 0, 1);
      return device.segment(id);
    },
  });
}

for (const dataCrc of [false, true]) {
  test.serial(`parked threads help to replay a log ${dataCrc ? 'with' : 'without'} data CRC, which comes to the same`, async (t) => {
    const path = join(temporaryFolder(t), 'cache');
    createCache(path, 96 * MIB, { dataCrc });
    const device = openCacheDevice(path);
    t.teardown(() => device.close());
    const random = seededRandom(4);
    const written = open(device, false);
    const bytes = new Uint8Array(1024);
    for (let i = 0; i < 12_000; i++) {
      bytes[i % 1024]! += 1;
      written.write(512 * Math.floor(random() * (VOLUME_BYTES / 512 - 2)), bytes);
      if (i % 500 === 0) while (written.logStep());
    }
    written.close({ crash: true });
    const alone = whatCameOf(open(device, true).opened);

    const threads = new ParkedThreads();
    await threads.park(KINDS, 2);
    const jobs: ReplayJob[] = [];
    const real = replayHelpers(threads, device.handle, 3);
    const helpers: ReplayHelpers = {
      fromKeys: 0,
      start(job) {
        jobs.push(job);
        real.start(job);
      },
    };
    try {
      // One after the other: threads that have helped wait again, and help again.
      for (let i = 0; i < 3; i++) t.deepEqual(whatCameOf(open(slowly(device), true, helpers).opened), alone);
      t.is(jobs.length, 3);
      for (const { crew } of jobs) t.true(piecesReached(crew) > 0);
      // A word of theirs says that they are out of the cache before it is unmapped.
      for (let i = 0; i < 100 && jobs.some(({ crew }) => helpersInside(crew) > 0); i++) await sleep(20);
    } finally {
      await Promise.all(KINDS.map((kind) => threads.take(kind).worker.terminate()));
    }
  });
}

test('a machine of one core has no helpers', (t) => {
  const threads = new ParkedThreads(() => {
    throw new Error('no thread is wanted');
  });
  t.notThrows(() => replayHelpers(threads, {} as never, 1).start({} as never));
});
