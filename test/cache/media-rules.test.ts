// What this program leaves on the media keeps every rule of the format; and the walk that says so notices when one is broken.

import test from 'ava';
import type { InlineVolume } from '../../src/gateway/inline-volume.js';
import { readCacheMedia } from '../../src/cache/cache-media.js';
import { Word } from '../../src/cache/shared-state.js';
import { seededRandom } from '../../src/device/seeded-random.js';
import { pcacheCrcOfRange } from '../../src/media/crc32c.js';
import { KEY_BYTES, KSET_HEADER_BYTES, SEGMENT_DATA_BYTES, SEGMENT_DATA_OFFSET } from '../../src/media/layout.js';
import type { PhysicalSegmentId, SegmentOffset } from '../../src/media/layout.js';
import { walkLog } from '../../src/media/log-walk.js';
import { writeTail } from '../../src/media/tails.js';
import { NO_COPY } from '../../src/media/two-copy-record.js';
import { mediaRuleProblems } from '../support/media-rules.js';
import { moveEmptyLog } from '../support/model-crash.js';
import { payload } from '../support/model-payload.js';
import { MIB, Rig } from '../support/model-rig.js';

const KIB = 1024;
/** Full ksets that fit a log segment. */
const KSETS_PER_SEGMENT = Math.floor((SEGMENT_DATA_BYTES - KSET_HEADER_BYTES) / (KSET_HEADER_BYTES + 128 * KEY_BYTES));

/** Writes sectors until the log has gone on to another segment. Returns how many; the bound is twice what a segment takes. */
function fillLogSegment(volume: InlineVolume): number {
  const { words } = volume.opened.shared;
  const segment = words[Word.openSegment];
  const sector = payload(5, 512);
  for (let count = 1; count < 2 * 128 * KSETS_PER_SEGMENT; count++) {
    volume.write((count % 5000) * 512, sector);
    if (words[Word.openSegment] !== segment) return count;
  }
  throw new Error('the log does not leave its segment');
}

test('a log that fills a whole segment with full ksets goes on in another, and keeps every rule', (t) => {
  const rig = new Rig({ volumeBytes: 4 * MIB });
  const volume = rig.open();
  // Some ksets were closed before they were full, to make room.
  t.true(fillLogSegment(volume) > 0.99 * 128 * KSETS_PER_SEGMENT);
  volume.flush();
  const media = readCacheMedia(rig.device);
  t.is(walkLog(media.log, media.keyTail).lastKsets, 1);
  t.deepEqual(mediaRuleProblems(rig.device), []);
  volume.writeBackAll();
  while (volume.gcStep());
  volume.close();
  t.deepEqual(mediaRuleProblems(rig.device), []);
});

for (const dataCrc of [false, true]) {
  test(`caches keep every rule after random work over many log segments, data CRC ${dataCrc ? 'on' : 'off'}`, (t) => {
    const seed = dataCrc ? 21 : 20;
    const random = seededRandom(seed);
    const rig = new Rig({ volumeBytes: 40 * MIB + 512, dataCrc, cacheBytes: 160 * MIB });
    let switches = 0;
    for (let round = 0; round < 12; round++) {
      const volume = rig.open({ writers: 1 + (round % 3) });
      const most = round % 4 === 3 ? 2 * MIB : 6 * KIB;
      for (let count = 0; count < (round % 4 === 3 ? 15 : 400); count++) {
        const length = 1 + Math.floor(random() * most);
        const offset = Math.floor(random() * (volume.sizeBytes - length));
        volume.write(offset, payload(count, length), round % 3);
        if (random() < 0.05) volume.flush();
        if (random() < 0.05) volume.read(offset, Math.min(64 * KIB, volume.sizeBytes - offset));
        if (random() < 0.02) volume.writebackStep();
        if (random() < 0.02) volume.gcStep();
        if (random() < 0.02) volume.logStep(0);
      }
      volume.flush();
      t.deepEqual(mediaRuleProblems(rig.device), [], `seed ${seed}, round ${round}, in use`);
      if (volume.opened.shared.words[Word.openSegment] !== volume.opened.replay.end.cacheSegId) switches++;
      volume.writeBackAll();
      while (volume.gcStep());
      volume.close();
      t.deepEqual(mediaRuleProblems(rig.device), [], `seed ${seed}, round ${round}, closed`);
      moveEmptyLog(rig.device, 1000 + Math.floor(random() * 8000));
    }
    t.true(switches >= 6, `the log changed segments ${switches} times`);
  });
}

/** A small closed cache with two ksets, the first of two keys; the second has a barrier too. */
function smallCache(dataCrc: boolean): Rig {
  const rig = new Rig({ volumeBytes: 16 * MIB, dataCrc });
  const volume = rig.open();
  volume.write(0, payload(1, 4096));
  volume.write(8192, payload(2, 1024));
  volume.flush();
  volume.write(4 * MIB - 4096, payload(3, 4096));
  volume.flush();
  volume.close();
  return rig;
}

const FIRST_KSET = SEGMENT_DATA_OFFSET;
const FIRST_KEY = FIRST_KSET + KSET_HEADER_BYTES;
const SECOND_KSET = FIRST_KEY + 2 * KEY_BYTES;
const LOG_END = SECOND_KSET + KSET_HEADER_BYTES + KEY_BYTES;

/** Changes segment 0, where the log is, and gives both ksets a good CRC again. */
function plant(rig: Rig, change: (view: DataView) => void): void {
  const { bytes, view } = rig.device.segment(0 as PhysicalSegmentId);
  change(view);
  view.setUint32(FIRST_KSET, pcacheCrcOfRange(bytes, FIRST_KSET + 4, SECOND_KSET), true);
  view.setUint32(SECOND_KSET, pcacheCrcOfRange(bytes, SECOND_KSET + 4, LOG_END), true);
}

const violations: readonly [string, RegExp, (view: DataView) => void][] = [
  ['an offset that is no multiple of 512', /not made of sectors/, (view) => view.setUint32(FIRST_KEY, 100, true)],
  ['a length that is no multiple of 512', /not made of sectors/, (view) => view.setUint32(FIRST_KEY + 8, 4000, true)],
  ['an empty key', /it is empty/, (view) => view.setUint32(FIRST_KEY + 8, 0, true)],
  ['a key over a 4 MiB line', /crosses 4 MiB/, (view) => view.setUint32(FIRST_KEY, 4 * MIB - 512, true)],
  ['a key beyond the volume', /beyond the volume/, (view) => view.setUint32(FIRST_KEY, 16 * MIB, true)],
  ["a key over its segment's end", /beyond its segment/, (view) => view.setUint32(FIRST_KEY + 20, SEGMENT_DATA_BYTES - 512, true)],
  ['a key that is EMPTY', /flags 1/, (view) => view.setUint32(FIRST_KEY + 12, 1, true)],
  ['a key in a log segment', /it holds ksets/, (view) => view.setUint32(FIRST_KEY + 16, 0, true)],
  ['a key in no segment', /there is no segment/, (view) => view.setUint32(FIRST_KEY + 16, 99, true)],
  ['two keys with one payload', /another key has the same payload/, (view) => view.setUint32(FIRST_KEY + KEY_BYTES + 20, 512, true)],
  ['something after the last kset', /not zero/, (view) => view.setUint8(LOG_END + 20, 1)],
  ['a sequence that falls', /comes after/, (view) => view.setUint32(SECOND_KSET + 20, 1, true)],
  ['a sequence beyond the limit', /not below the limit/, (view) => view.setUint32(SECOND_KSET + 20, 0xffffffff, true)],
  ['a flag that nobody defined', /nobody defined/, (view) => view.setUint8(SECOND_KSET + 16, 4)],
  ['a batch index that follows nothing', /batch index 5/, (view) => view.setUint8(SECOND_KSET + 17, 5 << 2)],
  ['a kset without keys', /without keys/, (view) => view.setUint32(SECOND_KSET + 4, 0, true)],
];

for (const [name, expected, change] of violations) {
  test(`the walk of the media finds ${name}`, (t) => {
    const rig = smallCache(false);
    t.deepEqual(mediaRuleProblems(rig.device), []);
    plant(rig, (view) => {
      change(view);
      if (name !== 'a kset without keys') return;
      // Such a kset is its header alone.
      const { bytes } = rig.device.segment(0 as PhysicalSegmentId);
      bytes.fill(0, SECOND_KSET + KSET_HEADER_BYTES, LOG_END);
    });
    if (name === 'a kset without keys') {
      const { bytes, view } = rig.device.segment(0 as PhysicalSegmentId);
      view.setUint32(SECOND_KSET, pcacheCrcOfRange(bytes, SECOND_KSET + 4, SECOND_KSET + KSET_HEADER_BYTES), true);
    }
    t.regex(mediaRuleProblems(rig.device).join('\n'), expected);
  });
}

test('the walk of the media finds payload that does not match its CRC', (t) => {
  const rig = smallCache(true);
  t.deepEqual(mediaRuleProblems(rig.device), []);
  rig.device.segment(1 as PhysicalSegmentId).bytes[SEGMENT_DATA_OFFSET + 5]! ^= 1;
  t.regex(mediaRuleProblems(rig.device).join('\n'), /does not match its CRC/);
});

test('the walk of the media finds a dirty_tail that is no place of the log', (t) => {
  const rig = smallCache(false);
  const place = { ...readCacheMedia(rig.device).keyTail, segOff: 8 as SegmentOffset };
  writeTail(rig.device.control.bytes, 'dirty_tail', place, NO_COPY);
  writeTail(rig.device.control.bytes, 'dirty_tail', place, { index: 0, seq: 1, otherValid: true });
  t.regex(mediaRuleProblems(rig.device).join('\n'), /dirty_tail/);
});

test('the walk of the media finds a stale key', (t) => {
  const rig = smallCache(false);
  const { bytes } = rig.device.segment(1 as PhysicalSegmentId);
  const view = new DataView(bytes.buffer);
  // Generation 1, in both copies.
  for (const copy of [0x2000, 0x2010]) {
    view.setUint32(copy + 8, 1, true);
    view.setUint32(copy, pcacheCrcOfRange(bytes, copy + 4, copy + 16), true);
  }
  t.regex(mediaRuleProblems(rig.device).join('\n'), /it is stale/);
});
