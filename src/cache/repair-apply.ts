// Makes planned changes to a device, and puts the old bytes back.
//
// Invariant: changes become durable one after the other, in the order given. A repair that is cut off leaves some of them made, one in part and the rest
// not; each step of a plan is made so that the cache is refused until its last change is there, or is as good as before.

import type { CacheDevice } from '../device/device.js';
import { PcacheError } from '../errors.js';
import type { Patch } from './repair-draft.js';
import { bytesAt } from './repair-draft.js';

/** Throws PcacheError `busy` if the device does not hold what the patches were planned for (then nothing is changed), `io` if it fails. */
export function applyPatches(device: CacheDevice, patches: readonly Patch[]): void {
  // A place that is changed twice holds the first patch's bytes when the second one comes.
  const planned = new Map<number, Uint8Array>();
  for (const { deviceOffset, before, after } of patches) {
    if (Buffer.compare(planned.get(deviceOffset) ?? bytesAt(device, deviceOffset, before.length), before) !== 0) {
      throw new PcacheError('busy', `the cache has changed at ${deviceOffset} since it was looked at`);
    }
    planned.set(deviceOffset, after);
  }
  for (const { deviceOffset, after } of patches) store(device, deviceOffset, after);
}

/**
 * What the device holds must be old or new bytes or (after a repair that was cut off) a mixture, byte by byte. Throws PcacheError `mismatch` if it is not:
 * the cache has been used since.
 */
export function requireUndoable(device: CacheDevice, patches: readonly Patch[]): void {
  const known = new Map<number, Uint8Array[]>();
  for (const { deviceOffset, before, after } of patches) known.set(deviceOffset, [...(known.get(deviceOffset) ?? []), before, after]);
  for (const [deviceOffset, contents] of known) {
    const now = bytesAt(device, deviceOffset, contents[0]!.length);
    if (!now.every((byte, index) => contents.some((content) => content[index] === byte))) {
      throw new PcacheError(
        'mismatch',
        `the cache has been used since: at ${deviceOffset} it holds something else than the repair wrote there`,
      );
    }
  }
}

/** Puts the old bytes back, in the opposite order. Throws PcacheError `mismatch` as above, then nothing is changed; `io` if the device fails. */
export function undoPatches(device: CacheDevice, patches: readonly Patch[]): void {
  requireUndoable(device, patches);
  for (const { deviceOffset, before } of patches.toReversed()) store(device, deviceOffset, before);
}

function store(device: CacheDevice, deviceOffset: number, bytes: Uint8Array): void {
  bytesAt(device, deviceOffset, bytes.length).set(bytes);
  device.persist(deviceOffset, bytes.length);
}
