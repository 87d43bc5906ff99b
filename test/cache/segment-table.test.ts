// Which segments are free, taken, pinned and freed.

import test from 'ava';
import { LOG_RESERVE_SEGMENTS, NumberWord, SegmentState, Word } from '../../src/cache/shared-state.js';
import { SEGMENT_DATA_BYTES } from '../../src/media/layout.js';
import type { CacheSegId } from '../../src/media/layout.js';
import { MIB } from '../support/model-rig.js';
import { cacheRig } from './cache-rig.js';

const options = { volumeBytes: 8 * MIB };

test('a new cache has one log segment, all others are free, and data may take all but the reserve of the log', (t) => {
  const { cache, opened } = cacheRig(options);
  t.is(opened.shared.segmentCount, 5);
  t.is(cache.segments.used(), 1);
  t.is(cache.segments.freeForData(), 4 - LOG_RESERVE_SEGMENTS);
  t.true(cache.log.prepareNextLogSegment());
  // The one that is ready counts as part of the reserve.
  t.is(cache.segments.freeForData(), 3 - (LOG_RESERVE_SEGMENTS - 1));
});

test('room at a data head is given in order, cut at the end of the segment, and refused when data has had its share', (t) => {
  const { cache } = cacheRig(options);
  const { segments, shared } = cache;
  t.true(segments.reserve(0, 4096, false));
  const first = segments.reservedSegment;
  t.deepEqual([segments.reservedOffset, segments.reservedBytes], [0, 4096]);
  t.is(shared.state[first], SegmentState.data);
  t.is(shared.refs[first], 2, 'one for the head, one for the key to come');
  t.true(segments.reserve(0, SEGMENT_DATA_BYTES, false));
  t.deepEqual([segments.reservedSegment, segments.reservedOffset, segments.reservedBytes], [first, 4096, SEGMENT_DATA_BYTES - 4096]);
  t.true(segments.reserve(0, 512, false));
  t.not(segments.reservedSegment, first);
  t.is(shared.refs[first], 2, 'the head has left it');
  t.true(segments.reserve(0, SEGMENT_DATA_BYTES, false));
  t.false(segments.reserve(0, 512, false));
  t.false(segments.reserve(0, 512, true), 'waiting does not help: the log keeps two segments');
  t.not(segments.takeForLog(), -1);
  t.not(segments.takeForLog(), -1);
  t.is(segments.takeForLog(), -1);
});

test('while somebody waits for room, no newcomer takes a fresh segment', (t) => {
  const { cache } = cacheRig(options);
  cache.addRoomWaiter();
  t.false(cache.segments.reserve(0, 512, false));
  t.true(cache.segments.reserve(0, 512, true));
  t.true(cache.segments.reserve(0, 512, false), 'a head that has room serves everybody');
  cache.removeRoomWaiter();
  t.is(Atomics.load(cache.shared.words, Word.roomWaiters), 0);
});

test('a segment is freed only without references, gets another generation, and is not reused while it is pinned', (t) => {
  const { cache } = cacheRig(options);
  const { segments, shared } = cache;
  t.true(segments.reserve(0, 512, false));
  const segment = segments.reservedSegment;
  t.false(segments.startFree(segment));
  t.true(segments.pin(segment, 0));
  segments.dropReference(segment);
  t.false(segments.startFree(segment), 'the head still holds it');
  segments.releaseHeads();
  t.true(segments.startFree(segment));
  t.is(segments.generation(segment), 1);
  t.true(segments.isPinned(segment));
  t.false(segments.pin(segment, 0), 'whoever comes now finds another generation');
  t.is(shared.state[segment], SegmentState.draining);
  const used = segments.used();
  segments.unpin(segment);
  t.false(segments.isPinned(segment));
  segments.finishFree(segment);
  t.is(segments.used(), used - 1);
});

test('a generation goes on past 32 bits', (t) => {
  const { cache } = cacheRig(options);
  const { segments, shared } = cache;
  t.true(segments.reserve(0, 512, false));
  const segment: CacheSegId = segments.reservedSegment;
  shared.generationLow[segment] = -1;
  segments.dropReference(segment);
  segments.releaseHeads();
  t.true(segments.startFree(segment));
  t.is(segments.generation(segment), 2 ** 32);
});

test('several writers share data heads where there are few segments', (t) => {
  t.is(cacheRig(options, 8).opened.shared.headCount, 1);
  t.is(cacheRig({ ...options, cacheBytes: 160 * MIB }, 8).opened.shared.headCount, 3);
  t.is(cacheRig({ ...options, cacheBytes: 160 * MIB }, 2).opened.shared.headCount, 2);
});

test('sequence numbers start below a limit that is on the media', (t) => {
  const { opened } = cacheRig(options);
  t.true(opened.shared.numbers[NumberWord.openSequence]! < opened.shared.numbers[NumberWord.sequenceLimit]!);
});
