// A cache that the kernel used between two uses by this gateway: what comes back of what was only staged, and what must not. See
// test/support/kernel-turns for the random runs; PCACHE_SEED chooses others.

import test from 'ava';
import { examineCache } from '../../src/cache/check-cache.js';
import { KernelModel } from '../support/kernel-model.js';
import { KERNEL_TURNS_VOLUME_BYTES, KernelTurns, WINDOW_START, openSmall } from '../support/kernel-turns.js';
import { payload } from '../support/model-payload.js';
import { MIB, Rig, bootIdOf } from '../support/model-rig.js';

const seed = Number(process.env.PCACHE_SEED ?? 1);

test('gateway and kernel take turns, whoever crashes: what was flushed is there, of the rest a prefix, and nothing comes back', (t) => {
  t.log(`seed ${seed}`);
  const met = new Set<string>();
  for (let run = 0; run < 4; run++) {
    const turns = new KernelTurns(seed * 100 + run);
    turns.run(10);
    for (const each of turns.met) met.add(each);
  }
  t.log([...met].sort().join('; '));
  t.true(met.size >= 3);
});

const PAGE = 4096;

/** A gateway that died: page 0 was flushed, pages 1 to 20 are staged, in several segments. */
function diedWithStagedKeys(): Rig {
  const rig = new Rig({ volumeBytes: KERNEL_TURNS_VOLUME_BYTES, cacheBytes: 160 * MIB, persistence: 'memory', gcPercent: 0 });
  const volume = openSmall(rig);
  volume.write(WINDOW_START, payload(1, PAGE));
  volume.flush();
  for (let page = 1; page <= 20; page++) volume.write(WINDOW_START + page * PAGE, payload(1 + page, PAGE));
  volume.close({ crash: true });
  rig.killProcess();
  return rig;
}

/** Pages of 0 to 20 that hold what the gateway wrote. */
function pagesOf(rig: Rig, volume = openSmall(rig)): number[] {
  const pages = Array.from({ length: 21 }, (_, page) => page);
  return pages.filter((page) => Buffer.from(volume.read(WINDOW_START + page * PAGE, PAGE)).equals(payload(1 + page, PAGE)));
}

const ALL_PAGES = Array.from({ length: 21 }, (_, page) => page);

test('a kernel that was only attached changes nothing: what was staged is there', (t) => {
  const rig = diedWithStagedKeys();
  const kernel = new KernelModel(rig.device, rig.backing);
  t.deepEqual(Buffer.from(kernel.read(WINDOW_START, PAGE)), Buffer.from(payload(1, PAGE)));
  t.deepEqual(Buffer.from(kernel.read(WINDOW_START + PAGE, PAGE)), Buffer.alloc(PAGE), 'it does not know of staged keys');
  kernel.flush();
  t.deepEqual(pagesOf(rig), ALL_PAGES);
});

test('a kernel that wrote back changes nothing either', (t) => {
  const rig = diedWithStagedKeys();
  t.is(new KernelModel(rig.device, rig.backing).writeBack(), 1);
  t.deepEqual(pagesOf(rig), ALL_PAGES);
});

test('when the kernel has freed a segment of staged keys, they are gone from the first such key on, and the media are sound', (t) => {
  const rig = diedWithStagedKeys();
  const kernel = new KernelModel(rig.device, rig.backing);
  kernel.writeBack();
  t.is(kernel.collect(), 1);
  const findings = examineCache(rig.device, { bootId: bootIdOf(rig.boot) }).findings.filter(({ severity }) => severity !== 'info');
  t.deepEqual(findings, []);
  // The first data segment holds pages 0 to 7; the kernel knew of page 0 only, wrote it back, and took the segment to be empty.
  const volume = openSmall(rig);
  t.like(volume.opened.replay, { stagedKeys: 0, stagedKeysLost: true });
  t.deepEqual(pagesOf(rig, volume), [0], 'and none of the pages in the segments that it did not touch');
});

for (const sectors of [1, 40, 300]) {
  test(`once the kernel has written ${sectors} sectors, nothing that was staged comes back`, (t) => {
    const rig = diedWithStagedKeys();
    const kernel = new KernelModel(rig.device, rig.backing);
    for (let sector = 0; sector < sectors; sector++) kernel.write(sector * 512, payload(1000 + sector, 512));
    kernel.flush();
    const volume = openSmall(rig);
    t.like(volume.opened.replay, { stagedKeys: 0, stagedKeysLost: false });
    t.deepEqual(pagesOf(rig, volume), [0]);
    for (let sector = 0; sector < sectors; sector++) {
      t.deepEqual(Buffer.from(volume.read(sector * 512, 512)), Buffer.from(payload(1000 + sector, 512)));
    }
    // Nor after this gateway has died in turn, with staged keys of its own where the others had been.
    volume.write(WINDOW_START + 30 * PAGE, payload(99, PAGE));
    volume.close({ crash: true });
    rig.killProcess();
    t.deepEqual(pagesOf(rig), [0]);
    t.deepEqual(Buffer.from(openSmall(rig).read(WINDOW_START + 30 * PAGE, PAGE)), Buffer.from(payload(99, PAGE)));
  });
}

test('after a restart of the machine nothing that was staged is there, whatever the kernel did', (t) => {
  for (const use of [
    () => undefined,
    (kernel: KernelModel) => kernel.writeBack(),
    (kernel: KernelModel) => kernel.write(0, payload(7, 512)),
  ]) {
    const rig = diedWithStagedKeys();
    use(new KernelModel(rig.device, rig.backing));
    rig.boot++;
    t.deepEqual(pagesOf(rig), [0]);
  }
});
