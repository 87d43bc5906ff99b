// A small cache in memory for the tests of `check`: written to, partly written back, and closed or not; and ksets of one's own making at its end.

import { formatCache } from '../../src/cache/format.js';
import { examineCache } from '../../src/cache/check-cache.js';
import type { CheckOptions } from '../../src/cache/check-cache.js';
import type { Finding } from '../../src/cache/check-finding.js';
import { SimulatedBackingDevice } from '../../src/device/simulated-backing-device.js';
import { SimulatedCacheDevice } from '../../src/device/simulated-cache-device.js';
import { InlineVolume } from '../../src/gateway/inline-volume.js';
import type { CacheKey } from '../../src/media/cache-key.js';
import { encodeKset } from '../../src/media/kset.js';
import type { KsetOptions } from '../../src/media/kset.js';
import type { CacheSegId, PhysicalSegmentId, SegmentOffset, VolumeOffset } from '../../src/media/layout.js';
import { CACHE_BYTES_MIN, SEGMENT_DATA_OFFSET } from '../../src/media/layout.js';

export const VOLUME_BYTES = 16 * 1024 * 1024;
export const BOOT_ID = 'b0071d00-0000-4000-8000-000000000001';

export function formatted({
  dataCrc = true,
  sizeBytes = CACHE_BYTES_MIN,
}: { dataCrc?: boolean; sizeBytes?: number } = {}): SimulatedCacheDevice {
  const device = new SimulatedCacheDevice({ persistence: 'memory', sizeBytes });
  formatCache(device, { dataCrc, gcPercent: 70, uuid: new Uint8Array(16).fill(3), nowMs: 1_700_000_000_000 });
  return device;
}

/** Opens a volume over the device, uses it, and closes it, in order or as if the process had died. */
export function useVolume(device: SimulatedCacheDevice, action: (volume: InlineVolume) => void, { crash = false } = {}): void {
  const volume = new InlineVolume(device, new SimulatedBackingDevice({ sizeBytes: VOLUME_BYTES }), {
    adopt: false,
    bootId: BOOT_ID,
    writers: 1,
    readOnly: false,
    newUuid: new Uint8Array(16).fill(4),
    nowMs: 1_700_000_000_000,
    clock: () => 0,
  });
  action(volume);
  volume.close({ crash });
}

/** `lengthBytes` bytes that differ from sector to sector. */
export function pattern(lengthBytes: number, seed: number): Uint8Array {
  return Uint8Array.from({ length: lengthBytes }, (_, index) => (index >> 9) * 7 + seed * 31 + (index & 3));
}

export function key(change: Partial<Record<keyof CacheKey, number>>): CacheKey {
  const plain = { off: 0, len: 512, flags: 0, cacheSegId: 1, cacheSegOff: 0, segGen: 0, dataCrc: 0, reserved: 0, ...change };
  return {
    ...plain,
    off: plain.off as VolumeOffset,
    cacheSegId: plain.cacheSegId as CacheSegId,
    cacheSegOff: plain.cacheSegOff as SegmentOffset,
  };
}

/** Stores a kset in the log segment 0, as the kernel would: without a sequence. Returns where the next one goes. */
export function storeKset(device: SimulatedCacheDevice, segOff: number, keys: readonly CacheKey[], options: KsetOptions = {}): number {
  const kset = encodeKset(keys, options);
  device.segment(0 as PhysicalSegmentId).bytes.set(kset, SEGMENT_DATA_OFFSET + segOff);
  return segOff + kset.length;
}

/** Findings without those of severity info. */
export function problemsOf(device: SimulatedCacheDevice, options: CheckOptions = {}): Finding[] {
  return examineCache(device, options).findings.filter(({ severity }) => severity !== 'info');
}
