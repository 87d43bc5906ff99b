// Damage of every kind, anywhere: whatever reads a cache that nobody vouches for must end, and must not fail in any way of its own.

import fc from 'fast-check';
import test from 'ava';
import { checkCache, examineCache } from '../../src/cache/check-cache.js';
import { describeContent } from '../../src/cache/inspect-content.js';
import { inspectLog } from '../../src/cache/inspect-log.js';
import { inspectMedia } from '../../src/cache/inspect-media.js';
import { findStagedKsets, forEachKeyOf } from '../../src/cache/staged-ksets.js';
import type { SimulatedCacheDevice } from '../../src/device/simulated-cache-device.js';
import { PcacheError } from '../../src/errors.js';
import type { PhysicalSegmentId } from '../../src/media/layout.js';
import {
  CACHE_INFO_OFFSETS,
  KEY_TAIL_OFFSETS,
  SEGMENTS_OFFSET,
  SEGMENT_BYTES,
  SEGMENT_DATA_OFFSET,
  SEGMENT_INFO_OFFSETS,
  SUPERBLOCK_OFFSET,
} from '../../src/media/layout.js';
import { chooseCopy } from '../../src/media/two-copy-record.js';
import { BOOT_ID, formatted, pattern, problemsOf, useVolume } from './check-support.js';

const RUNS = 200;

/** Data CRC on, part of it written back, several ksets, staged keys. */
function usedCache({ crash }: { crash: boolean }): SimulatedCacheDevice {
  const device = formatted();
  useVolume(
    device,
    (volume) => {
      for (let round = 0; round < 12; round++) {
        volume.write(round * 300_032, pattern(512 * (1 + round), round));
        if (round % 2 === 1) volume.flush();
        if (round === 5) volume.writeBackAll();
      }
      volume.write(9_000_000, pattern(1024, 50));
    },
    { crash },
  );
  return device;
}

interface Damage {
  readonly kind: 'flip' | 'zero' | 'noise' | 'ones';
  readonly position: number;
  readonly lengthBytes: number;
  readonly seed: number;
}

/** Most damage goes where the structures are. */
const position = fc.oneof(
  { weight: 4, arbitrary: fc.nat(SEGMENTS_OFFSET - 1) },
  {
    weight: 2,
    arbitrary: fc.tuple(fc.nat(4), fc.nat(SEGMENT_DATA_OFFSET - 1)).map(([id, at]) => SEGMENTS_OFFSET + id * SEGMENT_BYTES + at),
  },
  { weight: 4, arbitrary: fc.nat(1500).map((at) => SEGMENTS_OFFSET + SEGMENT_DATA_OFFSET + at) },
  { weight: 1, arbitrary: fc.nat(5 * SEGMENT_BYTES - 1).map((at) => SEGMENTS_OFFSET + at) },
  {
    weight: 3,
    arbitrary: fc.constantFrom(SUPERBLOCK_OFFSET, ...CACHE_INFO_OFFSETS, ...KEY_TAIL_OFFSETS, SEGMENTS_OFFSET + SEGMENT_DATA_OFFSET),
  },
);
const damages = fc.array(
  fc.record({
    kind: fc.constantFrom('flip' as const, 'zero' as const, 'noise' as const, 'ones' as const),
    position,
    lengthBytes: fc.oneof(fc.integer({ min: 1, max: 64 }), fc.constantFrom(512, 4096, 16384)),
    seed: fc.integer(),
  }),
  { minLength: 1, maxLength: 6 },
);

/** Damages the device; the result undoes it. */
function apply(device: SimulatedCacheDevice, list: readonly Damage[]): () => void {
  const undo: (() => void)[] = [];
  for (const { kind, position: start, lengthBytes, seed } of list) {
    const id = start < SEGMENTS_OFFSET ? -1 : Math.floor((start - SEGMENTS_OFFSET) / SEGMENT_BYTES);
    const bytes = id < 0 ? device.control.bytes : device.segment(id as PhysicalSegmentId).bytes;
    const at = id < 0 ? start : start - SEGMENTS_OFFSET - id * SEGMENT_BYTES;
    const target = bytes.subarray(at, at + lengthBytes);
    const before = Uint8Array.from(target);
    undo.push(() => {
      target.set(before);
    });
    let state = seed | 1;
    if (kind === 'flip') target[0]! ^= 1 << (seed & 7);
    else if (kind === 'noise') target.forEach((_, index) => (target[index] = (state = Math.imul(state, 0x41c64e6d) + 12345) >>> 16));
    else target.fill(kind === 'zero' ? 0 : 0xff);
  }
  return () => {
    for (const step of undo.reverse()) step();
  };
}

/** Everything that looks at a cache without trusting it. */
function lookAtEverything(device: SimulatedCacheDevice): void {
  describeContent(device, BOOT_ID);
  const media = inspectMedia(device);
  const log = inspectLog(media);
  if (log !== undefined) for (const kset of findStagedKsets(media.log, log.walk).ksets) forEachKeyOf(media.log, kset, () => undefined);
  examineCache(device, { bootId: BOOT_ID, backing: { sizeBytes: 8 * 1024 * 1024, identity: 'x' } });
}

for (const crash of [false, true]) {
  test(`no damage makes a reader of ${crash ? 'a cache whose program died' : 'a closed cache'} loop, or throw anything but a PcacheError`, (t) => {
    const device = usedCache({ crash });
    const before = examineCache(device, { bootId: BOOT_ID });
    t.deepEqual(
      before.findings.filter(({ severity }) => severity !== 'info'),
      [],
    );
    fc.assert(
      fc.property(damages, (list) => {
        const undo = apply(device, list);
        try {
          lookAtEverything(device);
        } catch (error) {
          if (!(error instanceof PcacheError) || error.code === 'internal') throw error;
        } finally {
          undo();
        }
      }),
      { numRuns: RUNS },
    );
    t.deepEqual(examineCache(device, { bootId: BOOT_ID }), before);
  });
}

/** Places in the device that are in use and that a checksum covers. */
function usedPlaces(device: SimulatedCacheDevice): { position: number; lengthBytes: number }[] {
  const control = device.control.bytes;
  const places = [{ position: SUPERBLOCK_OFFSET, lengthBytes: 24 }];
  for (const [offsets, lengthBytes] of [
    [CACHE_INFO_OFFSETS, 24],
    [KEY_TAIL_OFFSETS, 16],
  ] as const) {
    const current = chooseCopy(control, offsets, lengthBytes);
    if (current.index !== 'none') places.push({ position: offsets[current.index], lengthBytes });
  }
  for (let id = 0; id < device.segmentCount; id++) {
    places.push({ position: SEGMENTS_OFFSET + id * SEGMENT_BYTES + SEGMENT_INFO_OFFSETS[0], lengthBytes: 16 });
  }
  const media = inspectMedia(device);
  const log = inspectLog(media)!;
  const { cacheSegId, segOff } = log.walk.end;
  // The whole log, in segment 0, from its start to its end.
  places.push({ position: SEGMENTS_OFFSET + SEGMENT_DATA_OFFSET, lengthBytes: segOff });
  if ((cacheSegId as number) !== 0) throw new Error('the log is larger than this test expects');
  return places;
}

test('no bit of a structure in use can be flipped without a finding', (t) => {
  const device = usedCache({ crash: false });
  const places = usedPlaces(device);
  const totalBytes = places.reduce((sum, { lengthBytes }) => sum + lengthBytes, 0);
  fc.assert(
    fc.property(fc.nat(totalBytes - 1), fc.nat(7), (index, bit) => {
      let rest = index;
      const place = places.find(({ lengthBytes }) => {
        if (rest < lengthBytes) return true;
        rest -= lengthBytes;
        return false;
      })!;
      const undo = apply(device, [{ kind: 'flip', position: place.position + rest, lengthBytes: 1, seed: bit }]);
      try {
        return problemsOf(device, { bootId: BOOT_ID }).length > 0;
      } finally {
        undo();
      }
    }),
    { numRuns: RUNS },
  );
  t.deepEqual(
    checkCache(device, { bootId: BOOT_ID }).filter(({ severity }) => severity !== 'info'),
    [],
  );
});
