// Opening: what is refused, and that nothing was changed then; what belongs to whom; what a reopen finds.

import test from 'ava';
import { readCacheMedia } from '../../src/cache/cache-media.js';
import { checkCache, examineCache } from '../../src/cache/check-cache.js';
import { formatCache } from '../../src/cache/format.js';
import { planRepair } from '../../src/cache/repair-plan.js';
import { SimulatedBackingDevice } from '../../src/device/simulated-backing-device.js';
import { seededRandom } from '../../src/device/seeded-random.js';
import { SimulatedCacheDevice } from '../../src/device/simulated-cache-device.js';
import { PcacheError } from '../../src/errors.js';
import { readGatewayHeader } from '../../src/media/gateway-header.js';
import { KEY_BYTES, KSET_HEADER_BYTES, SEGMENT_BYTES, SEGMENT_DATA_OFFSET, SEGMENTS_OFFSET } from '../../src/media/layout.js';
import type { PhysicalSegmentId } from '../../src/media/layout.js';
import { readTail, writeTail } from '../../src/media/tails.js';
import { bootIdOf, fingerprint, MIB, Rig, sameBytes } from '../support/model-rig.js';
import { payload } from '../support/model-payload.js';

/** Opens, which must be refused with one line and without a change. */
function refused(rig: Rig, open: () => unknown = () => rig.open()): { code: string; message: string; changed: boolean } {
  const before = fingerprint(rig.device);
  try {
    open();
  } catch (error) {
    if (!(error instanceof PcacheError)) throw error;
    return { code: error.code, message: error.message, changed: fingerprint(rig.device) !== before };
  }
  return { code: 'none', message: 'it was not refused', changed: fingerprint(rig.device) !== before };
}

/** A cache with three flushed ksets of one key each, closed in order or not. */
function usedCache(isClosed: boolean): Rig {
  const rig = new Rig({ volumeBytes: 16 * MIB });
  const volume = rig.open();
  for (let count = 0; count < 3; count++) {
    volume.write(count * 4096, payload(count, 4096));
    volume.flush();
  }
  volume.close({ crash: !isClosed });
  return rig;
}

const LOG = SEGMENTS_OFFSET + SEGMENT_DATA_OFFSET;
const KSET_BYTES = KSET_HEADER_BYTES + KEY_BYTES;

for (const isClosed of [true, false]) {
  test(`a damaged kset in the middle of the log is refused, and nothing is changed (${isClosed ? 'closed' : 'killed'})`, (t) => {
    for (const kset of [0, 1]) {
      const rig = usedCache(isClosed);
      rig.device.corrupt(seededRandom(kset), LOG + kset * KSET_BYTES + 20, KSET_BYTES - 20);
      const { code, message, changed } = refused(rig);
      t.is(code, 'damaged', message);
      t.false(changed);
      t.regex(message, /^the log is damaged in segment 0 at offset \d+: /);
    }
  });
}

test('a log that ends before dirty_tail is refused, and nothing is changed', (t) => {
  const rig = new Rig({ volumeBytes: 16 * MIB });
  const volume = rig.open();
  volume.write(0, payload(1, 4096));
  volume.writeBackAll();
  volume.close();
  rig.device.corrupt(seededRandom(1), LOG, 4);
  const { code, changed } = refused(rig);
  t.is(code, 'damaged');
  t.false(changed);
});

test('a blank device, a short one and one whose records have no valid copy are refused, and nothing is changed', (t) => {
  const blank = new Rig({
    volumeBytes: MIB,
    devices: { device: new SimulatedCacheDevice(), backing: new SimulatedBackingDevice({ sizeBytes: MIB }) },
  });
  t.deepEqual({ ...refused(blank), message: '' }, { code: 'not-a-cache', message: '', changed: false });
  const places: readonly [string, readonly (readonly [number, number])[]][] = [
    [
      'cache_info',
      [
        [0x2000, 24],
        [0x3000, 24],
      ],
    ],
    [
      'key_tail',
      [
        [0x4000, 16],
        [0x4010, 16],
      ],
    ],
    [
      'dirty_tail',
      [
        [0x4020, 16],
        [0x4030, 16],
      ],
    ],
    [
      'segment_info',
      [
        [SEGMENTS_OFFSET + 2 * SEGMENT_BYTES, 16],
        [SEGMENTS_OFFSET + 2 * SEGMENT_BYTES + 0x1000, 16],
      ],
    ],
    ['generation', [[SEGMENTS_OFFSET + 2 * SEGMENT_BYTES + 0x2000, 32]]],
    [
      'gateway header',
      [
        [24, 512],
        [2048 + 24, 512],
        [0x1800 + 24, 512],
      ],
    ],
  ];
  for (const [name, ranges] of places) {
    const rig = usedCache(true);
    for (const [offset, length] of ranges) {
      for (let at = 0; at < length; at += 16) rig.device.corrupt(seededRandom(at), offset + at, 16, 3);
    }
    const { code, message, changed } = refused(rig);
    t.true(['damaged', 'not-a-cache', 'unsupported'].includes(code), `${name}: ${code}: ${message}`);
    t.false(changed, name);
  }
});

test('a cache belongs to the backing device that it was first opened with, by size and by identity', (t) => {
  const rig = usedCache(true);
  const header = readGatewayHeader(rig.device.control.bytes);
  t.true(header.ok && header.value.volumeBytes === 16 * MIB && header.value.backingIdentity === 'simulated:0');
  const other = new SimulatedBackingDevice({ sizeBytes: 16 * MIB, identity: 'simulated:1' });
  const larger = new SimulatedBackingDevice({ sizeBytes: 32 * MIB });
  t.deepEqual({ ...refused(rig, () => rig.open({ backing: other })), message: '' }, { code: 'mismatch', message: '', changed: false });
  t.deepEqual({ ...refused(rig, () => rig.open({ backing: larger })), message: '' }, { code: 'mismatch', message: '', changed: false });
  t.deepEqual(
    { ...refused(rig, () => rig.open({ backing: larger, adopt: true })), message: '' },
    { code: 'mismatch', message: '', changed: false },
  );
  rig.open({ backing: other, adopt: true }).close();
  t.is(refused(rig).code, 'mismatch', 'it belongs to the other one now');
  rig.open({ backing: other }).close();
});

test('a cache whose gateway header is lost with its backup is refused, be the backup damaged or gone, and nothing is changed', (t) => {
  for (const spoil of [
    (control: Uint8Array) => (control[0x1900]! ^= 1),
    (control: Uint8Array) => control.fill(0, 0x1800, 0x2000),
    // The kernel has stored one of the tails since.
    (control: Uint8Array) => {
      control.fill(0, 0x1800, 0x2000);
      const current = readTail(control, 'key_tail', 5);
      if (current.ok) writeTail(control, 'key_tail', current.value, writeTail(control, 'key_tail', current.value, current));
    },
  ]) {
    const rig = usedCache(true);
    const { bytes } = rig.device.control;
    bytes.fill(0, 0, 0x1000);
    spoil(bytes);
    const { code, message, changed } = refused(rig);
    t.is(code, 'damaged', message);
    t.regex(message, /gateway header/);
    t.false(changed);
    const errors = examineCache(rig.device).findings.filter(({ severity }) => severity === 'error');
    t.deepEqual(
      errors.map((finding) => finding.code),
      ['gateway-header'],
    );
    const bootId = bootIdOf(1);
    const copy = rig.device.fork();
    t.is(planRepair(copy, { bootId }).refusals.length, 1, 'which backing device it belongs to is not made up');
    t.deepEqual(planRepair(copy, { bootId, forgetLostHeader: true }).refusals, []);
    const known = new Rig({ volumeBytes: 16 * MIB, devices: { device: copy, backing: rig.backing } });
    const volume = known.open();
    t.true(sameBytes(volume.read(4096, 4096), payload(1, 4096)), 'who knows it has everything');
    volume.close();
  }
});

test('a cache without a gateway header, as the kernel makes it, is taken and bound', (t) => {
  const rig = usedCache(true);
  rig.device.control.bytes.fill(0, 0, 0x1000);
  rig.device.persist(0, 0x1000);
  const volume = rig.open();
  t.true(sameBytes(volume.read(4096, 4096), payload(1, 4096)));
  volume.close();
  t.is(readCacheMedia(rig.device).gatewayHeader?.volumeBytes, 16 * MIB);
});

test('opened read-only, a cache is read and not changed, staged keys included', (t) => {
  const rig = usedCache(false);
  const writer = rig.open();
  writer.write(0, payload(8, 1000));
  writer.close({ crash: true });
  rig.killProcess();
  const before = fingerprint(rig.device);
  const volume = rig.open({ readOnly: true });
  t.true(sameBytes(volume.read(0, 1000), payload(8, 1000)));
  t.true(sameBytes(volume.read(64 * 1024, 512), new Uint8Array(512)));
  t.throws(() => volume.write(0, payload(1, 512)), { code: 'permission' });
  t.throws(() => volume.flush(), { code: 'permission' });
  volume.close();
  t.is(fingerprint(rig.device), before);
});

test('staged keys are taken after the death of the process, and not after a restart of the machine', (t) => {
  const rig = usedCache(true);
  const volume = rig.open();
  volume.write(0, payload(8, 4096));
  volume.close({ crash: true });
  rig.killProcess();
  const again = rig.open();
  t.is(again.opened.replay.stagedKeys, 1);
  t.true(sameBytes(again.read(0, 4096), payload(8, 4096)));
  again.write(0, payload(9, 4096));
  again.close({ crash: true });
  rig.boot++;
  const rebooted = rig.open();
  t.is(rebooted.opened.replay.stagedKeys, 0);
  t.true(sameBytes(rebooted.read(0, 4096), payload(8, 4096)), 'what was closed by the open before is there');
  rebooted.close();
});

test('ksets of a cache that was on the device before are not taken for damage of the new one', (t) => {
  const rig = new Rig({ volumeBytes: 16 * MIB });
  let volume = rig.open();
  for (let count = 0; count < 50; count++) {
    volume.write(0, payload(count, 512));
    volume.flush();
  }
  volume.close();
  formatCache(rig.device, { dataCrc: false, gcPercent: 70, uuid: new Uint8Array(16).fill(3), nowMs: 1_700_000_100_000 });
  volume = rig.open();
  volume.write(0, payload(77, 512));
  volume.close({ crash: true });
  rig.killProcess();
  volume = rig.open();
  t.true(sameBytes(volume.read(0, 512), payload(77, 512)));
  volume.close();
});

test('a cache that died often, and is formatted again within its four minutes, leaves nothing that is taken for damage, nor for data', (t) => {
  for (const isCutShort of [false, true]) {
    const rig = new Rig({ volumeBytes: 16 * MIB });
    for (let death = 0; death < 4; death++) {
      const volume = rig.open();
      for (let count = 0; count < 60; count++) {
        volume.write(count * 512, payload(count + death, 512));
        volume.flush();
      }
      volume.close({ crash: true });
      rig.killProcess();
    }
    const formatAnew = (fill: number, nowMs: number): void =>
      formatCache(rig.device, { dataCrc: false, gcPercent: 70, uuid: new Uint8Array(16).fill(fill), nowMs });
    if (isCutShort) {
      rig.device.onPersist = () => {
        throw new Error('stop');
      };
      t.throws(() => formatAnew(3, 1_700_000_000_100), { message: 'stop' });
      rig.device.onPersist = undefined;
      rig.killProcess();
    }
    // The first's UUID, so that its sequences would begin at the same place but for the header; after a format that was cut short there is none.
    formatAnew(isCutShort ? 4 : 7, 1_700_000_000_200);
    let volume = rig.open({ backing: new SimulatedBackingDevice({ sizeBytes: 16 * MIB }) });
    volume.write(8 * MIB, payload(77, 512));
    volume.flush();
    volume.close({ crash: true });
    rig.killProcess();
    t.deepEqual(
      checkCache(rig.device, { bootId: bootIdOf(rig.boot) }).filter(({ severity }) => severity !== 'info'),
      [],
    );
    volume = rig.open({ backing: new SimulatedBackingDevice({ sizeBytes: 16 * MIB }) });
    t.true(sameBytes(volume.read(8 * MIB, 512), payload(77, 512)));
    t.true(volume.read(0, 60 * 512).every((byte) => byte === 0));
    volume.close();
  }
});

test('an open that dies at any of its persists leaves all there was', (t) => {
  const base = usedCache(false);
  const volume = base.open();
  volume.write(0, payload(8, 4096));
  volume.close({ crash: true });
  let isThrough = false;
  for (let fatal = 1; !isThrough && fatal < 50; fatal++) {
    for (const isPowerLoss of [false, true]) {
      const rig = new Rig({ volumeBytes: 16 * MIB, devices: { device: base.device.fork(), backing: base.backing.fork() } });
      let left = fatal;
      rig.device.onPersist = () => {
        if (--left === 0) throw new Error('stop');
      };
      try {
        rig.open();
        isThrough = true;
      } catch (error) {
        if (!(error instanceof Error) || error.message !== 'stop') throw error;
      }
      rig.device.onPersist = undefined;
      if (isPowerLoss) rig.losePower(() => 0, 4096);
      else rig.killProcess();
      const again = rig.open();
      const first = again.read(0, 4096);
      // The staged write was acknowledged, not flushed: only loss of power may take it.
      t.true(sameBytes(first, payload(8, 4096)) || (isPowerLoss && sameBytes(first, payload(0, 4096))), `persist ${fatal}`);
      t.true(sameBytes(again.read(8192, 4096), payload(2, 4096)));
      again.close();
    }
  }
  t.true(isThrough);
});

test('format refuses what is no cache size and no gc_percent, before it changes anything', (t) => {
  const options = { dataCrc: false, gcPercent: 70, uuid: new Uint8Array(16), nowMs: 1 };
  const small = new SimulatedCacheDevice({ sizeBytes: 96 * MIB - 512 });
  t.throws(() => formatCache(small, options), { code: 'too-small' });
  for (const gcPercent of [-1, 91, 1.5, Number.NaN]) {
    const device = new SimulatedCacheDevice();
    t.throws(() => formatCache(device, { ...options, gcPercent }), { code: 'usage' });
    t.deepEqual(device.touchedSegments, []);
    t.true(device.control.bytes.every((byte) => byte === 0));
  }
});

test('a format that is cut short at any persist leaves what is refused, the old cache or the whole new one', (t) => {
  let isThrough = false;
  for (let fatal = 1; !isThrough && fatal < 50; fatal++) {
    const rig = usedCache(true);
    let left = fatal;
    rig.device.onPersist = () => {
      if (--left === 0) throw new Error('stop');
    };
    try {
      rig.format();
      isThrough = true;
    } catch (error) {
      if (!(error instanceof Error) || error.message !== 'stop') throw error;
    }
    rig.device.onPersist = undefined;
    rig.losePower(seededRandom(fatal), 4096);
    rig.device.segment(0 as PhysicalSegmentId);
    try {
      const volume = rig.open();
      // The old one, if nothing of the format was durable, or the new one.
      const first = volume.read(0, 4096);
      t.true(sameBytes(first, payload(0, 4096)) || first.every((byte) => byte === 0), `persist ${fatal}`);
      volume.close();
    } catch (error) {
      t.true(
        error instanceof PcacheError && (error.code === 'not-a-cache' || error.code === 'damaged'),
        `persist ${fatal}: ${String(error)}`,
      );
    }
  }
  t.true(isThrough);
});
