// Replays of which other threads do a part, against the same replay done by one thread alone: everything that comes of them is compared. The logs are those of
// random use: overlapping writes, discards, read misses kept, segments collected and used again, deaths that leave staged keys; then some are damaged.
// PCACHE_SEED and PCACHE_RUNS choose others, and more.

import { setTimeout as sleep } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import test from 'ava';
import fc from 'fast-check';
import { readCacheMedia } from '../../src/cache/cache-media.js';
import { CacheTree } from '../../src/cache/cache-tree.js';
import { formatCache } from '../../src/cache/format.js';
import { IndexBuilder } from '../../src/cache/index-builder.js';
import { openCache } from '../../src/cache/open.js';
import type { OpenedCache } from '../../src/cache/open.js';
import type { Replay } from '../../src/cache/replay.js';
import type { ReplayHelpers, ReplayJob } from '../../src/cache/replay-helper.js';
import { SharedReplay } from '../../src/cache/shared-replay.js';
import { forEachKeyOf } from '../../src/cache/staged-ksets.js';
import type { CacheDevice } from '../../src/device/device.js';
import { seededRandom } from '../../src/device/seeded-random.js';
import { PcacheError } from '../../src/errors.js';
import { InlineVolume } from '../../src/gateway/inline-volume.js';
import { SEGMENT_DATA_OFFSET, SEGMENT_GENERATION_OFFSETS, SUBTREE_BYTES } from '../../src/media/layout.js';
import type { CacheSegId, PhysicalSegmentId } from '../../src/media/layout.js';
import { SEGMENT_GENERATION_BYTES } from '../../src/media/segment-generation.js';
import { walkLog } from '../../src/media/log-walk.js';
import { bootIdOf, layerOver } from '../support/model-rig.js';
import { SimCacheDevice, createMedia } from '../support/sim-media.js';
import type { SimMediaState } from '../support/sim-media.js';
import { SimulatedBackingDevice } from '../../src/device/simulated-backing-device.js';
import { picture } from './cache-tree-support.js';
import { HelperWord } from './replay-order.js';
import type { Conduct, HelperOrder } from './replay-order.js';

const seed = Number(process.env.PCACHE_SEED ?? 1);
const numRuns = Number(process.env.PCACHE_RUNS ?? 12);

const SECTOR = 512;
const SEGMENT_DATA_BYTES = 2 * 1024 * 1024;
const SEGMENTS = 9;
const SUBTREES = 40;
const VOLUME_BYTES = SUBTREES * SUBTREE_BYTES - 3 * SECTOR;
const BOUND_MS = 20_000;

interface Log {
  readonly media: SimMediaState;
  readonly device: SimCacheDevice;
}

interface LogPlan {
  readonly seed: number;
  readonly dataCrc: boolean;
  readonly operations: number;
  /** Bytes of segments in which a bit is flipped. */
  readonly flips: number;
  /** Segments that lose what their records say of their generation. */
  readonly lostGenerations: number;
}

/** A cache as its user left it by dying. */
function makeLog(plan: LogPlan): Log {
  const random = seededRandom(plan.seed);
  const below = (limit: number): number => Math.floor(random() * limit);
  const media = createMedia(SEGMENTS, SEGMENT_DATA_BYTES);
  const device = new SimCacheDevice(media);
  formatCache(device, { dataCrc: plan.dataCrc, gcPercent: 90, uuid: new Uint8Array(16).fill(7), nowMs: 1 });
  const volume = new InlineVolume(device, new SimulatedBackingDevice({ sizeBytes: VOLUME_BYTES }), { ...options, readOnly: false });
  for (let i = 0; i < plan.operations; i++) {
    // Most of it in two subtrees, some all over.
    const isCrowded = random() < 0.8;
    const length = SECTOR * (1 + below(random() < 0.98 ? 4 : 80));
    const offset = SECTOR * below(((isCrowded ? 2 * SUBTREE_BYTES : VOLUME_BYTES) - length) / SECTOR);
    const kind = random();
    if (kind < 0.85) volume.write(offset, new Uint8Array(length).fill(1 + below(255)));
    else if (kind < 0.9) volume.read(offset, length);
    else if (kind < 0.92) volume.writebackStep();
    else if (kind < 0.94) volume.gcStep();
    else volume.flush();
  }
  volume.close({ crash: true });
  for (let i = 0; i < plan.flips; i++) {
    const { bytes } = device.segment(below(SEGMENTS) as PhysicalSegmentId);
    bytes[SEGMENT_DATA_OFFSET + below(SEGMENT_DATA_BYTES)]! ^= 1 << below(8);
  }
  for (let i = 0; i < plan.lostGenerations; i++) {
    const { bytes } = device.segment(below(SEGMENTS) as PhysicalSegmentId);
    for (const offset of SEGMENT_GENERATION_OFFSETS) bytes.fill(0, offset, offset + SEGMENT_GENERATION_BYTES);
  }
  return { media, device };
}

const options = {
  adopt: false,
  bootId: bootIdOf(1),
  writers: 1,
  newUuid: new Uint8Array(16).fill(9),
  nowMs: 1,
  clock: () => 0,
  segmentDataBytes: SEGMENT_DATA_BYTES,
};

/** Changes nothing on the media. */
function open(device: CacheDevice, helpers?: ReplayHelpers): OpenedCache {
  return openCache(device, {
    ...options,
    volumeBytes: VOLUME_BYTES,
    backingIdentity: 'simulated:0',
    counterSlices: 1,
    readOnly: true,
    helpers,
  });
}

/** All that a replay comes to; of one that is refused, why. */
function outcome(act: () => OpenedCache): unknown {
  let opened: OpenedCache;
  try {
    opened = act();
  } catch (error) {
    if (error instanceof PcacheError) return { code: error.code, message: error.message };
    throw error;
  }
  const { shared, replay } = opened;
  const tree = CacheTree.attach(shared.tree, shared.generationLow, shared.liveSectors);
  const { state, refs, liveSectors, generationLow, generationHigh, words, numbers } = shared;
  return {
    replay,
    arrays: [state, refs, liveSectors, generationLow, generationHigh, words, numbers].map((array) => [...array]),
    subtrees: picturesOf(tree),
  };
}

function picturesOf(tree: CacheTree): string[] {
  return Array.from({ length: SUBTREES }, (_, subtree) => `${tree.extentCount(subtree)}: ${picture(tree, subtree)}`);
}

/** Threads that help. */
class Helpers {
  readonly words = new Int32Array(new SharedArrayBuffer(HelperWord.count * 4));
  readonly errors: string[] = [];
  readonly #workers: Worker[];

  constructor(count: number) {
    this.#workers = Array.from({ length: count }, () => {
      const worker = new Worker(new URL('./replay-thread.js', import.meta.url));
      worker.on('error', (error) => this.errors.push(error.message));
      return worker;
    });
  }

  /** The first `count` of them, who have all joined before anything else is done. */
  of(media: SimMediaState, count: number, conduct: Conduct = 'good'): ReplayHelpers {
    const { words } = this;
    return {
      fromKeys: 0,
      start: (job) => {
        const wanted = Atomics.load(words, HelperWord.joined) + count;
        for (const worker of this.#workers.slice(0, count)) this.#send(worker, { job, media, conduct, words });
        for (let joined = this.count('joined'); joined < wanted; joined = this.count('joined')) {
          if (Atomics.wait(words, HelperWord.joined, joined, BOUND_MS) === 'timed-out') throw new Error('helpers do not come');
        }
      },
    };
  }

  /** Asks one of them, and returns when it is done. */
  async sendLate(job: ReplayJob, media: SimMediaState): Promise<void> {
    const before = this.count('left');
    this.#send(this.#workers[0]!, { job, media, conduct: 'good', words: this.words });
    for (let i = 0; i < 400 && this.count('left') === before; i++) await sleep(50);
  }

  #send(worker: Worker, order: HelperOrder): void {
    worker.postMessage(order);
  }

  count(word: keyof typeof HelperWord): number {
    return Atomics.load(this.words, HelperWord[word]);
  }

  async end(): Promise<void> {
    await Promise.all(this.#workers.map((worker) => worker.terminate()));
  }
}

/** The device, for the thread that opens it: slow now and then, so that helpers have time to do something. */
function slowly(device: CacheDevice, random: () => number): CacheDevice {
  const word = new Int32Array(new SharedArrayBuffer(4));
  return layerOver(device, {
    segment(id) {
      if (random() < 0.05) Atomics.wait(word, 0, 0, random());
      return device.segment(id);
    },
  });
}

const plans = fc.record({
  seed: fc.integer({ min: 1, max: 1_000_000 }),
  dataCrc: fc.boolean(),
  operations: fc.oneof(fc.integer({ min: 1, max: 300 }), fc.integer({ min: 4000, max: 10_000 })),
  flips: fc.constantFrom(0, 3, 15),
  lostGenerations: fc.constantFrom(0, 0, 0, 1, 3),
});

test.serial('a replay comes to the same, however many threads share it', async (t) => {
  const helpers = new Helpers(3);
  const seen = new Set<string>();
  let keys = 0;
  try {
    const property = fc.property(plans, (plan) => {
      const { media, device } = makeLog(plan);
      const alone = outcome(() => open(device)) as { code?: string; replay?: Replay };
      keys += alone.replay?.walk.keys ?? 0;
      seen.add(alone.code ?? (alone.replay!.corruptKeys > 0 ? 'corrupt' : 'good'));
      // Without any, the thread that opens the cache shares its work with itself.
      for (const count of [0, 1, 3]) {
        const shared = outcome(() => open(slowly(device, seededRandom(plan.seed + count)), helpers.of(media, count)));
        t.deepEqual(shared, alone, `${count} helpers, ${JSON.stringify(plan)}`);
      }
    });
    t.notThrows(() => fc.assert(property, { seed, numRuns, interruptAfterTimeLimit: 40_000, endOnFailure: true }));
  } finally {
    await helpers.end();
  }
  t.true(helpers.count('segments') > 100);
  t.deepEqual(helpers.errors, []);
  t.log(`${[...seen].join(', ')}; ${keys} keys in all`);
  t.true(seen.has('good') && seen.has('corrupt'));
});

test.serial('damaged payload is found, whichever thread looks at it', async (t) => {
  const helpers = new Helpers(1);
  try {
    const { media, device } = makeLog({ seed: 5, dataCrc: true, operations: 3000, flips: 0, lostGenerations: 0 });
    t.is(open(device).replay.corruptKeys, 0);
    // The payload of every twentieth key.
    let index = 0;
    let damaged = 0;
    const { log, keyTail } = readCacheMedia(device);
    walkLog(
      log,
      keyTail,
      {},
      {
        onKey: (key) => {
          if (index++ % 20 !== 0) return;
          const { bytes, base } = log.data(key.cacheSegId as CacheSegId);
          bytes[base + key.cacheSegOff + 7]! ^= 1;
          damaged++;
        },
      },
    );
    t.true(damaged > 10);
    const alone = outcome(() => open(device));
    const { replay } = open(slowly(device, seededRandom(1)), helpers.of(media, 1));
    t.true(replay.corruptKeys > 10);
    t.deepEqual(
      outcome(() => open(slowly(device, seededRandom(2)), helpers.of(media, 1))),
      alone,
    );
    t.true(helpers.count('segments') > 10);
  } finally {
    await helpers.end();
  }
});

for (const conduct of ['fails', 'ends', 'stops'] as const) {
  test.serial(`a replay comes to the same beside a helper that ${conduct}`, async (t) => {
    for (const dataCrc of [true, false]) {
      const helpers = new Helpers(2);
      try {
        const { media, device } = makeLog({ seed: 11, dataCrc, operations: 4000, flips: dataCrc ? 20 : 0, lostGenerations: 0 });
        const alone = outcome(() => open(device));
        t.deepEqual(
          outcome(() => open(slowly(device, seededRandom(3)), helpers.of(media, 2, conduct))),
          alone,
        );
        t.true(helpers.count('misconducts') > 0);
        if (conduct !== 'ends') {
          for (let i = 0; i < 200 && helpers.errors.length + helpers.count('left') < 2; i++) await sleep(50);
          t.is(helpers.errors.length, conduct === 'fails' ? helpers.count('misconducts') : 0);
        }
      } finally {
        await helpers.end();
      }
    }
  });
}

test.serial('helpers that come when the replay is over do nothing', async (t) => {
  const helpers = new Helpers(1);
  try {
    const { media, device } = makeLog({ seed: 3, dataCrc: true, operations: 1000, flips: 0, lostGenerations: 0 });
    const jobs: ReplayJob[] = [];
    t.deepEqual(
      outcome(() => open(device, { fromKeys: 0, start: (job) => jobs.push(job) })),
      outcome(() => open(device)),
    );
    await helpers.sendLate(jobs[0]!, media);
    t.is(helpers.count('left'), 1);
    t.is(helpers.count('joined'), 0);
    t.is(helpers.count('segments'), 0);
  } finally {
    await helpers.end();
  }
});

test.serial('the keys of a log may be more than are put down at a time', async (t) => {
  const helpers = new Helpers(1);
  try {
    const { media, device } = makeLog({ seed: 8, dataCrc: true, operations: 4000, flips: 0, lostGenerations: 0 });
    const read = readCacheMedia(device);
    const { shared } = open(device);
    const build = (keysMax: number, many?: ReplayHelpers): string[] => {
      const state = CacheTree.createState(VOLUME_BYTES, 2 ** 24);
      const tree = CacheTree.attach(state, shared.generationLow);
      const builder = new IndexBuilder(tree, keysMax);
      const addPlain = (subtree: number, range: number, place: number): void => {
        const sector = range >>> 19;
        const sectors = ((range >>> 6) & 0x1fff) + 1;
        t.true(builder.add(subtree, sector, sectors, place, shared.generationLow[place >>> 15]!, range & 1));
      };
      const taker = {
        addPlain,
        add(key: { off: number; len: number; cacheSegId: number; cacheSegOff: number; segGen: number; isClean: boolean }): void {
          if (key.segGen !== read.generations[key.cacheSegId]) return;
          const sector = (key.off % SUBTREE_BYTES) / SECTOR;
          const range = (sector << 19) | ((key.len / SECTOR - 1) << 6) | (key.isClean ? 1 : 0);
          addPlain(Math.floor(key.off / SUBTREE_BYTES), range, (key.cacheSegId << 15) | (key.cacheSegOff / SECTOR));
        },
      };
      const together = many && new SharedReplay(read, shared, tree, builder, taker, many);
      walkLog(
        read.log,
        read.keyTail,
        {},
        {
          onKset: ({ cacheSegId, segOff, header }) => {
            if (header.isLast) return;
            const kset = { cacheSegId, segOff, keys: header.keyNum, isLast: false };
            if (together === undefined) forEachKeyOf(read.log, kset, (key) => taker.add(key));
            else together.addKset(cacheSegId, segOff, header.keyNum, true);
          },
        },
      );
      t.true(together === undefined ? builder.finish() : together.finish());
      together?.close();
      return picturesOf(tree);
    };
    const alone = build(1_000_000);
    t.deepEqual(build(300, helpers.of(media, 1)), alone);
    t.deepEqual(build(1_000_000, helpers.of(media, 1)), alone);
  } finally {
    await helpers.end();
  }
});
