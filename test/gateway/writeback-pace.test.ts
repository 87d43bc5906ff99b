// The pace of writing back, on clocks that stand still until they are moved.

import test from 'ava';
import { BASE_SHARE, FLUSH_SHARE, IDLE_MS, REST_MAX_MS, SLICE_MS, WritebackPace } from '../../src/gateway/writeback-pace.js';
import type { PaceSignals } from '../../src/gateway/writeback-pace.js';
import { BackgroundWork } from '../../src/gateway/background-work.js';
import { Maintenance } from '../../src/gateway/maintenance.js';
import { CachePaceSignals, threadBusyClock } from '../../src/gateway/writeback-signals.js';
import { COUNTER } from '../../src/shared/counters.js';
import { payload } from '../support/model-payload.js';
import { MIB, Rig, sameBytes } from '../support/model-rig.js';

class Bench {
  nowMs = 1000;
  busyMs = 50;
  requests = 5;
  isRoomWanted = false;
  isFlushWanted = false;
  dirtyShare = 0;
  gcShare = 0.7;
  readonly pace: WritebackPace;

  constructor() {
    const signals: PaceSignals = {
      requests: () => this.requests,
      isRoomWanted: () => this.isRoomWanted,
      isFlushWanted: () => this.isFlushWanted,
      dirtyShare: () => this.dirtyShare,
      gcShare: () => this.gcShare,
    };
    this.pace = new WritebackPace(
      signals,
      () => this.nowMs,
      () => this.busyMs,
    );
  }

  /** A request comes. */
  use(): void {
    this.requests++;
    this.pace.share();
  }

  /** A slice that takes so much of both clocks. */
  slice(busyMs: number, elapsedMs = busyMs): void {
    this.pace.beginSlice();
    this.busyMs += busyMs;
    this.nowMs += elapsedMs;
    this.use();
    this.pace.endSlice();
  }
}

const isNear = (is: number, wanted: number): boolean => Math.abs(is - wanted) < 1e-6;

test('while the volume is used, a slice is followed by a rest that leaves it its share', (t) => {
  const bench = new Bench();
  t.is(bench.pace.beginSlice(), bench.nowMs + SLICE_MS);
  bench.slice(2);
  const restMs = bench.pace.restLeftMs();
  t.true(isNear(restMs, 2 * (1 / BASE_SHARE - 1)));
  bench.nowMs += 5;
  bench.use();
  t.true(isNear(bench.pace.restLeftMs(), restMs - 5));
  bench.nowMs += restMs;
  bench.use();
  t.is(bench.pace.restLeftMs(), 0);
});

test('time spent waiting for the device is not rested for', (t) => {
  const bench = new Bench();
  bench.slice(1, 400);
  t.true(isNear(bench.pace.restLeftMs(), 1 / BASE_SHARE - 1));
});

test('a rest never is longer than its bound, whatever the slice took', (t) => {
  const bench = new Bench();
  bench.slice(10_000);
  t.is(bench.pace.restLeftMs(), REST_MAX_MS);
});

test('there is no rest while nobody uses the volume, and a rest ends when they stop', (t) => {
  const bench = new Bench();
  bench.nowMs += IDLE_MS;
  t.is(bench.pace.share(), 1);
  bench.slice(50);
  t.true(bench.pace.restLeftMs() > IDLE_MS);
  bench.nowMs += IDLE_MS - 1;
  t.true(bench.pace.restLeftMs() > 0);
  bench.nowMs += 1;
  t.is(bench.pace.restLeftMs(), 0);
  bench.use();
  t.true(bench.pace.restLeftMs() > 0, 'and it goes on when they come back');
});

test('there is no rest while a writer waits for room, and a shorter one while somebody waits for a flush', (t) => {
  const bench = new Bench();
  bench.slice(10);
  bench.isFlushWanted = true;
  t.true(isNear(bench.pace.restLeftMs(), 10 * (1 / FLUSH_SHARE - 1)));
  bench.isRoomWanted = true;
  t.is(bench.pace.restLeftMs(), 0);
});

test('the fuller of dirty data the cache is, the larger the share, up to all before gc_percent', (t) => {
  const bench = new Bench();
  bench.use();
  const shares = [0, 0.3, 0.45, 0.6, 1.2].map((dirtyShare) => {
    bench.dirtyShare = dirtyShare;
    return bench.pace.share();
  });
  t.deepEqual(
    shares.slice(0, 2).map((share) => isNear(share, BASE_SHARE)),
    [true, true],
  );
  t.true(isNear(shares[2]!, (1 + BASE_SHARE) / 2));
  t.true(isNear(shares[3]!, 1));
  t.is(shares[4], 1);
  bench.gcShare = 0;
  bench.dirtyShare = 0.1;
  t.true(isNear(bench.pace.share(), 1), 'a cache that is to be empty has few dirty data');
});

test('the signals of a cache are its counters, its waiters and its dirty bytes', (t) => {
  const rig = new Rig({ volumeBytes: 8 * MIB, gcPercent: 40 });
  const volume = rig.open({ writers: 2 });
  let isFlushWanted = false;
  const signals = new CachePaceSignals(volume.opened.shared, () => isFlushWanted);
  volume.write(0, payload(1, 8192), 0);
  volume.write(8192, payload(2, 4096), 1);
  // Requests are counted by the threads that serve them, and this volume has none.
  const before = signals.requests();
  volume.caches[0]!.counters[COUNTER.reads]! += 3;
  volume.caches[1]!.counters[COUNTER.writes]! += 4;
  volume.caches[1]!.counters[COUNTER.discards]! += 5;
  volume.caches[1]!.counters[COUNTER.flushes]! += 100;
  t.is(signals.requests(), before + 12);
  t.true(isNear(signals.dirtyShare() * volume.opened.shared.segmentCount * 16 * MIB, 12_288));
  t.is(signals.gcShare(), 0.4);
  t.false(signals.isRoomWanted());
  t.false(signals.isFlushWanted());
  isFlushWanted = true;
  t.true(signals.isFlushWanted());
  volume.close();
});

test('the clock of processor time moves on while the thread works, and never back', (t) => {
  const clock = threadBusyClock();
  const before = clock();
  let last = before;
  const endMs = performance.now() + 60_000;
  // The kernel counts at its ticks, every few milliseconds.
  while (last === before && performance.now() < endMs) {
    const now = clock();
    t.true(now >= last);
    last = now;
  }
  t.true(last > before);
});

test('with a pace a batch is written in slices, the collector works in between, and it ends all the same', (t) => {
  const rig = new Rig({ volumeBytes: 8 * MIB });
  const volume = rig.open();
  const bench = new Bench();
  const maintenance = new Maintenance(volume.caches[0]!, rig.backing);
  const failures: unknown[] = [];
  let works = 0;
  const reports = {
    backingFailed: (error: unknown) => void failures.push(error),
    backingWorks: () => {
      works++;
    },
    cacheFailed: (_: string, error: unknown) => void failures.push(error),
  };
  const work = new BackgroundWork(maintenance, () => bench.nowMs, reports, bench.pace);
  for (let at = 0; at < 40; at++) volume.write(at * 64 * 1024, payload(at, 4096));
  volume.flush();
  // Each write takes a millisecond.
  rig.backing.onCall = () => {
    bench.nowMs++;
    bench.busyMs++;
  };
  let slices = 0;
  let rests = 0;
  for (let step = 0; step < 10_000 && works === 0; step++) {
    bench.use();
    if (work.step()) slices++;
    else if (work.restLeftMs > 0) {
      rests++;
      t.is(rig.backing.calls.flush, 0);
      bench.nowMs += work.restLeftMs;
    }
  }
  t.deepEqual(failures, []);
  t.is(works, 1);
  t.true(slices >= 20 && rests >= slices - 1, `${slices} slices, ${rests} rests`);
  t.is(volume.dirtyBytes, 0);
  for (let at = 0; at < 40; at++) t.true(sameBytes(rig.backing.content(at * 64 * 1024, 4096), payload(at, 4096)));
  maintenance.close();
  volume.close();
});
