// The background worker on simulated devices and a clock that stands still until it is moved: what it does about failures, and when.

import test from 'ava';
import { Word } from '../../src/cache/shared-state.js';
import { errno } from '../../src/device/errno-codes.js';
import { PcacheError } from '../../src/errors.js';
import { BackgroundWork, PAUSE_LAST_MS, RetryPause } from '../../src/gateway/background-work.js';
import type { InlineVolume } from '../../src/gateway/inline-volume.js';
import { Maintenance } from '../../src/gateway/maintenance.js';
import { ErrorLayer, FullLayer, GoneLayer, LostFlushLayer, ShortLayer, failingCache } from '../support/fault-layers.js';
import { payload } from '../support/model-payload.js';
import { MIB, Rig, layerOverBacking, sameBytes } from '../support/model-rig.js';

const VOLUME_BYTES = 8 * MIB;

class Reports {
  readonly failures: { atMs: number; error: PcacheError }[] = [];
  works = 0;
  readonly cache: string[] = [];
  readonly #rig: Rig;

  constructor(rig: Rig) {
    this.#rig = rig;
  }

  backingFailed(error: unknown): void {
    this.failures.push({ atMs: this.#rig.clockMs, error: error as PcacheError });
  }

  backingWorks(): void {
    this.works++;
  }

  cacheFailed(what: string, error: unknown): void {
    this.cache.push(`${what}: ${(error as PcacheError).code}`);
  }
}

interface Bench {
  readonly rig: Rig;
  readonly error: ErrorLayer;
  readonly volume: InlineVolume;
  readonly reports: Reports;
  readonly work: BackgroundWork;
}

/** A volume whose writeback is done by a BackgroundWork, over a backing device with errors, which are off. */
function bench(options: { volumeBytes?: number } = {}): Bench {
  const rig = new Rig({ volumeBytes: options.volumeBytes ?? VOLUME_BYTES });
  const error = new ErrorLayer(rig.backing);
  const volume = rig.open({ backing: error });
  const reports = new Reports(rig);
  const work = new BackgroundWork(new Maintenance(volume.caches[0]!, error), () => rig.clockMs, reports);
  return { rig, error, volume, reports, work };
}

test('pauses between attempts grow from 100 ms to 30 s, and begin again after a success', (t) => {
  const pause = new RetryPause();
  let nowMs = 1000;
  const pauses: number[] = [];
  for (let attempt = 0; attempt < 12; attempt++) {
    pause.failed(nowMs);
    pauses.push(pause.leftMs(nowMs));
    nowMs += pause.leftMs(nowMs);
    t.is(pause.leftMs(nowMs), 0);
  }
  t.deepEqual(pauses, [100, 200, 400, 800, 1600, 3200, 6400, 12_800, 25_600, 30_000, 30_000, 30_000]);
  pause.worked();
  pause.failed(nowMs);
  t.is(pause.leftMs(nowMs), 100);
});

for (const kind of ['write', 'flush'] as const) {
  test(`a backing device whose ${kind} fails is tried again after growing pauses, nothing moves meanwhile, and it recovers by itself`, (t) => {
    const { rig, error, volume, reports, work } = bench();
    volume.write(0, payload(1, MIB));
    volume.flush();
    const { words } = volume.opened.shared;
    const tail = [words[Word.dirtyTailSegment], words[Word.dirtyTailOffset]];
    error.kinds = new Set([kind]);
    // Looked at every 50 ms for two minutes: an attempt is made when the pause is over, and not before.
    for (; rig.clockMs < 120_000; rig.clockMs += 50) work.step();
    const times = reports.failures.map(({ atMs }) => atMs);
    const gaps = times.map((atMs, index) => atMs - (times[index - 1] ?? 0));
    t.deepEqual(gaps, [0, 100, 200, 400, 800, 1600, 3200, 6400, 12_800, 25_600, 30_000, 30_000]);
    t.is(volume.dirtyBytes, MIB);
    t.deepEqual([words[Word.dirtyTailSegment], words[Word.dirtyTailOffset]], tail);
    t.true(sameBytes(volume.read(0, MIB), payload(1, MIB)));
    t.is(reports.works, 0);

    error.kinds = new Set();
    t.true(work.pauseLeftMs > 0);
    t.false(work.step(), 'the pause is kept to');
    rig.clockMs += PAUSE_LAST_MS;
    t.true(work.step());
    t.is(reports.works, 1);
    t.is(volume.dirtyBytes, 0);
    t.true(sameBytes(rig.backing.content(0, MIB), payload(1, MIB)));
    // The next failure is not paid for with the pauses of the last.
    volume.write(0, payload(2, MIB));
    volume.flush();
    error.kinds = new Set([kind]);
    work.step();
    t.is(work.pauseLeftMs, 100);
    t.deepEqual(reports.cache, []);
  });
}

test('after a flush that failed the whole batch is written again: what was not flushed may have been dropped', (t) => {
  const { rig, error, volume, work } = bench();
  volume.write(0, payload(1, MIB));
  volume.flush();
  error.kinds = new Set(['flush']);
  work.step();
  t.true(sameBytes(rig.backing.content(0, MIB), payload(1, MIB)), 'it was written');
  // The kernel takes pages that it failed to write for clean, and forgets them: the next flush succeeds without them.
  rig.backing.crash(() => 0);
  t.deepEqual(rig.backing.content(0, MIB), new Uint8Array(MIB));
  error.kinds = new Set();
  rig.clockMs += PAUSE_LAST_MS;
  t.true(work.step());
  rig.backing.crash(() => 0);
  t.true(sameBytes(rig.backing.content(0, MIB), payload(1, MIB)));
  t.is(volume.dirtyBytes, 0);
});

test('a device that ends early in the middle of a batch, and one that is full, are failures like others', (t) => {
  const rig = new Rig({ volumeBytes: VOLUME_BYTES });
  const short = new ShortLayer(rig.backing, () => 0.5);
  const full = new FullLayer(short);
  const gone = new GoneLayer(full);
  const volume = rig.open({ backing: gone });
  const reports = new Reports(rig);
  const work = new BackgroundWork(new Maintenance(volume.caches[0]!, gone), () => rig.clockMs, reports);
  volume.write(0, payload(1, MIB));
  volume.flush();
  const attempt = (): void => {
    rig.clockMs += PAUSE_LAST_MS;
    work.step();
  };
  short.probability = 1;
  attempt();
  short.probability = 0;
  full.roomBytes = 0;
  // The first half is there from the attempt that was cut short; a device that has nothing yet has no room for it.
  gone.leave(() => rig.backing.crash(() => 0));
  attempt();
  gone.comeBack();
  volume.write(4 * MIB, payload(2, MIB));
  volume.flush();
  attempt();
  attempt();
  const reached = reports.failures.map(({ error }) => error.code);
  t.deepEqual(reached.slice(0, 2), ['io', 'io']);
  t.true(reached.includes('no-space'));
  t.is(reports.failures.find(({ error }) => error.code === 'no-space')!.error.errno, errno.ENOSPC);
  full.roomBytes = VOLUME_BYTES;
  while (volume.dirtyBytes > 0) attempt();
  t.true(sameBytes(rig.backing.content(0, MIB), payload(1, MIB)));
  t.true(sameBytes(rig.backing.content(4 * MIB, MIB), payload(2, MIB)));
  t.deepEqual(reports.cache, []);
});

test('a flush that the backing device loses is seen by nobody, and disturbs nothing', (t) => {
  const rig = new Rig({ volumeBytes: VOLUME_BYTES });
  const lost = new LostFlushLayer(rig.backing);
  const volume = rig.open({ backing: lost });
  const reports = new Reports(rig);
  const work = new BackgroundWork(new Maintenance(volume.caches[0]!, lost), () => rig.clockMs, reports);
  lost.active = true;
  for (let round = 0; round < 20; round++) {
    volume.write(((round * 7) % 8) * MIB, payload(round, MIB));
    volume.flush();
    while (work.step());
  }
  t.is(lost.lost, 20);
  t.is(volume.dirtyBytes, 0);
  t.deepEqual([reports.failures, reports.cache], [[], []]);
  for (let round = 12; round < 20; round++) {
    t.true(sameBytes(volume.read(((round * 7) % 8) * MIB, MIB), payload(round, MIB)));
    t.true(sameBytes(rig.backing.content(((round * 7) % 8) * MIB, MIB), payload(round, MIB)));
  }
});

test('a cache device that fails is told from a backing device that does, and ends all background work', (t) => {
  const rig = new Rig({ volumeBytes: VOLUME_BYTES });
  const faults = failingCache(rig.device);
  const volume = rig.open({ device: faults.device });
  const reports = new Reports(rig);
  const work = new BackgroundWork(new Maintenance(volume.caches[0]!, rig.backing), () => rig.clockMs, reports);
  volume.write(0, payload(1, MIB));
  volume.flush();
  const { words } = volume.opened.shared;
  const tail = [words[Word.dirtyTailSegment], words[Word.dirtyTailOffset]];
  // The batch is written and flushed, and then dirty_tail can't be stored.
  faults.failNext = 1;
  t.false(work.step());
  t.deepEqual(reports.cache, ['writeback: io']);
  t.deepEqual(reports.failures, []);
  t.deepEqual([words[Word.dirtyTailSegment], words[Word.dirtyTailOffset]], tail);
  // Though the device would succeed now, nothing is built on that.
  volume.write(MIB, payload(2, MIB));
  volume.flush();
  Atomics.store(words, Word.roomWaiters, 1);
  for (let step = 0; step < 5; step++) {
    rig.clockMs += PAUSE_LAST_MS;
    t.false(work.step());
  }
  t.is(work.pauseLeftMs, 0);
  t.deepEqual(reports.cache, ['writeback: io'], 'said once');
  t.deepEqual(rig.backing.content(MIB, MIB), new Uint8Array(MIB));
});

test('a collector whose cache device fails frees nothing, and ends all background work', (t) => {
  const rig = new Rig({ volumeBytes: VOLUME_BYTES, gcPercent: 0 });
  const faults = failingCache(rig.device);
  const volume = rig.open({ device: faults.device });
  const reports = new Reports(rig);
  const work = new BackgroundWork(new Maintenance(volume.caches[0]!, rig.backing), () => rig.clockMs, reports);
  for (let round = 0; round < 2; round++) {
    for (let offset = 0; offset < VOLUME_BYTES; offset += MIB) volume.write(offset, payload(round, MIB));
    volume.flush();
    while (volume.writebackStep());
  }
  const { words } = volume.opened.shared;
  const free = words[Word.freeSegments];
  faults.failNext = 1;
  t.false(work.step());
  t.deepEqual(reports.cache, ['gc: io']);
  t.is(words[Word.freeSegments], free);
  t.false(work.step());
  for (let offset = 0; offset < VOLUME_BYTES; offset += MIB) t.true(sameBytes(volume.read(offset, MIB), payload(1, MIB)));
});

test('while writing back is paused nothing is, however long, and it goes on when the pause ends', (t) => {
  const rig = new Rig({ volumeBytes: VOLUME_BYTES });
  const volume = rig.open({ backing: rig.backing });
  let isPaused = true;
  const maintenance = new Maintenance(volume.caches[0]!, rig.backing);
  const work = new BackgroundWork(
    maintenance,
    () => rig.clockMs,
    new Reports(rig),
    undefined,
    () => isPaused,
  );
  volume.write(0, payload(1, MIB));
  volume.flush();
  for (; rig.clockMs < 60_000; rig.clockMs += 50) t.false(work.step());
  t.is(volume.dirtyBytes, MIB);
  t.true(sameBytes(volume.read(0, MIB), payload(1, MIB)));
  isPaused = false;
  t.true(work.step());
  t.is(volume.dirtyBytes, 0);
});

test('a backing device that was cut gets nothing more: neither what is dirty, nor the rest of a batch, and the dirty tail stays', (t) => {
  const rig = new Rig({ volumeBytes: VOLUME_BYTES });
  let writes = 0;
  let [isCut, lostBytes] = [false, 0];
  let cutAtWrite = Infinity;
  const layer = layerOverBacking(rig.backing, {
    write(offset, source, sourceOffset, length) {
      if (++writes >= cutAtWrite) isCut = true;
      rig.backing.write(offset, source, sourceOffset, length);
    },
    requireWhole() {
      if (isCut) lostBytes = 512;
      if (lostBytes > 0) throw new PcacheError('mismatch', 'cut');
    },
  });
  const backing = Object.defineProperty(layer, 'lostBytes', { get: () => lostBytes });
  const volume = rig.open({ backing });
  const reports = new Reports(rig);
  const work = new BackgroundWork(new Maintenance(volume.caches[0]!, backing), () => rig.clockMs, reports);
  volume.write(0, payload(1, MIB));
  volume.flush();
  t.true(work.step());
  t.is(volume.dirtyBytes, 0);
  // Cut while the last write of a batch is under way: all of it is written and flushed, and does not count.
  volume.write(MIB, payload(2, MIB));
  volume.flush();
  cutAtWrite = writes + 1;
  t.false(work.step());
  t.is(volume.dirtyBytes, MIB);
  t.deepEqual(
    reports.failures.map(({ error }) => error.code),
    ['mismatch'],
  );
  // For good: also when it has its length again.
  isCut = false;
  const before = writes;
  for (let step = 0; step < 10; step++) {
    rig.clockMs += PAUSE_LAST_MS;
    work.step();
    work.look();
  }
  t.is(writes, before);
  t.is(volume.dirtyBytes, MIB);
  t.deepEqual([reports.failures.length, reports.works, work.pauseLeftMs], [1, 1, 0]);
  t.deepEqual(reports.cache, []);
});

test('the length of an idle backing device is looked at twice a second, and when somebody asks', (t) => {
  const rig = new Rig({ volumeBytes: VOLUME_BYTES });
  let looks = 0;
  const backing = layerOverBacking(rig.backing, { requireWhole: () => (looks += 1) });
  const volume = rig.open({ backing });
  const work = new BackgroundWork(new Maintenance(volume.caches[0]!, backing), () => rig.clockMs, new Reports(rig));
  for (const endMs = rig.clockMs + 10_000; rig.clockMs < endMs; rig.clockMs += 10) work.step();
  t.is(looks, 20);
  work.look();
  t.is(looks, 21);
});
