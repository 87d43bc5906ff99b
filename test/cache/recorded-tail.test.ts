// Both tails are lost: the gateway header says where dirty_tail was, a repair puts both there, and the volume is what it was; or it is refused, because a
// kernel has used the cache since.

import test from 'ava';
import { readCacheMedia } from '../../src/cache/cache-media.js';
import { checkCache } from '../../src/cache/check-cache.js';
import { inspectMedia } from '../../src/cache/inspect-media.js';
import { readRecordedTail } from '../../src/cache/recorded-tail.js';
import { planRepair } from '../../src/cache/repair-plan.js';
import { seededRandom } from '../../src/device/seeded-random.js';
import { InlineVolume } from '../../src/gateway/inline-volume.js';
import { readGatewayHeader } from '../../src/media/gateway-header.js';
import { CACHE_CTRL_OFFSET } from '../../src/media/layout.js';
import { walkLog } from '../../src/media/log-walk.js';
import { KernelModel } from '../support/kernel-model.js';
import { payload } from '../support/model-payload.js';
import { MIB, Rig, bootIdOf, sameBytes } from '../support/model-rig.js';

const SEED = Number(process.env.PCACHE_SEED ?? 1);
const VOLUME_BYTES = 5 * MIB;
const WINDOW_BYTES = 64 * 1024;
const SECTOR_BYTES = 512;
/** What a segment of these tests holds: the log changes segments often, and segments are reused soon. */
const SEGMENT_DATA_BYTES = 24 * 1024;
const STALE_STEPS_MAX = 400;

function smallRig(dataCrc: boolean): Rig {
  return new Rig({ volumeBytes: VOLUME_BYTES, dataCrc, persistence: 'memory', gcPercent: 0 });
}

function openSmall(rig: Rig): InlineVolume {
  return new InlineVolume(rig.device, rig.backing, {
    adopt: false,
    bootId: bootIdOf(rig.boot),
    writers: 1,
    readOnly: false,
    newUuid: new Uint8Array(16).fill(9),
    nowMs: 1_700_000_000_000,
    clock: () => rig.clockMs,
    segmentDataBytes: SEGMENT_DATA_BYTES,
  });
}

/** The same devices, as they are now, apart from the rig. */
function copyOf(rig: Rig): Rig {
  const copy = new Rig({ volumeBytes: VOLUME_BYTES, devices: { device: rig.device.fork(), backing: rig.backing.fork() } });
  copy.boot = rig.boot;
  copy.clockMs = rig.clockMs;
  return copy;
}

function loseTails(rig: Rig): void {
  rig.device.control.bytes.fill(0, CACHE_CTRL_OFFSET, CACHE_CTRL_OFFSET + 64);
}

/** Use at random by the gateway; `expected` becomes what the window of the volume holds. */
class RandomUse {
  readonly expected = new Uint8Array(WINDOW_BYTES);
  readonly #pick: (below: number) => number;
  #writes = 0;

  constructor(seed: number) {
    const random = seededRandom(seed);
    this.#pick = (below) => Math.floor(random() * below);
  }

  pick(below: number): number {
    return this.#pick(below);
  }

  write(to: { write(offset: number, bytes: Uint8Array): void }): void {
    const length = SECTOR_BYTES * (1 + this.#pick(6));
    // Most writes go to a few places, so that segments are emptied soon, and some stay for long.
    const sectors = this.#pick(6) === 0 ? WINDOW_BYTES / SECTOR_BYTES : 24;
    const offset = SECTOR_BYTES * this.#pick(sectors - length / SECTOR_BYTES + 1);
    const bytes = payload(++this.#writes, length);
    this.expected.set(bytes, offset);
    to.write(offset, bytes);
  }

  step(volume: InlineVolume, rig: Rig): void {
    rig.clockMs += this.#pick(200);
    const choice = this.#pick(12);
    if (choice < 6) this.write(volume);
    else if (choice < 7) volume.flush();
    else if (choice < 8) volume.logStep();
    else if (choice < 10) volume.writebackStep();
    else volume.gcStep();
  }
}

test('key_tail never passes the dirty_tail that the header names', (t) => {
  for (let run = 0; run < 3; run++) {
    const rig = smallRig(false);
    const use = new RandomUse(SEED * 100 + run);
    const volume = openSmall(rig);
    for (let step = 0; step < 1500; step++) {
      use.step(volume, rig);
      const header = readGatewayHeader(rig.device.control.bytes);
      const recorded = header.ok ? header.value.dirtyTail : undefined;
      if (recorded === undefined) throw new Error('the header names none');
      const media = readCacheMedia(rig.device);
      const { ending, damage } = walkLog(media.log, media.keyTail, { dirtyTail: recorded.position });
      t.is(ending, 'end', `run ${run}, step ${step}: ${damage}`);
    }
    volume.close();
  }
});

test('whenever both tails are lost, a repair gives the volume back as it was, and check says so', (t) => {
  let moved = 0;
  for (let run = 0; run < 6; run++) {
    const rig = smallRig(run % 2 === 0);
    const use = new RandomUse(SEED * 200 + run);
    let volume = openSmall(rig);
    for (let part = 0; part < 12; part++) {
      for (let steps = use.pick(STALE_STEPS_MAX); steps > 0; steps--) use.step(volume, rig);
      const isClosed = use.pick(3) === 0;
      volume.close({ crash: !isClosed });
      rig.killProcess();
      const name = `run ${run}, part ${part}`;
      const copy = copyOf(rig);
      const before = readCacheMedia(copy.device);
      loseTails(copy);
      const findings = checkCache(copy.device, { bootId: bootIdOf(copy.boot) }).filter(({ severity }) => severity !== 'info');
      t.deepEqual(
        findings.map(({ code, place }) => `${code} ${place}`),
        ['tail key_tail', 'tail dirty_tail'],
        name,
      );
      for (const { message } of findings) t.regex(message, /a repair from there loses nothing/);
      const plan = planRepair(copy.device, { bootId: bootIdOf(copy.boot) });
      t.deepEqual(plan.refusals, [], name);
      t.is(plan.loss, undefined, name);
      if (readCacheMedia(copy.device).dirtyTail.segOff !== before.dirtyTail.segOff) moved++;
      const again = openSmall(copy);
      t.true(sameBytes(again.read(0, WINDOW_BYTES), use.expected), `${name}: the volume`);
      again.writeBackAll();
      for (let step = 0; step < 20; step++) again.gcStep();
      t.true(sameBytes(copy.backing.content(0, WINDOW_BYTES), use.expected), `${name}: the backing device`);
      t.true(sameBytes(again.read(0, WINDOW_BYTES), use.expected), `${name}: the volume after writeback`);
      again.close();
      volume = openSmall(rig);
    }
    volume.close();
  }
  t.true(moved > 5, `${moved} times the header was older than dirty_tail`);
});

test('a kernel that used the cache since is noticed, or what it left is right', (t) => {
  let refusals = 0;
  for (let run = 0; run < 40; run++) {
    const rig = smallRig(run % 2 === 0);
    const use = new RandomUse(SEED * 300 + run);
    const volume = openSmall(rig);
    for (let steps = use.pick(STALE_STEPS_MAX); steps > 0; steps--) use.step(volume, rig);
    if (use.pick(2) === 0) volume.writeBackAll();
    volume.flush();
    volume.close({ crash: use.pick(2) === 0 });
    rig.killProcess();
    const kernel = new KernelModel(rig.device, rig.backing);
    for (let steps = use.pick(30); steps > 0; steps--) {
      const choice = use.pick(5);
      if (choice < 2) use.write(kernel);
      else if (choice < 4) kernel.writeBack(1 + use.pick(40));
      else kernel.collect(1 + use.pick(40));
    }
    kernel.flush();
    loseTails(rig);
    if (planRepair(rig.device, { bootId: bootIdOf(rig.boot) }).refusals.length > 0) {
      refusals++;
      continue;
    }
    const again = openSmall(rig);
    t.true(sameBytes(again.read(0, WINDOW_BYTES), use.expected), `run ${run}: the volume`);
    again.writeBackAll();
    again.close();
    t.true(sameBytes(rig.backing.content(0, WINDOW_BYTES), use.expected), `run ${run}: the backing device`);
  }
  t.log(`${refusals} of 40 refused`);
  t.true(refusals > 10 && refusals < 40);
});

test('the header names no place while a kset of the kernel stands at dirty_tail, and none is taken while ksets of its log are left', (t) => {
  const rig = smallRig(false);
  const kernel = new KernelModel(rig.device, rig.backing);
  kernel.write(0, payload(1, 512));
  kernel.flush();
  const volume = openSmall(rig);
  t.like(readRecordedTail(inspectMedia(rig.device)), { ok: false, reason: 'the gateway header does not name a place for them' });
  volume.writeBackAll();
  volume.close();
  // The kset of the kernel is still at the start of the segment.
  t.like(readRecordedTail(inspectMedia(rig.device)), {
    ok: false,
    reason: 'the kernel may have used the cache since the gateway header named a place for them',
  });
});
