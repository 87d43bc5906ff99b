// Threads that run freely over one cache, on real locks, and are killed where they stand: what lies below the steps of the simulation. The volume is small and
// its segments are smaller, so that everything is written, collected and reused all the time.

import { setTimeout as sleep } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import test from 'ava';
import type { ExecutionContext } from 'ava';
import { Cache } from '../../src/cache/cache.js';
import { formatCache } from '../../src/cache/format.js';
import { openCache } from '../../src/cache/open.js';
import type { OpenedCache } from '../../src/cache/open.js';
import { seededRandom } from '../../src/device/seeded-random.js';
import { Maintenance } from '../../src/gateway/maintenance.js';
import { VolumeIo } from '../../src/gateway/volume-io.js';
import { SECTOR_BYTES, SUBTREE_BYTES } from '../../src/media/layout.js';
import { bootIdOf } from '../support/model-rig.js';
import { SimCacheDevice, createBacking, createMedia, windowBacking } from '../support/sim-media.js';
import type { SimMediaState } from '../support/sim-media.js';
import { StressWord, stamp, stampProblem } from '../support/stress-thread.js';
import type { StressStart } from '../support/stress-thread.js';

const USERS = 3;
const SECTORS = 192;
const ROUND_MS = 350;

interface StressOptions {
  readonly dataCrc?: boolean;
  readonly segments?: number;
  readonly segmentDataBytes?: number;
  /** Threads that read in order, and ahead. */
  readonly readers?: number;
  readonly seed?: number;
}

class Stress {
  readonly media: SimMediaState;
  readonly readers: number;
  readonly backing = createBacking(2 * SUBTREE_BYTES, SUBTREE_BYTES - (SECTORS / 2) * SECTOR_BYTES, SECTORS * SECTOR_BYTES);
  readonly words = ints(StressWord.count);
  readonly issued = ints(USERS + 1);
  readonly acknowledged = ints((USERS + 1) * SECTORS);
  readonly flushed = ints((USERS + 1) * SECTORS);
  readonly text = new SharedArrayBuffer(4096);
  boot = 1;

  readonly device: SimCacheDevice;

  constructor({ dataCrc = false, segments = 8, segmentDataBytes = 48 * 1024, readers = 0 }: StressOptions) {
    this.media = createMedia(segments, segmentDataBytes);
    this.device = new SimCacheDevice(this.media);
    this.readers = readers;
    for (const buffer of [this.backing.volatile, this.backing.durable]) {
      const bytes = new Uint8Array(buffer);
      for (let sector = 0; sector < SECTORS; sector++) stamp(bytes, sector * SECTOR_BYTES, 0, 0, sector);
    }
    formatCache(this.device, { dataCrc, gcPercent: 0, uuid: new Uint8Array(16).fill(7), nowMs: 1_700_000_000_000 });
  }

  open(): OpenedCache {
    const opened = openCache(this.device, {
      volumeBytes: this.backing.volumeBytes,
      backingIdentity: 'simulated:0',
      adopt: false,
      bootId: bootIdOf(this.boot),
      writers: USERS,
      counterSlices: USERS + 3 + this.readers,
      readOnly: false,
      newUuid: new Uint8Array(16).fill(9),
      nowMs: 1_700_000_000_000,
      clock: () => performance.now(),
    });
    return { ...opened, shared: { ...opened.shared, segmentDataBytes: this.media.segmentDataBytes } };
  }

  /** Lets the threads work for a while, then ends them: in order, or wherever they are. Returns what one of them found wrong. */
  async round(opened: OpenedCache, seed: number, isKill: boolean): Promise<string | undefined> {
    this.words[StressWord.stop] = 0;
    this.words[StressWord.started] = 0;
    // Whoever held it may have been ended.
    this.words[StressWord.deviceLock] = 0;
    const { media, backing, words, issued, acknowledged, flushed, text } = this;
    const roles: StressStart['role'][] = [
      ...new Array<'user'>(USERS).fill('user'),
      'log',
      'background',
      ...new Array<'reader'>(this.readers).fill('reader'),
    ];
    const workers = roles.map((role, index) => {
      const self = index + 1;
      const start: StressStart = {
        self,
        role,
        seed: seed + self,
        shared: opened.shared,
        media,
        backing,
        words,
        issued,
        acknowledged,
        flushed,
        text,
      };
      return new Worker(new URL('../support/stress-thread.js', import.meta.url), { workerData: start });
    });
    const ends = workers.map(
      (worker) => new Promise((resolve) => worker.once('message', resolve).once('exit', resolve).once('error', resolve)),
    );
    const before = this.words[StressWord.operations]!;
    try {
      // A thread that is ended while it loads native code takes the process with it.
      const areStarted = (): boolean => Atomics.load(words, StressWord.started) === roles.length;
      for (let waited = 0; waited < 1200 && !areStarted(); waited++) await sleep(50);
      if (!areStarted()) throw new Error('a thread does not start');
      for (let waited = 0; waited < 100 && Atomics.load(words, StressWord.operations) < before + 200; waited++) await sleep(50);
      await sleep(ROUND_MS * seededRandom(seed)());
      if (!isKill) {
        Atomics.store(words, StressWord.stop, 1);
        await Promise.race([Promise.all(ends), sleep(20_000)]);
      }
    } finally {
      await Promise.all(workers.map((worker) => worker.terminate()));
    }
    const length = words[StressWord.hasProblem]!;
    return length === 0 ? undefined : Buffer.from(new Uint8Array(text).slice(0, length)).toString();
  }

  /** What each sector is now, compared with what must be there; then everything written back, and the backing device with that. */
  check(opened: OpenedCache, least: Int32Array): string | undefined {
    const cache = new Cache(opened.shared, this.device, 0, 0, () => performance.now());
    const backing = windowBacking(this.backing);
    const maintenance = new Maintenance(cache, backing);
    const makeRoom = (): void => {
      cache.logStep(0);
      maintenance.writebackStep();
      maintenance.gcStep();
    };
    const content = new Uint8Array(SECTORS * SECTOR_BYTES);
    new VolumeIo(cache, backing, { waitForRoom: makeRoom }).read(this.backing.windowStart, content.length, content, 0);
    for (let sector = 0; sector < SECTORS; sector++) {
      const problem = stampProblem(content, sector * SECTOR_BYTES, sector, this.issued, (user) => least[user * SECTORS + sector]!);
      if (problem !== undefined) return problem;
    }
    while (cache.logStep(0));
    while (maintenance.writebackStep());
    if (cache.dirtyBytes !== 0) return `${cache.dirtyBytes} bytes are dirty after everything was written back`;
    return Buffer.compare(content, new Uint8Array(this.backing.volatile)) === 0
      ? undefined
      : 'the backing device has something else than the volume';
  }
}

function ints(length: number): Int32Array {
  return new Int32Array(new SharedArrayBuffer(length * 4));
}

async function stress(t: ExecutionContext, options: StressOptions = {}): Promise<Stress> {
  const world = new Stress(options);
  const { seed = 0 } = options;
  for (const [round, ending] of (['kill', 'loss of power', 'kill', 'end'] as const).entries()) {
    const opened = world.open();
    t.is(await world.round(opened, round * 100 + seed, ending !== 'end'), undefined);
    if (ending === 'loss of power') {
      world.device.losePower(seededRandom(round));
      world.boot++;
      // What a later write number may be is not known any more: only what was flushed is sure.
      world.acknowledged.set(world.flushed);
    }
    const after = ending === 'end' ? opened : world.open();
    t.is(world.check(after, world.acknowledged), undefined, `after round ${round}: ${ending}`);
  }
  t.log(`${world.words[StressWord.operations]!} operations, ${world.issued.reduce((a, b) => a + b)} of them writes`);
  return world;
}

test.serial('threads that run freely, and die anywhere, leave what was acknowledged', async (t) => {
  await stress(t);
});

test.serial('threads that run freely, and die anywhere, leave what was acknowledged (data CRC on)', async (t) => {
  await stress(t, { dataCrc: true, seed: 50 });
});

test.serial(
  'readers in order, whose next ranges are read ahead, see what was acknowledged while all is collected and reused',
  async (t) => {
    const world = await stress(t, { segments: 16, segmentDataBytes: 12 * 1024, readers: 2, seed: 70 });
    const { words } = world;
    t.log(`${words[StressWord.reads]!} reads in order`);
    t.true(words[StressWord.reads]! > 0);
  },
);

test('a sector that is torn, older than what was acknowledged, of another place or of nobody is noticed', (t) => {
  const issued = Int32Array.of(0, 7);
  const sector = new Uint8Array(SECTOR_BYTES);
  const problem = (least: number): string | undefined => stampProblem(sector, 0, 5, issued, () => least);
  stamp(sector, 0, 1, 7, 5);
  t.is(problem(7), undefined);
  t.regex(problem(8)!, /is back/);
  stamp(sector, 0, 1, 7, 5);
  sector[400]! ^= 1;
  t.regex(problem(0)!, /a mixture/);
  stamp(sector, 0, 1, 7, 6);
  t.regex(problem(0)!, /another's/);
  stamp(sector, 0, 1, 8, 5);
  t.regex(problem(0)!, /nobody wrote/);
});
