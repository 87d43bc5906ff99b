// A repair, before it is made: steps, each with the bytes that it would put on the device. The steps are worked out on a copy of the device, which each
// step changes at once, so that the next one sees what the device would then hold; the device itself is not touched.
//
// Invariant: a change lies within the control area or within one segment, and is in the plan if and only if it was made through `change`.

import type { CacheDevice } from '../device/device.js';
import type { PhysicalSegmentId } from '../media/layout.js';
import { SEGMENTS_OFFSET, SEGMENT_BYTES } from '../media/layout.js';
import type { LogLoss } from './salvage-log.js';
import type { TellProgress } from './tell-progress.js';

/** Bytes of the device and what is to take their place; both of one length. */
export interface Patch {
  readonly deviceOffset: number;
  readonly before: Uint8Array;
  readonly after: Uint8Array;
}

export interface RepairStep {
  /** Where on the device. */
  readonly place: string;
  /** What is wrong there. */
  readonly why: string;
  /** What the repair does about it. */
  readonly what: string;
  /** What that means for the data of the volume. */
  readonly consequence: string;
  /** Writes that are given up by it; `undefined` if it loses nothing. */
  readonly loss?: LogLoss;
  /** In the order in which they are to become durable, each before the next is begun. */
  readonly patches: readonly Patch[];
}

/** Damage that is not repaired. */
export interface Refusal {
  readonly place: string;
  /** What is wrong, and why nothing safe can be done about it. */
  readonly why: string;
  /** What the user can do instead. */
  readonly advice: string;
}

export class RepairDraft {
  readonly steps: RepairStep[] = [];
  readonly refusals: Refusal[] = [];
  /** The copy. */
  readonly device: CacheDevice;
  readonly tell: TellProgress | undefined;
  #patches: Patch[] = [];

  constructor(copy: CacheDevice, tell?: TellProgress) {
    this.device = copy;
    this.tell = tell;
  }

  /** Runs `action`, which changes the given bytes of the copy, and takes the difference into the current step. */
  change(deviceOffset: number, lengthBytes: number, action: () => void): void {
    const bytes = bytesAt(this.device, deviceOffset, lengthBytes);
    const before = Uint8Array.from(bytes);
    action();
    if (Buffer.compare(before, bytes) !== 0) this.#patches.push({ deviceOffset, before, after: Uint8Array.from(bytes) });
  }

  /** Ends the current step: it consists of the changes since the last one. Nothing is added if there are none. */
  step(step: Omit<RepairStep, 'patches'>): void {
    if (this.#patches.length > 0) this.steps.push({ ...step, patches: this.#patches });
    this.#patches = [];
  }

  refuse(refusal: Refusal): void {
    this.refusals.push(refusal);
  }
}

/** The bytes of a range that lies within the control area or one segment. */
export function bytesAt(device: CacheDevice, deviceOffset: number, lengthBytes: number): Uint8Array {
  if (deviceOffset < SEGMENTS_OFFSET) return device.control.bytes.subarray(deviceOffset, deviceOffset + lengthBytes);
  const id = Math.floor((deviceOffset - SEGMENTS_OFFSET) / SEGMENT_BYTES);
  const at = deviceOffset - SEGMENTS_OFFSET - id * SEGMENT_BYTES;
  return device.segment(id as PhysicalSegmentId).bytes.subarray(at, at + lengthBytes);
}
