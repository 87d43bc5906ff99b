import test from 'ava';
import { examineCache } from '../../src/cache/check-cache.js';
import { readCacheMedia } from '../../src/cache/cache-media.js';
import { findStagedKsets } from '../../src/cache/staged-ksets.js';
import { KEY_BYTES, KSET_HEADER_BYTES, SEGMENT_DATA_OFFSET } from '../../src/media/layout.js';
import type { PhysicalSegmentId } from '../../src/media/layout.js';
import { walkLog } from '../../src/media/log-walk.js';
import { payload } from '../support/model-payload.js';
import { MIB, Rig, bootIdOf } from '../support/model-rig.js';

/** Writes of a sector each: `ksets[n]` of them into the nth kset that is closed and not written, the last stays open. */
function withStaged(ksets: readonly number[]): Rig {
  const rig = new Rig({ volumeBytes: MIB, persistence: 'memory' });
  const volume = rig.open();
  let sector = 0;
  for (const [index, keys] of ksets.entries()) {
    for (let key = 0; key < keys; key++) volume.write(sector * 512, payload(++sector, 512));
    if (index < ksets.length - 1) volume.caches[0]!.log.requestFlush();
  }
  volume.close({ crash: true });
  return rig;
}

function stagedOf(rig: Rig): { keys: number; damage: string | undefined } {
  const media = readCacheMedia(rig.device);
  const { keys, damage } = findStagedKsets(media.log, walkLog(media.log, media.keyTail, media.walkOptions));
  return { keys, damage };
}

function log(rig: Rig): Uint8Array {
  return rig.device.segment(0 as PhysicalSegmentId).bytes.subarray(SEGMENT_DATA_OFFSET);
}

test('staged keys are found in all ksets, and nothing is missing', (t) => {
  for (const ksets of [[0], [1], [3], [1, 1, 1], [2, 5, 3], [128, 128, 1]]) {
    const keys = ksets.reduce((sum, count) => sum + count);
    t.deepEqual(stagedOf(withStaged(ksets)), { keys, damage: undefined }, ksets.join());
  }
});

test('a damaged staged key is noticed by what stands behind it, and the keys before it are taken', (t) => {
  const ksets = [2, 5, 3];
  const rig = withStaged(ksets);
  let at = 0;
  let before = 0;
  for (const keys of ksets) {
    for (let key = 0; key < keys; key++) {
      const position = at + KSET_HEADER_BYTES + key * KEY_BYTES + 9;
      log(rig)[position]! ^= 1;
      const { keys: found, damage } = stagedOf(rig);
      t.is(found, before);
      // Nothing stands behind the last of all.
      if (before === 9) t.is(damage, undefined);
      else t.regex(damage ?? '', /of the staged kset [0-9]+, key [0-9] is damaged/, `key ${before}`);
      log(rig)[position]! ^= 1;
      before++;
    }
    at += KSET_HEADER_BYTES + keys * KEY_BYTES;
  }
});

test('the header of a staged kset can be lost, and so can all of one', (t) => {
  const rig = withStaged([2, 5, 3]);
  const second = KSET_HEADER_BYTES + 2 * KEY_BYTES;
  const clean = log(rig).slice(0, 4096);
  log(rig).fill(0, second, second + KSET_HEADER_BYTES);
  t.deepEqual(stagedOf(rig), { keys: 10, damage: undefined });
  log(rig).fill(0, second, second + KSET_HEADER_BYTES + 5 * KEY_BYTES);
  t.is(stagedOf(rig).keys, 2);
  t.regex(stagedOf(rig).damage ?? '', /the next kset stands behind 5 keys/);
  log(rig).set(clean);
  t.deepEqual(stagedOf(rig), { keys: 10, damage: undefined });
});

test('a mount goes on with what comes before a damaged staged key, and says that the rest is lost, as check does', (t) => {
  const rig = withStaged([2, 5, 3]);
  log(rig)[KSET_HEADER_BYTES + KEY_BYTES]! ^= 1;
  const findings = examineCache(rig.device, { bootId: bootIdOf(1) }).findings;
  t.true(findings.some(({ severity, code, message }) => severity === 'error' && code === 'staged-keys' && /are lost/.test(message)));
  const volume = rig.open();
  t.regex(volume.opened.replay.stagedDamage ?? '', /key 1 is damaged, and key|the next kset stands behind/);
  t.deepEqual(volume.read(0, 512), payload(1, 512).slice());
  t.deepEqual(volume.read(512, 512), new Uint8Array(512));
  volume.close();
  t.is(rig.open().opened.replay.stagedDamage, undefined);
});
