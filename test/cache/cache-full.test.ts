// A full cache: writers wait and are never failed, a flush needs no room, and an index without memory recovers.

import test from 'ava';
import { UNIT_BYTES } from '../../src/cache/index-arena.js';
import { SegmentState, Word } from '../../src/cache/shared-state.js';
import type { BackingDevice } from '../../src/device/device.js';
import { errno } from '../../src/device/errno-codes.js';
import { withErrors } from '../../src/device/simulated-backing-device.js';
import { SECTOR_BYTES, SUBTREE_BYTES } from '../../src/media/layout.js';
import type { CacheSegId } from '../../src/media/layout.js';
import { moveEmptyLog } from '../support/model-crash.js';
import { MIB, Rig, sameBytes } from '../support/model-rig.js';
import { payload } from '../support/model-payload.js';

test('a writer that finds the cache full waits until there is room, as often as it takes', (t) => {
  const rig = new Rig({ volumeBytes: 160 * MIB });
  const volume = rig.open();
  for (let offset = 0; offset < 160 * MIB; offset += MIB) volume.write(offset, payload(offset / 512, MIB));
  t.true(volume.counters.cache_full_waits > 0);
  t.is(volume.opened.shared.words[Word.roomWaiters], 0);
  volume.writeBackAll();
  volume.close();
  for (let offset = 0; offset < 160 * MIB; offset += MIB) t.true(sameBytes(rig.backing.content(offset, MIB), payload(offset / 512, MIB)));
});

test('a full cache in front of a backing device that fails says so to the writer, keeps all it has, flushes, and goes on later', (t) => {
  const rig = new Rig({ volumeBytes: 160 * MIB });
  let isFailing = true;
  const volume = rig.open({ backing: withErrors(rig.backing, () => (isFailing ? errno.EIO : false)) });
  let written = 0;
  t.throws(
    () => {
      for (; written < 160 * MIB; written += 64 * 1024) volume.write(written, payload(written / 512, 64 * 1024));
    },
    { code: 'io' },
  );
  t.true(written >= 31 * MIB, 'two data segments are full');
  t.is(volume.opened.shared.words[Word.roomWaiters], 0);
  volume.flush();
  rig.losePower(() => 0, 4096);
  isFailing = false;
  const again = rig.open();
  for (let offset = 0; offset < written; offset += 64 * 1024) {
    t.true(sameBytes(again.read(offset, 64 * 1024), payload(offset / 512, 64 * 1024)));
  }
  again.write(written, payload(7, MIB));
  again.writeBackAll();
  t.true(sameBytes(rig.backing.content(written, MIB), payload(7, MIB)));
  again.close();
});

test('the log changes segments though data has taken all that it may: a flush is never without room', (t) => {
  const rig = new Rig({ volumeBytes: 160 * MIB });
  moveEmptyLog(rig.device, 90_000);
  let isFailing = true;
  const volume = rig.open({ backing: withErrors(rig.backing, () => (isFailing ? errno.EIO : false)) });
  const { segments, shared } = volume.caches[0]!;
  let written = 0;
  t.throws(
    () => {
      for (; written < 160 * MIB; written += 16 * 1024) volume.write(written, payload(written / 512, 16 * 1024));
    },
    { code: 'io' },
  );
  t.is(segments.freeForData(), 0);
  t.is(shared.words[Word.openSegment], 0);
  // No data segment is left, but keys go on: of what is overwritten in the segment that a head still has, and of damaged keys.
  const segment = [...shared.state.keys()].find((id) => shared.state[id] === SegmentState.data)! as CacheSegId;
  for (let key = 0; shared.words[Word.openSegment] === 0 && key < 3000; key++) {
    Atomics.add(shared.refs, segment, 1);
    t.true(volume.caches[0]!.log.append(0, 0, 512, 0, segment, 0, 0, 0, 0));
    if (key % 16 === 15) volume.flush();
  }
  t.not(shared.words[Word.openSegment], 0);
  volume.flush();
  volume.logStep(0);
  t.not(shared.words[Word.nextLogSegment], -1, 'and the next one is ready');
  isFailing = false;
  volume.writeBackAll();
  t.true(sameBytes(rig.backing.content(16 * 1024, 16 * 1024), payload(32, 16 * 1024)));
  volume.close();
});

test('reads of what is not cached leave room for writes', (t) => {
  const rig = new Rig({ volumeBytes: 160 * MIB });
  const volume = rig.open();
  for (let offset = 0; offset < 160 * MIB; offset += MIB) volume.read(offset, MIB);
  const waits = volume.counters.cache_full_waits;
  volume.write(0, payload(1, MIB));
  t.is(volume.counters.cache_full_waits, waits);
  volume.close();
});

/** A device of 16 TiB that keeps one byte of each sector: what it takes to see whether a sector came. */
function sectorDevice(): { backing: BackingDevice; sectors: Map<number, number> } {
  const sectors = new Map<number, number>();
  const backing: BackingDevice = {
    sizeBytes: 16 * 1024 ** 4,
    readOnly: false,
    identity: 'sectors',
    read(offset, target, targetOffset, length) {
      for (let at = 0; at < length; at += SECTOR_BYTES) {
        target.fill(sectors.get(offset + at) ?? 0, targetOffset + at, targetOffset + at + SECTOR_BYTES);
      }
    },
    write(offset, source, sourceOffset, length) {
      for (let at = 0; at < length; at += SECTOR_BYTES) sectors.set(offset + at, source[sourceOffset + at + 1]!);
    },
    flush: () => undefined,
    isHole: () => false,
    close: () => undefined,
  };
  return { backing, sectors };
}

for (const [name, part] of [
  ['whole sectors', { start: 0, length: SECTOR_BYTES }],
  ['parts of sectors', { start: 1, length: 9 }],
] as const) {
  test(`an index that has run out of memory gets it back, and writes of ${name} go on`, (t) => {
    const rig = new Rig({ volumeBytes: SECTOR_BYTES });
    const { backing, sectors } = sectorDevice();
    const volume = rig.open({ backing });
    const bytes = new Uint8Array(part.length).fill(9);
    // A sector in each of more subtrees than the index has blocks for; most of their extents are stale by then.
    const count = 230_000;
    const { capacityBytes } = volume.caches[0]!.tree.stats();
    t.true(count * UNIT_BYTES > capacityBytes, 'this is more than the index holds');
    for (let subtree = 0; subtree < count; subtree++) volume.write(subtree * SUBTREE_BYTES + part.start, bytes);
    volume.writeBackAll();
    volume.close();
    let missing = 0;
    for (let subtree = 0; subtree < count; subtree++) if (sectors.get(subtree * SUBTREE_BYTES) !== 9) missing++;
    t.is(missing, 0);
  });
}
