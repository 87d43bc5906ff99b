import test from 'ava';
import { examineCache } from '../../src/cache/check-cache.js';
import { FINDINGS_PER_CODE_MAX, FindingList } from '../../src/cache/check-finding.js';
import type { SimulatedCacheDevice } from '../../src/device/simulated-cache-device.js';
import { PcacheError } from '../../src/errors.js';
import { writeCacheInfo } from '../../src/media/cache-info.js';
import {
  CACHE_INFO_OFFSETS,
  DIRTY_TAIL_OFFSETS,
  GATEWAY_HEADER_BYTES,
  KEY_TAIL_OFFSETS,
  SEGMENT_DATA_OFFSET,
  SEGMENT_GENERATION_OFFSETS,
  SEGMENT_INFO_OFFSETS,
  SUPERBLOCK_OFFSET,
} from '../../src/media/layout.js';
import type { CacheSegId, PhysicalSegmentId, SegmentOffset } from '../../src/media/layout.js';
import { encodeLastKset } from '../../src/media/kset.js';
import { writeSegmentGeneration } from '../../src/media/segment-generation.js';
import { encodeSuperblock } from '../../src/media/superblock.js';
import { writeTail } from '../../src/media/tails.js';
import { chooseCopy } from '../../src/media/two-copy-record.js';
import { BOOT_ID, VOLUME_BYTES, formatted, key, pattern, problemsOf, storeKset, useVolume } from './check-support.js';

const MIB = 1024 * 1024;

function segmentBytes(device: SimulatedCacheDevice, id: number): Uint8Array {
  return device.segment(id as PhysicalSegmentId).bytes;
}

function flip(bytes: Uint8Array, at: number): void {
  bytes[at]! ^= 0x10;
}

/** Where the payload that starts with the bytes of `part` is: segment and place in its bytes. */
function findPayload(device: SimulatedCacheDevice, part: Uint8Array): { bytes: Uint8Array; at: number } {
  for (let id = 0; id < device.segmentCount; id++) {
    const at = Buffer.from(segmentBytes(device, id).buffer).indexOf(part, SEGMENT_DATA_OFFSET);
    if (at >= 0) return { bytes: segmentBytes(device, id), at };
  }
  throw new Error('no such payload');
}

for (const dataCrc of [true, false]) {
  test(`a cache that was used in every way has no problems, data CRC ${dataCrc ? 'on' : 'off'}`, (t) => {
    // Large enough that reads are kept.
    const device = formatted({ dataCrc, sizeBytes: 128 * MIB });
    t.deepEqual(problemsOf(device), []);
    useVolume(device, (volume) => {
      for (let round = 0; round < 40; round++) {
        volume.write((round * 700_001) % (VOLUME_BYTES - 2 * MIB), pattern(1 + ((round * 130_003) % (MIB / 4)), round));
        if (round % 5 === 0) volume.flush();
        if (round % 9 === 0) volume.read(round * 1000, 5000);
        if (round % 13 === 0) volume.writebackStep();
      }
      volume.gcStep();
      volume.read(VOLUME_BYTES - MIB, 5000);
    });
    const { findings, totals } = examineCache(device, { backing: { sizeBytes: VOLUME_BYTES, identity: 'simulated:0' } });
    t.deepEqual(
      findings.filter(({ severity }) => severity !== 'info'),
      [],
    );
    t.true(totals.keys > 40 && totals.ksets > 4 && totals.cleanKeys > 0 && totals.dirtyBytes > 0, JSON.stringify(totals));
  });
}

test('damaged payload is named by volume bytes, as far as nothing later has overwritten it', (t) => {
  const device = formatted();
  useVolume(device, (volume) => {
    volume.write(64 * 1024, pattern(16 * 1024, 1));
    volume.write(68 * 1024, pattern(4096, 2));
  });
  const { bytes, at } = findPayload(device, pattern(2048, 1));
  flip(bytes, at + 100);
  t.like(problemsOf(device), [
    { severity: 'error', code: 'data-crc', volumeRange: { offsetBytes: 64 * 1024, lengthBytes: 4096 } },
    { severity: 'error', code: 'data-crc', volumeRange: { offsetBytes: 72 * 1024, lengthBytes: 8192 } },
  ]);
  useVolume(device, (volume) => volume.write(64 * 1024, pattern(16 * 1024, 3)));
  t.deepEqual(problemsOf(device), []);
});

test('a damaged copy of what the backing device has is a warning', (t) => {
  const device = formatted();
  useVolume(device, (volume) => {
    volume.write(0, pattern(4096, 1));
    volume.writeBackAll();
    volume.read(MIB, 4096);
  });
  const { bytes, at } = findPayload(device, pattern(2048, 1));
  flip(bytes, at);
  t.like(problemsOf(device), [{ severity: 'warning', code: 'data-crc', volumeRange: { offsetBytes: 0, lengthBytes: 4096 } }]);
});

test('keys staged in this boot are checked like all others, those of another boot are not part of the cache', (t) => {
  const device = formatted();
  useVolume(
    device,
    (volume) => {
      volume.write(0, pattern(4096, 1));
      volume.flush();
      volume.write(8192, pattern(4096, 2));
    },
    { crash: true },
  );
  const { bytes, at } = findPayload(device, pattern(2048, 2));
  flip(bytes, at);
  t.like(problemsOf(device, { bootId: BOOT_ID }), [{ code: 'data-crc', volumeRange: { offsetBytes: 8192, lengthBytes: 4096 } }]);
  const other = examineCache(device, { bootId: 'another boot' });
  t.like(other.findings, [{ severity: 'info', code: 'staged-keys' }]);
  t.regex(other.findings[0]!.message, /^1 keys had not been flushed/);
  t.is(other.totals.keys, 1);
});

test('one bad copy of a record is a warning, two are an error', (t) => {
  const device = formatted();
  useVolume(device, (volume) => {
    for (let round = 0; round < 3; round++) {
      volume.write(0, pattern(512, round));
      volume.writeBackAll();
      volume.gcStep();
    }
    volume.caches[0]!.records.storeGcPercent(50);
  });
  t.deepEqual(problemsOf(device), []);
  const control = device.control.bytes;
  const segment = segmentBytes(device, 1);
  writeSegmentGeneration(segment, 0, chooseCopy(segment, SEGMENT_GENERATION_OFFSETS, 16));
  segment.copyWithin(SEGMENT_INFO_OFFSETS[1], SEGMENT_INFO_OFFSETS[0], SEGMENT_INFO_OFFSETS[0] + 16);
  const records: [bytes: Uint8Array, offsets: readonly [number, number], copyPlace: string, code: string][] = [
    [control, CACHE_INFO_OFFSETS, 'cache_info', 'record'],
    [control, KEY_TAIL_OFFSETS, 'key_tail', 'tail'],
    [control, DIRTY_TAIL_OFFSETS, 'dirty_tail', 'tail'],
    [control, [0, GATEWAY_HEADER_BYTES], 'gateway header', 'record-copy'],
    [segment, SEGMENT_GENERATION_OFFSETS, 'segment 1: generation', 'generation'],
    [segment, SEGMENT_INFO_OFFSETS, 'segment 1: segment_info', 'record'],
  ];
  // Within the smallest of them, and not in the gateway header's magic, without which there is no such copy.
  const AT = 6;
  for (const [bytes, offsets, place, code] of records) {
    for (const index of [0, 1] as const) {
      flip(bytes, offsets[index] + AT);
      const copies = problemsOf(device).filter((finding) => finding.code === 'record-copy');
      t.like(copies, [{ severity: 'warning', place: `${place} copy ${index}` }], place);
      t.is(copies.length, 1);
      flip(bytes, offsets[index] + AT);
    }
    for (const offset of offsets) flip(bytes, offset + AT);
    const severity = place === 'gateway header' ? 'warning' : 'error';
    t.true(
      problemsOf(device).some((finding) => finding.severity === severity && finding.code === code),
      place,
    );
    for (const offset of offsets) flip(bytes, offset + AT);
    t.deepEqual(problemsOf(device), [], place);
  }
});

test('without cache_info the kernel would format the cache, and all keys are still found', (t) => {
  const device = formatted();
  useVolume(device, (volume) => volume.write(0, pattern(512, 1)));
  device.control.bytes.fill(0, CACHE_INFO_OFFSETS[0], CACHE_INFO_OFFSETS[1] + 4096);
  const { findings, totals } = examineCache(device);
  t.like(findings, [{ severity: 'error', code: 'record', place: 'cache_info' }]);
  t.regex(findings[0]!.message, /the kernel would format the cache and lose its dirty data/);
  t.is(totals.keys, 1);
});

test('a superblock that is lost, and one that names more segments than there are, are errors', (t) => {
  const device = formatted();
  useVolume(device, (volume) => volume.write(0, pattern(512, 1)));
  encodeSuperblock(device.control.bytes, { flags: 0, segmentCount: 9 });
  t.like(problemsOf(device), [{ code: 'device-size' }]);
  flip(device.control.bytes, SUPERBLOCK_OFFSET + 16);
  t.like(problemsOf(device), [{ code: 'superblock' }]);
  t.regex(problemsOf(device)[0]!.message, /bad CRC: neither the kernel nor this gateway takes the cache/);
  device.control.bytes.fill(0, SUPERBLOCK_OFFSET, SUPERBLOCK_OFFSET + 24);
  const [lost] = problemsOf(device);
  t.regex(lost!.message, /the kernel would take the device for a new one and format it/);
});

test('a device with nothing of a cache on it is refused', (t) => {
  const device = formatted();
  device.control.bytes.fill(0);
  const error = t.throws(() => examineCache(device), { instanceOf: PcacheError });
  t.is(error.code, 'not-a-cache');
});

test('fields of cache_info that nobody supports are errors', (t) => {
  const device = formatted();
  const control = device.control.bytes;
  const info = { firstSegment: 0 as PhysicalSegmentId, segmentCount: 4, dataCrc: false, gcPercent: 70 };
  writeCacheInfo(
    control,
    { ...info, initialised: false, mode: 'writethrough', otherFlags: 1 << 20 },
    chooseCopy(control, CACHE_INFO_OFFSETS, 24),
  );
  t.deepEqual(
    examineCache(device).findings.map(({ severity, code }) => `${severity} ${code}`),
    ['error cache-info', 'error cache-info', 'warning cache-info', 'info cache-info'],
  );
});

test('each rule that a key can break is an error that names the key', (t) => {
  const bad: [change: Parameters<typeof key>[0], message: RegExp][] = [
    [{ off: 100 }, /volume offset 100 is not a multiple/],
    [{ len: 0 }, /its length is 0/],
    [{ len: 700 }, /its length 700/],
    [{ cacheSegOff: 256 }, /segment offset 256/],
    [{ off: 4 * MIB - 512, len: 1024 }, /crosses a multiple of 4 MiB/],
    [{ off: VOLUME_BYTES }, /ends beyond the volume/],
    [{ cacheSegId: 5 }, /its segment 5 is not one of the 5/],
    [{ cacheSegOff: 16 * MIB - SEGMENT_DATA_OFFSET - 512, len: 1024 }, /ends beyond its segment's data/],
    [{ flags: 1 }, /EMPTY/],
  ];
  const device = formatted({ dataCrc: false });
  storeKset(
    device,
    0,
    bad.map(([change]) => key(change)),
  );
  const problems = problemsOf(device, { backing: { sizeBytes: VOLUME_BYTES, identity: '' } });
  t.is(problems.length, bad.length);
  for (const [index, [, message]] of bad.entries()) {
    t.like(problems[index], { severity: 'error', code: 'key', place: `key ${index} of kset 0:0` });
    t.regex(problems[index]!.message, message);
  }
});

test('keys in a log segment, with unknown flags, with a generation of the future, and ksets without keys are found; stale keys are counted', (t) => {
  const device = formatted({ dataCrc: false });
  const segment = segmentBytes(device, 2);
  writeSegmentGeneration(segment, 7, chooseCopy(segment, SEGMENT_GENERATION_OFFSETS, 16));
  const keys = [
    key({ cacheSegId: 0, cacheSegOff: 8192 }),
    key({ off: 4096, flags: 1 << 7 }),
    key({ off: 8192, cacheSegId: 2, segGen: 8 }),
    key({ off: 12288, cacheSegId: 2, segGen: 6, cacheSegOff: 512 }),
  ];
  storeKset(device, storeKset(device, 0, keys), []);
  t.deepEqual(
    examineCache(device).findings.map(({ severity, code, place }) => `${severity} ${code} ${place}`),
    [
      'warning key key 1 of kset 0:0',
      'warning kset kset 0:184',
      'warning key-generation key 2 of kset 0:0',
      'error key-segment segment 0',
      'info stale-keys log',
    ],
  );
});

test('a kset with a sequence that the gateway header does not allow is a warning', (t) => {
  const device = formatted({ dataCrc: false });
  storeKset(device, 0, [key({})], { sequence: 2 ** 48 - 1 });
  t.like(problemsOf(device), [{ severity: 'warning', code: 'kset', place: 'kset 0:0' }]);
});

test('keys that share payload are no problem as parts of one, and an info if they are not', (t) => {
  const device = formatted({ dataCrc: false });
  const end = storeKset(device, 0, [key({ len: 4096 }), key({ off: 1024, cacheSegOff: 1024 })]);
  t.deepEqual(examineCache(device).findings, []);
  storeKset(device, end, [key({ off: 8192, cacheSegOff: 3584, len: 1024 })]);
  t.like(examineCache(device).findings, [{ severity: 'info', code: 'payload-shared', place: 'segment 1' }]);
});

test('the log must end in a magic of zero', (t) => {
  const device = formatted({ dataCrc: false });
  const end = storeKset(device, 0, [key({})]);
  const log = segmentBytes(device, 0);
  // Whatever stands in the rest of the header is nobody's business.
  log[SEGMENT_DATA_OFFSET + end + 16] = 1;
  t.deepEqual(problemsOf(device), []);
  log[SEGMENT_DATA_OFFSET + end + 8] = 1;
  t.like(problemsOf(device), [{ severity: 'warning', code: 'log-end', place: `log at 0:${end}` }]);
});

test('damage within the log is told from its end, and the writes behind it are named, one by one', (t) => {
  const device = formatted();
  useVolume(device, (volume) => {
    for (let round = 0; round < 4; round++) {
      volume.write(round * 8192, pattern(4096, round));
      volume.flush();
    }
  });
  const bytes = segmentBytes(device, 0);
  // The header of the second kset: its key can be read all the same.
  flip(bytes, SEGMENT_DATA_OFFSET + 64 + 2);
  const { findings, totals } = examineCache(device);
  t.deepEqual(
    findings.map(({ severity, code, place, volumeRange }) => `${severity} ${code} ${place} ${volumeRange?.offsetBytes ?? ''}`),
    ['error log-damaged log at 0:64 ', 'error log-lost volume 8192', 'error log-lost volume 16384', 'error log-lost volume 24576'],
  );
  t.regex(findings[0]!.message, /what was written to the cache behind this place, and is not on the backing device, can't be reached/);
  t.is(totals.keys, 1);
  // Now the key as well.
  flip(bytes, SEGMENT_DATA_OFFSET + 64 + 30);
  const worse = examineCache(device).findings;
  t.deepEqual(
    worse.map(({ severity, code, place, volumeRange }) => `${severity} ${code} ${place} ${volumeRange?.offsetBytes ?? ''}`),
    ['error log-damaged log at 0:64 ', 'error log-lost volume 16384', 'error log-lost volume 24576', 'error log-lost log at 0:64 '],
  );
  t.regex(worse[3]!.message, /^1 write at most behind the damage can't be read: /);
});

test('damage before dirty_tail costs nothing that the backing device lacks, and the part behind dirty_tail is read', (t) => {
  const device = formatted();
  useVolume(device, (volume) => {
    volume.write(0, pattern(4096, 1));
    volume.writeBackAll();
    volume.write(4096, pattern(4096, 2));
  });
  flip(segmentBytes(device, 0), SEGMENT_DATA_OFFSET + 30);
  const { findings, totals } = examineCache(device);
  t.deepEqual(
    findings.map(({ severity, code }) => `${severity} ${code}`),
    ['error log-damaged', 'info log-remains'],
  );
  t.regex(findings[0]!.message, /this is before dirty_tail, where the backing device has everything: nothing is lost/);
  t.regex(findings[1]!.message, /^from dirty_tail on 1 keys in 1 ksets can be read, to the end of the log/);
  t.is(totals.dirtyBytes, 4096);
});

test('without key_tail the log is read from dirty_tail, without both from where the header says, and else not at all', (t) => {
  const device = formatted();
  useVolume(device, (volume) => volume.write(0, pattern(4096, 1)));
  const control = device.control.bytes;
  for (const offset of KEY_TAIL_OFFSETS) control.fill(1, offset, offset + 16);
  t.like(examineCache(device), { findings: [{ code: 'tail', place: 'key_tail' }], totals: { keys: 1, dirtyBytes: 4096 } });
  for (const offset of DIRTY_TAIL_OFFSETS) control.fill(1, offset, offset + 16);
  t.like(examineCache(device), { findings: [{ place: 'key_tail' }, { place: 'dirty_tail' }], totals: { keys: 1, dirtyBytes: 4096 } });
  t.regex(problemsOf(device)[0]!.message, /but the gateway header says where dirty_tail was, and a repair from there loses nothing$/);
  // The backup of the header does not say it.
  control.fill(0, 0, 4096);
  t.like(examineCache(device), {
    findings: [{ place: 'key_tail' }, { place: 'dirty_tail' }, { place: 'gateway header' }, { code: 'log-damaged' }],
    totals: { keys: 0 },
  });
});

test('a LAST kset that leads out of the cache, or back, is damage', (t) => {
  for (const next of [9, 0]) {
    const device = formatted({ dataCrc: false });
    segmentBytes(device, 0).set(encodeLastKset(next as CacheSegId), SEGMENT_DATA_OFFSET);
    t.like(problemsOf(device), [{ severity: 'error', code: 'log-damaged' }]);
  }
});

test('a dirty_tail that is no place of the log is damage', (t) => {
  const device = formatted({ dataCrc: false });
  storeKset(device, 0, [key({})]);
  const control = device.control.bytes;
  const current = chooseCopy(control, DIRTY_TAIL_OFFSETS, 16);
  writeTail(control, 'dirty_tail', { cacheSegId: 0 as CacheSegId, segOff: 8 as SegmentOffset }, current);
  t.true(problemsOf(device).some(({ code }) => code === 'log-damaged'));
});

test('a chain that breaks is an error, and the check goes on', (t) => {
  const device = formatted();
  useVolume(device, (volume) => volume.write(0, pattern(4096, 1)));
  const segment = segmentBytes(device, 3);
  for (const offset of SEGMENT_INFO_OFFSETS) segment.fill(0, offset, offset + 16);
  const { findings, totals } = examineCache(device);
  t.like(findings, [{ code: 'chain' }, { code: 'record', place: 'segment 3' }]);
  t.is(totals.keys, 1);
});

test('a cache is told from that of another backing device, and one that is bound to none', (t) => {
  const device = formatted();
  t.like(examineCache(device, { backing: { sizeBytes: VOLUME_BYTES, identity: 'x' } }).findings, [{ severity: 'info', code: 'binding' }]);
  useVolume(device, (volume) => volume.write(0, pattern(512, 1)));
  t.deepEqual(problemsOf(device, { backing: { sizeBytes: VOLUME_BYTES, identity: 'simulated:0' } }), []);
  t.like(problemsOf(device, { backing: { sizeBytes: VOLUME_BYTES, identity: 'other' } }), [{ severity: 'error', code: 'binding' }]);
  t.like(problemsOf(device, { backing: { sizeBytes: 2 * VOLUME_BYTES, identity: 'simulated:0' } }), [
    { severity: 'error', code: 'binding' },
  ]);
});

test('a rule that is broken very often takes a bounded number of findings', (t) => {
  const list = new FindingList();
  for (let number = 0; number < FINDINGS_PER_CODE_MAX + 7; number++) list.add('error', 'key', `key ${number}`, 'wrong');
  list.add('info', 'binding', 'backing device', 'none');
  const findings = list.finish();
  t.is(findings.length, FINDINGS_PER_CODE_MAX + 2);
  t.deepEqual(findings.at(-1), { severity: 'error', code: 'key', place: 'cache', message: '7 more like these' });
});
