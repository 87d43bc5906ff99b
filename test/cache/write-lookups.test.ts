// What the writer says of the cache when it writes: how much of what is written over the cache had.

import test from 'ava';
import type { InlineVolume } from '../../src/gateway/inline-volume.js';
import { SUBTREE_BYTES } from '../../src/media/layout.js';
import { MIB, Rig } from '../support/model-rig.js';
import { payload } from '../support/model-payload.js';

const KIB = 1024;

/** How many hits, misses and partial hits `action` counts. */
function lookupsOf(volume: InlineVolume, action: () => void): [hits: number, misses: number, partial: number] {
  const before = volume.counters;
  action();
  const after = volume.counters;
  return [
    after.write_hits - before.write_hits,
    after.write_misses - before.write_misses,
    after.write_partial_hits - before.write_partial_hits,
  ];
}

function opened(): { rig: Rig; volume: InlineVolume; write: (offset: number, lengthBytes: number) => () => void } {
  const rig = new Rig({ volumeBytes: 16 * MIB });
  const volume = rig.open();
  let version = 0;
  return { rig, volume, write: (offset, lengthBytes) => () => volume.write(offset, payload(++version, lengthBytes)) };
}

test('a write over data in the cache is a hit, over part of it a partial hit, over nothing a miss', (t) => {
  const { volume, write } = opened();
  t.deepEqual(lookupsOf(volume, write(8 * KIB, 8 * KIB)), [0, 1, 0]);
  t.deepEqual(lookupsOf(volume, write(8 * KIB, 8 * KIB)), [1, 0, 0]);
  t.deepEqual(lookupsOf(volume, write(12 * KIB, 4 * KIB)), [1, 0, 0]);
  // Over two extents, and over what lies before, between and behind.
  t.deepEqual(lookupsOf(volume, write(8 * KIB, 8 * KIB)), [1, 0, 0]);
  t.deepEqual(lookupsOf(volume, write(4 * KIB, 16 * KIB)), [0, 0, 1]);
  t.deepEqual(lookupsOf(volume, write(64 * KIB, 4 * KIB)), [0, 1, 0]);
  t.deepEqual(lookupsOf(volume, write(0, 128 * KIB)), [0, 0, 1]);
});

test('a write over the border of two subtrees is one look', (t) => {
  const { volume, write } = opened();
  t.deepEqual(lookupsOf(volume, write(SUBTREE_BYTES - 4 * KIB, 8 * KIB)), [0, 1, 0]);
  t.deepEqual(lookupsOf(volume, write(SUBTREE_BYTES - 4 * KIB, 8 * KIB)), [1, 0, 0]);
  t.deepEqual(lookupsOf(volume, write(SUBTREE_BYTES - 8 * KIB, 12 * KIB)), [0, 0, 1]);
});

test('what a read miss has kept is data in the cache, what it only asked for is not', (t) => {
  const { volume, write } = opened();
  volume.read(0, 64 * KIB);
  t.true(volume.counters.fills > 0);
  t.deepEqual(lookupsOf(volume, write(16 * KIB, 4 * KIB)), [1, 0, 0]);
});

test('a write of part of a sector looks for that sector', (t) => {
  const { volume, write } = opened();
  t.deepEqual(lookupsOf(volume, write(100, 10)), [0, 1, 0]);
  t.deepEqual(lookupsOf(volume, write(200, 10)), [1, 0, 0]);
});

test('what was collected since is not data in the cache any more', (t) => {
  const { volume, write } = opened();
  t.deepEqual(lookupsOf(volume, write(0, 4 * KIB)), [0, 1, 0]);
  for (let round = 0; round < 2; round++) for (let at = MIB; at < 16 * MIB; at += MIB) write(at, MIB)();
  volume.writeBackAll();
  for (let steps = 0; steps < 1000 && volume.gcStep(); steps++);
  t.true(volume.counters.gc_segments > 0);
  t.deepEqual(lookupsOf(volume, write(0, 4 * KIB)), [0, 1, 0]);
});
