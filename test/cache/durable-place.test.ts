import test from 'ava';
import { examineCache } from '../../src/cache/check-cache.js';
import { readCacheMedia } from '../../src/cache/cache-media.js';
import { planRepair } from '../../src/cache/repair-plan.js';
import { seededRandom } from '../../src/device/seeded-random.js';
import { SimulatedCrash } from '../../src/device/simulated-cache-device.js';
import { PcacheError, messageOf } from '../../src/errors.js';
import { InlineVolume } from '../../src/gateway/inline-volume.js';
import type { KeyCursor } from '../../src/media/cache-key.js';
import { readGatewayHeader } from '../../src/media/gateway-header.js';
import {
  GATEWAY_HEADER_BYTES,
  KEY_TAIL_OFFSETS,
  PAGE_BYTES,
  SEGMENT_DATA_OFFSET,
  SEGMENT_GENERATION_OFFSETS,
} from '../../src/media/layout.js';
import type { PhysicalSegmentId } from '../../src/media/layout.js';
import { walkLog } from '../../src/media/log-walk.js';
import { writeSegmentGeneration } from '../../src/media/segment-generation.js';
import { TAIL_BYTES, TAIL_OFFSETS, writeTail } from '../../src/media/tails.js';
import { chooseCopy } from '../../src/media/two-copy-record.js';
import { KernelModel, kernelFormat } from '../support/kernel-model.js';
import { payload } from '../support/model-payload.js';
import { MIB, Rig, bootIdOf, fingerprint, sameBytes } from '../support/model-rig.js';

const VOLUME_BYTES = 5 * MIB;
/** What a segment of these tests holds: the log changes segments often. */
const SEGMENT_DATA_BYTES = 32 * 1024;

function smallRig(dataCrc = false): Rig {
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

/** Where the newest kset of the log starts, in segment 0. */
function newestKset(rig: Rig): number {
  let newest = 0;
  const media = readCacheMedia(rig.device);
  walkLog(media.log, media.keyTail, {}, { onKset: (kset) => (newest = kset.segOff) });
  return newest;
}

/** Offset of the durable place that the header names. */
function recordedOffset(rig: Rig): number {
  const header = readGatewayHeader(rig.device.control.bytes);
  return header.ok ? (header.value.durable?.position.segOff ?? -1) : -1;
}

function refusal(rig: Rig): string {
  const before = fingerprint(rig.device);
  try {
    openSmall(rig);
  } catch (error) {
    if (!(error instanceof PcacheError) || error.code !== 'damaged') throw error;
    return fingerprint(rig.device) === before ? error.message : 'it was changed';
  }
  return 'it was served';
}

test('damage to the newest ksets of a cache that was closed is refused, and found', (t) => {
  const rig = smallRig();
  const volume = openSmall(rig);
  for (let write = 0; write < 4; write++) {
    volume.write(write * 4096, payload(write, 4096));
    volume.flush();
  }
  volume.close();
  rig.device.segment(0 as PhysicalSegmentId).bytes[SEGMENT_DATA_OFFSET + newestKset(rig) + 30]! ^= 1;
  t.regex(refusal(rig), /flushed data is missing .*: the log is known to have reached segment 0, offset/);
  t.true(examineCache(rig.device).findings.some(({ severity, code }) => severity === 'error' && code === 'log-damaged'));
});

test('the header says how far the log has got before a flush returns, within a second if none asks, and is left alone while nothing is new', (t) => {
  const rig = smallRig();
  const volume = openSmall(rig);
  volume.logStep();
  volume.write(0, payload(1, 4096));
  volume.flush();
  t.is(recordedOffset(rig), 64, 'a flush');
  rig.clockMs += 1000;
  t.true(volume.logStep(), 'the other copy of the header follows');
  const persists = rig.device.persists;
  rig.clockMs += 5000;
  volume.logStep();
  volume.flush();
  t.is(rig.device.persists, persists, 'nothing is new');
  volume.write(0, payload(2, 4096));
  volume.logStep(0);
  t.is(recordedOffset(rig), 64, 'a kset that nobody asked for can wait');
  t.true(volume.logStep());
  t.is(recordedOffset(rig), 128);
  volume.write(0, payload(3, 4096));
  volume.logStep(0);
  rig.clockMs += 999;
  volume.logStep(10_000);
  t.is(recordedOffset(rig), 128);
  rig.clockMs += 1;
  volume.logStep(10_000);
  t.is(recordedOffset(rig), 192);
  volume.close();
});

test('the place of a flush costs one persist, which all flushes share that wait, and it is the last', (t) => {
  const rig = new Rig({ volumeBytes: VOLUME_BYTES, gcPercent: 0 });
  const volume = openSmall(rig);
  const cache = volume.caches[0]!;
  volume.write(0, payload(1, 4096));
  volume.flush();
  const ranges: number[] = [];
  rig.device.onPersist = (_, offset) => void ranges.push(offset);
  const sequences = [2, 3, 4].map((write) => {
    volume.write(write * 4096, payload(write, 4096));
    return cache.log.requestFlush();
  });
  t.true(cache.commitStep());
  for (const sequence of sequences) t.true(cache.log.isFlushed(sequence));
  t.is(ranges.filter((offset) => offset < PAGE_BYTES).length, 1);
  t.true(ranges.at(-1)! < PAGE_BYTES);
  t.false(cache.commitStep());
  rig.device.onPersist = undefined;
  volume.close();
});

test('a flush of what is durable already returns when the header says so', (t) => {
  const rig = smallRig();
  const volume = openSmall(rig);
  const { log } = volume.caches[0]!;
  volume.write(0, payload(1, 4096));
  volume.logStep(0);
  const sequence = log.requestFlush();
  t.true(log.isDurable(sequence));
  t.false(log.isFlushed(sequence));
  t.is(recordedOffset(rig), 0);
  volume.flush();
  t.true(log.isFlushed(sequence));
  t.is(recordedOffset(rig), 64);
  volume.close();
});

test('a header that can not be made durable answers no flush, and leaves the other copy as it is', (t) => {
  const rig = new Rig({ volumeBytes: VOLUME_BYTES, gcPercent: 0 });
  const volume = openSmall(rig);
  volume.write(0, payload(1, 4096));
  volume.flush();
  volume.write(0, payload(2, 4096));
  rig.device.onPersist = (_, offset) => {
    if (offset < PAGE_BYTES) throw new PcacheError('io', 'it fails');
  };
  t.throws(() => volume.flush(), { code: 'io' });
  rig.device.onPersist = undefined;
  t.is(recordedOffset(rig), 64, 'what was not made durable does not count');
  const cache = volume.caches[0]!;
  cache.records.storeLogPlaces();
  t.is(recordedOffset(rig), 128);
  volume.close();
});

const DAMAGES: readonly [string, (bytes: Uint8Array, older: Uint8Array, random: () => number) => unknown][] = [
  [
    'a bit',
    (bytes, _, random) => {
      bytes[Math.floor(random() * bytes.length)]! ^= 1 << Math.floor(random() * 8);
    },
  ],
  ['zeros', (bytes) => bytes.fill(0)],
  ['noise', (bytes, _, random) => bytes.forEach((_byte, at) => (bytes[at] = Math.floor(random() * 256)))],
  ['an older version', (bytes, older) => bytes.set(older)],
];
for (const [name, damage] of DAMAGES) {
  test(`damage to what the last flush covered is refused and found, right after it: ${name}`, (t) => {
    const random = seededRandom(name.length);
    for (const crash of ['loss of power', 'death'] as const) {
      for (const writes of [1, 2, 3, 6, 8]) {
        const rig = new Rig({ volumeBytes: VOLUME_BYTES, gcPercent: 0 });
        const volume = openSmall(rig);
        const log = rig.device.segment(0 as PhysicalSegmentId).bytes;
        let older = new Uint8Array(0);
        for (let write = 0; write < writes; write++) {
          older = log.slice(0, SEGMENT_DATA_OFFSET + SEGMENT_DATA_BYTES);
          volume.write(write * 4096, payload(write, 4096));
          if (write % 3 === 1 || write === writes - 1) volume.flush();
        }
        // Written since, and not flushed: it makes no difference.
        if (writes % 2 === 0) volume.write(0, payload(99, 512));
        volume.close({ crash: true });
        if (crash === 'death') rig.killProcess();
        else rig.losePower(random, 64);
        const newest = SEGMENT_DATA_OFFSET + newestKset(rig);
        // The header at least, or all of it.
        const end = newest + (writes % 3 === 0 ? 24 : 64);
        damage(log.subarray(newest, end), older.subarray(newest, end), random);
        const what = `${crash}, ${writes} writes`;
        const findings = examineCache(rig.device, { bootId: bootIdOf(rig.boot) }).findings.filter(({ severity }) => severity === 'error');
        t.true(
          findings.some(({ code }) => code === 'log-damaged'),
          `${what}: check`,
        );
        t.true(
          findings.some(({ code }) => code === 'log-lost'),
          `${what}: what is lost`,
        );
        t.throws(() => openSmall(rig), { code: 'damaged', message: /flushed data is missing|a kset is missing/ }, what);
      }
    }
  });
}

test('an end that is torn behind the last flush opens without a word, wherever power is lost', (t) => {
  const outcomes = new Set<string>();
  for (let seed = 1; seed <= 60; seed++) {
    const random = seededRandom(seed);
    const rig = new Rig({ volumeBytes: VOLUME_BYTES, gcPercent: 0 });
    const volume = openSmall(rig);
    for (let write = 0; write < 3; write++) {
      volume.write(write * 4096, payload(write, 4096));
      volume.flush();
    }
    for (let write = 3; write < 6; write++) volume.write(write * 4096, payload(write, 4096));
    // At one of the persists of the next kset, be it closed by its age or for a flush.
    let left = 1 + Math.floor(random() * 6);
    let hasReturned = false;
    rig.device.onPersist = () => {
      if (--left <= 0) throw new SimulatedCrash();
    };
    try {
      if (seed % 2 === 0) volume.logStep(0);
      else volume.flush();
      hasReturned = seed % 2 === 1;
    } catch (error) {
      if (!(error instanceof SimulatedCrash)) throw error;
    }
    rig.device.onPersist = undefined;
    volume.close({ crash: true });
    rig.losePower(random, seed % 3 === 0 ? 4096 : 64);
    t.false(
      examineCache(rig.device).findings.some(({ severity }) => severity === 'error'),
      `seed ${seed}: check`,
    );
    const again = openSmall(rig);
    for (let write = 0; write < 3; write++) t.deepEqual(again.read(write * 4096, 4096), payload(write, 4096).slice(), `seed ${seed}`);
    const newer = [3, 4, 5].filter((write) => sameBytes(again.read(write * 4096, 4096), payload(write, 4096)));
    t.true(newer.length === 0 || newer.length === 3, `seed ${seed}: one kset`);
    if (hasReturned) t.is(newer.length, 3, `seed ${seed}: it was flushed`);
    outcomes.add(newer.length === 0 ? 'lost' : hasReturned ? 'flushed' : 'kept');
    again.close();
  }
  t.deepEqual([...outcomes].sort(), ['flushed', 'kept', 'lost']);
});

test('key_tail does not pass the place that the header names', (t) => {
  const rig = smallRig();
  const volume = openSmall(rig);
  for (let write = 0; write < 300; write++) {
    volume.write(write * 512, payload(write, 512));
    volume.flush();
    volume.writeBackAll();
    volume.gcStep();
    const media = readCacheMedia(rig.device);
    const { ending, damage } = walkLog(media.log, media.keyTail, media.walkOptions);
    t.is(ending, 'end', `write ${write}: ${damage}`);
  }
  t.true(volume.caches[0]!.shared.words.length > 0);
  volume.close();
});

test('a gateway and the kernel take turns with a cache, and the volume is what both wrote', (t) => {
  for (let seed = 1; seed <= 6; seed++) {
    const random = seededRandom(seed);
    const pick = (below: number): number => Math.floor(random() * below);
    const rig = smallRig(seed % 2 === 0);
    if (seed % 3 === 0) kernelFormat(rig.device, { dataCrc: seed % 2 === 0, gcPercent: 0 });
    const expected = new Uint8Array(VOLUME_BYTES);
    let writes = 0;
    const write = (to: { write(offset: number, bytes: Uint8Array): void; flush(): void }): void => {
      const length = 512 * (1 + pick(8));
      const offset = 512 * pick(256);
      const bytes = payload(++writes + seed * 10_000, length);
      expected.set(bytes, offset);
      to.write(offset, bytes);
      if (pick(4) === 0) to.flush();
    };
    for (let turn = 0; turn < 16; turn++) {
      const volume = openSmall(rig);
      t.true(sameBytes(volume.read(0, 128 * 1024 + 4096), expected.subarray(0, 128 * 1024 + 4096)), `seed ${seed}, turn ${turn}: gateway`);
      for (let step = pick(60); step > 0; step--) {
        rig.clockMs += pick(300);
        const choice = pick(10);
        if (choice < 6) write(volume);
        else if (choice < 7) volume.logStep();
        else if (choice < 9) volume.writebackStep();
        else volume.gcStep();
      }
      const isCrash = pick(3) === 0;
      if (isCrash) volume.flush();
      volume.close({ crash: isCrash });
      const kernel = new KernelModel(rig.device, rig.backing);
      t.true(sameBytes(kernel.read(0, 128 * 1024 + 4096), expected.subarray(0, 128 * 1024 + 4096)), `seed ${seed}, turn ${turn}: kernel`);
      for (let step = pick(20); step > 0; step--) {
        const choice = pick(4);
        if (choice < 2) write(kernel);
        else if (choice < 3) kernel.writeBack(pick(20));
        else kernel.collect(pick(20));
      }
      kernel.flush();
      if (pick(4) === 0) kernel.collect(1 + pick(3), { crash: true });
    }
    const last = openSmall(rig);
    last.writeBackAll();
    last.close();
    t.true(sameBytes(rig.backing.content(), expected), `seed ${seed}: the backing device`);
  }
});

test('damage to one copy of a tail or of the header changes nothing, and losing the page of the headers neither', (t) => {
  const places = [...KEY_TAIL_OFFSETS, ...TAIL_OFFSETS.dirty_tail, 0, GATEWAY_HEADER_BYTES].map((at) => [at + 8, 1] as const);
  for (const [at, length] of [...places, [0, 4096] as const]) {
    const rig = smallRig();
    const volume = openSmall(rig);
    for (let write = 0; write < 40; write++) {
      volume.write(write * 512, payload(write, 512));
      volume.flush();
      if (write < 30) volume.writeBackAll();
      if (write < 20) volume.gcStep();
    }
    volume.write(0, payload(99, 512));
    volume.close({ crash: true });
    const { bytes } = rig.device.control;
    if (length === 1) bytes[at]! ^= 4;
    else bytes.fill(0, at, at + length);
    const again = openSmall(rig);
    t.deepEqual(again.read(0, 512), payload(99, 512).slice(), `${at}: what was staged`);
    for (let write = 1; write < 40; write++) t.deepEqual(again.read(write * 512, 512), payload(write, 512).slice(), `${at}`);
    again.writeBackAll();
    again.close();
    t.deepEqual(rig.backing.content(0, 512), payload(99, 512).slice());
    t.deepEqual(
      examineCache(rig.device).findings.filter(({ severity }) => severity !== 'info'),
      [],
    );
  }
});

test('an older version of the tails is refused once segments behind them were reused, and a repair from the header loses nothing', (t) => {
  const rig = smallRig();
  const volume = openSmall(rig);
  const older: Uint8Array[] = [];
  for (let write = 0; write < 1500; write++) {
    // One sector that stays, in the segment of those that go.
    volume.write((write % 3) * 512, payload(write, 512));
    volume.flush();
    if (write % 10 === 0) volume.writeBackAll();
    if (write % 40 === 0) volume.gcStep();
    if (write % 150 === 0 || write === 1495) older.push(rig.device.control.bytes.slice(0x4000, 0x4040));
  }
  volume.close();
  const current = rig.device.control.bytes.slice();
  const outcomes = new Set<string>();
  const showsLatest = (copy: Rig, name: string): void => {
    const again = openSmall(copy);
    again.writeBackAll();
    for (let sector = 0; sector < 3; sector++) {
      const last = 1500 - 3 + sector;
      t.deepEqual(copy.backing.content(sector * 512, 512), payload(last, 512).slice(), `${name}, sector ${sector}`);
    }
  };
  for (const [age, tails] of older.entries()) {
    rig.device.control.bytes.set(tails, 0x4000);
    const copy = new Rig({ volumeBytes: VOLUME_BYTES, devices: { device: rig.device.fork(), backing: rig.backing.fork() } });
    let why = 'it was served';
    try {
      showsLatest(copy, `tails ${age}`);
    } catch (error) {
      t.is(error instanceof PcacheError && error.code, 'damaged');
      why = messageOf(error);
      const { refusals, loss } = planRepair(copy.device, { bootId: bootIdOf(1) });
      t.deepEqual(refusals, [], `tails ${age}`);
      t.is(loss, undefined, `tails ${age}`);
      showsLatest(copy, `tails ${age}, repaired`);
    }
    outcomes.add(why.replaceAll(/[0-9]+/g, 'N'));
    rig.device.control.bytes.set(current);
  }
  t.log([...outcomes].join('\n'));
  t.true(outcomes.size >= 4);
});

test('a generation that is older than a key of its segment is replaced by that of the key', (t) => {
  const rig = smallRig(true);
  const volume = openSmall(rig);
  for (let write = 0; write < 600; write++) {
    volume.write((write % 8) * 512, payload(write, 512));
    volume.flush();
    if (write % 10 === 0) volume.writeBackAll();
    if (write % 20 === 0) volume.gcStep();
  }
  volume.close();
  const media = readCacheMedia(rig.device);
  let segment = -1;
  const onKey = (key: KeyCursor): void => {
    if (key.segGen > 1) segment = key.cacheSegId;
  };
  walkLog(media.log, media.keyTail, {}, { onKey });
  t.not(segment, -1);
  const { bytes } = rig.device.segment(media.physicalOf[segment]!);
  for (const generation of [0, 1]) {
    for (const offset of SEGMENT_GENERATION_OFFSETS) bytes.fill(0, offset, offset + 16);
    if (generation > 0) writeSegmentGeneration(bytes, generation, { index: 'none', blank: true }, { stamped: true });
    const again = openSmall(rig);
    for (let write = 592; write < 600; write++) t.deepEqual(again.read((write % 8) * 512, 512), payload(write, 512).slice());
    again.close();
  }
  t.is(readCacheMedia(rig.device).generations[segment], media.generations[segment]);
});

test('tails that another program moved make no claim about the log', (t) => {
  const rig = smallRig();
  const volume = openSmall(rig);
  volume.write(0, payload(1, 512));
  volume.writeBackAll();
  volume.write(0, payload(2, 512));
  volume.close();
  const media = readCacheMedia(rig.device);
  t.not(media.walkOptions.durable, undefined);
  const { control } = rig.device;
  writeTail(control.bytes, 'key_tail', media.dirtyTail, chooseCopy(control.bytes, KEY_TAIL_OFFSETS, TAIL_BYTES));
  t.is(readCacheMedia(rig.device).walkOptions.durable, undefined);
  const again = openSmall(rig);
  t.deepEqual(again.read(0, 512), payload(2, 512).slice());
  t.not(readCacheMedia(rig.device).walkOptions.durable, undefined);
  again.close();
});
