// What a device holds, as far as `format` must know before it overwrites it. Changes nothing.

import type { CacheDevice } from '../device/device.js';
import { PcacheError } from '../errors.js';
import type { PhysicalSegmentId } from '../media/layout.js';
import { SECTOR_BYTES, SEGMENTS_OFFSET } from '../media/layout.js';
import { inspectMedia } from './inspect-media.js';
import { openUnbound } from './open-unbound.js';
import type { TellProgress } from './tell-progress.js';

export type DeviceContent =
  | { readonly kind: 'empty' }
  | { readonly kind: 'clean-cache' }
  /** `dirtyBytes`: of keys that the backing device does not have yet. */
  | { readonly kind: 'dirty-cache'; readonly dirtyBytes: number }
  /** Nobody can say whether it holds dirty data. */
  | { readonly kind: 'damaged-cache'; readonly reason: string }
  | { readonly kind: 'other'; readonly what: string };

/** Bytes at the start of a device that are looked at for signatures; of the rest samples are (`device/data-samples`). */
const START_BYTES = 1024 * 1024;

/** `bootId`: of the running system; keys staged in it count as dirty. */
export function describeContent(device: CacheDevice, bootId: string, tell?: TellProgress): DeviceContent {
  try {
    inspectMedia(device);
  } catch (error) {
    if (!(error instanceof PcacheError) || error.code !== 'not-a-cache') throw error;
    return describeStart(startOf(device)) ?? describeRest(device);
  }
  try {
    const { dirtyBytes } = openUnbound(device, bootId, tell).replay;
    return dirtyBytes === 0 ? { kind: 'clean-cache' } : { kind: 'dirty-cache', dirtyBytes };
  } catch (error) {
    if (!(error instanceof PcacheError)) throw error;
    return { kind: 'damaged-cache', reason: error.message };
  }
}

function startOf(device: CacheDevice): Uint8Array {
  const start = new Uint8Array(START_BYTES);
  start.set(device.control.bytes);
  start.set(device.segment(0 as PhysicalSegmentId).bytes.subarray(0, START_BYTES - SEGMENTS_OFFSET), SEGMENTS_OFFSET);
  return start;
}

const SIGNATURES: readonly (readonly [offset: number, bytes: string, what: string])[] = [
  [0x438, '\x53\xef', 'what looks like an ext2, ext3 or ext4 file system'],
  [0, 'XFSB', 'what looks like an XFS file system'],
  [0x1_0040, '_BHRfS_M', 'what looks like a btrfs file system'],
  [0, 'LUKS\xba\xbe', 'what looks like an encrypted (LUKS) device'],
  [SECTOR_BYTES + 24, 'LVM2 001', 'what looks like an LVM physical volume'],
  [0xff6, 'SWAPSPACE2', 'what looks like swap space'],
  [SECTOR_BYTES, 'EFI PART', 'what looks like a partition table (GPT)'],
  [0, 'QFI\xfb', 'what looks like a qcow2 image'],
  [0x1fe, '\x55\xaa', 'what looks like a partition table or a boot sector'],
];

/** `undefined` if it is all zeros. */
function describeStart(start: Uint8Array): DeviceContent | undefined {
  for (const [offset, bytes, what] of SIGNATURES) {
    if (Array.from(bytes).every((character, index) => start[offset + index] === character.charCodeAt(0))) return { kind: 'other', what };
  }
  const dataAt = start.findIndex((byte) => byte !== 0);
  return dataAt < 0 ? undefined : dataFrom(dataAt);
}

function describeRest(device: CacheDevice): DeviceContent {
  const dataAt = device.findData?.();
  return dataAt === undefined ? { kind: 'empty' } : dataFrom(dataAt);
}

function dataFrom(offset: number): DeviceContent {
  return { kind: 'other', what: `data that is not a cache (at byte ${offset})` };
}
