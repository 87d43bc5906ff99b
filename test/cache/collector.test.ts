// GC: what it passes, what it frees, and in which order it makes that durable.

import test from 'ava';
import { readCacheMedia } from '../../src/cache/cache-media.js';
import { Collector } from '../../src/cache/collector.js';
import { Word } from '../../src/cache/shared-state.js';
import { SEGMENT_DATA_BYTES } from '../../src/media/layout.js';
import type { CacheSegId } from '../../src/media/layout.js';
import { mediaRuleProblems } from '../support/media-rules.js';
import { MIB, Rig, sameBytes } from '../support/model-rig.js';
import { payload } from '../support/model-payload.js';

const tailsOf = (rig: Rig): { key: string; dirty: string } => {
  const { keyTail, dirtyTail } = readCacheMedia(rig.device);
  return { key: JSON.stringify(keyTail), dirty: JSON.stringify(dirtyTail) };
};

test('collection stops at dirty_tail', (t) => {
  const rig = new Rig({ volumeBytes: MIB });
  const volume = rig.open();
  volume.write(0, payload(1, 4096));
  volume.flush();
  const before = tailsOf(rig);
  t.false(volume.gcStep());
  t.deepEqual(tailsOf(rig), before);
  volume.writebackStep();
  t.true(volume.gcStep());
  t.is(tailsOf(rig).key, tailsOf(rig).dirty);
  t.true(sameBytes(volume.read(0, 4096), payload(1, 4096)));
  volume.close();
});

test('a data segment without keys is freed with its next generation, and what was cached there is read from the backing device', (t) => {
  const rig = new Rig({ volumeBytes: 64 * MIB });
  const volume = rig.open();
  const { segments, shared } = volume.caches[0]!;
  for (let offset = 0; offset <= SEGMENT_DATA_BYTES; offset += 512 * 1024) volume.write(offset, payload(offset / 512, 512 * 1024));
  volume.writeBackAll();
  const segment = [...shared.refs.keys()].find((id) => shared.refs[id]! > 1) as CacheSegId;
  const free = segments.freeForData();
  while (volume.gcStep());
  t.is(segments.freeForData(), free + 1);
  t.is(readCacheMedia(rig.device).generations[segment], 1);
  const misses = volume.counters.read_misses;
  t.true(sameBytes(volume.read(0, 512 * 1024), payload(0, 512 * 1024)));
  t.is(volume.counters.read_misses, misses + 1);
  volume.close();
  t.deepEqual(mediaRuleProblems(rig.device), []);
});

test('a segment that a reader pins is not freed until the reader lets go', (t) => {
  const rig = new Rig({ volumeBytes: 64 * MIB });
  const volume = rig.open({ writers: 1 });
  const { segments, reader } = volume.caches[0]!;
  for (let offset = 0; offset <= SEGMENT_DATA_BYTES; offset += 512 * 1024) volume.write(offset, payload(offset / 512, 512 * 1024));
  volume.writeBackAll();
  reader.begin(0, 4096, false);
  const free = segments.freeForData();
  while (volume.gcStep());
  t.is(segments.freeForData(), free);
  const at = 0x3000 + reader.pieces.segmentOffsets[0]!;
  const { bytes } = segments.view(reader.pieces.segments[0]! as CacheSegId);
  t.true(sameBytes(bytes.subarray(at, at + 4096), payload(0, 4096)), 'the bytes stay what they are');
  reader.end();
  t.true(volume.gcStep());
  t.is(segments.freeForData(), free + 1);
  volume.close();
});

test('key_tail and a freed generation are durable before the segment can be taken', (t) => {
  const rig = new Rig({ volumeBytes: 64 * MIB });
  const volume = rig.open();
  for (let offset = 0; offset <= SEGMENT_DATA_BYTES; offset += 512 * 1024) volume.write(offset, payload(offset / 512, 512 * 1024));
  volume.writeBackAll();
  const { words } = volume.opened.shared;
  const free = words[Word.freeSegments]!;
  const seen: string[] = [];
  rig.device.onPersist = (_, offset) => {
    const what = offset < 0x5000 ? 'key_tail' : (offset - 0x5000) % (16 * MIB) < 0x3000 ? 'generation' : 'other';
    seen.push(`${what}, ${words[Word.freeSegments]! - free} freed`);
  };
  while (volume.gcStep());
  rig.device.onPersist = undefined;
  t.true(seen.includes('key_tail, 0 freed'));
  t.true(seen.includes('generation, 0 freed'));
  t.true(seen.lastIndexOf('key_tail, 0 freed') < seen.indexOf('generation, 0 freed'));
  t.is(words[Word.freeSegments], free + 1);
  volume.close();
});

test('collection is wanted above gc_percent, when a writer waits, and when the index wants memory', (t) => {
  const rig = new Rig({ volumeBytes: 128 * MIB, gcPercent: 50, cacheBytes: 160 * MIB });
  const volume = rig.open();
  const cache = volume.caches[0]!;
  const { segments, shared } = cache;
  const collector = new Collector(cache);
  let offset = 0;
  const fill = (used: number): void => {
    for (; segments.used() < used; offset += 512 * 1024) volume.write(offset, payload(offset / 512, 512 * 1024));
  };
  t.is(shared.segmentCount, 9);
  fill(4);
  t.false(collector.isWanted());
  cache.addRoomWaiter();
  t.true(collector.isWanted());
  cache.removeRoomWaiter();
  shared.words[Word.indexFull] = 1;
  t.true(collector.isWanted());
  shared.words[Word.indexFull] = 0;
  t.false(collector.isWanted());
  fill(5);
  t.true(collector.isWanted(), 'five of nine');
  cache.records.storeGcPercent(90);
  t.false(collector.isWanted());
  fill(7);
  t.is(segments.freeForData(), 0);
  t.true(collector.isWanted(), 'data has no segment left');
  volume.close();
  t.is(readCacheMedia(rig.device).cacheInfo.gcPercent, 90);
});
