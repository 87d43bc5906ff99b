import test from 'ava';
import { HeadWord, NumberWord, SegmentState } from '../../src/cache/shared-state.js';
import { DirtySegments, createDirtySegments, dirtyBytesOf } from '../../src/gateway/dirty-segments.js';
import { SECTOR_BYTES } from '../../src/media/layout.js';
import { MIB, Rig } from '../support/model-rig.js';
import { payload } from '../support/model-payload.js';

const LOOK_MS = 200;
const HUGE = 1e12;

/** A cache of some segments of which only the numbers are there; all of them are free, or are data with 10 live sectors. */
function madeUp(state: keyof typeof SegmentState, openSequence: number) {
  const segmentCount = 6;
  const segments = {
    segmentCount,
    volumeBytes: HUGE,
    state: new Int32Array(segmentCount).fill(SegmentState[state]),
    generationLow: new Int32Array(segmentCount).fill(1),
    liveSectors: new Int32Array(segmentCount).fill(10),
    heads: new Int32Array(2 * HeadWord.stride),
    numbers: new Float64Array(NumberWord.count),
  };
  for (const head of [0, 1]) segments.heads[head * HeadWord.stride + HeadWord.segment] = -1;
  segments.numbers[NumberWord.openSequence] = openSequence;
  const dirty = createDirtySegments(segments);
  const notes = new DirtySegments(segments, dirty);
  let nowMs = 0;
  return {
    segments,
    /** The log worker looks; the newest sequence is this one by then. */
    look: (sequence: number): void => {
      segments.numbers[NumberWord.openSequence] = sequence;
      notes.round((nowMs += LOOK_MS));
    },
    /** How many sectors may be dirty, once this sequence is written back. */
    dirtySectors: (written: number): number => dirtyBytesOf(segments, HUGE, written, dirty) / SECTOR_BYTES,
  };
}

test('what was there at the beginning is dirty until all that was in the log then is written back', (t) => {
  const { look, dirtySectors } = madeUp('data', 100);
  t.is(dirtySectors(99), 60);
  look(120);
  t.is(dirtySectors(99), 60);
  // There is a log, so there is something dirty.
  t.is(dirtySectors(100), 1);
});

test('a segment is dirty while writes go to it, for two looks more, and until the newest of that time is written back', (t) => {
  const { segments, look, dirtySectors } = madeUp('free', 100);
  segments.state[2] = SegmentState.data;
  segments.heads[HeadWord.segment] = 2;
  // Before the first look too.
  t.is(dirtySectors(200), 10);
  look(110);
  t.is(dirtySectors(200), 10);
  segments.heads[HeadWord.segment] = -1;
  look(120);
  look(130);
  look(140);
  t.is(dirtySectors(129), 10);
  t.is(dirtySectors(140), 1);
  look(150);
  t.is(dirtySectors(140), 1);
});

test('a segment that is freed and taken again between two looks is another one', (t) => {
  const { segments, look, dirtySectors } = madeUp('data', 100);
  look(110);
  t.is(dirtySectors(100), 1);
  segments.generationLow[3]! += 1;
  t.is(dirtySectors(150), 10);
  look(160);
  t.is(dirtySectors(150), 10);
  for (const sequence of [170, 180, 190]) look(sequence);
  t.is(dirtySectors(169), 10);
  t.is(dirtySectors(180), 1);
});

test('nothing is dirty if the log has nothing, and never more than the log, or the volume, has', (t) => {
  const { segments } = madeUp('data', 100);
  t.is(dirtyBytesOf(segments, 0, 0), 0);
  t.is(dirtyBytesOf(segments, 1024, 0), 1024);
  t.is(dirtyBytesOf({ ...segments, volumeBytes: 4096 }, HUGE, 0), 4096);
  // Live sectors drift by a little.
  t.is(dirtyBytesOf({ ...segments, liveSectors: new Int32Array(6).fill(-3) }, HUGE, 0), SECTOR_BYTES);
});

test('data that is written over again and again is dirty once, and no figure says less than is dirty while it is written back', (t) => {
  const rig = new Rig({ volumeBytes: 64 * MIB, cacheBytes: 128 * MIB });
  const volume = rig.open();
  const { shared } = volume.opened;
  const dirty = createDirtySegments(shared);
  const notes = new DirtySegments(shared, dirty);
  const dirtyBytes = (): number =>
    dirtyBytesOf(shared, shared.numbers[NumberWord.dirtyBytes]!, shared.numbers[NumberWord.writtenSequence]!, dirty);
  let nowMs = 0;
  const write = (offset: number, version: number): void => {
    volume.write(offset, payload(version, MIB));
    volume.flush();
    notes.round((nowMs += LOOK_MS));
  };
  for (let version = 1; version <= 20; version++) write((version % 2) * MIB, version);
  t.is(volume.dirtyBytes, 20 * MIB);
  t.is(dirtyBytes(), 2 * MIB);
  for (let at = 4; at < 24; at++) write(at * MIB, at);
  t.is(dirtyBytes(), 22 * MIB);
  // What is dirty in truth: what the backing device has otherwise.
  const truth = (): number => {
    let bytes = 0;
    for (let at = 0; at < 24; at++) {
      const same = Buffer.compare(volume.read(at * MIB, MIB), rig.backing.content(at * MIB, MIB)) === 0;
      if (!same) bytes += MIB;
    }
    return bytes;
  };
  t.is(truth(), 22 * MIB);
  let steps = 0;
  let last = Infinity;
  while (volume.writebackStep()) {
    steps++;
    notes.round((nowMs += LOOK_MS));
    t.true(dirtyBytes() >= truth(), `${dirtyBytes()} of ${truth()}`);
    t.true(dirtyBytes() <= last);
    last = dirtyBytes();
  }
  t.true(steps > 10);
  t.is(last, 0);
});
