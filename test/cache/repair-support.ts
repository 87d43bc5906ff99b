// A cache with a history, for the tests of repairs: every state that its volume went through is known, so that what a repair leaves can be told to be one
// of them.

import { planRepair } from '../../src/cache/repair-plan.js';
import type { RepairOptions, RepairPlan } from '../../src/cache/repair-plan.js';
import type { Patch } from '../../src/cache/repair-draft.js';
import { bytesAt } from '../../src/cache/repair-draft.js';
import type { SimulatedBackingDevice } from '../../src/device/simulated-backing-device.js';
import type { SimulatedCacheDevice } from '../../src/device/simulated-cache-device.js';
import type { InlineVolume } from '../../src/gateway/inline-volume.js';
import { pcacheCrcOfRange } from '../../src/media/crc32c.js';
import type { PhysicalSegmentId } from '../../src/media/layout.js';
import { SEGMENT_DATA_OFFSET } from '../../src/media/layout.js';
import { KSET_HEADER_LAYOUT, KsetHeader, ksetProblem } from '../../src/media/kset.js';
import { payload } from '../support/model-payload.js';
import { Rig, bootIdOf, sameBytes } from '../support/model-rig.js';

export const VOLUME_BYTES = 4 * 1024 * 1024;

export interface History {
  readonly rig: Rig;
  /** The volume after each write, from before the first on. */
  readonly states: readonly Uint8Array[];
  /** Writes that are on the backing device. */
  readonly writtenBack: number;
}

export interface HistoryOptions {
  readonly dataCrc?: boolean;
  readonly persistence?: 'memory' | 'synced';
  /** The program dies at the end; default: the cache is closed. */
  readonly crash?: boolean;
  /** Writes after the last flush. */
  readonly staged?: number;
  /** Write back and collect everything after this many writes; default 4. */
  readonly writeBackAfter?: number;
}

/** Twelve flushed writes that overlap here and there, a few of them written back. */
export function makeHistory(options: HistoryOptions = {}): History {
  const { dataCrc = true, persistence = 'memory', crash = false, staged = 0, writeBackAfter = 4 } = options;
  const rig = new Rig({ volumeBytes: VOLUME_BYTES, dataCrc, persistence });
  const states = [new Uint8Array(VOLUME_BYTES)];
  const volume = rig.open();
  const write = (number: number): void => {
    const offset = ((number * 37) % 29) * 64 * 1024 + (number % 3) * 512;
    const bytes = payload(number + 1, 512 * (1 + ((number * 5) % 40)));
    volume.write(offset, bytes);
    const state = Uint8Array.from(states.at(-1)!);
    state.set(bytes, offset);
    states.push(state);
  };
  for (let number = 0; number < 12; number++) {
    write(number);
    volume.flush();
    if (number + 1 === writeBackAfter) volume.writeBackAll();
  }
  for (let number = 12; number < 12 + staged; number++) write(number);
  volume.close({ crash });
  if (crash) rig.killProcess();
  return { rig, states, writtenBack: writeBackAfter };
}

/** Works a plan out on the device itself and takes it back: a copy of 80 MiB for each plan would take longer than everything else. */
export function planOf(device: SimulatedCacheDevice, boot = 1, options: Partial<RepairOptions> = {}): RepairPlan {
  const plan = planRepair(device, { bootId: bootIdOf(boot), ...options });
  for (const { deviceOffset, before } of patchesOf(plan).reverse()) bytesAt(device, deviceOffset, before.length).set(before);
  return plan;
}

/** Every byte that the device holds, as numbers: quicker than a real hash. */
export function checksumOf(device: SimulatedCacheDevice): string {
  const sums = [pcacheCrcOfRange(device.control.bytes, 0, device.control.bytes.length)];
  for (let id = 0; id < device.segmentCount; id++) {
    const { bytes } = device.segment(id as PhysicalSegmentId);
    sums.push(pcacheCrcOfRange(bytes, 0, bytes.length));
  }
  return sums.join(' ');
}

export function patchesOf({ steps }: RepairPlan): Patch[] {
  return steps.flatMap(({ patches }) => patches);
}

export function readAll(volume: InlineVolume): Uint8Array {
  return volume.read(0, VOLUME_BYTES);
}

export function backingBytes(backing: SimulatedBackingDevice): Uint8Array {
  const bytes = new Uint8Array(VOLUME_BYTES);
  backing.read(0, bytes, 0, VOLUME_BYTES);
  return bytes;
}

/** How many writes make this state; -1 if none do. */
export function prefixOf({ states }: Pick<History, 'states'>, bytes: Uint8Array): number {
  return states.findLastIndex((state) => sameBytes(state, bytes));
}

/** Places of the valid ksets in the log segment 0, in order. */
export function ksetPlaces(device: SimulatedCacheDevice): number[] {
  const { bytes, view } = device.segment(0 as PhysicalSegmentId);
  const header = new KsetHeader();
  const places: number[] = [];
  for (let at = 0; at < 64 * 1024; at += 8) {
    if (view.getUint32(SEGMENT_DATA_OFFSET + at + KSET_HEADER_LAYOUT.magic, true) === 0) continue;
    header.load(view, SEGMENT_DATA_OFFSET + at);
    if (ksetProblem(bytes, SEGMENT_DATA_OFFSET, at, header) === undefined) places.push(at);
  }
  return places;
}
